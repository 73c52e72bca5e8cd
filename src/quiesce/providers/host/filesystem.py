"""A mounted file system as a node: frozen by the kernel. Needs root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import CannotFreezeError, RecoverableError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context, Finding
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.properties import key_of, path_of

_DEFAULT_TIMER_S: Final = 120.0
#: those whose kernel code can freeze
_FREEZABLE: Final = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "gfs2", "reiserfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of ``/proc/self/mountinfo``."""

    device: int
    point: str
    type: str
    source: str


class FileSystemNode:
    """Performs the operations of ``quiesce.nodes.host.FileSystem``; *own* are paths quiesce must write to."""

    def __init__(self, holders: Holders, own: Sequence[Path]) -> None:
        self._holders = holders
        self._own = own

    def freeze(self, call: Call, context: Context) -> Outcome:
        """Flush and stop all writes to the file system, its timer armed first."""
        mount = self._freezable(call)
        self._holders.hold(
            key_of(call),
            {"kind": "file_system", "path": mount.point, "device": mount.device},
            thaw_after_s=call.thaw_after_s or _DEFAULT_TIMER_S,
            timeout_s=context.remaining_s(),
        )
        return Outcome(consistency=Consistency.FILESYSTEM)

    def thaw(self, call: Call, context: Context) -> Outcome:
        """Let writes go on; what a holder that died has left frozen is thawed as well."""
        left = self._holders.release(key_of(call), timeout_s=context.remaining_s())
        if left is not None:
            self._holders.run(
                {"kind": "thaw", "path": str(left.get("path", ""))}, timeout_s=context.remaining_s()
            )
        return NOTHING

    def is_frozen(self, call: Call) -> bool:
        """Tell whether our freeze of it is in force."""
        return self._holders.held(key_of(call)) is not None

    def measure(self, call: Call) -> Outcome:
        """Return size, free space and use of the file system."""
        figures = os.statvfs(_mount_of(call).point)
        return Outcome(
            measurements={
                "size_bytes": figures.f_blocks * figures.f_frsize,
                "free_bytes": figures.f_bavail * figures.f_frsize,
                "used_bytes": (figures.f_blocks - figures.f_bfree) * figures.f_frsize,
                "files": figures.f_files - figures.f_ffree,
                "free_files": figures.f_ffree,
            }
        )

    def examine(self, call: Call) -> Sequence[Finding]:
        """Tell whether it can be frozen by this user, without freezing it."""
        try:
            mount = self._freezable(call)
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

    def _freezable(self, call: Call) -> Mount:
        mount = _mount_of(call)
        if mount.type not in _FREEZABLE:
            raise CannotFreezeError(f"{mount.point} is {mount.type}, which cannot be frozen")
        for own in self._own:
            if _device_of(own) == mount.device:
                raise CannotFreezeError(
                    f"{mount.point} holds {own}, which quiesce itself must write to while it is frozen",
                    hint="Keep quiesce's own state on another file system.",
                )
        self._refuse_on_frozen_ground(mount)
        return mount

    def _refuse_on_frozen_ground(self, mount: Mount) -> None:
        ground = _backing_device(mount)
        for held in self._holders.all_held():
            if held.get("kind") == "file_system" and held.get("device") == ground:
                raise RecoverableError(
                    f"{mount.point} lies in a file on {held.get('path')}, which is frozen already",
                    hint="Let the node be contained in that file system's node: it is then frozen first.",
                )


def _mount_of(call: Call) -> Mount:
    path = path_of(call)
    if not path.is_mount():
        raise ResourceNotFoundError(f"no file system is mounted on {path}")
    resolved = str(path.resolve())
    return next(mount for mount in reversed(mounts()) if mount.point == resolved)


def mounts() -> list[Mount]:
    """Return what is mounted, as this process sees it, in the order of mounting."""
    return [_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _mount(line: str) -> Mount:
    fields = line.split()
    major, minor = fields[2].split(":")
    rest = fields.index("-")
    point = fields[4].encode().decode("unicode_escape")
    return Mount(
        device=os.makedev(int(major), int(minor)), point=point, type=fields[rest + 1], source=fields[rest + 2]
    )


def _device_of(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _backing_device(mount: Mount) -> int | None:
    """Return the device that holds the file that a loop device's file system lies in."""
    name = Path(mount.source).name
    try:
        backing = Path(f"/sys/block/{name}/loop/backing_file").read_text().strip()
        return Path(backing).stat().st_dev
    except OSError:
        return None
