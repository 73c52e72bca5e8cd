"""What directories and databases have in common when they are saved, restored and checked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.ports import Context
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.properties import absolute, path_of, text_of
from quiesce.providers.host.shelf import Cut, Shelf
from quiesce.providers.host.trees import sync_tree
from quiesce.repository import BackupKey, Repository


def shelf_of(call: Call) -> Shelf:
    """Return the shelf of the call's node: beside its path, or where ``snapshot_dir`` says."""
    chosen = text_of(call, "snapshot_dir")
    directory = absolute(chosen, f"snapshot_dir of {call.instance}") if chosen else None
    return Shelf(path_of(call), directory)


def repository_of(call: Call, default: Path) -> Repository:
    """Return the repository of the call's node: the default one, or where ``repository`` says."""
    chosen = text_of(call, "repository")
    return Repository(absolute(chosen, f"repository of {call.instance}") if chosen else default)


def place_of(call: Call) -> BackupKey:
    """Return which backup the call is about."""
    if call.point is None:
        raise NonRecoverableError(f"{call.interface} needs the name of a restore point")
    return BackupKey(deployment=call.deployment, point=call.point, instance=call.instance)


def finish(shelf: Shelf, cut: Cut, facts: Mapping[str, Json]) -> Cut:
    """Record that *cut* is whole."""
    whole = replace(cut, whole=True, facts=facts)
    shelf.write(whole)
    return whole


def made_durable(shelf: Shelf, cut: Cut) -> Cut:
    """Return *cut* when a power cut can no longer harm it."""
    if cut.durable:
        return cut
    sync_tree(cut.content)
    durable = replace(cut, durable=True)
    shelf.write(durable)
    return durable


def refuse_frozen_ground(shelf: Shelf, holders: Holders) -> None:
    """Refuse to write to a file system that is frozen: it would hang until the thaw.

    Raises:
        NonRecoverableError: saying where the cuts could be kept instead.
    """
    ground = shelf.directory
    while not ground.exists():
        ground = ground.parent
    device = ground.stat().st_dev
    for held in holders.all_held():
        if held.get("kind") == "file_system" and held.get("device") == device:
            raise NonRecoverableError(
                f"{shelf.directory} is on {held.get('path')}, which is frozen now",
                hint="Set the node's snapshot_dir to a directory on another file system.",
            )


def delete(call: Call, default: Path) -> str:
    """Remove the call's cut and backup, finished or half-made, and nobody else's; return a note."""
    notes = [shelf_of(call).remove(call)]
    repository = repository_of(call, default)
    try:
        repository.delete(place_of(call), made_by=call.execution if call.undo else None)
    except ForeignObjectError as error:
        notes.append(f"{error}; it was left alone")
    return "; ".join(note for note in notes if note)


def verify(call: Call, default: Path) -> Proof:
    """Check a backup against its checksums, or that a snapshot is there and whole."""
    try:
        detail = _damages(call, default) if call.full else _absence(call)
    except (ResourceNotFoundError, DamagedArtifactError) as error:
        detail = str(error)
    kind = "checksums" if call.full else "presence"
    return Proof(at=time.time(), kind=kind, passed=not detail, detail=detail)


def _damages(call: Call, default: Path) -> str:
    repository = repository_of(call, default)
    damages = repository.verify(repository.manifest(place_of(call)))
    return "; ".join(f"{damage.path}: {damage.reason}" for damage in damages)


def _absence(call: Call) -> str:
    cut = shelf_of(call).find(call)
    return "" if cut.durable and os.path.lexists(cut.content) else f"{cut.content} is not whole"


def teller(context: Context, total_bytes: int | None = None) -> Callable[[int], None]:
    """Return what is told of bytes moved: it reports progress, and stops the work when nobody waits."""
    moved = 0

    def told(size_bytes: int) -> None:
        nonlocal moved
        moved += size_bytes
        context.progress(moved, total_bytes)
        if context.given_up():
            raise RecoverableError("given up: nobody waits for it any more")
        if context.remaining_s() <= 0:
            raise OperationTimeoutError(f"not done in time ({moved} bytes so far)")

    return told
