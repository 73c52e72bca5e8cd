"""Proof that a restore point's copies are there, without reading their data."""

from __future__ import annotations

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.saving import proof
from quiesce.providers.gcp.copy.artifact import MadeCopy, copy_set, locations_of
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.resources import READY, GcpCopy


def verify(job: GcpJob) -> Proof:
    """Check presence, identity and status of every copy; the service keeps the checksums to itself."""
    copies = copy_set(job).copies
    if not copies:
        return proof("presence", detail="nothing of its own was copied: other nodes stand for all its disks")
    try:
        seen = job.copies(locations_of(copies))
    except ResourceNotFoundError as error:
        # the project or its list is not there for us: that says nothing about what is in it
        raise NonRecoverableError(str(error), hint=error.hint) from error
    problems = (_problem(copy, seen.get(copy.reference)) for copy in copies)
    return proof(
        "presence",
        damage="; ".join(filter(None, problems)),
        detail=f"{len(copies)} copies are there and complete; their data was not read",
    )


def _problem(copy: MadeCopy, found: GcpCopy | None) -> str:
    if found is None:
        return f"{copy.reference.path} is not there"
    if copy.id and found.id != copy.id:
        return f"{copy.reference.path} is another object of the same name"
    return "" if found.status == READY else f"{copy.reference.path} is {found.status}"
