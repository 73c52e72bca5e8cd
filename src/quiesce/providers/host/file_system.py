"""A mounted file system as a node: frozen by the kernel. Needs root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import CannotFreezeError, RecoverableError, ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, nothing_stored, unsupported
from quiesce.providers.host.job import HostJob

#: those whose kernel code can freeze
_FREEZABLE: Final = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "gfs2", "reiserfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One line of ``/proc/self/mountinfo``."""

    device: int
    point: str
    type: str
    source: str


class FileSystemOperations(CheckedOperations[HostJob]):
    """Answers for ``quiesce.nodes.host.FileSystem``."""

    revert = confirm = extract = unsupported

    suspend = resume = unsupported
    snapshot = copy = apply = delete = unsupported
    prepare = stop = start = probe = unsupported
    verify = nothing_stored

    def __init__(self, own: Sequence[Path]) -> None:
        """*own* are the paths that quiesce itself must write to."""
        self._own = own

    def freeze(self, job: HostJob, /) -> Outcome:
        """Flush and stop all writes to the file system, its timer armed first; not for what is put back."""
        if job.call.restoring:
            return Outcome(
                consistency=Consistency.NONE, note="it is not frozen: what is put back is written to it"
            )
        mount = self._freezable(job)
        job.freezes.hold(
            job.key,
            {"kind": "file_system", "path": mount.point, "device": mount.device},
            thaw_after_s=job.timer_s,
            timeout_s=job.context.remaining_s(),
        )
        return Outcome(consistency=Consistency.FILESYSTEM)

    def thaw(self, job: HostJob, /) -> Outcome:
        """Let writes go on; what a holder that died has left frozen is thawed as well."""
        left = job.freezes.release(job.key, timeout_s=job.context.remaining_s())
        if left is not None:
            job.freezes.run(
                {"kind": "thaw", "path": str(left.get("path", ""))}, timeout_s=job.context.remaining_s()
            )
        return NOTHING

    def is_frozen(self, job: HostJob, /) -> bool | None:
        """Tell whether our freeze of it is in force; nothing is frozen where something is put back."""
        return job.freezes.held(job.key) is not None or (None if job.call.restoring else False)

    def measure(self, job: HostJob, /) -> Outcome:
        """Return size, free space and use of the file system."""
        figures = os.statvfs(_mount_of(job).point)
        return Outcome(
            measurements={
                "size_bytes": figures.f_blocks * figures.f_frsize,
                "free_bytes": figures.f_bavail * figures.f_frsize,
                "used_bytes": (figures.f_blocks - figures.f_bfree) * figures.f_frsize,
                "files": figures.f_files - figures.f_ffree,
                "free_files": figures.f_ffree,
            }
        )

    def doctor(self, job: HostJob, /) -> Sequence[Finding]:
        """Tell whether it can be frozen by this user, without freezing it."""
        try:
            mount = self._freezable(job)
        except (CannotFreezeError, ResourceNotFoundError, RecoverableError) as error:
            return [Finding(check="freeze", passed=False, detail=str(error), remedy=error.hint)]
        root = os.geteuid() == 0
        return [
            Finding(check="freeze", passed=True, detail=f"{mount.type} on {mount.point} can be frozen"),
            Finding(
                check="root",
                passed=root,
                detail="runs as root" if root else "freezing a file system needs root",
                remedy="" if root else "Run quiesce as root.",
            ),
        ]

    def _freezable(self, job: HostJob) -> MountPoint:
        mount = _mount_of(job)
        if mount.type not in _FREEZABLE:
            raise CannotFreezeError(f"{mount.point} is {mount.type}, which cannot be frozen")
        for own in self._own:
            if _device_of(own) == mount.device:
                raise CannotFreezeError(
                    f"{mount.point} holds {own}, which quiesce itself must write to while it is frozen",
                    hint="Keep quiesce's own state on another file system.",
                )
        _refuse_on_frozen_ground(job, mount)
        return mount


def _refuse_on_frozen_ground(job: HostJob, mount: MountPoint) -> None:
    ground = _backing_device(mount)
    for held in job.freezes.all_held():
        if held.get("kind") == "file_system" and held.get("device") == ground:
            raise RecoverableError(
                f"{mount.point} lies in a file on {held.get('path')}, which is frozen already",
                hint="Let the node be contained in that file system's node: it is then frozen first.",
            )


def _mount_of(job: HostJob) -> MountPoint:
    path = job.path
    if not path.is_mount():
        raise ResourceNotFoundError(f"no file system is mounted on {path}")
    resolved = str(path.resolve())
    return next(mount for mount in reversed(mounts()) if mount.point == resolved)


def mounts() -> list[MountPoint]:
    """Return what is mounted, as this process sees it, in the order of mounting."""
    return [_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _mount(line: str) -> MountPoint:
    fields = line.split()
    major, minor = fields[2].split(":")
    rest = fields.index("-")
    point = fields[4].encode().decode("unicode_escape")
    return MountPoint(
        device=os.makedev(int(major), int(minor)), point=point, type=fields[rest + 1], source=fields[rest + 2]
    )


def _device_of(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _backing_device(mount: MountPoint) -> int | None:
    """Return the device that holds the file that a loop device's file system lies in."""
    name = Path(mount.source).name
    try:
        backing = Path(f"/sys/block/{name}/loop/backing_file").read_text().strip()
        return Path(backing).stat().st_dev
    except OSError:
        return None
