"""Full copies that survive their machine: cut, copied after the thaw, checked, restored, removed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final, assert_never

from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.ownership import claim
from quiesce.providers.vsphere.inventory import MachineSnapshot, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine import restore, snapshot
from quiesce.providers.vsphere.machine.artifact import BackupArtifact, SnapshotArtifact
from quiesce.providers.vsphere.machine.clone import ClonedCopy
from quiesce.providers.vsphere.machine.export import ExportedCopy
from quiesce.providers.vsphere.machine.full_copy import FullCopy
from quiesce.providers.vsphere.options import BackupTarget
from quiesce.providers.vsphere.ownership import object_name, owner_of_snapshot

#: how the name of the snapshot ends that a copy is made from; it never stays behind
TEMPORARY: Final = "-temporary"


def cut(job: VSphereJob) -> Outcome:
    """Fix the point in time by a temporary snapshot; the data is moved by `copy`."""
    full_copy = _full_copy(job, job.options.backup_to)
    done = full_copy.finished()
    if done is not None:
        return Outcome(artifact=done)
    machine = job.idle_machine()
    refuse_encrypted(job, machine)
    full_copy.begin()
    made, outcome = snapshot.make_cut(job, machine, _temporary(job))
    return replace(outcome, artifact=as_artifact(_artifact(job, machine, made, outcome)))


def copy(job: VSphereJob) -> Outcome:
    """Copy what the temporary snapshot holds to where it survives the machine; then remove the snapshot."""
    artifact = read_artifact(BackupArtifact, artifact_of(job.call))
    full_copy = _full_copy(job, artifact.target)
    machine = job.idle_machine()
    done = full_copy.finished()
    if done is None:
        artifact = replace(artifact, attributes=job.vcenter.attributes(machine.id))
        done = full_copy.copy(artifact, machine, _cut_of(job, machine))
    snapshot.remove(job, job.idle_machine(), _temporary(job))
    now = job.machine()
    snapshot.alarm_if_frozen(job, replace(machine, heartbeat=artifact.cut.heartbeat), now)
    return Outcome(artifact=done, note=snapshot.consolidation_note(now))


def apply(job: VSphereJob) -> Outcome:
    """Put the machine back from its full copy, or build another one beside it."""
    return restore.apply(job, _present(job))


def delete(job: VSphereJob) -> Outcome:
    """Remove the copy, finished or half-made, and every helper object of it."""
    machine = job.idle_machine_if_there()
    if machine is not None:
        snapshot.remove(job, machine, _temporary(job))
    restore.remove_temporary(job, machine)
    for target in BackupTarget:
        _full_copy(job, target).delete()
    return NOTHING


def verify(job: VSphereJob) -> Proof:
    """Check what is stored without restoring it."""
    return _present(job).verify()


def refuse_encrypted(job: VSphereJob, machine: VirtualMachine) -> None:
    """Raise when the platform would not hand the machine's disks out: they are encrypted."""
    encrypted = [disk.label for disk in machine.disks if disk.encrypted]
    if encrypted and job.options.backup_to is BackupTarget.REPOSITORY:
        raise UnsupportedError(
            f"{machine.name} has encrypted disks, which vSphere does not export: {', '.join(encrypted)}",
            hint="Set vsphere_backup_to: clone, which stays encrypted.",
        )


def _present(job: VSphereJob) -> FullCopy:
    recorded = job.call.artifact
    target = read_artifact(BackupArtifact, recorded).target if recorded else job.options.backup_to
    return _full_copy(job, target)


def _full_copy(job: VSphereJob, target: BackupTarget) -> FullCopy:
    match target:
        case BackupTarget.REPOSITORY:
            return ExportedCopy(job)
        case BackupTarget.CLONE:
            return ClonedCopy(job)
        case unknown:
            assert_never(unknown)


def _artifact(
    job: VSphereJob, machine: VirtualMachine, made: SnapshotArtifact, outcome: Outcome
) -> BackupArtifact:
    return BackupArtifact(
        objects=made.objects,
        target=job.options.backup_to,
        cut=made,
        cut_at=time.time(),
        consistency=Consistency.CRASH if outcome.consistency is None else outcome.consistency,
        hardware=machine.hardware,
        folder=machine.folder,
        pool=machine.pool,
    )


def _cut_of(job: VSphereJob, machine: VirtualMachine) -> MachineSnapshot:
    name = _temporary(job)
    found = machine.snapshot_named(name)
    if found is None:
        raise ResourceNotFoundError(
            f"the cut of {machine.name} is gone: it has no snapshot {name!r}",
            hint="Somebody removed it before it was copied; run the backup again.",
        )
    claim(job.call, owner_of_snapshot(found), f"the snapshot {name!r} of {machine.name}")
    return found


def _temporary(job: VSphereJob) -> str:
    return object_name(job.call, TEMPORARY)
