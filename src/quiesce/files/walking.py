"""Every entry of a tree, by directory descriptors: nothing is followed, nothing special is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

from quiesce.errors import MountInsideError, TreeChangedError
from quiesce.files.descriptors import (
    DIRECTORY,
    Identity,
    open_directory,
    open_regular,
    open_untouched,
)
from quiesce.files.levels import DirectoryLevel, Levels
from quiesce.files.problems import TreeProblems

REPLACED: Final = "replaced while it was looked at"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree, as it was when the walk came by.

    It can be opened until the walk goes on to the next one.
    """

    #: the directory that holds it
    level: DirectoryLevel
    #: as the directory has it; empty for the root
    name: bytes
    status: os.stat_result

    @property
    def path(self) -> bytes:
        """Where it is, below the root; empty for the root."""
        return self.level.prefix + self.name

    @property
    def is_directory(self) -> bool:
        """Whether the walk goes on with what is in it."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_regular(self) -> bool:
        """Whether it has content."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def identity(self) -> Identity:
        """Which file it is: equal for all names of one file."""
        return Identity.of(self.status)

    def open(self) -> int:
        """Return a descriptor of this very entry; the caller closes it.

        A regular file or a directory can be read through it, anything else only looked at (``O_PATH``).

        Raises:
            FileNotFoundError: when it is gone.
            TreeChangedError: when something else has its name now.
            MountInsideError: when something was mounted there.
        """
        if not self.name:
            return os.open(b".", DIRECTORY, dir_fd=self.level.descriptor)
        if self.is_regular:
            return open_regular(self.level.descriptor, self.name, self.identity)
        opener = open_directory if self.is_directory else open_untouched
        return opener(self.level.descriptor, self.name, self.identity)

    def target(self) -> bytes:
        """Return where a symbolic link leads to, byte for byte."""
        descriptor = self.open()
        try:
            return os.readlink(b"", dir_fd=descriptor)
        finally:
            os.close(descriptor)


def everything(_: Entry) -> bool:
    """Want every entry."""
    return True


class Walk:
    """A walk through a tree: iterate over it, once, then look at `mounts` and `problems`.

    The root comes first, a directory before what is in it, names in the order of their bytes. What is
    gone by the time that the walk comes to it is left out silently: on a live tree that is nothing
    unusual. What is mounted inside is left out and listed.
    """

    def __init__(self, root: int, *, wanted: Callable[[Entry], bool] = everything) -> None:
        """Walk below *root*, which stays open; what is not *wanted* is left out with all that is in it."""
        self._levels = Levels(root)
        self._wanted = wanted
        #: where something is mounted inside, below the root
        self.mounts: list[bytes] = []
        #: what could not be looked at: replaced meanwhile, not ours to read, not readable
        self.problems = TreeProblems()

    def __iter__(self) -> Iterator[Entry]:
        return self.entries()

    def entries(self) -> Generator[Entry, None, None]:
        """Yield every entry; who may stop before the end closes it."""
        levels = self._levels
        try:
            root = Entry(levels.current, b"", os.fstat(levels.current.descriptor))
            if self._wanted(root):
                yield root
                yield from self._below()
        finally:
            levels.close()

    def _below(self) -> Iterator[Entry]:
        levels, to_do = self._levels, [self._names()]
        while True:
            for name in to_do[-1]:
                entry = self._look(name)
                if entry is None:
                    continue
                yield entry
                if entry.is_directory:
                    to_do.append(self._names())
                    break
            else:
                to_do.pop()
                if not to_do:
                    return
                levels.leave()

    def _names(self) -> Iterator[bytes]:
        level = self._levels.current
        try:
            names = [os.fsencode(name) for name in os.listdir(level.descriptor)]
        except OSError as error:
            self.problems.add(level.path, error)
            names = []
        names.sort()
        return iter(names)

    def _look(self, name: bytes) -> Entry | None:
        """Return the entry; a directory is entered already. None when it is left out."""
        level = self._levels.current
        try:
            return self._found(level, name)
        except FileNotFoundError:
            pass
        except MountInsideError:
            self.mounts.append(level.prefix + name)
        except TreeChangedError:
            self.problems.add(level.prefix + name, REPLACED)
        except OSError as error:
            self.problems.add(level.prefix + name, error)
        return None

    def _found(self, level: DirectoryLevel, name: bytes) -> Entry | None:
        status = os.stat(name, dir_fd=level.descriptor, follow_symlinks=False)
        entry = Entry(level, name, status)
        if not self._wanted(entry):
            return None
        if stat.S_ISDIR(status.st_mode):
            self._levels.enter(name, entry.identity)
        elif status.st_dev != level.identity.device:
            raise MountInsideError(f"something is mounted at {os.fsdecode(name)!r}")
        return entry
