"""Waiting for copies with shared lists: until they are cut, and until they are complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from quiesce.errors import RecoverableError
from quiesce.providers.gcp.copy.artifact import MadeCopy, locations_of
from quiesce.providers.gcp.job import Copies, GcpJob
from quiesce.providers.gcp.resources import BROKEN, CREATING, READY


def await_cut(job: GcpJob, copies: Sequence[MadeCopy]) -> Copies:
    """Return the copies once the point in time of each is fixed; uploads may still go on.

    Raises:
        ProviderError: when one could not be made.
    """
    return _await(job, copies, lambda status: status != CREATING, urgent=True)


def await_complete(job: GcpJob, copies: Sequence[MadeCopy]) -> Copies:
    """Return the copies once the data of each is stored.

    Raises:
        ProviderError: when one could not be made.
    """
    return _await(job, copies, lambda status: status == READY, urgent=False)


def _await(job: GcpJob, copies: Sequence[MadeCopy], fits: Callable[[str], bool], *, urgent: bool) -> Copies:
    seen: Copies = {}
    for location in locations_of(copies):
        here = [copy for copy in copies if copy.reference.location == location]
        seen |= job.copies_until(location, partial(_judged, job, here, fits), urgent=urgent)
    return seen


def _judged(
    job: GcpJob, copies: Sequence[MadeCopy], fits: Callable[[str], bool], seen: Copies
) -> Copies | None:
    """Return *seen* when every one of *copies* is in it as it should be."""
    good = [copy for copy in copies if _is_good(job, copy, seen) and fits(seen[copy.reference].status)]
    return seen if len(good) == len(copies) else None


def _is_good(job: GcpJob, copy: MadeCopy, seen: Copies) -> bool:
    """Tell whether a copy is there and not broken; not there yet is not good yet."""
    found = seen.get(copy.reference)
    if found is not None and found.status not in BROKEN:
        return True
    error = job.compute.failure(copy.operation) if copy.operation else None
    if error is not None:
        raise error
    if found is not None:
        raise RecoverableError(f"{copy.reference.path} ended as {found.status}")
    if copy.operation is None:
        job.compute.copy(copy.reference)  # raises when it is gone; else the list is late
    return False
