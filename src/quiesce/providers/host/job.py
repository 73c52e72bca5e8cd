"""One call to this machine, with what all its kinds of node need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from quiesce.backups import BackupHome, Backups
from quiesce.errors import NonRecoverableError, OperationTimeoutError
from quiesce.files.metadata import EVERYTHING, Allowed
from quiesce.provider_kit.job import Job, saved_call
from quiesce.provider_kit.options import read_options
from quiesce.provider_kit.saving import Saving
from quiesce.providers.host.freeze_client import FreezeClient
from quiesce.providers.host.options import HostOptions
from quiesce.providers.host.snapshot_dir import SnapshotDirectory

_LONGEST_KEY: Final = 150
_DEFAULT_TIMER_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostJob(Job):
    """A call and what its node says about itself."""

    options: HostOptions
    freezes: FreezeClient
    default_repository: str
    home: BackupHome

    @property
    def path(self) -> Path:
        """The path that the node stands for.

        Raises:
            NonRecoverableError: when it names none.
        """
        if self.options.path is None:
            raise NonRecoverableError(
                f"{self.call.instance} does not say which path it stands for",
                hint="Set its property 'path'.",
            )
        return self.options.path

    @property
    def allowed(self) -> Allowed:
        """What of a restore point may come back although it gives rights."""
        return EVERYTHING if self.options.allow_privileged else Allowed()

    @property
    def saved(self) -> HostJob:
        """The job as whoever has saved the restore point would be given it."""
        if self.call.origin is None:
            return self
        call = saved_call(self.call)
        return replace(self, call=call, options=read_options(HostOptions, "host", call))

    @property
    def key(self) -> str:
        """A file name for the state of the call's instance, different for each."""
        name = f"{quote(self.call.deployment, safe='')}+{quote(self.call.instance, safe='')}"
        if len(name) <= _LONGEST_KEY:
            return name
        return f"{name[:_LONGEST_KEY]}+{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    @property
    def snapshots(self) -> SnapshotDirectory:
        """Where the node's snapshots are kept."""
        return SnapshotDirectory(self.path, self.options.snapshot_dir, self.freezes.own_processes)

    @property
    def repository(self) -> Backups:
        """Where the node's backups are kept."""
        return Backups(self.options.repository or self.default_repository, self.home)

    @property
    def saving(self) -> Saving:
        """The call's backup in the repository."""
        return Saving(self, self.repository, "host")

    @property
    def timer_s(self) -> float:
        """After how many seconds the node thaws by itself."""
        return self.call.thaw_after_s or _DEFAULT_TIMER_S

    def refuse_when_given_up(self) -> None:
        """Replace nothing that nobody waits for any more: what uses it may be running again.

        Raises:
            OperationTimeoutError: when the call's time is over.
        """
        if self.context.given_up() or self.context.remaining_s() <= 0:
            raise OperationTimeoutError(f"{self.call.instance} was given up before it was replaced")

    def refuse_frozen_ground(self, *more: Path) -> None:
        """Refuse to write to a file system that is frozen: it would hang until the thaw.

        Looked at are the one of the snapshots, and those of the paths *more*.

        Raises:
            NonRecoverableError: saying where the snapshots could be kept instead.
        """
        frozen = {
            held.get("device"): held.get("path")
            for held in self.freezes.all_held()
            if held.get("kind") == "file_system"
        }
        for path in (self.snapshots.directory, *more):
            if where := frozen.get(_device_below(path)):
                raise NonRecoverableError(
                    f"{path} is on {where}, which is frozen now",
                    hint=(
                        "Wait until it is thawed."
                        if path in more
                        else "Set the node's snapshot_dir to a directory on another file system."
                    ),
                )


def _device_below(path: Path) -> int:
    """Return the file system that *path* lies on, or would lie on."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev
