"""APPLY: check the copies, decide how to restore, write that down, and do it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from quiesce.errors import NonRecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.ownership import made_by
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.artifact import CopiedDisk, CopySet, copy_set, locations_of
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import owner_of, restored_name
from quiesce.providers.gcp.references import DISKS, Reference
from quiesce.providers.gcp.resources import READY, RUNNING, AttachedDisk, GcpMachine
from quiesce.providers.gcp.restore.in_place import restore_in_place
from quiesce.providers.gcp.restore.intent import DiskExchange, RestoreIntent, begin, given_up, unfinished
from quiesce.providers.gcp.restore.new import machine_beside, not_kept, restore_beside, restore_new


def restore_disk(job: GcpJob) -> Outcome:
    """Put a disk back to the call's restore point.

    Raises:
        ResourceNotFoundError: when a copy is gone or another object has its name; nothing was touched.
    """
    made = _checked(job)
    intent = _own_intent(job)
    if intent is None and job.options.restore_beside:
        return restore_beside(job, made)
    return restore_in_place(job, made, intent or _plan_disk(job, made))


def restore_machine(job: GcpJob) -> Outcome:
    """Put a machine back to the call's restore point; as `restore_disk`."""
    made = _checked(job)
    intent = _own_intent(job)
    if intent is not None:
        return restore_in_place(job, made, intent)
    if job.options.restore_beside and made.copies:
        return restore_beside(job, made)
    machine = _machine(job)
    if machine is None or made_by(job.call, owner_of(machine.labels)):
        return restore_new(job, made, job.target)
    return restore_in_place(job, made, _plan_machine(job, made, machine))


def foreseen(job: GcpJob) -> tuple[str, ...]:
    """Return what a restore of the call's point will not keep; nothing, when the machine stays what it is."""
    if job.call.artifact is None or not job.target.is_machine:
        return ()
    machine = None if job.options.restore_beside else _machine(job)
    return not_kept(job, copy_set(job)) if machine is None else ()


def restored_machine(job: GcpJob) -> Reference:
    """Return which machine a restore of the call's point has made, or put disks into."""
    if job.options.restore_beside and job.call.point is not None:
        return machine_beside(job)
    return job.target


def _checked(job: GcpJob) -> CopySet:
    """Return what is restored, once every copy is there, complete and the one that was made."""
    made = copy_set(job)
    seen = job.copies(locations_of(made.copies))
    for copy in made.copies:
        path = copy.reference.path
        found = seen.get(copy.reference) or job.compute.copy(copy.reference)
        if copy.id and found.id != copy.id:
            raise ResourceNotFoundError(f"{path} is not the one that was made for {job.point}")
        if found.status != READY:
            raise NonRecoverableError(f"{path} is {found.status}, not {READY}; nothing was restored")
    return made


def _own_intent(job: GcpJob) -> RestoreIntent | None:
    """Return what an earlier attempt of this execution wrote down."""
    intent = unfinished(job)
    return intent if intent is not None and intent.execution == job.call.execution else None


def _machine(job: GcpJob) -> GcpMachine | None:
    try:
        return power.settled(job.compute, job.target)
    except ResourceNotFoundError:
        return None


# -- planning: read, decide, write down ------------------------------------------------------------------


def _plan_machine(job: GcpJob, made: CopySet, machine: GcpMachine) -> RestoreIntent:
    _refuse_unfit(job, machine)
    attached = {attachment.device: attachment for attachment in machine.attachments}
    exchanges = [
        DiskExchange(
            source=disk.disk,
            new=_free_name(job, disk),
            old=attached[disk.device].disk if disk.device in attached else None,
            machine=machine.reference,
            device=disk.device,
            boot=disk.boot,
            auto_delete=attached[disk.device].auto_delete if disk.device in attached else disk.auto_delete,
            mode=disk.mode,
            interface=attached[disk.device].interface if disk.device in attached else disk.interface,
        )
        for _, disk in made.disks
    ]
    return _written(job, exchanges, [machine])


def _plan_disk(job: GcpJob, made: CopySet) -> RestoreIntent:
    _, disk = made.disks[0]
    new = _free_name(job, disk)
    try:
        old = job.compute.disk(job.target)
    except ResourceNotFoundError:
        return _written(job, [DiskExchange(source=disk.disk, new=new)], [])
    machines = [power.settled(job.compute, user) for user in old.users if user.is_machine]
    for machine in machines:
        _refuse_unfit(job, machine)
    exchanges = [
        _exchange(disk, new, machine, attachment)
        for machine in machines
        for attachment in machine.attachments
        if attachment.disk == old.reference
    ]
    unattached = DiskExchange(source=disk.disk, new=new, old=old.reference)
    return _written(job, exchanges or [unattached], machines)


def _exchange(
    disk: CopiedDisk, new: Reference, machine: GcpMachine, attachment: AttachedDisk
) -> DiskExchange:
    return DiskExchange(
        source=disk.disk,
        new=new,
        old=attachment.disk,
        machine=machine.reference,
        device=attachment.device,
        boot=attachment.boot,
        auto_delete=attachment.auto_delete,
        mode=attachment.mode,
        interface=attachment.interface,
    )


def _refuse_unfit(job: GcpJob, machine: GcpMachine) -> None:
    if machine.status != RUNNING and not power.is_stopped(machine):
        raise UnsupportedError(
            f"{machine.reference.name} is {machine.status}, and its memory would not fit restored disks",
            hint="Resume it, or stop it, and restore again.",
        )
    if machine.status == RUNNING and machine.local_ssds and job.options.discard_local_ssd is None:
        raise UnsupportedError(
            f"{machine.reference.name} has Local SSD, and a restore must stop it",
            hint="Say with discard_local_ssd what becomes of the Local SSD's data.",
        )


def _free_name(job: GcpJob, disk: CopiedDisk) -> Reference:
    """Return the first name that no earlier restore of this execution has used."""
    for turn in itertools.count(1):
        name = restored_name(job.call, disk.device or "disk", str(turn))
        candidate = disk.disk.beside(DISKS).named(name)
        try:
            job.compute.disk(candidate)
        except ResourceNotFoundError:
            return candidate
    raise AssertionError("unreachable")


def _written(job: GcpJob, exchanges: Sequence[DiskExchange], machines: Sequence[GcpMachine]) -> RestoreIntent:
    before = unfinished(job)
    stopped_by_us = before.restart if before else ()
    intent = RestoreIntent(
        execution=job.call.execution,
        exchanges=tuple(exchanges),
        restart=tuple(m.reference for m in machines if m.status == RUNNING or m.reference in stopped_by_us),
        leftovers=given_up(job),
    )
    begin(job, intent)
    return intent
