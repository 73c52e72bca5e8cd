"""Waiting for copies with shared lists: until they are cut, and until they are complete."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from quiesce.errors import RecoverableError
from quiesce.providers.gcp.parts import Piece
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import BROKEN, CREATING, READY, Copy
from quiesce.providers.gcp.task import Task, places_of


def await_cut(task: Task, pieces: Sequence[Piece]) -> Mapping[Reference, Copy]:
    """Return the copies once the point in time of each is fixed; uploads may still go on.

    Raises:
        ProviderError: when one could not be made.
    """
    while True:
        seen = _look(task, pieces)
        if all(_is_good(task, piece, seen) and seen[piece.copy].status != CREATING for piece in pieces):
            return seen


def await_complete(task: Task, pieces: Sequence[Piece]) -> Mapping[Reference, Copy]:
    """Return the copies once the data of each is stored.

    Raises:
        ProviderError: when one could not be made.
    """
    for turn in itertools.count(1):
        seen = _look(task, pieces)
        if all(_is_good(task, piece, seen) and seen[piece.copy].status == READY for piece in pieces):
            return seen
        task.compute.patience.back_off(min(turn, 5))
    raise AssertionError("unreachable")


def _look(task: Task, pieces: Sequence[Piece]) -> dict[Reference, Copy]:
    return {copy: found for place in places_of(pieces) for copy, found in task.look(place).items()}


def _is_good(task: Task, piece: Piece, seen: Mapping[Reference, Copy]) -> bool:
    """Tell whether a copy is there and not broken; not there yet is not good yet."""
    copy = seen.get(piece.copy)
    if copy is not None and copy.status not in BROKEN:
        return True
    error = task.compute.failure(piece.operation) if piece.operation else None
    if error is not None:
        raise error
    if copy is not None:
        raise RecoverableError(f"{piece.copy.path} ended as {copy.status}")
    if piece.operation is None:
        task.compute.copy(piece.copy)  # raises when it is gone; else the list is late
    return False
