"""What machines, disks and the official plugin's snapshot nodes can do."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import NO_OBJECTION, RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.gcp import doctor, power, statistics
from quiesce.providers.gcp.copy import cut, remove, verify
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.restore import apply, in_place

_STOP = "cloudify_gcp.compute.instance.stop"
_START = "cloudify_gcp.compute.instance.start"


class DiskOperations(CheckedOperations[GcpJob]):
    """A persistent disk, zonal or regional. The service has no freeze; a guest flush is part of the cut."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    prepare = stop = probe = unsupported

    def snapshot(self, job: GcpJob, /) -> Outcome:
        """Fix the point in time."""
        return cut.cut_disk(job)

    def copy(self, job: GcpJob, /) -> Outcome:
        """Wait until the data is stored."""
        return cut.finish_copy(job)

    def apply(self, job: GcpJob, /) -> Outcome:
        """Put a new disk with the copy's data where the disk is."""
        return apply.restore_disk(job)

    def start(self, job: GcpJob, /) -> Outcome:
        """Start the machines that a restore has stopped, if it has not come to its end."""
        return in_place.switch_on(job)

    def delete(self, job: GcpJob, /) -> Outcome:
        """Remove what was made of the restore point."""
        return remove.remove(job)

    def measure(self, job: GcpJob, /) -> Outcome:
        """Return the disk's type, size and use."""
        return Outcome(measurements=statistics.of_disk(job))

    def doctor(self, job: GcpJob, /) -> Sequence[Finding]:
        """Check rights and quotas."""
        return doctor.check_disk(job)

    def verify(self, job: GcpJob, /) -> Proof:
        """Check that every copy is there, complete and the one that was made."""
        return verify.verify(job)


class SnapshotOperations(DiskOperations):
    """The official plugin's node for snapshots of a disk that it names."""

    measure = unsupported


class MachineOperations(DiskOperations):
    """A virtual machine with its disks."""

    def suspend(self, job: GcpJob, /) -> Outcome:
        """Suspend it; stop it where the blueprint says so."""
        change = power.stop if job.call.function == _STOP else power.suspend
        change(job.compute, job.target, discard_local_ssd=job.options.discard_local_ssd)
        return NOTHING

    def resume(self, job: GcpJob, /) -> Outcome:
        """Let it go on; start it where the blueprint says so."""
        change = power.start if job.call.function == _START else power.resume
        change(job.compute, job.target)
        return NOTHING

    def snapshot(self, job: GcpJob, /) -> Outcome:
        """Fix the point in time of all its disks."""
        return cut.cut_machine(job)

    def apply(self, job: GcpJob, /) -> Outcome:
        """Exchange its disks, or make it again when it is gone."""
        return apply.restore_machine(job)

    def inspect_target(self, job: GcpJob, /) -> RestoreTarget:
        """Tell what a machine that is made again will not have of the copied one."""
        if job.call.operation is not Operation.APPLY:
            return NO_OBJECTION
        return RestoreTarget(lost=apply.foreseen(job))

    def probe(self, job: GcpJob, /) -> Outcome:
        """See whether it runs."""
        return power.probe(job, apply.restored_machine(job))

    def measure(self, job: GcpJob, /) -> Outcome:
        """Return its size, disks and time since the start."""
        return Outcome(measurements=statistics.of_machine(job))

    def doctor(self, job: GcpJob, /) -> Sequence[Finding]:
        """Check rights, quotas, and what the service would refuse."""
        return doctor.check_machine(job)
