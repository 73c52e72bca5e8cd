"""Whole small files, read in a way that nothing special at their path can hold up or fill the memory."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Final

_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular_file(path: Path) -> io.FileIO:
    """Open the regular file *path* for reading.

    A pipe, a device, a directory or a link at its end is refused, and nothing waits for any of them.

    Raises:
        OSError: when there is no such file, or it is not a regular one.
    """
    descriptor = os.open(path, _PLAIN)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return io.FileIO(descriptor, "r")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, *, at_most: int) -> bytes:
    """Return the content of the regular file *path*; see `open_regular_file`.

    Raises:
        OSError: when there is no such file, it is not a regular one, or holds more than *at_most* bytes.
    """
    with open_regular_file(path) as file, io.BufferedReader(file) as reader:
        if os.fstat(file.fileno()).st_size > at_most:
            raise _too_large(path, at_most)
        content = reader.read(at_most + 1)
    if len(content) > at_most:  # it grew
        raise _too_large(path, at_most)
    return content


def _too_large(path: Path, at_most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {at_most} bytes", str(path))
