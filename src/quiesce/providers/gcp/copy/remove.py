"""DELETE removes what quiesce made of one restore point, finished or half-made, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.ownership import is_removable
from quiesce.providers.gcp.copy.artifact import MadeCopy, copy_set, locations_of
from quiesce.providers.gcp.copy.group import remove_group
from quiesce.providers.gcp.job import Copies, GcpJob
from quiesce.providers.gcp.ownership import owner_of
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.replaced import drop_replaced


def remove(job: GcpJob) -> Outcome:
    """Remove every copy of the call's restore point, and the replaced disks when that was asked for."""
    made = copy_set(job) if job.call.artifact else None
    copies = made.copies if made is not None else ()
    seen = job.copies(locations_of(copies) or job.copy_locations)
    job.compute.remove(_marked(job, copies, seen) | _unmarked(job, copies, seen))
    if job.target.is_machine and not job.call.full and (made is None or made.grouped):
        _remove_group(job, named=made is not None)
    dropped = drop_replaced(job) if job.options.drop_replaced else []
    return Outcome(note=f"removed the replaced disks {', '.join(dropped)}" if dropped else "")


def _remove_group(job: GcpJob, *, named: bool) -> None:
    try:
        remove_group(job)
    except NonRecoverableError:
        if named:
            raise
        # nobody knows what was made, but who may not even look at groups has made none


def _marked(job: GcpJob, copies: Sequence[MadeCopy], seen: Copies) -> set[Reference]:
    """Return what carries our labels: all of the point, or just what the artifact names."""
    ids = {copy.reference: copy.id for copy in copies}
    return {
        reference
        for reference, found in seen.items()
        if is_removable(job.call, owner_of(found.labels)) and ids.get(reference, "") in ("", found.id)
    }


def _unmarked(job: GcpJob, copies: Sequence[MadeCopy], seen: Copies) -> set[Reference]:
    """Return what the artifact names and nobody's labels mark: its id proves that quiesce made it."""
    if job.call.undo:
        return set()
    return {
        copy.reference
        for copy in copies
        if copy.reference not in seen and copy.id and copy.id == _id_of(job, copy.reference)
    }


def _id_of(job: GcpJob, reference: Reference) -> str:
    try:
        return job.compute.copy(reference).id
    except ResourceNotFoundError:
        return ""
