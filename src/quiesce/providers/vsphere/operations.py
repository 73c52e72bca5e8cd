"""What a machine answers."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import NO_OBJECTION, RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.vsphere import doctor
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine import backup, power, probing, restore, snapshot


class VirtualMachineOperations(CheckedOperations[VSphereJob]):
    """Freezing is no call of its own here: VMware Tools freeze the guest while the snapshot is made."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    prepare = stop = unsupported

    def suspend(self, job: VSphereJob, /) -> Outcome:
        """Suspend the machine; one that is off stays off."""
        return power.suspend(job)

    def resume(self, job: VSphereJob, /) -> Outcome:
        """Let a suspended machine go on; one that is off stays off."""
        return power.resume(job)

    def snapshot(self, job: VSphereJob, /) -> Outcome:
        """Make the snapshot, or the temporary one that a full copy is made from."""
        return backup.cut(job) if job.call.full else snapshot.take(job)

    def copy(self, job: VSphereJob, /) -> Outcome:
        """Copy what the temporary snapshot holds."""
        return backup.copy(job)

    def apply(self, job: VSphereJob, /) -> Outcome:
        """Revert to the snapshot, or restore the full copy."""
        return backup.apply(job) if job.call.full else snapshot.apply(job)

    def start(self, job: VSphereJob, /) -> Outcome:
        """Switch on what a restore has switched off and not left as it is to be."""
        return power.switch_on(job)

    def probe(self, job: VSphereJob, /) -> Outcome:
        """See whether it is on, and whether VMware Tools run."""
        return probing.probe(job)

    def delete(self, job: VSphereJob, /) -> Outcome:
        """Remove the snapshot, or the full copy and every helper of it."""
        return backup.delete(job) if job.call.full else snapshot.delete(job)

    def measure(self, job: VSphereJob, /) -> Outcome:
        """Return quick statistics."""
        return Outcome(measurements=job.vcenter.measure(job.machine_id(), job.time))

    def doctor(self, job: VSphereJob, /) -> Sequence[Finding]:
        """Check Tools, quiescing, disks, changed block tracking, snapshot chains, space and rights."""
        return doctor.findings(job)

    def inspect_target(self, job: VSphereJob, /) -> RestoreTarget:
        """Tell what a machine that is made again of a full copy will not have of the saved one."""
        is_made = job.call.operation is Operation.APPLY and job.call.full
        return RestoreTarget(lost=restore.foreseen(job)) if is_made else NO_OBJECTION

    def verify(self, job: VSphereJob, /) -> Proof:
        """Read a stored copy against its checksums; see that a clone or snapshot is there."""
        return backup.verify(job) if job.call.full else snapshot.verify(job)
