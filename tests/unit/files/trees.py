"""Trees for tests: what is compared, and a copy made with nothing but what is tested."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from quiesce.files.metadata import EVERYTHING, Allowed, Metadata
from quiesce.files.problems import TreeProblems
from quiesce.files.walking import Entry, Walk
from quiesce.files.writing import Sync, TreeWriter, make_directory

Facts = dict[bytes, tuple[object, ...]]


def facts(root: Path) -> Facts:
    """Return everything that a copy of the tree has to have, found out in another way than the package's."""
    top = os.fsencode(root)
    found: Facts = {b"": _facts(top)}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = _facts(path)
    return found


def links_of(root: Path) -> set[frozenset[bytes]]:
    """Return which names belong to one file."""
    by_inode: dict[int, set[bytes]] = {}
    top = os.fsencode(root)
    for directory, _, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            by_inode.setdefault(os.lstat(path).st_ino, set()).add(os.path.relpath(path, top))
    return {frozenset(names) for names in by_inode.values() if len(names) > 1}


def copied(source: Path, parent: int, name: bytes, allowed: Allowed = EVERYTHING) -> TreeProblems:
    """Copy the tree *source* to the new directory *name*; return what could not be restored."""
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    target = make_directory(parent, name)
    try:
        writer = TreeWriter(target, allowed=allowed, sync=Sync.LATER)
        walk = Walk(root)
        first: dict[object, bytes] = {}
        for entry in walk:
            if not entry.is_directory and entry.identity in first:
                writer.hard_link(entry.path, first[entry.identity])
            else:
                first[entry.identity] = entry.path
                _copy(writer, entry)
        assert not walk.problems
        return writer.finish()
    finally:
        os.close(root)
        os.close(target)


def _copy(writer: TreeWriter, entry: Entry) -> None:
    descriptor = entry.open()
    try:
        metadata = Metadata.of_descriptor(descriptor)
        if entry.is_directory:
            writer.directory(entry.path, metadata)
        elif entry.is_regular:
            with writer.file(entry.path, metadata, entry.status.st_size) as file:
                file.copy(descriptor)
        elif entry.is_link:
            writer.symbolic_link(entry.path, entry.target(), metadata)
        else:
            writer.special(entry.path, metadata, entry.status.st_rdev)
    finally:
        os.close(descriptor)


def _facts(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _names(path)}
    content: bytes | str = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_rdev,
        content,
        attributes,
    )


def _names(path: bytes) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)
