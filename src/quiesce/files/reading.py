"""Whole small files, read in a way that nothing special at their path can hold up or fill the memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_regular(path: Path, *, at_most: int) -> bytes:
    """Return the content of the regular file *path*.

    A pipe, a device, a directory or a link at its end is refused, and nothing waits for any of them.

    Raises:
        OSError: when there is no such file, it is not a regular one, or holds more than *at_most* bytes.
    """
    descriptor = os.open(path, _PLAIN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > at_most:
            raise _too_large(path, at_most)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(at_most + 1)
    finally:
        os.close(descriptor)
    if len(content) > at_most:  # it grew
        raise _too_large(path, at_most)
    return content


def _too_large(path: Path, at_most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {at_most} bytes", str(path))
