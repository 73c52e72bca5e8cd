"""Directories below a root in which others may have theirs: held open, so that nobody leads us elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import ResourceNotFoundError, UntrustedPathError
from quiesce.files.descriptors import DIRECTORY, checked_name
from quiesce.files.durable import PRIVATE_DIRECTORY
from quiesce.files.trust import open_declared

_NO_DIRECTORY: Final = {errno.ELOOP, errno.ENOTDIR}


def open_held(root: Path, names: Sequence[str], *, make: bool = False) -> int:
    """Return a descriptor of the directory that *names* lead to below *root*, missing ones made private.

    No link below *root* is followed, and no link of somebody else above it. Others may rename directories
    meanwhile: what is done by the descriptor is done in the directory that was found.

    Raises:
        UntrustedPathError: at a link, or at what is no directory.
        FileNotFoundError: when there is none, and none is to be made.
    """
    descriptor = _open_root(root)
    way = root
    try:
        for name in names:
            way /= name
            below = enter_held(descriptor, name, way, make=make)
            os.close(descriptor)
            descriptor = below
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def held(root: Path, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Give the descriptor that `open_held` returns, for the time of a block."""
    descriptor = open_held(root, names, make=make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def held_path(descriptor: int, name: str = "") -> Path:
    """Return a path in an open directory, or that of itself; it leads there in this process only."""
    return Path(f"/proc/self/fd/{descriptor}") / name


def enter_held(directory: int, name: str, path: Path, *, make: bool = False) -> int:
    """Return a descriptor of the directory *name* in an open one; *path* is what messages call it.

    Raises:
        UntrustedPathError: when it is a link, or no directory.
        FileNotFoundError: when there is none, and none is to be made.
    """
    checked_name(os.fsencode(name))
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=directory)
            os.fsync(directory)
    try:
        return os.open(name, DIRECTORY, dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_DIRECTORY:
            raise UntrustedPathError(
                f"{path} is a link, or no directory, and was not used",
                hint="Find out who put it there; what quiesce writes is in directories.",
            ) from error
        raise


def _open_root(root: Path) -> int:
    try:
        with open_declared(Path(os.path.abspath(root))) as declared:
            return declared.open()
    except ResourceNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root)) from error
