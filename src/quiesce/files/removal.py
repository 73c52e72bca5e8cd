"""Remove a tree: never across a mount, never through a link; what stays is said, never called removed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import MountInsideError, TreeChangedError
from quiesce.files.content import Progress, nobody
from quiesce.files.descriptors import Identity, checked_name, open_regular, open_untouched
from quiesce.files.levels import Levels
from quiesce.files.metadata import LOCKING
from quiesce.files.problems import TreeProblems
from quiesce.files.system_calls import inode_flags, set_inode_flags

_NO_FLAGS: Final = {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL}
#: how often a directory is listed again because somebody puts things into it
_MOST_LISTINGS: Final = 8
#: how many entries are held at a time
_BATCH: Final = 8192


@dataclass(slots=True)
class Removal:
    """What came of removing a tree."""

    #: entries that are gone, the tree's root among them
    removed: int = 0
    #: what is left, and why; call again to try again
    left: TreeProblems = field(default_factory=TreeProblems)

    @property
    def complete(self) -> bool:
        """Whether nothing is left of it."""
        return not self.left


def remove_tree(
    directory: int,
    name: bytes,
    expected: Identity | None = None,
    *,
    unlock: bool = False,
    progress: Progress = nobody,
) -> Removal:
    """Remove *name*, a directory or anything else, and all that is in it, from an open directory.

    Interrupted or not complete, it can be called again. It is fine when nothing is there. With *unlock*,
    for trees that are ours, what is immutable, append-only or without permissions is made removable first.
    *progress* hears how many entries are gone since it was last called.

    Raises:
        TreeChangedError: when it is not the *expected* one; it was not touched.
    """
    removal = Removal()
    try:
        identity = Identity.of_name(directory, checked_name(name))
    except FileNotFoundError:
        return removal
    if expected is not None and identity != expected:
        raise TreeChangedError(f"{os.fsdecode(name)!r} is not what was to be removed")
    _Removing(directory, removal, unlock, progress).remove(name, identity)
    return removal


@dataclass(slots=True)
class _Directory:
    """A directory on the way, and what is still to be done in it."""

    name: bytes
    identity: Identity | None = None
    directories: list[bytes] = field(default_factory=list)
    listings: int = 0
    #: why something in it stays is noted already
    spoilt: bool = False


class _Removing:
    """One removal; the current directory of `_levels` is the last one of the way."""

    def __init__(self, directory: int, removal: Removal, unlock: bool, progress: Progress) -> None:
        self._levels = Levels(directory)
        self._removal = removal
        self._unlock = unlock
        self._progress = progress

    def remove(self, name: bytes, identity: Identity) -> None:
        try:
            if not stat.S_ISDIR(identity.kind):
                self._unlink(name)
            else:
                self._remove_directory(_Directory(name, identity))
        finally:
            self._levels.close()

    def _remove_directory(self, top: _Directory) -> None:
        way: list[_Directory] = []
        if self._entered(top):
            way.append(top)
        while way:
            here = way[-1]
            if here.directories:
                below = _Directory(here.directories.pop())
                if self._entered(below):
                    way.append(below)
                here.spoilt |= below.spoilt
            elif self._gone(here):
                way.pop()
                if way:
                    way[-1].spoilt |= here.spoilt

    def _entered(self, directory: _Directory) -> bool:
        """Enter *directory* and unlink what is in it, but its directories; False when it is not entered."""
        try:
            self._enter(directory)
        except (FileNotFoundError, TreeChangedError):
            # no directory any more: unlinked like any other entry when the one above is listed again
            return False
        except MountInsideError:
            self._leave_there(directory, OSError(errno.EBUSY, "something is mounted there"))
            return False
        except OSError as error:
            self._leave_there(directory, error)
            return False
        self._list(directory)
        return True

    def _leave_there(self, directory: _Directory, error: OSError) -> None:
        self._removal.left.add(self._levels.current.prefix + directory.name, error)
        directory.spoilt = True

    def _enter(self, directory: _Directory) -> None:
        try:
            self._levels.enter(directory.name, directory.identity)
        except PermissionError:
            if not self._unlock:
                raise
            _open_up_entry(self._levels.current.descriptor, directory.name)
            self._levels.enter(directory.name, directory.identity)

    def _list(self, directory: _Directory) -> None:
        directory.listings += 1
        before = self._removal.removed
        with os.scandir(self._levels.current.descriptor) as entries:
            # in the order of inodes a disk's head, or a cache, does not jump
            while batch := sorted(itertools.islice(entries, _BATCH), key=os.DirEntry.inode):
                for entry in batch:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        directory.directories.append(name)
                    elif not self._unlink(name):
                        directory.spoilt = True
        self._progress(self._removal.removed - before)

    def _gone(self, directory: _Directory) -> bool:
        """Leave *directory* and remove it; False when it was entered again, as somebody puts things there."""
        level = self._levels.leave()
        if not directory.spoilt:
            try:
                self._rmdir(level.descriptor, directory.name)
                self._removal.removed += 1
            except FileNotFoundError:
                pass
            except OSError as error:
                not_empty = error.errno in {errno.ENOTEMPTY, errno.EEXIST}
                if not_empty and directory.listings < _MOST_LISTINGS:
                    return not self._entered(directory)
                self._leave_there(directory, error)
        return True

    def _rmdir(self, descriptor: int, name: bytes) -> None:
        try:
            os.rmdir(name, dir_fd=descriptor)
        except PermissionError:
            if not self._unlock:
                raise
            _open_up(descriptor)
            _open_up_entry(descriptor, name)
            os.rmdir(name, dir_fd=descriptor)

    def _unlink(self, name: bytes) -> bool:
        """Unlink *name*; False when it stays, and why is noted."""
        level = self._levels.current
        try:
            os.unlink(name, dir_fd=level.descriptor)
        except (FileNotFoundError, IsADirectoryError):
            # gone, or a directory by now: the next listing finds it
            return True
        except PermissionError as error:
            if not self._unlock or not _unlinked_unlocked(level.descriptor, name):
                self._removal.left.add(level.prefix + name, error)
                return False
        except OSError as error:
            self._removal.left.add(level.prefix + name, error)
            return False
        self._removal.removed += 1
        return True


def _unlinked_unlocked(directory: int, name: bytes) -> bool:
    """Unlink what the flags of itself or its directory protect; another name of it stays protected."""
    with contextlib.suppress(OSError):
        _open_up(directory)
        with contextlib.suppress(PermissionError):
            os.unlink(name, dir_fd=directory)
            return True
        held = open_regular(directory, name)
        try:
            flags = _clear(held)
            try:
                os.unlink(name, dir_fd=directory)
            finally:
                if flags and os.fstat(held).st_nlink:
                    set_inode_flags(held, flags)
        finally:
            os.close(held)
        return True
    return False


def _open_up_entry(directory: int, name: bytes) -> None:
    """Make a directory of ours one that can be entered, emptied and removed."""
    passage = open_untouched(directory, name)
    try:
        _give_owner_access(passage)
        descriptor = os.open(b"/proc/self/fd/%d" % passage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(passage)
    try:
        _clear(descriptor)
    finally:
        os.close(descriptor)


def _open_up(directory: int) -> None:
    _clear(directory)
    _give_owner_access(directory)


def _give_owner_access(descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(b"/proc/self/fd/%d" % descriptor, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)


def _clear(descriptor: int) -> int:
    """Clear the flags that keep an open file from being removed; return what they were, 0 when none did."""
    try:
        flags = inode_flags(descriptor)
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise
    if not flags & LOCKING:
        return 0
    set_inode_flags(descriptor, flags & ~LOCKING)
    return flags
