"""The content of files: shared where the file system can (reflink), else copied without its holes."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

FICLONE: Final = 0x40049409
_CANNOT_CLONE: Final = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ETXTBSY}
_CANNOT_COPY_IN_KERNEL: Final = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
_AT_ONCE_BYTES: Final = 64 << 20

#: hears how many bytes were taken over since it was last called, and may raise to stop
Told = Callable[[int], None]


def take_over(source: int, target: int, size_bytes: int, told: Told) -> int:
    """Give *target*, an empty file, the content of *source*; return how many bytes had to be copied."""
    if size_bytes and _shared(source, target):
        told(size_bytes)
        return 0
    os.ftruncate(target, size_bytes)
    copied = 0
    for offset, length in data_ranges(source, size_bytes):
        for moved in copy_range(source, target, offset, length):
            copied += moved
            told(moved)
    return copied


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


def copy_range(source: int, target: int, offset: int, length: int) -> Iterator[int]:
    """Copy a part of a file to the same place of another; yield how much, piece by piece."""
    end = offset + length
    while offset < end:
        moved = _piece(source, target, offset, min(end - offset, _AT_ONCE_BYTES))
        if moved == 0:
            return
        offset += moved
        yield moved


def can_share(directory: Path) -> bool:
    """Tell whether files in *directory*'s file system can share their data; leaves nothing behind."""
    try:
        one, other = (os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600) for _ in range(2))
    except OSError:
        return False
    try:
        os.write(one, bytes(4096))
        return _shared(one, other)
    finally:
        os.close(one)
        os.close(other)


def _shared(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def _piece(source: int, target: int, offset: int, length: int) -> int:
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in _CANNOT_COPY_IN_KERNEL:
            raise
    return os.pwrite(target, os.pread(source, min(length, 1 << 20), offset), offset)
