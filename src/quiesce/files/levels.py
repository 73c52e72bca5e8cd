"""The directories on the way down to the one being worked on, with few of them open at a time."""

from __future__ import annotations

import os
from typing import Final

from quiesce.errors import TreeChangedError
from quiesce.files.descriptors import DIRECTORY, Identity, open_below, open_directory

#: that many of the deepest stay open; a tree may be deeper than a process may have descriptors
_KEPT_OPEN: Final = 48


class DirectoryLevel:
    """One directory on the way: where it is, which it is, and its descriptor while it is open."""

    __slots__ = ("descriptor", "identity", "path", "prefix")

    def __init__(self, path: bytes, identity: Identity, descriptor: int) -> None:
        #: below the root; the root's own is empty
        self.path = path
        #: what the path of an entry begins with
        self.prefix = path + b"/" if path else b""
        self.identity = identity
        #: -1 while it is not open
        self.descriptor = descriptor


class Levels:
    """A way down a tree from an open directory, which stays the caller's to close."""

    def __init__(self, root: int) -> None:
        self._levels = [DirectoryLevel(b"", Identity.of_descriptor(root), root)]
        self.current = self._levels[0]

    def __len__(self) -> int:
        return len(self._levels)

    def enter(self, name: bytes, expected: Identity | None = None) -> DirectoryLevel:
        """Open the directory *name* of the current one, and make it the current one.

        Raises:
            MountInsideError, TreeChangedError, OSError: when it cannot be; nothing has changed then.
        """
        current = self.current
        descriptor = open_directory(current.descriptor, name, expected)
        identity = expected or Identity.of_descriptor(descriptor)
        self.current = DirectoryLevel(current.prefix + name, identity, descriptor)
        self._levels.append(self.current)
        if len(self._levels) > _KEPT_OPEN + 1:
            _close(self._levels[-_KEPT_OPEN - 1])
        return self.current

    def leave(self) -> DirectoryLevel:
        """Make the directory above the current one, open again, and return it.

        Raises:
            TreeChangedError: when the way back leads elsewhere, because somebody moved a directory.
        """
        left, above = self._levels.pop(), self._levels[-1]
        self.current = above
        try:
            if above.descriptor < 0:
                above.descriptor = self._again(above, left.descriptor)
        finally:
            _close(left)
        return above

    def close(self) -> None:
        """Close all but the root."""
        for level in self._levels[1:]:
            if level.descriptor >= 0:
                _close(level)

    def _again(self, level: DirectoryLevel, below: int) -> int:
        for directory, way in ((below, b".."), (self._levels[0].descriptor, level.path)):
            descriptor = _opened(directory, way)
            if descriptor >= 0 and Identity.of_descriptor(descriptor) == level.identity:
                return descriptor
            if descriptor >= 0:
                os.close(descriptor)
        raise TreeChangedError(f"{os.fsdecode(level.path)!r} was moved while it was worked on")


def _opened(directory: int, way: bytes) -> int:
    try:
        if way == b"..":
            return os.open(way, DIRECTORY, dir_fd=directory)
        return open_below(directory, way, DIRECTORY)
    except OSError:
        return -1


def _close(level: DirectoryLevel) -> None:
    os.close(level.descriptor)
    level.descriptor = -1
