"""The content of files: written whole or not at all, shared where the file system can, holes kept."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final

from quiesce.errors import TreeChangedError

_FICLONE: Final = 0x40049409
_CANNOT_CLONE: Final = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ETXTBSY}
_CANNOT_COPY_IN_KERNEL: Final = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
_CANNOT_SEEK_HOLES: Final = {errno.EINVAL, errno.EOPNOTSUPP}
_AT_ONCE_BYTES: Final = 64 << 20
_READ_AT_ONCE_BYTES: Final = 1 << 20

#: hears how many bytes were copied since it was last called, and may raise to stop
Progress = Callable[[int], None]


def nobody(_: int) -> None:
    """Tell nobody."""


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of *data*: a short write is continued, and what then keeps it from going on is raised."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[_counted(os.write(descriptor, rest)) :]


def write_all_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of *data* at *offset*, and leave the descriptor's own place as it is."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[_counted(written) :], offset + written


def copy_content(source: int, target: int, size_bytes: int, progress: Progress = nobody) -> int:
    """Give *target*, an empty file, the content of *source*; return how many bytes had to be copied.

    Raises:
        TreeChangedError: when *source* turns out shorter than *size_bytes*.
        OSError: when *target* cannot take all of it.
    """
    if size_bytes and share_content(source, target):
        progress(size_bytes)
        return 0
    os.ftruncate(target, size_bytes)
    copied = 0
    for offset, length in data_ranges(source, size_bytes):
        for moved in _copied(source, target, offset, length):
            copied += moved
            progress(moved)
    if os.fstat(source).st_size < size_bytes:
        # what is missing looked like a hole
        raise _shorter()
    return copied


def share_content(source: int, target: int) -> bool:
    """Let *target* share all data of *source* (reflink); False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def data_ranges(descriptor: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each part of a file that holds data; the rest are holes."""
    offset = 0
    while offset < size_bytes:
        found = _next_data(descriptor, offset, size_bytes)
        if found is None:
            return
        start, end = found
        yield start, end - start
        offset = end


def _next_data(descriptor: int, offset: int, size_bytes: int) -> tuple[int, int] | None:
    try:
        start = os.lseek(descriptor, offset, os.SEEK_DATA)
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size_bytes)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in _CANNOT_SEEK_HOLES:
            return offset, size_bytes
        raise
    return (start, end) if start < end else None


def _copied(source: int, target: int, offset: int, length: int) -> Iterator[int]:
    end = offset + length
    while offset < end:
        moved = _piece(source, target, offset, min(end - offset, _AT_ONCE_BYTES))
        if moved == 0:
            raise _shorter()
        offset += moved
        yield moved


def _piece(source: int, target: int, offset: int, length: int) -> int:
    try:
        moved = os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in _CANNOT_COPY_IN_KERNEL:
            raise
        moved = 0
    if moved:
        return moved
    data = os.pread(source, min(length, _READ_AT_ONCE_BYTES), offset)
    write_all_at(target, data, offset)
    return len(data)


def _shorter() -> TreeChangedError:
    return TreeChangedError("a file became shorter while it was copied")


def _counted(written: int) -> int:
    if written <= 0:
        raise OSError(errno.EIO, "nothing was written")
    return written
