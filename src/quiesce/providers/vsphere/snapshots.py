"""The cut: snapshots of machines, quiesced where that is possible, restored and removed one by one."""

from __future__ import annotations

from quiesce.errors import CannotFreezeError, ResourceNotFoundError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.operation import FS_PREPARE
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.vsphere.center import Backing, Disk, Machine, Power, Snapshot, SnapshotRequest
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.marks import Mark, claim, object_name, removable
from quiesce.providers.vsphere.options import Quiescing
from quiesce.providers.vsphere.power import leave_as_asked


def take_snapshot(job: Job) -> Outcome:
    """Make the restore point's snapshot; one that this execution has made already is taken as it is."""
    machine = job.settled()
    return cut(job, machine, object_name(job.call))


def cut(job: Job, machine: Machine, name: str) -> Outcome:
    """Make the snapshot *name* of *machine* and answer what it is worth."""
    left_out = refuse_or_leave_out(job, machine)
    found = machine.snapshot_named(name)
    if found is not None:
        claim(job.call, found.description, f"the snapshot {name!r} of {machine.name}")
        return _outcome(job, machine, found, left_out)
    return _outcome(job, machine, _make(job, machine, name), left_out)


def apply_snapshot(job: Job) -> Outcome:
    """Put the machine back to the restore point's snapshot, powered as it was at the cut."""
    machine = job.settled()
    snapshot = _ours(job, machine)
    job.center.revert(snapshot.id, job.context)
    note = leave_as_asked(job, machine.id, _power_at_cut(job, snapshot))
    return Outcome(note=" ".join(filter(None, [note, consolidation_note(job.center.machine(machine.id))])))


def delete_snapshot(job: Job) -> Outcome:
    """Remove the restore point's snapshot and nothing else; its children stay."""
    machine = job.settled_if_there()
    if machine is None:
        return NOTHING
    remove(job, machine, object_name(job.call))
    return Outcome(note=consolidation_note(job.center.machine(machine.id)))


def remove(job: Job, machine: Machine, name: str) -> None:
    """Remove those snapshots of that name which this call may remove."""
    for snapshot in machine.snapshots:
        if snapshot.name != name:
            continue
        if removable(job.call, snapshot.description):
            job.center.remove_snapshot(snapshot.id, job.context)
        else:
            job.warn(f"the snapshot {name!r} of {machine.name} is not ours to remove and was left alone")


def consolidation_note(machine: Machine) -> str:
    """Return what to do about disks whose files were not merged; empty when they were."""
    if not machine.consolidation_needed:
        return ""
    return f"{machine.name} needs its disks consolidated: in vSphere, Snapshots > Consolidate"


def refuse_or_leave_out(job: Job, machine: Machine) -> list[str]:
    """Return the labels of disks that the snapshot will not hold, when the operator accepts that.

    Raises:
        UnsupportedError: when the platform cannot snapshot the machine, or disks would be missing.
    """
    if not machine.reachable:
        raise UnsupportedError(f"{machine.name} is not reachable: its host or its files are disconnected")
    excluded = {disk.label: why for disk in machine.disks if (why := _why_not(disk))}
    if excluded and not job.options.leave_out_disks:
        shown = ", ".join(f"{label} ({why})" for label, why in excluded.items())
        raise UnsupportedError(
            f"{machine.name} has disks that no snapshot can hold: {shown}",
            hint="Protect them otherwise and set vsphere_leave_out_disks: true, or change the disks.",
        )
    return list(excluded)


def _why_not(disk: Disk) -> str:
    if disk.shared:
        return "shared with other machines"
    if disk.backing is Backing.DEVICE:
        return "a raw device mapping"
    return "independent" if disk.independent else ""


def _make(job: Job, machine: Machine, name: str) -> Snapshot:
    quiesce = _quiesces(job, machine)
    request = SnapshotRequest(
        name=name,
        description=str(Mark.of(job.call)),
        memory=job.options.memory and machine.power is Power.ON,
        quiesce=quiesce,
        quiesce_timeout_min=job.options.quiesce_timeout_min,
    )
    try:
        made = job.center.create_snapshot(machine.id, request, job.context)
    except CannotFreezeError as error:
        if job.options.quiesce is Quiescing.ALWAYS:
            raise
        job.warn(f"{machine.name} did not quiesce ({error}); the cut is made without")
        request = SnapshotRequest(name=name, description=request.description)
        made = job.center.create_snapshot(machine.id, request, job.context)
    return Snapshot(
        id=made, name=name, description=request.description, power=machine.power, quiesced=request.quiesce
    )


def _quiesces(job: Job, machine: Machine) -> bool:
    if job.options.quiesce is Quiescing.NEVER or machine.power is not Power.ON:
        return False
    if job.options.quiesce is Quiescing.ALWAYS:
        if job.options.memory or not machine.tools_running:
            why = "memory is saved too" if job.options.memory else "VMware Tools do not run in it"
            raise CannotFreezeError(f"{machine.name} cannot be quiesced: {why}")
        return True
    # freezing what a blueprint's own operation has frozen already would fail
    return machine.tools_running and not job.options.memory and not _frozen_otherwise(job)


def _frozen_otherwise(job: Job) -> bool:
    return FS_PREPARE in job.call.node.operations


def _outcome(job: Job, machine: Machine, snapshot: Snapshot, left_out: list[str]) -> Outcome:
    consistency, note = _worth(job, machine, snapshot)
    if left_out:
        note = " ".join(filter(None, [note, f"left out: {', '.join(left_out)}."]))
    hidden: list[Json] = list(left_out)
    return Outcome(
        artifact={
            "objects": [f"{machine.id}/{snapshot.id}"],
            "machine": machine.id,
            "uuid": machine.uuid,
            "name": machine.name,
            "snapshot": snapshot.id,
            "snapshot_name": snapshot.name,
            "power": snapshot.power.value,
            "memory": job.options.memory,
            "quiesced": snapshot.quiesced,
            "left_out": hidden,
        },
        consistency=consistency,
        note=note,
    )


def _worth(job: Job, machine: Machine, snapshot: Snapshot) -> tuple[Consistency | None, str]:
    """Return the most that the cut is worth, and why it is no more."""
    if snapshot.quiesced:
        return Consistency.FILESYSTEM, ""
    if _frozen_otherwise(job) or snapshot.power is Power.OFF:
        return None, ""
    return Consistency.CRASH, f"{machine.name} was not quiesced: {_why_not_quiesced(job, machine, snapshot)}."


def _why_not_quiesced(job: Job, machine: Machine, snapshot: Snapshot) -> str:
    reasons = {
        "it was suspended": snapshot.power is Power.SUSPENDED,
        "its memory was saved too": job.options.memory,
        "vsphere_quiesce is never": job.options.quiesce is Quiescing.NEVER,
        "VMware Tools do not run in it": not machine.tools_running,
    }
    return next((reason for reason, holds in reasons.items() if holds), "the guest did not manage to")


def _ours(job: Job, machine: Machine) -> Snapshot:
    found = machine.snapshot_named(object_name(job.call))
    if found is None or not Mark.of(job.call).same_point(Mark.read(found.description)):
        raise ResourceNotFoundError(f"{machine.name} has no snapshot {object_name(job.call)!r} of ours")
    return found


def _power_at_cut(job: Job, snapshot: Snapshot) -> Power:
    recorded = job.artifact.get("power")
    return Power(recorded) if recorded in list(Power) else snapshot.power
