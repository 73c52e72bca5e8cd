"""SNAPSHOT fixes the point in time; COPY waits for the data, after the thaw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.ownership import claim
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.artifact import CopiedDisk, CopySet, MadeCopy, copy_set
from quiesce.providers.gcp.copy.group import begin_group, group_of
from quiesce.providers.gcp.copy.waiting import await_complete, await_cut
from quiesce.providers.gcp.errors import AlreadyThereError, QuotaError, RefusedError
from quiesce.providers.gcp.job import Copies, GcpJob
from quiesce.providers.gcp.options import CopyAs
from quiesce.providers.gcp.ownership import copy_name, description, labels, of_others, owner_of
from quiesce.providers.gcp.references import IMAGES, INSTANTS, SNAPSHOTS, Location, Reference, last_part
from quiesce.providers.gcp.resources import BROKEN, RUNNING, GcpDisk, GcpMachine
from quiesce.providers.gcp.target import disks_with_own_nodes

_DIFFERENT_MOMENTS = (
    "its disks were snapshotted one by one and nothing of the blueprint freezes this node, so they may "
    "contradict each other; bind a freeze hook, or use copy_as: machine_image"
)


def cut_machine(job: GcpJob) -> Outcome:
    """Fix the point in time of every disk of a machine that no other node stands for."""
    machine = job.compute.machine(job.target)
    covered = disks_with_own_nodes(job.call, job.account)
    disks = [disk for disk in _disks_of(machine) if disk.disk not in covered]
    under_key = {attached.disk for attached in machine.persistent if attached.customer_key}
    _refuse_customer_keys([disk.disk for disk in disks if disk.disk in under_key])
    notes = [f"{len(covered)} of its disks have nodes of their own"] if covered else []
    if machine.local_ssds:
        notes.append(f"{machine.local_ssds} Local SSD cannot be snapshotted and is left out")
    if job.options.guest_flush and machine.status != RUNNING:
        notes.append(f"no guest flush: the machine is {machine.status}")
        job = _without_flush(job)
    still = job.frozen_by_hook or power.is_at_rest(machine)
    grouped = None if still else _begin_grouped(job, disks)
    made, more = grouped or _begin_all(job, disks, as_image=_wants_image(job, disks, still=still))
    contradicting = len(made) > 1 and not still and not grouped
    made_set = CopySet(
        copies=made,
        machine=machine.reference,
        machine_type=machine.machine_type,
        machine_settings=machine.settings,
        metadata=machine.metadata,
        addresses=machine.addresses,
        grouped=grouped is not None,
    )
    return _outcome(
        job,
        made_set,
        notes=[*notes, *more, *([_DIFFERENT_MOMENTS] if contradicting else [])],
        consistency=Consistency.NONE if contradicting else None,
    )


def cut_disk(job: GcpJob) -> Outcome:
    """Fix the point in time of one disk."""
    disk = job.compute.disk(job.target)
    _refuse_customer_keys([disk.reference] if disk.customer_key else [])
    if job.options.guest_flush and not _can_flush(job, disk):
        job = _without_flush(job)
    made, notes = _begin_all(job, [_with_details(_copied(disk.reference), disk)], as_image=False)
    return _outcome(job, CopySet(copies=made), notes=notes, consistency=None)


def finish_copy(job: GcpJob) -> Outcome:
    """Wait until the data of a cut is stored, and note what a restore needs to know."""
    made = _described(job, copy_set(job))
    try:
        stored = _stored(job, made.copies)
    except RecoverableError:
        _refuse_failed(job, made.copies)
        raise
    size_bytes = sum(disk.size_gb for _, disk in made.disks) << 30
    job.context.progress(size_bytes, size_bytes)
    copies = tuple(
        replace(copy, id=stored[copy.reference].id, stored_bytes=stored[copy.reference].stored_bytes)
        for copy in made.copies
    )
    return Outcome(artifact=replace(made, copies=copies).as_artifact())


# -- what a cut consists of -----------------------------------------------------------------------------


def _refuse_customer_keys(disks: Sequence[Reference]) -> None:
    if disks:
        raise UnsupportedError(
            f"only their customer has the key of {', '.join(disk.name for disk in disks)}, and without it "
            "Compute Engine makes no copy",
            hint="Move them to a key of Google's key service, or protect what they hold from the guest.",
        )


def _without_flush(job: GcpJob) -> GcpJob:
    return replace(job, options=replace(job.options, guest_flush=False))


def _can_flush(job: GcpJob, disk: GcpDisk) -> bool:
    return any(job.compute.machine(user).status == RUNNING for user in disk.users)


def _copied(disk: Reference) -> CopiedDisk:
    return CopiedDisk(disk=disk, disk_id="", size_gb=0, type="")


def _disks_of(machine: GcpMachine) -> list[CopiedDisk]:
    return [
        replace(
            _copied(attachment.disk),
            size_gb=attachment.size_gb,
            device=attachment.device,
            boot=attachment.boot,
            auto_delete=attachment.auto_delete,
            mode=attachment.mode,
            interface=attachment.interface,
        )
        for attachment in machine.persistent
        if attachment.disk is not None
    ]


def _wants_image(job: GcpJob, disks: Sequence[CopiedDisk], *, still: bool) -> bool:
    """Tell whether only a machine image makes one cut of several disks, which *still* ones do not need."""
    if job.options.copy_as is CopyAs.AUTO:
        return len(disks) > 1 and not still
    return job.options.copy_as is CopyAs.MACHINE_IMAGE


def _outcome(job: GcpJob, made: CopySet, *, notes: Sequence[str], consistency: Consistency | None) -> Outcome:
    made, seen = _cut(job, made)
    copies = tuple(replace(copy, id=seen[copy.reference].id) for copy in made.copies)
    if job.options.guest_flush:
        notes = [*notes, "a guest flush was asked for; Compute Engine does not tell whether the guest did it"]
    return Outcome(
        artifact=replace(made, copies=copies).as_artifact(), consistency=consistency, note="; ".join(notes)
    )


def _cut(job: GcpJob, made: CopySet) -> tuple[CopySet, Copies]:
    """Return the copies once they are cut; standard snapshots take the place of instant ones that failed."""
    try:
        return made, await_cut(job, made.copies)
    except ProviderError:
        copies = tuple(_instead(job, copy) for copy in made.copies)
        if copies == made.copies:
            raise
    made = replace(made, copies=copies)
    return made, await_cut(job, made.copies)


def _instead(job: GcpJob, copy: MadeCopy) -> MadeCopy:
    if copy.reference.collection != INSTANTS or copy.operation is None:
        return copy
    error = job.compute.failure(copy.operation)
    if error is None:
        return copy
    with suppress(ProviderError):  # what failed is seldom there, and nobody waits frozen for its removal
        job.compute.delete(copy.reference)
    return _standard_instead(job, copy.disks[0], error)


# -- beginning ------------------------------------------------------------------------------------------


def _begin_grouped(job: GcpJob, disks: Sequence[CopiedDisk]) -> tuple[tuple[MadeCopy, ...], list[str]] | None:
    """Begin instant snapshots of one instant, where a consistency group has these disks and no others."""
    options = job.options
    if job.call.full or options.guest_flush or options.copy_as is not CopyAs.AUTO or len(disks) < 2:
        return None
    group = _known_group_of(job, disks)
    if not group:
        return None
    try:
        made = begin_group(job, disks, group)
    except (UnsupportedError, RefusedError, QuotaError) as error:
        job.warn(f"no instant snapshot group of {last_part(group)}: {error}")
        return None
    return made, [f"its disks were cut at one instant, as the consistency group {last_part(group)}"]


def _known_group_of(job: GcpJob, disks: Sequence[CopiedDisk]) -> str:
    try:
        return group_of(job, [disk.disk for disk in disks])
    except NonRecoverableError as error:
        job.warn(f"it is not known whether its disks are a consistency group: {error}")
        return ""


def _begin_all(
    job: GcpJob, disks: Sequence[CopiedDisk], *, as_image: bool
) -> tuple[tuple[MadeCopy, ...], list[str]]:
    if not disks:
        return (), ["nothing of its own to copy"]
    if as_image:
        return (_begin_image(job, tuple(disks)),), []
    if job.call.full or job.options.guest_flush:
        return tuple(job.compute.side_by_side(lambda disk: _begin_snapshot(job, disk), disks)), []
    copies = tuple(job.compute.side_by_side(lambda disk: _begin_instant(job, disk), disks))
    stored = sum(copy.reference.collection == SNAPSHOTS for copy in copies)
    return copies, [f"{stored} of its disks offer no instant snapshot"] if stored else []


def _begin_instant(job: GcpJob, disk: CopiedDisk) -> MadeCopy:
    copy = _reference(job, disk.disk.beside(INSTANTS), disk)
    body = _body(job, disk) | {"source_disk": disk.disk.path}
    begin = lambda: job.compute.insert(copy, body, tries_at_limit=1)  # noqa: E731  nobody waits frozen
    try:
        return _begun(job, copy, (disk,), begin)
    except (UnsupportedError, RefusedError, QuotaError) as error:
        return _standard_instead(job, disk, error)


def _standard_instead(job: GcpJob, disk: CopiedDisk, error: ProviderError) -> MadeCopy:
    job.warn(f"{disk.disk.name}: a standard snapshot instead of an instant one: {error}")
    return _begin_snapshot(job, disk)


def _begin_snapshot(job: GcpJob, disk: CopiedDisk) -> MadeCopy:
    copy = _reference(job, disk.disk.beside(SNAPSHOTS, "global"), disk)
    body = {"name": copy.name} | _body(job, disk) | _stored_body(job)
    # of a zonal disk it is a parameter of the request, of a regional one a part of its body
    flush = {"guest_flush": True} if body.get("guest_flush") and disk.disk.kind == "zones" else {}
    begin = lambda: job.compute.act(disk.disk, "create_snapshot", snapshot_resource=body, **flush)  # noqa: E731
    return _begun(job, copy, (disk,), begin)


def _begin_image(job: GcpJob, disks: tuple[CopiedDisk, ...]) -> MadeCopy:
    copy = _reference(job, job.target.beside(IMAGES, "global"), None)
    body = _body(job, None) | _stored_body(job) | {"source_instance": job.target.path}
    return _begun(job, copy, disks, lambda: job.compute.insert(copy, body))


def _begun(
    job: GcpJob, reference: Reference, disks: tuple[CopiedDisk, ...], begin: Callable[[], Reference]
) -> MadeCopy:
    """Begin a copy, or take up the one that an earlier attempt began."""
    try:
        return MadeCopy(reference=reference, id="", disks=disks, operation=begin())
    except AlreadyThereError:
        found = job.compute.copy(reference)
    claim(job.call, owner_of(found.labels), reference.path)
    if found.status in BROKEN:
        job.compute.wait(job.compute.delete(reference))
        return MadeCopy(reference=reference, id="", disks=disks, operation=begin())
    return MadeCopy(reference=reference, id=found.id, disks=disks)


def _reference(job: GcpJob, location: Location, disk: CopiedDisk | None) -> Reference:
    device = (disk.device or disk.disk.name) if disk else "machine"
    return location.named(copy_name(job.call, device))


def _body(job: GcpJob, disk: CopiedDisk | None) -> dict[str, object]:
    role = "backup" if job.call.full else "snapshot"
    return {
        "labels": labels(job.call, role, disk.device if disk else ""),
        "description": description(job.call),
    }


def _stored_body(job: GcpJob) -> dict[str, object]:
    """Return what only copies that are stored apart from the disk can have."""
    chosen = {
        "storage_locations": list(job.options.storage_locations),
        "guest_flush": job.options.guest_flush,
    }
    return {name: value for name, value in chosen.items() if value}


# -- after the thaw ------------------------------------------------------------------------------------


def _stored(job: GcpJob, copies: Sequence[MadeCopy]) -> Copies:
    last = next((copy.operation for copy in reversed(copies) if copy.operation), None)
    if last is not None:
        job.compute.wait(last)
    return await_complete(job, copies)


def _refuse_failed(job: GcpJob, copies: Sequence[MadeCopy]) -> None:
    """Raise when the service gave up a copy: its moment is over, so asking again is of no use."""
    for copy in copies:
        error = job.compute.failure(copy.operation) if copy.operation else None
        if error is not None:
            raise NonRecoverableError(
                f"{copy.reference.path} failed after the thaw, and the moment of the cut is gone: {error}",
                hint="Run the backup again.",
            )


def _described(job: GcpJob, made: CopySet) -> CopySet:
    """Fill in what is known of the disks themselves: type, size and replicas."""
    unknown = {disk.disk.location for _, disk in made.disks if not disk.type}
    found = {reference: disk for location in unknown for reference, disk in job.disks(location).items()}
    copies = tuple(
        replace(copy, disks=tuple(_with_details(disk, found.get(disk.disk)) for disk in copy.disks))
        for copy in made.copies
    )
    return replace(made, copies=copies)


def _with_details(copied: CopiedDisk, disk: GcpDisk | None) -> CopiedDisk:
    if disk is None:
        return copied
    return replace(
        copied,
        disk_id=disk.id,
        size_gb=disk.size_gb,
        type=disk.type,
        replica_zones=disk.replica_zones,
        iops=disk.iops,
        throughput=disk.throughput,
        labels=of_others(disk.labels),
        policies=disk.policies,
        kms_key=disk.kms_key,
        storage_pool=disk.storage_pool,
    )
