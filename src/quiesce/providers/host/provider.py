"""Answers the provider port for one Linux machine."""

from __future__ import annotations

from pathlib import Path

from quiesce.model.call import Call
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.options import read_options
from quiesce.providers.host import DESCRIPTION
from quiesce.providers.host.database import DatabaseAloneOperations, DatabaseOperations
from quiesce.providers.host.directory import DirectoryOperations
from quiesce.providers.host.file_system import FileSystemOperations
from quiesce.providers.host.freeze_client import FreezeClient
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.options import HostOptions
from quiesce.providers.host.process import PausedProcessOperations, ProcessOperations


class HostProvider(PlatformProvider[HostJob]):
    """Processes, directories, SQLite databases and file systems of the machine that quiesce runs on."""

    def __init__(self, settings: ProviderSettings) -> None:
        state = Path(settings.state_dir)
        self._freezes = FreezeClient(state / "holds")
        self._default_repository = Path(settings.repository_dir)
        suspended = state / "suspended"
        super().__init__(
            DESCRIPTION,
            {
                "process": ProcessOperations(suspended),
                "paused process": PausedProcessOperations(suspended),
                "directory": DirectoryOperations(extracted=state / "extracted"),
                "database": DatabaseOperations(),
                "database alone": DatabaseAloneOperations(),
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
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return str(read_options(HostOptions, "host", call).repository or self._default_repository)

    def close(self) -> None:
        """Give back what was started; what is still frozen stays so until its THAW or its timer."""
        self._freezes.close()
