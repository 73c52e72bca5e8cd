"""Write a tree below a directory that was made for it: by descriptors, whole, metadata byte for byte."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from quiesce.errors import TreeChangedError, UnsafeNameError
from quiesce.files.content import Progress, copy_content, nobody, write_all
from quiesce.files.descriptors import (
    DIRECTORY,
    PASSAGE,
    UNTOUCHED,
    checked_name,
    checked_path,
    open_below,
    open_directory,
    open_regular,
)
from quiesce.files.metadata import ACCESS_ACL, DEFAULT_ACL, LOCKING, Allowed, Metadata, Restorer
from quiesce.files.problems import TreeProblems
from quiesce.files.system_calls import sync_file_system

_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOKED_AT: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_NO_DEVICES: Final = "devices are not allowed here and were left out"
_ABSENT: Final = {errno.ENODATA, errno.EOPNOTSUPP}


class Sync(enum.Enum):
    """When a written tree is made durable."""

    #: when the kernel likes
    LATER = enum.auto()
    #: each file as it is finished
    EACH_FILE = enum.auto()
    #: everything on the file system, once, at the end: quicker for many files
    FILE_SYSTEM = enum.auto()


def make_directory(directory: int, name: bytes) -> int:
    """Make the directory *name*, private to us, and return its descriptor; raises when anything is there.

    Raises:
        TreeChangedError: when another one has that name a moment later.
    """
    os.mkdir(checked_name(name), 0o700, dir_fd=directory)
    descriptor = open_directory(directory, name)
    status = os.fstat(descriptor)
    private = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not private or os.listdir(descriptor):
        os.close(descriptor)
        raise TreeChangedError(f"{os.fsdecode(name)!r} was replaced as soon as it was made")
    return descriptor


class TreeFileWriter:
    """The content of one new file, in order; complete when its ``with`` block has ended without an error."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.descriptor = descriptor
        self._size_bytes = size_bytes
        self._offset = 0
        self._ends_with_hole = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of *data*, or raise."""
        write_all(self.descriptor, data)
        self._offset += len(data)
        self._ends_with_hole = False

    def skip(self, length: int) -> None:
        """Leave a hole of *length* bytes."""
        self._offset = os.lseek(self.descriptor, length, os.SEEK_CUR)
        self._ends_with_hole = True

    def skip_to(self, offset: int) -> None:
        """Leave a hole up to *offset*.

        Raises:
            TreeChangedError: when more than that was written already.
        """
        if offset < self._offset:
            raise TreeChangedError(f"{self._offset} bytes came where {offset} were announced")
        if offset > self._offset:
            self.skip(offset - self._offset)

    def copy(self, source: int, progress: Progress = nobody) -> int:
        """Take the whole content of an open file instead; return how many bytes were not shared with it."""
        copied = copy_content(source, self.descriptor, self._size_bytes, progress)
        self._offset = os.fstat(self.descriptor).st_size
        return copied

    def finish(self) -> None:
        """Check that the file is as long as it was announced."""
        if self._ends_with_hole:
            os.ftruncate(self.descriptor, self._offset)
        if self._offset != self._size_bytes:
            raise TreeChangedError(f"{self._offset} bytes came for a file of {self._size_bytes} bytes")


class TreeWriter:
    """A tree on its way into an empty directory of ours that nobody else can enter.

    Paths are below that directory, a directory before what is in it; the empty path is the directory
    itself. What exists is never overwritten, and no link is ever followed. After `finish` the tree is
    whole; without it the caller removes the directory.
    """

    def __init__(self, root: int, *, allowed: Allowed | None = None, sync: Sync = Sync.FILE_SYSTEM) -> None:
        """Write below *root*, which stays open."""
        self._root = root
        self._sync = sync
        self._parent_path = b""
        self._parent = root
        self._directories: dict[bytes, Metadata] = {}
        self._locked: list[tuple[bytes, int]] = []
        self._left_out: set[bytes] = set()
        #: what could not be restored, or was not allowed to be
        self.problems = TreeProblems()
        self._allowed = allowed or Allowed()
        self._restorer = Restorer(self._allowed, self.problems)
        _disinherit(root)

    def directory(self, path: bytes, metadata: Metadata) -> None:
        """Make a directory; it gets its metadata at the end, when everything is in it."""
        if path:
            parent, name = self._place(path)
            os.mkdir(name, 0o700, dir_fd=parent)
        self._directories[path] = metadata

    @contextlib.contextmanager
    def file(self, path: bytes, metadata: Metadata, size_bytes: int) -> Iterator[TreeFileWriter]:
        """Make a regular file; its content is written inside the ``with`` block.

        Raises:
            TreeChangedError: when it was given more or less than *size_bytes*.
        """
        parent, name = self._place(path)
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            self._restorer.prepare(descriptor, metadata, path)
            writer = TreeFileWriter(descriptor, size_bytes)
            yield writer
            writer.finish()
            self._finish_file(descriptor, metadata, path)
        finally:
            os.close(descriptor)

    def adopt(self, path: bytes, metadata: Metadata, directory: int, name: bytes) -> None:
        """Make the file *name* of *directory*, which is ours, a file of the tree, without copying it."""
        parent, new = self._place(path)
        os.link(name, new, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        descriptor = open_regular(parent, new)
        try:
            self._finish_file(descriptor, metadata, path)
        finally:
            os.close(descriptor)

    def symbolic_link(self, path: bytes, target: bytes, metadata: Metadata) -> None:
        """Make a symbolic link that leads to *target*, byte for byte, wherever that is."""
        parent, name = self._place(path)
        if not target or b"\0" in target:
            raise UnsafeNameError(f"the link {os.fsdecode(path)!r} cannot lead to {target[:80]!r}")
        os.symlink(target, name, dir_fd=parent)
        self._give_untouched(parent, name, metadata, path)

    def special(self, path: bytes, metadata: Metadata, device: int = 0) -> None:
        """Make a pipe, a socket or, where allowed, a device; else note that it was left out."""
        parent, name = self._place(path)
        is_device = stat.S_ISCHR(metadata.mode) or stat.S_ISBLK(metadata.mode)
        if is_device and not self._allowed.devices:
            self._left_out.add(path)
            self.problems.add(path, _NO_DEVICES)
            return
        try:
            os.mknod(name, stat.S_IFMT(metadata.mode) | 0o600, device if is_device else 0, dir_fd=parent)
        except PermissionError as error:
            self.problems.add(path, error)
            return
        self._give_untouched(parent, name, metadata, path)

    def hard_link(self, path: bytes, first: bytes) -> None:
        """Make *path* another name of *first*, which this writer has made and which is no directory.

        Of what was left out the other names are, too.

        Raises:
            FileNotFoundError: when *first* is not there.
        """
        if first in self._left_out:
            self.problems.add(path, _NO_DEVICES)
            return
        directory, first_name = _split(checked_path(first))
        source = open_below(self._root, directory, PASSAGE) if directory else os.dup(self._root)
        try:
            parent, name = self._place(path)
            os.link(first_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def finish(self) -> TreeProblems:
        """Give all directories their metadata, the root last, and make it durable as was asked.

        From then on those who may enter the tree by its own permissions can.
        """
        for path, flags in self._locked:
            self._lock(path, flags)
        for path in sorted(self._directories, reverse=True):
            self._finish_directory(path, self._directories[path])
        if self._sync is Sync.FILE_SYSTEM:
            sync_file_system(self._root)
        self.close()
        return self.problems

    def close(self) -> None:
        """Let go what is open, whether it is finished or not; the root stays the caller's."""
        if self._parent != self._root:
            os.close(self._parent)
        self._parent, self._parent_path = self._root, b""

    def _place(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory to make *path* in, and its name there."""
        directory, name = _split(checked_path(path))
        if directory != self._parent_path:
            opened = open_below(self._root, directory, PASSAGE) if directory else self._root
            self.close()
            self._parent, self._parent_path = opened, directory
        return self._parent, name

    def _finish_file(self, descriptor: int, metadata: Metadata, path: bytes) -> None:
        self._restorer.give(descriptor, metadata, path)
        if metadata.flags & LOCKING:
            # a file that is locked cannot get its other names any more
            self._locked.append((path, metadata.flags))
        if self._sync is Sync.EACH_FILE:
            os.fsync(descriptor)

    def _give_untouched(self, parent: int, name: bytes, metadata: Metadata, path: bytes) -> None:
        descriptor = os.open(name, UNTOUCHED, dir_fd=parent)
        try:
            self._restorer.give(b"/proc/self/fd/%d" % descriptor, metadata, path)
        finally:
            os.close(descriptor)

    def _finish_directory(self, path: bytes, metadata: Metadata) -> None:
        descriptor = open_below(self._root, path, DIRECTORY) if path else os.dup(self._root)
        try:
            self._restorer.give(descriptor, metadata, path)
            if metadata.flags & LOCKING:
                self._restorer.lock(descriptor, metadata.flags, path)
            if self._sync is Sync.EACH_FILE:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _lock(self, path: bytes, flags: int) -> None:
        descriptor = open_below(self._root, path, _LOOKED_AT)
        try:
            self._restorer.lock(descriptor, flags, path)
        finally:
            os.close(descriptor)


def _split(path: bytes) -> tuple[bytes, bytes]:
    directory, _, name = path.rpartition(b"/")
    return directory, name


def _disinherit(root: int) -> None:
    """Take away what the directory above made a new one inherit, and all that is in it would."""
    for name in (DEFAULT_ACL, ACCESS_ACL):
        try:
            os.removexattr(root, name)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
    os.fchmod(root, 0o700)
