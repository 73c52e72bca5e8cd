"""Small files of ours that survive a power cut: the old one or the new one, and nothing else stays."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError
from quiesce.files.content import write_all
from quiesce.files.descriptors import DIRECTORY, checked_name
from quiesce.files.system_calls import RENAME_NOREPLACE, renameat2
from quiesce.files.trust import open_declared

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
#: how the name of what is being written ends; it begins with a dot
_UNFINISHED: Final = b".quiesce-new"
#: how often a directory is made whose parent others remove
_TRIES: Final = 100

_TAKEN_OVER: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MADE: Final = _TAKEN_OVER | os.O_CREAT | os.O_EXCL

_FINAL_ERRORS: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.ELOOP,
}
_CANNOT_RENAME_TO_NEW: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHT: Final = "Let the user that runs quiesce write there, or choose another directory."


def write_durably(path: Path, data: bytes) -> None:
    """Replace *path* by *data*, private to the user: after a power cut it is the old or the new one.

    Safe from many threads and processes at once. What an interrupted one left is used up by the next.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_durably_in(directory, os.fsencode(path.name), data)
    finally:
        os.close(directory)


def write_durably_in(directory: int, name: bytes, data: bytes | bytearray | memoryview) -> None:
    """Do what `write_durably` does, for a *name* in an open directory of ours."""
    with _written(directory, name, data) as unfinished:
        os.rename(unfinished, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def create_durably_in(directory: int, name: bytes, data: bytes | bytearray | memoryview) -> None:
    """Do what `write_durably_in` does, only where nothing is: of many that do it at once, one succeeds.

    Raises:
        FileExistsError: when anything has that name; it was not touched.
    """
    with _written(directory, name, data) as unfinished:
        _rename_to_new(directory, unfinished, name)
    os.fsync(directory)


def is_unfinished(name: bytes | str) -> bool:
    """Tell whether a file of this name is what an interrupted `write_durably` left, and no file of ours."""
    name = os.fsencode(name)
    return name.startswith(b".") and name.endswith(_UNFINISHED)


def holds_anything(directory: Path) -> bool:
    """Tell whether there is anything in *directory* but what interrupted writers left."""
    return not all(is_unfinished(name) for name in os.listdir(directory))


def remove_unfinished(directory: Path) -> None:
    """Remove what interrupted writers left in *directory*; what is being written just now stays."""
    descriptor = os.open(directory, DIRECTORY)
    try:
        remove_unfinished_in(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished_in(directory: int) -> None:
    """Do what `remove_unfinished` does, in an open directory of ours."""
    for name in filter(is_unfinished, map(os.fsencode, os.listdir(directory))):
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            _remove_abandoned(directory, name)


def write_named(path: Path, data: bytes) -> None:
    """Do what `write_durably` does where the operator has said: a link of somebody else is not followed.

    Raises:
        UntrustedPathError: at such a link above the file.
    """
    with _named_directory(path) as directory:
        write_durably_in(directory, os.fsencode(path.name), data)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a new file where the operator has said, private to the user; gone again when the block fails.

    Raises:
        UntrustedPathError: at a link of somebody else above it.
        OSError: when anything is there already, a link too, or not all of it could be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _named_directory(path) as directory:
        descriptor = os.open(path.name, flags, PRIVATE_FILE, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path.name, dir_fd=directory)
            raise


@contextlib.contextmanager
def _named_directory(path: Path) -> Iterator[int]:
    """Give the directory that is to hold *path*."""
    with open_declared(os.path.abspath(path.parent / "file"), replaceable=True) as declared:
        directory = os.open(".", DIRECTORY, dir_fd=declared.parent)
    try:
        yield directory
    finally:
        os.close(directory)


def make_private_directory(path: Path) -> None:
    """Make *path* and what is missing above it, private to the user; the entries are durable.

    Raises:
        UntrustedPathError: at a link of somebody else; nothing is made where it leads.
    """
    for tries_left in reversed(range(_TRIES)):
        if path.is_dir():
            return
        make_private_directory(path.parent)
        try:
            _make_in_parent(path)
            return
        except (FileExistsError, FileNotFoundError, ResourceNotFoundError):
            # somebody else has made it, or removed the parent because it was empty; or below /proc, say,
            # nothing can be made
            if not tries_left:
                raise


def _make_in_parent(path: Path) -> None:
    with open_declared(os.path.abspath(path)) as declared:
        if os.path.lexists(path) and not path.is_dir():  # a link that leads nowhere, say
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        os.mkdir(declared.name, PRIVATE_DIRECTORY, dir_fd=declared.parent)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the entries of *path* durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(what: str, *, no_room: str = "Make room there.") -> Iterator[None]:
    """Turn every `OSError` into an error that says what failed and whether asking again may help.

    *no_room* says what helps when the file system or a quota is full.
    """
    try:
        yield
    except OSError as error:
        message = f"cannot {what}: {error.strerror or error}"
        if error.filename and not os.fsdecode(error.filename).startswith("/proc/self/fd/"):
            message += f" ({os.fsdecode(error.filename)})"
        if error.errno in _FINAL_ERRORS:
            raise NonRecoverableError(
                message, hint=no_room if error.errno in _NO_ROOM else _NO_RIGHT
            ) from error
        raise RecoverableError(message) from error


@contextlib.contextmanager
def _written(directory: int, name: bytes, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """Write *data* durably under a name of its own, which the block gives its own; gone when it raises."""
    unfinished = b"." + checked_name(name) + _UNFINISHED
    with _unfinished_file(directory, unfinished) as descriptor:
        write_all(descriptor, data)
        os.fsync(descriptor)
        yield unfinished


def _rename_to_new(directory: int, name: bytes, new_name: bytes) -> None:
    try:
        renameat2(directory, name, directory, new_name, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _CANNOT_RENAME_TO_NEW:
            raise
        os.link(name, new_name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        os.unlink(name, dir_fd=directory)


@contextlib.contextmanager
def _unfinished_file(directory: int, name: bytes) -> Iterator[int]:
    """Open the file *name* for us alone, empty; it is gone when the block raises."""
    descriptor = _locked(directory, name)
    try:
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, PRIVATE_FILE)
        yield descriptor
    except BaseException:
        if _is_named(directory, name, descriptor):
            # still locked, so it is nobody else's
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _locked(directory: int, name: bytes) -> int:
    """Return the file *name*, made or taken over, when no other writer has it any more."""
    while True:
        descriptor, made = _opened(directory, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_named(directory, name, descriptor):
                # what we have made is ours, whatever a server of files says of its owner and mode
                if made or _is_private(descriptor):
                    return descriptor
                os.unlink(name, dir_fd=directory)
        except BaseException:
            os.close(descriptor)
            raise
        # not ours, or another writer has just finished with it: under that name is another file, or none
        os.close(descriptor)


def _opened(directory: int, name: bytes) -> tuple[int, bool]:
    """Return the file *name*, open, and whether it was made."""
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(name, _MADE, PRIVATE_FILE, dir_fd=directory), True
        try:
            return os.open(name, _TAKEN_OVER, dir_fd=directory), False
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
            # a link, or a pipe: not ours, in a directory that is
            os.unlink(name, dir_fd=directory)


def _is_private(descriptor: int) -> bool:
    """Tell whether an open file is a regular one of ours, with one name, that nobody else may use."""
    status = os.fstat(descriptor)
    regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()
    return regular and not stat.S_IMODE(status.st_mode) & ~PRIVATE_FILE


def _is_named(directory: int, name: bytes, descriptor: int) -> bool:
    try:
        named = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _remove_abandoned(directory: int, name: bytes) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    held = os.open(name, flags, dir_fd=directory)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_named(directory, name, held):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(held)
