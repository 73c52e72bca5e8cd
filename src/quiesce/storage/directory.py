"""Objects as files of a directory: on this machine, or mounted.

An object's name is its path. Links and mounts inside are errors and not passed over, because what is behind
them would seem lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quiesce.errors import (
    ObjectLockedError,
    ObjectNotFoundError,
    ResourceNotFoundError,
    UnreachableError,
)
from quiesce.files.descriptors import READING, open_below
from quiesce.files.durable import (
    create_durably_in,
    make_private_directory,
    remove_unfinished_in,
    write_durably_in,
)
from quiesce.files.metadata import LOCKING
from quiesce.files.system_calls import inode_flags
from quiesce.files.trust import open_declared
from quiesce.model.stored_object import ObjectName, StoredObject, is_object_name, object_name
from quiesce.ports.storage import Data
from quiesce.storage.folders import Folders, folder_of, joined, open_object, regular_files
from quiesce.storage.system_errors import system_errors

#: read(2) gives no more than this at once
_READ_AT_ONCE_BYTES: Final = 1 << 30


class DirectoryStorage:
    """Answers the port `Storage`.

    The directory stays open: nobody can unmount it meanwhile, and nothing is written below a mount point
    whose disk went away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = threading.Lock()
        self._root: int | None = None

    @property
    def location(self) -> str:
        """The directory's path."""
        return str(self._path)

    def prepare(self) -> None:
        """Make the directory, private to the user."""
        with system_errors(f"make {self.location}"):
            if not self._path.exists():
                make_private_directory(self._path)
        self._opened()

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Write a file beside, and give it its name once it is on the disk."""
        with self._folder_of(name, "write", make=True) as (folder, last), _locks_named(folder, last, name):
            if not exclusive:
                write_durably_in(folder, last, data)
                return
            _require_absent(folder, last)
            create_durably_in(folder, last, data)

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file."""
        root = self._opened()
        with system_errors(f"read {object_name(name)} in {self.location}"):
            descriptor = open_object(root, name, READING)
            try:
                _require_regular(os.fstat(descriptor), name)
                return _read(descriptor, offset, length)
            finally:
                os.close(descriptor)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Walk the directory."""
        for path, opened in Folders(self._opened(), folder, self.location):
            for name, status in regular_files(opened):
                if is_object_name(joined(path, name)):
                    yield _described(ObjectName(joined(path, name)), status)

    def stat(self, name: ObjectName) -> StoredObject:
        """Look at a file."""
        with self._folder_of(name, "look at") as (folder, last):
            status = os.stat(last, dir_fd=folder, follow_symlinks=False)
            _require_regular(status, name)
            return _described(name, status)

    def delete(self, name: ObjectName) -> None:
        """Unlink a file."""
        with (
            contextlib.suppress(ObjectNotFoundError),
            self._folder_of(name, "delete") as (folder, last),
            _locks_named(folder, last, name),
            contextlib.suppress(IsADirectoryError),
        ):
            os.unlink(last, dir_fd=folder)

    def remove_unfinished(self) -> None:
        """Remove the files that no put is writing any more."""
        for path, opened in Folders(self._opened(), "", self.location):
            with system_errors(f"remove what is unfinished in {joined(self.location, path)}"):
                remove_unfinished_in(opened)

    def close(self) -> None:
        """Close the directory."""
        with self._opening:
            if self._root is not None:
                os.close(self._root)
            self._root = None

    @contextlib.contextmanager
    def _folder_of(self, name: ObjectName, verb: str, *, make: bool = False) -> Iterator[tuple[int, bytes]]:
        object_name(name)
        root = self._opened()
        with system_errors(f"{verb} {name} in {self.location}"), folder_of(root, name, make=make) as found:
            yield found

    def _opened(self) -> int:
        with self._opening:
            if self._root is None:
                self._root = self._open()
            return self._root

    def _open(self) -> int:
        try:
            with system_errors(f"open {self.location}"), open_declared(self._path) as declared:
                return declared.open()
        except (ObjectNotFoundError, ResourceNotFoundError) as error:
            raise UnreachableError(f"{self.location} is not there, or is no directory") from error


@contextlib.contextmanager
def _locks_named(folder: int, last: bytes, name: ObjectName) -> Iterator[None]:
    """Tell a file that may not be changed by anybody yet from one that this user may not change."""
    try:
        yield
    except PermissionError:
        if _is_locked(folder, last):
            raise ObjectLockedError(f"{name} is immutable (chattr)") from None
        raise


def _is_locked(folder: int, name: bytes) -> bool:
    try:
        descriptor = open_below(folder, name, READING)
    except OSError:
        return False
    try:
        return bool(inode_flags(descriptor) & LOCKING)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _require_absent(folder: int, name: bytes) -> None:
    """Raise before anything is written: most often it is there already."""
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _require_regular(status: os.stat_result, name: ObjectName) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ObjectNotFoundError(f"{name} is a directory or a special file, and no object")


def _read(descriptor: int, offset: int, length: int | None) -> bytes:
    """Read to the end of the file, or *length* bytes: a short read is continued."""
    wanted = max(0, os.fstat(descriptor).st_size - offset)
    if length is not None:
        wanted = min(wanted, length)
    parts = []
    while wanted > 0 and (part := os.pread(descriptor, min(wanted, _READ_AT_ONCE_BYTES), offset)):
        parts.append(part)
        offset, wanted = offset + len(part), wanted - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _described(name: ObjectName, status: os.stat_result) -> StoredObject:
    return StoredObject(name=name, size_bytes=status.st_size, modified=status.st_mtime)
