"""Entries of directories of ours: opened, read, written and removed by an open directory and a name."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Final

from quiesce.errors import DamagedArtifactError, NonRecoverableError
from quiesce.files.descriptors import Identity, open_directory, path_of
from quiesce.files.durable import write_durably_in
from quiesce.files.removal import remove_tree
from quiesce.model.ids import Json

_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def held(above: int, name: bytes) -> Iterator[int]:
    """Hold the directory *name* open; raises `FileNotFoundError` when there is none."""
    descriptor = open_directory(above, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def exists(directory: int, name: bytes) -> bool:
    """Tell whether something has that *name*."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def shown_path(directory: int) -> str:
    """Return where an open directory is, for messages."""
    return os.fsdecode(path_of(directory))


def read_json(directory: int, name: bytes) -> Mapping[str, Json]:
    """Return the object in the file *name*; an empty one when there is no such file.

    Raises:
        DamagedArtifactError: when it is no JSON.
    """
    try:
        descriptor = os.open(name, _READING, dir_fd=directory)
    except FileNotFoundError:
        return {}
    with os.fdopen(descriptor, "rb") as file:
        try:
            body = json.loads(file.read())
        except ValueError as error:
            where = shown_path(directory)
            raise DamagedArtifactError(f"{where}/{os.fsdecode(name)} is damaged: {error}") from error
    return body if isinstance(body, dict) else {}


def write_json(directory: int, name: bytes, body: Mapping[str, object]) -> None:
    """Write *body* to the file *name*: after a power cut it is the old or the new one."""
    write_durably_in(directory, name, json.dumps(body).encode())


def remove(directory: int, name: bytes, expected: Identity | None = None) -> None:
    """Remove *name*, of ours, from an open directory; it is fine when nothing is there.

    Raises:
        TreeChangedError: when it is not the *expected* one; it was not touched.
        NonRecoverableError: when something of it stays, saying what and why.
    """
    removal = remove_tree(directory, name, expected, unlock=True)
    if not removal.complete:
        where = f"{shown_path(directory)}/{os.fsdecode(name)}"
        raise NonRecoverableError(
            f"{where} could not be removed: {removal.left}",
            hint="Mend what is named, then run it again.",
        )
