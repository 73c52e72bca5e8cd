"""Exchange two directory entries at one instant, or move one where nothing is, and know what was moved."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from quiesce.errors import ForeignObjectError, MountInsideError, TreeChangedError, UnsupportedError
from quiesce.files.descriptors import Identity, checked_name, open_untouched
from quiesce.files.system_calls import RENAME_EXCHANGE, RENAME_NOREPLACE, mount_id, renameat2

_CANNOT: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of an open directory, and which file or directory it has to be."""

    directory: int
    name: bytes
    identity: Identity

    @classmethod
    def now(cls, directory: int, name: bytes) -> Named:
        """Return what *name* is in *directory* now."""
        return cls(directory, checked_name(name), Identity.of_name(directory, name))

    def is_there(self) -> bool:
        """Tell whether the name still is that of the same file or directory."""
        return _is(self.directory, self.name, self.identity)


def exchange(one: Named, other: Named) -> None:
    """Let each have the other's name, at one instant: nobody finds either name missing. Durable.

    Raises:
        TreeChangedError: when a name is not that of the expected directory, before or after. What was
            exchanged wrongly is exchanged back; the message says when that came too late, because
            who may rename things in one of the directories has moved them again. Then trust neither
            name: look at what it is (`Named.is_there`) before anything else.
        MountInsideError: when one of them is a mount point, or they lie on two mounts.
        UnsupportedError: when this file system cannot; nothing was changed, and no other way is tried.
    """
    _require_movable(one, other.directory)
    _require_movable(other, one.directory)
    _renamed(one.directory, one.name, other.directory, other.name, RENAME_EXCHANGE)
    if not (_is(one.directory, one.name, other.identity) and _is(other.directory, other.name, one.identity)):
        _renamed(one.directory, one.name, other.directory, other.name, RENAME_EXCHANGE)
        raise _changed(one.name, put_back=one.is_there() and other.is_there())
    _sync(one.directory, other.directory)


def move(one: Named, directory: int, name: bytes) -> Named:
    """Give *one* another *name*, in *directory*, where nothing may be; return it as it is then. Durable.

    Raises:
        ForeignObjectError: when something has that name; it was not touched.
        TreeChangedError: when *one* is not the expected one, before or after; put back where it was.
        MountInsideError: when it is a mount point, or *directory* lies on another mount.
        UnsupportedError: when this file system cannot tell whether something has that name.
    """
    _require_movable(one, directory)
    _renamed(one.directory, one.name, directory, checked_name(name), RENAME_NOREPLACE)
    if not _is(directory, name, one.identity):
        _renamed(directory, name, one.directory, one.name, RENAME_NOREPLACE)
        raise _changed(one.name)
    _sync(one.directory, directory)
    return Named(directory, name, one.identity)


def _require_movable(one: Named, to_directory: int) -> None:
    """Raise unless *one* is what it has to be and can be renamed into *to_directory*."""
    checked_name(one.name)
    try:
        descriptor = open_untouched(one.directory, one.name, one.identity)
    except FileNotFoundError as error:
        raise _changed(one.name) from error
    try:
        if mount_id(descriptor) != mount_id(to_directory):
            raise MountInsideError(f"{os.fsdecode(one.name)!r} lies on another mount than where it is to go")
    finally:
        os.close(descriptor)


def _renamed(directory: int, name: bytes, to_directory: int, to_name: bytes, flags: int) -> None:
    try:
        renameat2(directory, name, to_directory, to_name, flags)
    except FileExistsError as error:
        raise ForeignObjectError(f"something has the name {os.fsdecode(to_name)!r} already") from error
    except OSError as error:
        if error.errno in _CANNOT:
            raise UnsupportedError(
                f"the file system of {os.fsdecode(name)!r} cannot exchange directories at one instant",
                hint="Choose another file system, or restore to another directory.",
            ) from error
        if error.errno in {errno.EXDEV, errno.EBUSY}:
            raise MountInsideError(f"{os.fsdecode(name)!r} or {os.fsdecode(to_name)!r} is a mount") from error
        raise


def _is(directory: int, name: bytes, identity: Identity) -> bool:
    try:
        return Identity.of_name(directory, name) == identity
    except FileNotFoundError:
        return False


def _sync(*directories: int) -> None:
    for directory in directories:
        # it may be open only as a passage, which cannot be synchronized
        descriptor = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _changed(name: bytes, *, put_back: bool = True) -> TreeChangedError:
    message = f"{os.fsdecode(name)!r} was replaced while it was to be renamed"
    return TreeChangedError(message + ("" if put_back else ", and could not be put back"))
