"""An item of a point, or a part of its tree, written where nothing is: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from quiesce.errors import ForeignObjectError
from quiesce.files.durable import storage_errors
from quiesce.files.exchange import Named, move
from quiesce.files.metadata import Allowed
from quiesce.files.problems import TreeProblems
from quiesce.files.removal import remove_tree
from quiesce.files.trust import Declared, open_declared
from quiesce.files.writing import make_directory
from quiesce.repository import PointReader

_BUILDING: Final = b".quiesce-extract-"
_CONTENT: Final = b"content"
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def extract_item(
    reader: PointReader, item: str, place: Path, *, below: bytes = b"", allowed: Allowed | None = None
) -> TreeProblems:
    """Let *place* be an item of a point: a directory of a tree, a file of a disk or a stream.

    Of a tree, *below* is what is wanted: it is in the directory then, by its own name. What is not *allowed*
    is left out; that, and what could not be kept, is returned.

    Raises:
        ForeignObjectError: something is there already; it was not touched.
        ResourceNotFoundError: there is nothing *below*.
        DamagedArtifactError: it is not what was stored.
    """
    with storage_errors(f"write {place}"), open_declared(place) as target:
        _require_free(target)
        building = _BUILDING + os.urandom(8).hex().encode()
        directory = make_directory(target.parent, building)
        try:
            problems = _write(reader, item, directory, below, allowed)
            move(Named.now(directory, _CONTENT), target.parent, target.name)
        finally:
            os.close(directory)
            remove_tree(target.parent, building, unlock=True)
    return problems


def _require_free(target: Declared) -> None:
    place = os.fsdecode(target.path)
    if os.path.lexists(place):
        raise ForeignObjectError(f"{place} is there already", hint="Name a place where nothing is yet.")


def _write(
    reader: PointReader, item: str, directory: int, below: bytes, allowed: Allowed | None
) -> TreeProblems:
    if reader.point.items[item].kind != "tree":
        _write_file(reader, item, directory)
        return TreeProblems()
    content = make_directory(directory, _CONTENT)
    try:
        return reader.restore_tree(item, content, allowed=allowed, below=below)
    finally:
        os.close(content)


def _write_file(reader: PointReader, item: str, directory: int) -> None:
    descriptor = os.open(_CONTENT, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        os.ftruncate(descriptor, reader.point.items[item].size_bytes)
        reader.restore_disk(item, descriptor, is_zero=True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
