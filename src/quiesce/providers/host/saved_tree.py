"""The tree of a cut as an item of a backup, and what comes back of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from quiesce.errors import ResourceNotFoundError
from quiesce.files.content import Progress, write_all
from quiesce.files.descriptors import checked_path
from quiesce.files.metadata import Allowed, Metadata
from quiesce.files.problems import TreeProblems
from quiesce.files.writing import make_directory
from quiesce.providers.host.cuts import CutEntry, entries_of, open_content

if TYPE_CHECKING:  # large, and most calls store nothing
    from quiesce.repository import PointReader, TreeDraft, TreeEntry

#: what a backup calls it
TREE: Final = "tree"
_BLOCK_BYTES: Final = 512


def store_tree(raw: int, tree: TreeDraft, progress: Progress) -> None:
    """Add everything that was taken into *raw* to *tree*; *progress* hears how many bytes were read."""
    packed: int | None = None
    try:
        for entry in entries_of(raw):
            if not entry.has_content:
                tree.add(_tree_entry(entry))
                continue
            if entry.big is None:
                packed = open_content(raw, entry) if packed is None else packed
                tree.add_file(_tree_entry(entry), packed, begin=entry.offset or 0)
            else:
                _store_big(raw, entry, tree)
            progress(entry.size_bytes)
    finally:
        if packed is not None:
            os.close(packed)


def restore_tree(
    reader: PointReader, directory: int, name: bytes, progress: Progress, *, allowed: Allowed
) -> TreeProblems:
    """Make the new directory *name* in *directory* the tree that was stored; return what is not as it was."""
    root = make_directory(directory, name)
    try:
        return reader.restore_tree(TREE, root, allowed=allowed, progress=progress)
    finally:
        os.close(root)


def stored_entries(reader: PointReader, below: bytes) -> Iterator[CutEntry]:
    """Yield what is stored at and below a path, as a cut has it."""
    return map(_cut_entry, reader.entries(TREE, below=below))


def extract_file(reader: PointReader, path: bytes, target: int, progress: Progress) -> None:
    """Write the content of the file *path* to an open, empty file.

    Raises:
        ResourceNotFoundError: when there is none, or it is no regular file.
    """
    if not _cut_entry(reader.entry(TREE, checked_path(path))).has_content:
        raise ResourceNotFoundError(f"it holds no file {os.fsdecode(path)!r}")
    for piece in reader.read_file(TREE, path):
        write_all(target, piece)
        progress(len(piece))


def _store_big(raw: int, entry: CutEntry, tree: TreeDraft) -> None:
    descriptor = open_content(raw, entry)
    try:
        sparse = os.fstat(descriptor).st_blocks * _BLOCK_BYTES < entry.size_bytes
        tree.add_file(_tree_entry(entry, sparse=sparse), descriptor)
    finally:
        os.close(descriptor)


def _tree_entry(entry: CutEntry, *, sparse: bool = False) -> TreeEntry:
    from quiesce.repository import HARD_LINK, SPARSE, TreeEntry, kind_of

    if entry.link is not None:
        return TreeEntry(path=entry.path, kind=HARD_LINK, target=entry.link)
    metadata = entry.metadata
    return TreeEntry(
        path=entry.path,
        kind=kind_of(metadata.mode),
        bits=SPARSE if sparse else 0,
        mode=stat.S_IMODE(metadata.mode),
        uid=metadata.uid,
        gid=metadata.gid,
        mtime_ns=metadata.mtime_ns,
        size_bytes=entry.size_bytes if entry.has_content else 0,
        flags=metadata.flags,
        attributes=metadata.attributes,
        target=entry.target or b"",
        device=(os.major(entry.device), os.minor(entry.device)),
    )


def _cut_entry(entry: TreeEntry) -> CutEntry:
    return CutEntry(
        path=entry.path,
        metadata=Metadata(
            mode=entry.type_and_mode,
            uid=entry.uid,
            gid=entry.gid,
            mtime_ns=entry.mtime_ns,
            attributes=entry.attributes,
            flags=entry.flags,
        ),
        link=entry.target if entry.is_hard_link else None,
        target=entry.target if stat.S_ISLNK(entry.type_and_mode) else None,
        size_bytes=entry.size_bytes,
    )
