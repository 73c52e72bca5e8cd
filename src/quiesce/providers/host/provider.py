"""Answers the provider port for one Linux machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from quiesce.backups import BackupHome
from quiesce.errors import UnsupportedError
from quiesce.files.durable import storage_errors
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.stored_entry import StoredListing
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.commands import NodeCommands
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.options import read_options
from quiesce.providers.host import DESCRIPTION
from quiesce.providers.host.database import DatabaseAloneOperations, DatabaseOperations
from quiesce.providers.host.directory import DirectoryOperations
from quiesce.providers.host.discover import discover
from quiesce.providers.host.file_system import FileSystemOperations
from quiesce.providers.host.freeze_client import FreezeClient
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.options import HostOptions
from quiesce.providers.host.process import PausedProcessOperations, ProcessOperations


class HostProvider(PlatformProvider[HostJob]):
    """Processes, directories, SQLite databases and file systems of the machine that quiesce runs on."""

    def __init__(self, settings: ProviderSettings) -> None:
        state = Path(settings.state_dir)
        self._home = Path(settings.keys_file or settings.state_dir).parent
        self._freezes = FreezeClient(state / "holds")
        self._default_repository = settings.repository
        self._commands = NodeCommands(state / "commands")
        self._backup_home = BackupHome.of(settings)
        suspended = state / "suspended"
        self._processes = ProcessOperations(suspended, self._commands)
        self._directories = DirectoryOperations(extracted=state / "extracted")
        super().__init__(
            DESCRIPTION,
            {
                "process": self._processes,
                "paused process": PausedProcessOperations(suspended, self._commands),
                "directory": self._directories,
                "database": DatabaseOperations(),
                "database alone": DatabaseAloneOperations(extracted=state / "extracted"),
                "file system": FileSystemOperations(own=(state, Path("/"))),
            },
        )

    def job(self, call: Call, context: Context) -> HostJob:
        """Return the call with what its node says about itself."""
        return HostJob(
            call=call,
            context=context,
            options=read_options(HostOptions, "host", call),
            freezes=self._freezes,
            default_repository=self._default_repository,
            home=self._backup_home,
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return read_options(HostOptions, "host", call).repository or self._default_repository

    def place(self, call: Call) -> str:
        """Return the path that a directory or a database alone saves and replaces."""
        path = read_options(HostOptions, "host", call).path
        saves = Operation.SNAPSHOT in self.kind_of(call).capabilities.operations
        return os.path.realpath(path) if saves and path is not None else ""

    def entries(self, call: Call, context: Context, below: bytes) -> StoredListing:
        """Return what is in a directory of *call*'s restore point."""
        self._require_browsable(call)
        return self._directories.entries(self.job(call, context), below)

    def extract_file(self, call: Call, context: Context, path: bytes, target: int) -> None:
        """Write one file of *call*'s restore point to an open, empty file."""
        self._require_browsable(call)
        self._directories.extract_file(self.job(call, context), path, target)

    def _require_browsable(self, call: Call) -> None:
        if self.kind_of(call).name != "directory":
            raise UnsupportedError(f"{call.instance} is no directory: there are no files to look at in it")

    def used_by(self, call: Call, context: Context) -> Mapping[int, str]:
        """Return who uses the directory that an APPLY would replace."""
        job = self.job(call, context)
        if self.kind_of(call).name != "directory" or job.options.allow_in_use:
            return {}
        with storage_errors(f"look at {job.path}"):
            return {user.pid: str(user) for user in job.snapshots.users()}

    def ended_by_stop(self, call: Call, context: Context) -> Collection[int]:
        """Return the processes that a STOP would end."""
        return self._processes.ended_by_stop(self.job(call, context))

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of what runs here and writes."""
        return discover(options, self._home)

    def close(self) -> None:
        """Give back what was started; what is still frozen stays so until its THAW or its timer."""
        self._directories.close()
        self._freezes.close()
        self._commands.close()
