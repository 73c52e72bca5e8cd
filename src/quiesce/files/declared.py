"""One file at a path that was declared, in a directory where others may put theirs meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quiesce.errors import UntrustedPathError
from quiesce.files.content import write_all
from quiesce.files.descriptors import READING
from quiesce.files.trust import open_declared

_WRITING: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_declared(path: Path, *, at_most: int) -> bytes:
    """Return the content of the regular file *path*; a link of somebody else leads nowhere.

    Raises:
        UntrustedPathError: when it is a link, or another name of a file that may be somebody else's.
        OSError: when it cannot be read, or holds more than *at_most* bytes.
    """
    with _opened(path, READING | os.O_NOFOLLOW) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"it is larger than {at_most} bytes", str(path))
    return content


def write_declared(path: Path, data: bytes) -> None:
    """Make *data* the content of the regular file *path*, durably; made private where there is none.

    Raises:
        UntrustedPathError: when it is a link, or another name of a file that may be somebody else's.
        OSError: when it cannot be written.
    """
    with _opened(path, _WRITING) as descriptor:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, data)
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    with open_declared(path) as declared:
        try:
            descriptor = os.open(declared.name, flags, 0o600, dir_fd=declared.parent)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UntrustedPathError(f"{path} is a link and was not followed") from error
            raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise UntrustedPathError(
                f"{path} is no file of its own: a device, a pipe, or one with other names"
            )
        yield descriptor
    finally:
        os.close(descriptor)
