"""What a file is besides its content: owner, mode, times, extended attributes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_WITHOUT: Final = {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Everything of a file that is to come back with it."""

    #: kind and permissions
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, status: os.stat_result | None = None) -> Metadata:
        """Return what *path* has now; *status* is its state when that is known already."""
        status = status or path.lstat()
        return cls(
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            attributes=_attributes_of(path),
        )

    def give_to(self, path: Path) -> None:
        """Let *path* have all of it; what needs root only as root."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for name, value in self.attributes.items():
            with _where_possible():
                os.setxattr(path, name, value, follow_symlinks=False)
        if not stat.S_ISLNK(self.mode):
            path.chmod(stat.S_IMODE(self.mode))
        os.utime(path, ns=(self.mtime_ns, self.mtime_ns), follow_symlinks=False)


def data_ranges(descriptor: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each part of a file that holds data; the rest are holes."""
    offset = 0
    while offset < size_bytes:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = min(os.lseek(descriptor, start, os.SEEK_HOLE), size_bytes)
        if offset > start:
            yield start, offset - start


def _attributes_of(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _where_possible():
        for name in os.listxattr(path, follow_symlinks=False):
            with _where_possible():
                found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


@contextlib.contextmanager
def _where_possible() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise
