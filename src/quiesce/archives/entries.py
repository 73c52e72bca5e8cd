"""Reads the small files of a repository, whatever somebody put in their place: one bad entry costs one."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from quiesce.errors import DamagedArtifactError
from quiesce.files.reading import read_regular

#: how large a manifest or draft may be
ENTRY_BYTES: Final = 64 * 1024 * 1024
_NOT_ONE_OF_OURS: Final = {errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}


def read_entry(path: Path) -> bytes:
    """Return what the manifest or draft at *path* holds; waits for nothing, follows no link.

    Raises:
        DamagedArtifactError: when it is a pipe, a device, a directory, a link, or too large.
        OSError: when it is not there, or cannot be read.
    """
    try:
        return read_regular(path, at_most=ENTRY_BYTES)
    except OSError as error:
        if error.errno in _NOT_ONE_OF_OURS:
            raise DamagedArtifactError(f"{path} was not read: {error.strerror}") from error
        raise
