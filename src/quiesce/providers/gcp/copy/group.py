"""One instant for the disks of a machine that nothing freezes: an instant snapshot group.

A group holds every disk of a consistency group, so it is used where that has the machine's disks and no
other. Neither a group nor what it makes can be given labels beforehand: a group says in its description whose
it is, and its snapshots are labelled when they are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quiesce.errors import ForeignObjectError, RecoverableError, ResourceNotFoundError
from quiesce.provider_kit.ownership import Owner
from quiesce.providers.gcp.copy.artifact import CopiedDisk, MadeCopy
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import copy_name, description, labels, owner_of
from quiesce.providers.gcp.references import DISKS, GROUPS, INSTANTS, Reference
from quiesce.providers.gcp.resources import GcpCopy


def group_of(job: GcpJob, disks: Iterable[Reference]) -> str:
    """Return the path of the consistency group that has exactly *disks*; empty when there is none."""
    here, ours = job.target.beside(DISKS), set(disks)
    if {disk.location for disk in ours} != {here}:
        return ""
    found = job.disks(here)
    shared = set.intersection(*(set(found[disk].policies) if disk in found else set() for disk in ours))
    for policy in sorted(shared):
        members = {reference for reference, disk in found.items() if policy in disk.policies}
        if members == ours and job.compute.is_consistency_group(policy):
            return policy
    return ""


def begin_group(job: GcpJob, disks: Sequence[CopiedDisk], policy: str) -> tuple[MadeCopy, ...]:
    """Make instant snapshots of all *disks* at one instant, or take up those that an earlier try made."""
    group = _group(job)
    try:
        body = {"source_consistency_group": policy, "description": description(job.call)}
        # at a limit its disks are cut otherwise: nobody waits frozen for it to pass
        job.compute.wait(job.compute.insert(group, body, tries_at_limit=1))
    except AlreadyThereError as error:
        if job.compute.description_of(group) != description(job.call):
            raise ForeignObjectError(f"{group.path} exists already and is not ours") from error
    by_disk = {disk.disk: disk for disk in disks}
    made = [copy for copy in _members(job, group) if copy.source in by_disk]
    if len(made) != len(disks):
        raise RecoverableError(f"{group.path} has {len(made)} of {len(disks)} instant snapshots")
    pairs = [(copy, by_disk[copy.source]) for copy in made if copy.source is not None]
    job.compute.side_by_side(lambda pair: _label(job, *pair), pairs)
    return tuple(MadeCopy(reference=copy.reference, id=copy.id, disks=(disk,)) for copy, disk in pairs)


def remove_group(job: GcpJob) -> None:
    """Remove the group of the call's restore point, with what it made and nobody has labelled yet."""
    group = _group(job)
    try:
        described = job.compute.description_of(group)
    except ResourceNotFoundError:
        return
    if not described.startswith(_beginning(job)):
        return
    job.compute.remove(copy.reference for copy in _members(job, group))
    job.compute.remove([group])


def _beginning(job: GcpJob) -> str:
    """Return how the description of a group begins that this call may remove."""
    before, made_by, _ = description(job.call).partition(", made by ")
    return f"{before}{made_by}" + (f"{job.call.execution}," if job.call.undo else "")


def _group(job: GcpJob) -> Reference:
    return job.target.beside(GROUPS).named(copy_name(job.call, "group"))


def _members(job: GcpJob, group: Reference) -> list[GcpCopy]:
    copies = job.compute.copies(group.beside(INSTANTS)).values()
    return [copy for copy in copies if copy.group == group.path]


def _label(job: GcpJob, copy: GcpCopy, disk: CopiedDisk) -> None:
    if owner_of(copy.labels) == Owner.of(job.call).key:
        return
    theirs = {**copy.labels, **labels(job.call, "snapshot", disk.device)}
    job.compute.wait(job.compute.set_labels(copy.reference, theirs, copy.fingerprint))
