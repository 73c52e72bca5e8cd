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
class EntryMetadata:
    """Everything of a file that is to come back with it."""

    #: kind and permissions
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path | int, status: os.stat_result | None = None) -> EntryMetadata:
        """Return what a path, or an open file, has now; *status* is its state when that is known already."""
        if status is None:
            status = path.lstat() if isinstance(path, Path) else os.fstat(path)
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


def _attributes_of(path: Path | int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    follow = isinstance(path, int)
    with _where_possible():
        for name in os.listxattr(path, follow_symlinks=follow):
            with _where_possible():
                found[name] = os.getxattr(path, name, follow_symlinks=follow)
    return found


@contextlib.contextmanager
def _where_possible() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise
