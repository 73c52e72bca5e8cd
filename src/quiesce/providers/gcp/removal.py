"""DELETE removes what quiesce made of one restore point, finished or half-made, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from quiesce.errors import RecoverableError, ResourceNotFoundError
from quiesce.model.outcome import Outcome
from quiesce.providers.gcp.parts import Piece, set_of
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.replaced import drop_replaced
from quiesce.providers.gcp.task import Task, places_of


def remove(task: Task) -> Outcome:
    """Remove every copy of the call's restore point, and the replaced disks when that was asked for."""
    pieces = set_of(task.call.artifact).pieces if task.call.artifact else ()
    found = _marked(task, pieces) | _renamed(task, pieces)
    remove_all(task, sorted(found, key=lambda reference: reference.path))
    dropped = drop_replaced(task) if task.options.drop_replaced else []
    return Outcome(note=f"removed the replaced disks {', '.join(dropped)}" if dropped else "")


def remove_all(task: Task, references: Sequence[Reference]) -> None:
    """Remove resources side by side and return when they are gone; those that are not there are fine."""
    begun = task.compute.side_by_side(lambda reference: _begin(task, reference), references)
    for operation in begun:
        if operation is not None:
            task.compute.wait(operation)


def _marked(task: Task, pieces: Sequence[Piece]) -> set[Reference]:
    """Return what carries our mark: all of the point, or just what the artifact names."""
    ids = {piece.copy: piece.id for piece in pieces}
    places = places_of(pieces) or task.places()
    mine = task.mark.made if task.call.undo else task.mark.owns
    return {
        reference
        for place in places
        for reference, copy in task.look(place).items()
        if mine(copy.labels) and ids.get(reference, "") in ("", copy.id)
    }


def _renamed(task: Task, pieces: Sequence[Piece]) -> set[Reference]:
    """Return what the artifact names and nobody's labels mark: its id proves that quiesce made it."""
    if task.call.undo:
        return set()
    marked = {reference for place in places_of(pieces) for reference in task.look(place)}
    return {
        piece.copy
        for piece in pieces
        if piece.copy not in marked and piece.id and piece.id == _id_of(task, piece.copy)
    }


def _id_of(task: Task, reference: Reference) -> str:
    try:
        return task.compute.copy(reference).id
    except ResourceNotFoundError:
        return ""


def _begin(task: Task, reference: Reference) -> Reference | None:
    """Begin to remove; what is still being made cannot be removed yet, so ask until it can."""
    for attempt in itertools.count(1):
        try:
            return task.compute.delete(reference)
        except ResourceNotFoundError:
            return None
        except RecoverableError:
            task.compute.patience.back_off(attempt)
    raise AssertionError("unreachable")
