"""Whole small files, read in a way that nothing special at their path can hold up or fill the memory."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Final

from quiesce.errors import ResourceNotFoundError, UntrustedPathError, UsageError
from quiesce.files.trust import open_declared

_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular_file(path: Path) -> io.FileIO:
    """Open the regular file *path* for reading.

    A pipe, a device, a directory or a link at its end is refused, and nothing waits for any of them.

    Raises:
        OSError: when there is no such file, or it is not a regular one.
    """
    return _regular(os.open(path, _PLAIN), path)


def read_regular(path: Path, *, at_most: int) -> bytes:
    """Return the content of the regular file *path*; see `open_regular_file`.

    Raises:
        OSError: when there is no such file, it is not a regular one, or holds more than *at_most* bytes.
    """
    return _content(open_regular_file(path), path, at_most)


def read_named(path: Path, *, at_most: int) -> bytes:
    """Return the content of a regular file that the operator has named, who may mean a link of their own.

    A link that somebody else made is not followed: it may lead where they may not read.

    Raises:
        OSError: when there is no such file, it is not a regular one, or holds more than *at_most* bytes.
    """
    try:
        with open_declared(os.path.abspath(path), replaceable=True) as declared:
            opened = os.open(declared.name, _PLAIN, dir_fd=declared.parent)
    except ResourceNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except (UntrustedPathError, UsageError) as error:
        raise PermissionError(errno.EACCES, str(error), str(path)) from error
    return _content(_regular(opened, path), path, at_most)


def _regular(descriptor: int, path: Path) -> io.FileIO:
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return io.FileIO(descriptor, "r")
    except BaseException:
        os.close(descriptor)
        raise


def _content(file: io.FileIO, path: Path, at_most: int) -> bytes:
    with file, io.BufferedReader(file) as reader:
        if os.fstat(file.fileno()).st_size > at_most:
            raise _too_large(path, at_most)
        content = reader.read(at_most + 1)
    if len(content) > at_most:  # it grew
        raise _too_large(path, at_most)
    return content


def _too_large(path: Path, at_most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {at_most} bytes", str(path))
