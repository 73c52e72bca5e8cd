"""The cut: snapshots of machines, quiesced where that is possible, restored and removed one by one."""

from __future__ import annotations

from dataclasses import replace

from quiesce.errors import CannotFreezeError, RecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.ownership import claim, is_removable, made_for
from quiesce.provider_kit.power_debt import PowerDebt
from quiesce.provider_kit.saving import proof
from quiesce.providers.vsphere.inventory import (
    DiskBacking,
    MachineSnapshot,
    PowerState,
    VirtualDisk,
    VirtualMachine,
)
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine.artifact import SnapshotArtifact
from quiesce.providers.vsphere.machine.power import leave_as_asked
from quiesce.providers.vsphere.options import Quiescing
from quiesce.providers.vsphere.ownership import description_of, object_name, owner_of_snapshot
from quiesce.providers.vsphere.vcenter import SnapshotRequest


def take(job: VSphereJob) -> Outcome:
    """Make the restore point's snapshot; one that this execution has made already is taken as it is."""
    cut, outcome = make_cut(job, job.idle_machine(), object_name(job.call))
    return replace(outcome, artifact=as_artifact(cut))


def make_cut(job: VSphereJob, machine: VirtualMachine, name: str) -> tuple[SnapshotArtifact, Outcome]:
    """Make the snapshot *name* of *machine* and tell how consistent it is."""
    left_out = refuse_or_leave_out(job, machine)
    found = machine.snapshot_named(name)
    if found is None:
        quiesce = _quiesces(job, machine)
        made = _make(job, machine, name, quiesce=quiesce)
        found = _as_made(job, machine, made) if quiesce else made
    else:
        claim(job.call, owner_of_snapshot(found), f"the snapshot {name!r} of {machine.name}")
        quiesce = found.quiesced
    cut = _artifact(job, machine, found, left_out)
    cut = replace(cut, heartbeat=machine.heartbeat) if quiesce else cut
    return cut, _consistency(job, machine, found, left_out)


def apply(job: VSphereJob) -> Outcome:
    """Put the machine back to the restore point's snapshot, powered as it was at the cut."""
    machine = job.idle_machine()
    snapshot = _ours(job, machine)
    if machine.power is PowerState.ON:
        PowerDebt(job.state).begin()
    job.vcenter.revert(snapshot.id, job.time)
    note = leave_as_asked(job, machine.id, _power_at_cut(job, snapshot))
    return Outcome(note=sentences(note, consolidation_note(job.vcenter.machine(machine.id, job.time))))


def delete(job: VSphereJob) -> Outcome:
    """Remove the restore point's snapshot and nothing else; its children stay."""
    machine = job.idle_machine_if_there()
    if machine is None:
        return NOTHING
    remove(job, machine, object_name(job.call))
    return Outcome(note=consolidation_note(job.vcenter.machine(machine.id, job.time)))


def verify(job: VSphereJob) -> Proof:
    """See that the restore point's snapshot is there."""
    try:
        _ours(job, job.machine())
    except ResourceNotFoundError as error:
        return proof("presence", damage=str(error))
    return proof("presence", detail="the snapshot is there")


def remove(job: VSphereJob, machine: VirtualMachine, name: str) -> None:
    """Remove those snapshots of that name which this call may remove."""
    for snapshot in machine.snapshots:
        if snapshot.name != name:
            continue
        if is_removable(job.call, owner_of_snapshot(snapshot)):
            job.vcenter.remove_snapshot(snapshot.id, job.time)
        else:
            job.warn(f"the snapshot {name!r} of {machine.name} is not ours to remove and was left alone")


def consolidation_note(machine: VirtualMachine) -> str:
    """Return what to do about disks whose files were not merged; empty when they were."""
    if not machine.consolidation_needed:
        return ""
    return f"{machine.name} needs its disks consolidated: in vSphere, Snapshots > Consolidate"


def refuse_or_leave_out(job: VSphereJob, machine: VirtualMachine) -> tuple[str, ...]:
    """Return the labels of disks that the snapshot will not hold, when the operator accepts that.

    Raises:
        UnsupportedError: when the platform cannot snapshot the machine, or disks would be missing.
    """
    if not machine.reachable:
        raise UnsupportedError(f"{machine.name} is not reachable: its host or its files are disconnected")
    if any(disk.bus_shared for disk in machine.disks):
        raise UnsupportedError(
            f"{machine.name} shares its bus with other machines, so no snapshot of it can be made",
            hint="Back it up from inside the guest: leaving its disks out does not help.",
        )
    excluded = {disk.label: why for disk in machine.disks if (why := _why_not(disk))}
    if excluded and not job.options.leave_out_disks:
        shown = ", ".join(f"{label} ({why})" for label, why in excluded.items())
        raise UnsupportedError(
            f"{machine.name} has disks that no snapshot can hold: {shown}",
            hint="Protect them otherwise and set vsphere_leave_out_disks: true, or change the disks.",
        )
    return tuple(excluded)


def sentences(*notes: str) -> str:
    """Return those *notes* that say anything, as one."""
    return " ".join(note for note in notes if note)


def _why_not(disk: VirtualDisk) -> str:
    if disk.shared:
        return "shared with other machines"
    if disk.backing is DiskBacking.DEVICE:
        return "a raw device in physical mode"
    return "independent" if disk.independent else ""


