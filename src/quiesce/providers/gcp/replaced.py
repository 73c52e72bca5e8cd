"""The disks that restores have replaced: kept as undo until the operator says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from quiesce.errors import ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.ownership import made_by
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import RESTORED, ROLE, owner_of
from quiesce.providers.gcp.references import INSTANTS, Reference
from quiesce.providers.gcp.resources import GcpDisk

#: runtime property: what was replaced, by which restore of which restore point
_REPLACED: Final = "quiesce_replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedDisk:
    """A disk in whose place a restore has put another."""

    disk: Reference
    id: str
    point: str
    execution: str


def remember(job: GcpJob, disks: Sequence[GcpDisk]) -> None:
    """Note that *disks* are being replaced by this restore; an execution's own earlier tries count once."""
    known = _noted(job)
    fresh = [
        ReplacedDisk(disk=disk.reference, id=disk.id, point=job.point, execution=job.call.execution)
        for disk in disks
        if disk.reference not in {entry.disk for entry in known}
    ]
    _note(job, [*known, *fresh])


def tidy(job: GcpJob, old: Sequence[GcpDisk], leftovers: Sequence[Reference]) -> list[str]:
    """Remove what restores made and nobody needs, and the replaced disks when none is to be kept.

    Returns the names of those that are kept.
    """
    theirs = [disk for disk in old if not is_ours(job, disk, leftovers)]
    needed = frozenset() if job.options.keep_replaced else _with_instants(job, (d.reference for d in theirs))
    kept = [disk for disk in theirs if job.options.keep_replaced or disk.reference in needed]
    unused = [disk for disk in existing_disks(job, leftovers) if not disk.users]
    gone = {disk.reference for disk in old if disk not in kept}
    gone |= {disk.reference for disk in unused if is_ours(job, disk, leftovers)}
    job.compute.remove(gone)
    _forget(job, gone)
    return [disk.reference.name for disk in kept]


def is_ours(job: GcpJob, disk: GcpDisk, leftovers: Sequence[Reference]) -> bool:
    """Tell whether a replaced disk is nobody's data: a try of this restore, or of one that was given up."""
    left_over = disk.reference in leftovers and disk.labels.get(ROLE) == RESTORED
    return left_over or made_by(job.call, owner_of(disk.labels))


def drop_replaced(job: GcpJob) -> list[str]:
    """Remove the disks that restores of the call's restore point replaced; returns their names.

    A disk that is attached again, or that is another one of the same name, is left alone; so is, for a
    later time, one with instant snapshots, which would go with it.
    """
    entries = [entry for entry in _noted(job) if entry.point == job.point]
    ids = {entry.disk: entry.id for entry in entries}
    found = existing_disks(job, ids)
    unused = [disk.reference for disk in found if disk.id == ids[disk.reference] and not disk.users]
    needed = _with_instants(job, unused)
    dropped = [reference for reference in unused if reference not in needed]
    job.compute.remove(dropped)
    _forget(job, ids.keys() - needed)
    return [reference.name for reference in dropped]


def existing_disks(job: GcpJob, references: Iterable[Reference | None]) -> list[GcpDisk]:
    """Return the disks among *references* that exist."""
    found = []
    for reference in dict.fromkeys(references):
        if reference is not None:
            with suppress(ResourceNotFoundError):
                found.append(job.compute.disk(reference))
    return found


def _with_instants(job: GcpJob, disks: Iterable[Reference]) -> frozenset[Reference]:
    """Return those of *disks* that have instant snapshots: these live and die with their disk."""
    wanted = frozenset(disks)
    locations = {disk.beside(INSTANTS) for disk in wanted}
    return wanted & {copy.source for location in locations for copy in job.compute.copies(location).values()}


def _noted(job: GcpJob) -> list[ReplacedDisk]:
    entries = job.state.read(_REPLACED)
    if not isinstance(entries, list):
        return []
    return [read_artifact(ReplacedDisk, entry) for entry in entries if isinstance(entry, dict)]


def _note(job: GcpJob, entries: Sequence[ReplacedDisk]) -> None:
    plain: list[Json] = [as_artifact(entry) for entry in entries]
    job.state.write(**{_REPLACED: plain or None})


def _forget(job: GcpJob, gone: Iterable[Reference]) -> None:
    """Drop what is not there any more from the notes."""
    _note(job, [entry for entry in _noted(job) if entry.disk not in set(gone)])
