"""The disks that restores have replaced: kept as undo until the operator says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from quiesce.errors import ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.providers.gcp.parts import INSTANT
from quiesce.providers.gcp.references import Reference, parse
from quiesce.providers.gcp.resources import Disk
from quiesce.providers.gcp.task import Task

#: runtime property: what was replaced, by which restore of which restore point
REPLACED: Final = "quiesce_replaced"


def remember(task: Task, disks: Sequence[Disk]) -> None:
    """Note that *disks* are being replaced by this restore; an execution's own earlier tries count once."""
    known = _entries(task)
    fresh: list[Json] = [
        {
            "disk": disk.reference.path,
            "id": disk.id,
            "point": str(task.call.point),
            "execution": task.call.execution,
        }
        for disk in disks
        if disk.reference.path not in {str(entry.get("disk")) for entry in known}
    ]
    task.notes.write(**{REPLACED: [*map(dict, known), *fresh]})


def forget(task: Task, references: Sequence[Reference]) -> None:
    """Drop what is not there any more from the notes."""
    gone = {reference.path for reference in references}
    left: list[Json] = [dict(entry) for entry in _entries(task) if entry.get("disk") not in gone]
    task.notes.write(**{REPLACED: left or None})


def drop_replaced(task: Task) -> list[str]:
    """Remove the disks that restores of the call's restore point replaced; returns their names.

    A disk that is attached again, or that is another one of the same name, is left alone; so is, for a
    later time, one with instant snapshots, which would go with it.
    """
    entries = [entry for entry in _entries(task) if entry.get("point") == task.call.point]
    unused = [reference for entry in entries if (reference := _unused(task, entry)) is not None]
    needed = needed_by_instants(task, unused)
    dropped = [reference for reference in unused if reference not in needed]
    for operation in task.compute.side_by_side(task.compute.delete, dropped):
        task.compute.wait(operation)
    gone = {parse(str(entry["disk"])) for entry in entries} - needed
    forget(task, list(gone))
    return [reference.name for reference in dropped]


def needed_by_instants(task: Task, disks: Iterable[Reference]) -> frozenset[Reference]:
    """Return those of *disks* that have instant snapshots: these live and die with their disk."""
    wanted = set(disks)
    scopes = {disk.scope: disk for disk in wanted}
    found = {
        copy.source
        for disk in scopes.values()
        for copy in task.compute.copies(disk.sibling(INSTANT, "any")).values()
    }
    return frozenset(disk for disk in wanted if disk in found)


def _unused(task: Task, entry: Mapping[str, Json]) -> Reference | None:
    try:
        disk = task.compute.disk(parse(str(entry["disk"])))
    except ResourceNotFoundError:
        return None
    return disk.reference if disk.id == entry.get("id") and not disk.users else None


def _entries(task: Task) -> list[Mapping[str, Json]]:
    entries = task.notes.read(REPLACED)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
