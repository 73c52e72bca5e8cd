"""What is mounted where, by mount id: a bind mount of the same device is a mount like any other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.errors import MountInsideError
from quiesce.files.descriptors import path_of
from quiesce.files.system_calls import mount_id

#: here a write through a map changes the times of its file, if the page had been written out; on tmpfs none
#: does, and where another machine or program gives the times nobody knows
_TELLING: Final = frozenset({b"bcachefs", b"btrfs", b"ext2", b"ext3", b"ext4", b"f2fs", b"xfs"})
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of a process's mount table."""

    mount_id: int
    parent_id: int
    #: major and minor number as the kernel writes them: equal for all mounts of one file system
    device: bytes
    #: which directory of the file system is mounted
    root: bytes
    #: where
    point: bytes
    file_system: bytes

    def inside(self, path: bytes) -> bytes:
        """Return where *path*, which is at or below the mount point, lies in the file system."""
        return joined(self.root, path[len(self.point) :] if self.point != b"/" else path)


def read_mounts(process: str = "self") -> tuple[Mount, ...]:
    """Return the mounts that a process sees; raises `OSError` when it is gone or not ours to look at."""
    with open(f"/proc/{process}/mountinfo", "rb") as table:
        return tuple(parse_mounts(table))


def parse_mounts(lines: Iterable[bytes]) -> Iterator[Mount]:
    """Yield the mounts of a table in the form of ``/proc/self/mountinfo``."""
    for line in lines:
        fields = line.split(b" ")
        yield Mount(
            mount_id=int(fields[0]),
            parent_id=int(fields[1]),
            device=fields[2],
            root=_plain(fields[3]),
            point=_plain(fields[4]),
            file_system=fields[fields.index(b"-", 6) + 1],
        )


def mount_of(descriptor: int, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that an open file lies on."""
    wanted = mount_id(descriptor)
    return next((mount for mount in mounts if mount.mount_id == wanted), None)


def times_tell(descriptor: int) -> bool:
    """Tell whether every write to a file changes its times, on the file system of an open file.

    One through a map does only when the page was written out since it was written to last: see
    `system_calls.sync_file_system`.
    """
    mount = mount_of(descriptor, read_mounts())
    return mount is not None and mount.file_system in _TELLING


def mounts_below(descriptor: int) -> tuple[bytes, ...]:
    """Return the paths of what is mounted below an open directory, without what is mounted on itself."""
    mounts, path = read_mounts(), path_of(descriptor)
    within = {mount_id(descriptor)}
    below = [mount for mount in mounts if _below(mount.point, path)]
    found: set[bytes] = set()
    # again and again, since a mount that was moved stands before the one that it is in now
    while more := [mount for mount in below if mount.parent_id in within and mount.mount_id not in within]:
        within.update(mount.mount_id for mount in more)
        found.update(mount.point for mount in more)
    return tuple(sorted(found))


def require_no_mounts_below(descriptor: int) -> None:
    """Raise `MountInsideError` that names what is mounted below an open directory, if anything is."""
    if found := mounts_below(descriptor):
        shown = ", ".join(os.fsdecode(path) for path in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise MountInsideError(f"mounted inside {os.fsdecode(path_of(descriptor))}: {shown}{more}")


def is_at_or_below(path: bytes, directory: bytes) -> bool:
    """Tell whether *path* is *directory*, or is in it at any depth; both without links."""
    return path == directory or _below(path, directory)


def mounted_over(path: bytes, point: bytes, mounts: Iterable[Mount]) -> bytes | None:
    """Return where something is mounted that hides *path*, which lies on what is mounted at *point*."""
    over = [
        mount.point for mount in mounts if _below(mount.point, point) and is_at_or_below(path, mount.point)
    ]
    return max(over, key=len, default=None)


def joined(directory: bytes, path: bytes) -> bytes:
    """Return *path*, of an entry below *directory*, as a path that begins with it."""
    return (directory.rstrip(b"/") + b"/" + path.strip(b"/")).rstrip(b"/") or b"/"


def _below(path: bytes, directory: bytes) -> bool:
    return path.startswith(directory.rstrip(b"/") + b"/") and path != directory


def _plain(text: bytes) -> bytes:
    """Undo the octal escapes of spaces, tabs, newlines and backslashes."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), text)
