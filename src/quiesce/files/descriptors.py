"""Open what lies below a directory descriptor: no link followed, no mount crossed, nothing special read.

A path is looked up once, where the operator declared it (`open_declared`). From there on a name is
always one component below an open directory, so that nobody who renames directories, or replaces them
by links, leads us elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from quiesce.errors import MountInsideError, TreeChangedError, UnsafeNameError
from quiesce.files.system_calls import BENEATH, has_openat2, mount_id, openat2

#: how a directory is opened to be listed
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: how a directory is opened only to name what is in it
PASSAGE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: how anything is opened without touching it: a device, a pipe, a link
UNTOUCHED: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: how a regular file is opened to be read, should it be something else after all
READING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_LONGEST_PATH: Final = 4000
_LONGEST_NAME: Final = 255
_REPLACED: Final = {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}


class Identity(NamedTuple):
    """Which file or directory it is, whatever its name: equal for two names of one file."""

    device: int
    inode: int
    #: directory, regular file, link …: a number that is used again for another kind is another file
    kind: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return that of a file of this *status*."""
        return cls(status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode))

    @classmethod
    def of_descriptor(cls, descriptor: int) -> Identity:
        """Return that of an open file."""
        return cls.of(os.fstat(descriptor))

    @classmethod
    def of_name(cls, directory: int, name: bytes) -> Identity:
        """Return that of what *name* is now in *directory*; of a link, not of its target."""
        return cls.of(os.stat(name, dir_fd=directory, follow_symlinks=False))


def checked_name(name: bytes) -> bytes:
    """Return *name* when it names an entry of a directory and nothing else.

    Raises:
        UnsafeNameError: for the empty name, ``.``, ``..``, a slash, a zero byte.
    """
    if name in {b"", b".", b".."} or b"/" in name or b"\0" in name or len(name) > _LONGEST_NAME:
        raise UnsafeNameError(f"{name[:80]!r} is not a name that can be in a directory")
    return name


def checked_path(path: bytes) -> bytes:
    """Return *path* when each of its components is a checked name: it leads below, never up or out."""
    for name in path.split(b"/"):
        checked_name(name)
    return path


def open_below(directory: int, path: bytes, flags: int, *, mode: int = 0) -> int:
    """Open *path*, names only, below *directory*.

    No link is followed, on the way or at its end, and no mount is crossed, whoever renames what
    meanwhile.

    Raises:
        OSError: ELOOP or ENOTDIR at a link, EXDEV at a mount point, as the kernel says them.
    """
    path = checked_path(path)
    if len(path) > _LONGEST_PATH:
        return _open_long(directory, path, flags, mode)
    if has_openat2():
        return openat2(directory, path, flags | os.O_NOFOLLOW, mode=mode, resolve=BENEATH)
    return open_by_component(directory, path, flags, mode=mode)


def open_by_component(directory: int, path: bytes, flags: int, *, mode: int = 0) -> int:
    """Do what `open_below` does, on a kernel without openat2: one component after the other."""
    mount = mount_id(directory)
    *parents, last = checked_path(path).split(b"/")
    passage = os.dup(directory)
    try:
        for name in parents:
            opened = _on_mount(os.open(name, PASSAGE, dir_fd=passage), mount, name)
            os.close(passage)
            passage = opened
        return _open_last(passage, last, flags, mode, mount)
    finally:
        os.close(passage)


def open_directory(directory: int, name: bytes, expected: Identity | None = None) -> int:
    """Open the directory *name* in *directory*, and only when it is the *expected* one.

    Raises:
        MountInsideError: when something is mounted there.
        TreeChangedError: when it is another one, or none, by now.
    """
    return _same(_open_entry(directory, name, DIRECTORY), name, expected)


def open_untouched(directory: int, name: bytes, expected: Identity | None = None) -> int:
    """Open whatever *name* is, a device too, so that it can be looked at but is not touched."""
    return _same(_open_entry(directory, name, UNTOUCHED), name, expected)


def open_regular(directory: int, name: bytes, expected: Identity | None = None) -> int:
    """Open the regular file *name* in *directory* to be read, and only when it is the *expected* one.

    What is something else by now (a pipe, a device) is not opened: opening alone can do something.

    Raises:
        MountInsideError: when something is mounted there.
        TreeChangedError: when it is another file, or none, by now.
    """
    passage = _open_entry(directory, name, UNTOUCHED)
    try:
        status = os.fstat(passage)
        if expected is not None and Identity.of(status) != expected:
            raise _replaced(name)
        if not stat.S_ISREG(status.st_mode):
            raise TreeChangedError(f"{_shown(name)} is not a regular file")
        return _reopened(passage)
    finally:
        os.close(passage)


def path_of(descriptor: int) -> bytes:
    """Return where an open directory lies now, for messages and for the mount table."""
    return os.readlink(b"/proc/self/fd/%d" % descriptor)


def _open_entry(directory: int, name: bytes, flags: int) -> int:
    try:
        return open_below(directory, name, flags)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise MountInsideError(f"something is mounted at {_shown(name)}") from error
        if error.errno in _REPLACED:
            raise _replaced(name) from error
        raise


def _same(descriptor: int, name: bytes, expected: Identity | None) -> int:
    if expected is not None and Identity.of_descriptor(descriptor) != expected:
        os.close(descriptor)
        raise _replaced(name)
    return descriptor


def _replaced(name: bytes) -> TreeChangedError:
    return TreeChangedError(f"{_shown(name)} was replaced while it was looked at")


def _reopened(passage: int) -> int:
    """Open for reading what *passage* holds: the very file, whatever its name is now."""
    path = b"/proc/self/fd/%d" % passage
    try:
        return os.open(path, READING | os.O_NOATIME)
    except PermissionError:
        # reading without a trace is for the owner (and root)
        return os.open(path, READING)


def _open_long(directory: int, path: bytes, flags: int, mode: int) -> int:
    passage = os.dup(directory)
    try:
        while len(path) > _LONGEST_PATH:
            cut = path.rindex(b"/", 0, _LONGEST_PATH)
            opened = open_below(passage, path[:cut], PASSAGE)
            os.close(passage)
            passage, path = opened, path[cut + 1 :]
        return open_below(passage, path, flags, mode=mode)
    finally:
        os.close(passage)


def _open_last(directory: int, name: bytes, flags: int, mode: int, mount: int) -> int:
    # looked at before it is opened: what is mounted here may be a device
    if not flags & (os.O_PATH | os.O_CREAT):
        os.close(_on_mount(os.open(name, UNTOUCHED, dir_fd=directory), mount, name))
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
    return _on_mount(descriptor, mount, name)


def _on_mount(descriptor: int, mount: int, name: bytes) -> int:
    if mount_id(descriptor) != mount:
        os.close(descriptor)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(name))
    return descriptor


def _shown(name: bytes) -> str:
    return repr(os.fsdecode(name))
