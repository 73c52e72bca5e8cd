"""Copies of directory trees: by reference where the file system can (reflink), else byte by byte."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quiesce.errors import UnsupportedError
from quiesce.providers.host.metadata import Metadata, data_ranges

FICLONE: Final = 0x40049409
_CANNOT_CLONE: Final = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ETXTBSY}
_CANNOT_COPY_IN_KERNEL: Final = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
_AT_ONCE_BYTES: Final = 64 << 20
#: an index that SQLite keeps in shared memory and makes anew; readers change it while nothing is written
_NOT_DATA: Final = "-shm"

Told = Callable[[int], None]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What copying a tree has met."""

    files: int = 0
    directories: int = 0
    size_bytes: int = 0
    #: bytes that had to be copied because they could not be shared
    copied_bytes: int = 0
    #: sockets and, without root, devices: they are not data and are left out
    left_out: list[str] = field(default_factory=list)
    #: what was written to, made or removed while it was copied
    changed: list[str] = field(default_factory=list)


def copy_tree(source: Path, target: Path, told: Told) -> Tally:
    """Copy *source* to *target*, which does not exist, with everything that makes up its files.

    *told* hears how many bytes were taken over since it was last called, and may raise to stop.

    Raises:
        UnsupportedError: when another file system is mounted inside *source*.
    """
    return _Copier(source, target, told).run()


def sync_tree(root: Path) -> None:
    """Make everything below *root* durable, with all else on its file system."""
    descriptor = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(root))
    finally:
        os.close(descriptor)


def can_share(directory: Path) -> bool:
    """Tell whether files in *directory*'s file system can share their data; leaves nothing behind."""
    try:
        one, other = (os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600) for _ in range(2))
    except OSError:
        return False
    try:
        os.write(one, bytes(4096))
        fcntl.ioctl(other, FICLONE, one)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(one)
        os.close(other)


def count_tree(root: Path) -> Tally:
    """Return what is in a tree, as far as it can be read."""
    tally = Tally()
    seen: set[tuple[int, int]] = set()
    for directory, _, names in os.walk(root):
        tally.directories += 1
        for name in names:
            try:
                status = Path(directory, name).lstat()
            except FileNotFoundError:
                continue
            tally.files += 1
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                tally.size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return tally


class _Copier:
    def __init__(self, source: Path, target: Path, told: Told) -> None:
        self._source = source
        self._target = target
        self._told = told
        self._tally = Tally()
        self._links: dict[tuple[int, int], Path] = {}
        self._reflink = True
        self._device = source.stat().st_dev

    def run(self) -> Tally:
        self._directory(self._source, self._target)
        return self._tally

    def _directory(self, source: Path, target: Path) -> None:
        before = source.stat()
        target.mkdir(mode=0o700)
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            self._entry(Path(entry.path), target / entry.name)
        Metadata.of(source, before).give_to(target)
        self._tally.directories += 1
        self._note_change(source, before)

    def _entry(self, source: Path, target: Path) -> None:
        try:
            status = source.lstat()
            self._one(source, target, status)
        except FileNotFoundError:
            self._tally.changed.append(str(source.relative_to(self._source)))
            target.unlink(missing_ok=True)

    def _one(self, source: Path, target: Path, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            self._refuse_mount(source, status)
            self._directory(source, target)
        elif not self._linked(target, status):
            if stat.S_ISREG(status.st_mode):
                self._file(source, target, status)
            else:
                self._special(source, target, status)

    def _refuse_mount(self, source: Path, status: os.stat_result) -> None:
        if status.st_dev != self._device:
            raise UnsupportedError(
                f"another file system is mounted on {source}, inside what is to be saved",
                hint="Give it a Directory node of its own, beside this one.",
            )

    def _linked(self, target: Path, status: os.stat_result) -> bool:
        """Make *target* a hard link when its file was copied already under another name."""
        if status.st_nlink < 2:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), target)
        if first == target:
            return False
        target.hardlink_to(first)
        return True

    def _file(self, source: Path, target: Path, status: os.stat_result) -> None:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            before = os.fstat(descriptor)
            made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self._content(descriptor, made, before)
            finally:
                os.close(made)
            Metadata.of(source, before).give_to(target)
            self._note_change(source, before)
        finally:
            os.close(descriptor)
        self._tally.files += 1
        self._tally.size_bytes += status.st_size

    def _content(self, source: int, target: int, status: os.stat_result) -> None:
        if self._reflink and status.st_size:
            try:
                fcntl.ioctl(target, FICLONE, source)
                self._told(status.st_size)
                return
            except OSError as error:
                if error.errno not in _CANNOT_CLONE:
                    raise
                self._reflink = False
        os.ftruncate(target, status.st_size)
        for offset, length in data_ranges(source, status.st_size):
            self._range(source, target, offset, length)

    def _range(self, source: int, target: int, offset: int, length: int) -> None:
        for moved in copy_range(source, target, offset, length):
            self._tally.copied_bytes += moved
            self._told(moved)

    def _special(self, source: Path, target: Path, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            target.symlink_to(source.readlink())
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(target, 0o600)
        elif stat.S_ISSOCK(status.st_mode) or os.geteuid() != 0:
            self._tally.left_out.append(str(source.relative_to(self._source)))
            return
        else:
            os.mknod(target, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
        Metadata.of(source, status).give_to(target)
        self._tally.files += 1

    def _note_change(self, source: Path, before: os.stat_result) -> None:
        if source.name.endswith(_NOT_DATA):
            return
        try:
            after = source.lstat()
        except FileNotFoundError:
            after = None
        if after is None or _version(after) != _version(before):
            self._tally.changed.append(str(source.relative_to(self._source)))


def copy_range(source: int, target: int, offset: int, length: int) -> Iterator[int]:
    """Copy a part of a file to the same place of another; yield how much, piece by piece."""
    end = offset + length
    while offset < end:
        moved = _piece(source, target, offset, min(end - offset, _AT_ONCE_BYTES))
        if moved == 0:
            return
        offset += moved
        yield moved


def _piece(source: int, target: int, offset: int, length: int) -> int:
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in _CANNOT_COPY_IN_KERNEL:
            raise
    return os.pwrite(target, os.pread(source, min(length, 1 << 20), offset), offset)


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
