"""Proof that a restore point's copies are there, without reading their data."""

from __future__ import annotations

import time

from quiesce.model.restore_point import Proof
from quiesce.providers.gcp.parts import Piece, set_of
from quiesce.providers.gcp.resources import READY, Copy
from quiesce.providers.gcp.task import Task, places_of


def verify(task: Task) -> Proof:
    """Check presence, identity and status of every copy; the service keeps the checksums to itself."""
    pieces = set_of(task.call.artifact or {}).pieces
    seen = {copy: found for place in places_of(pieces) for copy, found in task.look(place).items()}
    problems = [problem for piece in pieces if (problem := _problem(piece, seen.get(piece.copy)))]
    detail = "; ".join(problems) or f"{len(pieces)} copies are there and complete; their data was not read"
    return Proof(at=time.time(), kind="presence", passed=bool(pieces) and not problems, detail=detail)


def _problem(piece: Piece, found: Copy | None) -> str:
    if found is None:
        return f"{piece.copy.path} is not there"
    if piece.id and found.id != piece.id:
        return f"{piece.copy.path} is another object of the same name"
    return "" if found.status == READY else f"{piece.copy.path} is {found.status}"
