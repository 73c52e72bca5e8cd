"""Folders of a storage that is a directory, by descriptors: no link is followed, no mount is crossed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator
from typing import Final

from quiesce.files.descriptors import open_below
from quiesce.files.durable import PRIVATE_DIRECTORY
from quiesce.model.stored_object import is_object_name
from quiesce.storage.system_errors import ABSENT, system_errors

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(root: int, path: str) -> int:
    """Return a descriptor of the folder *path* below *root*; "" is *root* itself."""
    return open_object(root, path, _FOLDER) if path else os.open(b".", _FOLDER, dir_fd=root)


def open_object(root: int, path: str, flags: int) -> int:
    """Open what is at *path* below *root*.

    Raises:
        OSError: ELOOP at a link, where the kernel says that it is no directory; else as `open_below`.
    """
    try:
        return open_below(root, path.encode(), flags)
    except NotADirectoryError:
        if _has_link(root, path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
        raise


@contextlib.contextmanager
def folder_of(root: int, name: str, *, make: bool = False) -> Iterator[tuple[int, bytes]]:
    """Give the folder that holds the object *name*, and the last part of the name; *make* what is missing."""
    path, _, last = name.rpartition("/")
    try:
        folder = open_folder(root, path)
    except FileNotFoundError:
        if not make:
            raise
        folder = _made(root, path)
    try:
        yield folder, last.encode()
    finally:
        os.close(folder)


class Folders:
    """All folders below a path, one after the other, each open while it is looked at."""

    def __init__(self, root: int, path: str, location: str) -> None:
        self._root = root
        self._path = path
        self._location = location

    def __iter__(self) -> Generator[tuple[str, int], None, None]:
        """Yield path and descriptor of each folder."""
        ahead = [self._path]
        while ahead:
            path = ahead.pop()
            folder = self._open(path)
            if folder is None:
                continue
            try:
                yield path, folder
                ahead += self._below(path, folder)
            finally:
                os.close(folder)

    def _open(self, path: str) -> int | None:
        with system_errors(f"list {path or 'anything'} in {self._location}"):
            try:
                return open_folder(self._root, path)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                return None

    def _below(self, path: str, folder: int) -> list[str]:
        """Return the folders that may hold objects. A link may lead to some, so it is opened, and fails."""
        with os.scandir(folder) as entries:
            paths = [
                joined(path, entry.name) for entry in entries if not entry.is_file(follow_symlinks=False)
            ]
        return [below for below in paths if is_object_name(below)]


def regular_files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and status of the files in an open folder."""
    for name in os.listdir(folder):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield name, status


def joined(path: str, name: str) -> str:
    """Return the path of *name* in the folder *path*."""
    return f"{path}/{name}" if path else name


def _has_link(root: int, path: str) -> bool:
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        with contextlib.suppress(OSError):
            mode = os.stat("/".join(parts[:end]), dir_fd=root, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return True
    return False


def _made(root: int, path: str) -> int:
    """Make *path* below *root*, each folder durably, and return its descriptor."""
    folder = open_folder(root, "")
    for part in path.split("/"):
        try:
            below = _made_in(folder, part)
        finally:
            os.close(folder)
        folder = below
    return folder


def _made_in(folder: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=folder)
    # also when it was there: whoever made it may not have come this far yet
    os.fsync(folder)
    return open_folder(folder, name)