def _make(job: VSphereJob, machine: VirtualMachine, name: str, *, quiesce: bool) -> MachineSnapshot:
    request = SnapshotRequest(
        name=name,
        description=description_of(job.call),
        memory=job.options.snapshot_memory and machine.power is PowerState.ON,
        quiesce=quiesce,
        quiesce_timeout_min=job.options.quiesce_timeout_min,
    )
    try:
        made = job.vcenter.create_snapshot(machine.id, request, job.time)
    except CannotFreezeError as error:
        if job.options.quiesce is Quiescing.ALWAYS:
            raise
        job.warn(f"{machine.name} did not quiesce ({error}); the cut is made without")
        request = SnapshotRequest(name=name, description=request.description)
        made = job.vcenter.create_snapshot(machine.id, request, job.time)
    return MachineSnapshot(
        id=made, name=name, description=request.description, power=machine.power, quiesced=request.quiesce
    )


def _as_made(job: VSphereJob, machine: VirtualMachine, asked: MachineSnapshot) -> MachineSnapshot:
    """Return the snapshot as vSphere has it: a guest that was asked to quiesce may not have done it."""
    now = job.vcenter.machine(machine.id, job.time)
    alarm_if_frozen(job, machine, now)
    made = next((one for one in now.snapshots if one.id == asked.id), None)
    if made is None:
        raise RecoverableError(f"{machine.name} has no snapshot {asked.name!r}, which was just made")
    if asked.quiesced and not made.quiesced and job.options.quiesce is Quiescing.ALWAYS:
        job.vcenter.remove_snapshot(made.id, job.time)
        raise CannotFreezeError(f"{machine.name} did not quiesce, though vSphere made the snapshot")
    return replace(made, power=machine.power)


def alarm_if_frozen(job: VSphereJob, before: VirtualMachine, now: VirtualMachine) -> None:
    """Say so when a guest whose heart beat *before* it was quiesced is silent *now*."""
    if before.heartbeat == "green" and now.heartbeat in ("yellow", "red"):
        job.warn(
            f"{now.name} does not answer since it was quiesced (its heartbeat is {now.heartbeat}): it may "
            "still be frozen; look at its console, and reset it if nothing helps"
        )


def _quiesces(job: VSphereJob, machine: VirtualMachine) -> bool:
    if job.options.quiesce is Quiescing.NEVER or machine.power is not PowerState.ON:
        return False
    if job.options.quiesce is Quiescing.ALWAYS:
        if job.options.snapshot_memory or not machine.tools_running:
            saves = job.options.snapshot_memory
            why = "memory is saved too" if saves else "VMware Tools do not run in it"
            raise CannotFreezeError(f"{machine.name} cannot be quiesced: {why}")
        return True
    # freezing what a blueprint's own operation has frozen already would fail
    return machine.tools_running and not job.options.snapshot_memory and not job.frozen_by_hook


def _artifact(
    job: VSphereJob, machine: VirtualMachine, snapshot: MachineSnapshot, left_out: tuple[str, ...]
) -> SnapshotArtifact:
    return SnapshotArtifact(
        objects=(f"{machine.id}/{snapshot.id}",),
        machine=machine.id,
        uuid=machine.uuid,
        name=machine.name,
        snapshot=snapshot.id,
        snapshot_name=snapshot.name,
        power=snapshot.power,
        memory=job.options.snapshot_memory,
        quiesced=snapshot.quiesced,
        left_out=left_out,
    )


def _consistency(
    job: VSphereJob, machine: VirtualMachine, snapshot: MachineSnapshot, left_out: tuple[str, ...]
) -> Outcome:
    """Return how consistent the cut can be at most, and why it is no more."""
    missing = f"left out: {', '.join(left_out)}." if left_out else ""
    if snapshot.quiesced:
        return Outcome(consistency=Consistency.FILESYSTEM, note=missing)
    if job.frozen_by_hook or snapshot.power is PowerState.OFF:
        return Outcome(note=missing)
    why = f"{machine.name} was not quiesced: {_why_not_quiesced(job, machine, snapshot)}."
    return Outcome(consistency=Consistency.CRASH, note=sentences(why, missing))


def _why_not_quiesced(job: VSphereJob, machine: VirtualMachine, snapshot: MachineSnapshot) -> str:
    reasons = {
        "it was suspended": snapshot.power is PowerState.SUSPENDED,
        "its memory was saved too": job.options.snapshot_memory,
        "vsphere_quiesce is never": job.options.quiesce is Quiescing.NEVER,
        "VMware Tools do not run in it": not machine.tools_running,
    }
    return next((reason for reason, holds in reasons.items() if holds), "the guest did not manage to")


def _ours(job: VSphereJob, machine: VirtualMachine) -> MachineSnapshot:
    name = object_name(job.call)
    found = machine.snapshot_named(name)
    if found is None or not made_for(job.call, owner_of_snapshot(found)):
        raise ResourceNotFoundError(f"{machine.name} has no snapshot {name!r} of ours")
    return found


def _power_at_cut(job: VSphereJob, snapshot: MachineSnapshot) -> PowerState:
    recorded = job.call.artifact
    return read_artifact(SnapshotArtifact, recorded).power if recorded else snapshot.power
