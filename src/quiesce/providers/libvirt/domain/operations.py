"""Everything that can be done to a domain, each by the module that knows how."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import ForeignObjectError, ResourceNotFoundError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import NO_OBJECTION, RestoreTarget, TargetProblem
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.provider_kit.saving import proof
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.domain import agent, backup_job, doctor, internal, overlays, power, probing
from quiesce.providers.libvirt.domain.backup import DomainBackup
from quiesce.providers.libvirt.domain.domain_xml import read_definition
from quiesce.providers.libvirt.domain.restore import DomainRestore
from quiesce.providers.libvirt.domain.selection import disks_to_save
from quiesce.providers.libvirt.domain.statistics import DomainStatistics
from quiesce.providers.libvirt.job import LibvirtJob
from quiesce.providers.libvirt.options import SnapshotKind


class DomainOperations(CheckedOperations[LibvirtJob]):
    """Freezes, stops, saves and brings back whole domains."""

    revert = confirm = extract = unsupported
    prepare = stop = unsupported

    def __init__(self, statistics: DomainStatistics) -> None:
        self._statistics = statistics

    def freeze(self, job: LibvirtJob, /) -> Outcome:
        """Freeze the guest's file systems through its agent."""
        return agent.freeze(job, job.domain())

    def thaw(self, job: LibvirtJob, /) -> Outcome:
        """Return when the guest is known to be thawed."""
        return agent.thaw(job, job.domain_to_thaw())

    def is_frozen(self, job: LibvirtJob, /) -> bool | None:
        """Tell whether the guest is frozen now; None when its agent does not tell."""
        return agent.is_frozen(job.domain_to_thaw())

    def suspend(self, job: LibvirtJob, /) -> Outcome:
        """Stop its processors, or write its memory to disk and stop QEMU."""
        domain = job.domain()
        state = domain.state()
        if state is not DomainState.OFF and job.options.save_memory:
            domain.save()
        elif state is DomainState.RUNNING:
            domain.suspend()
        return NOTHING

    def resume(self, job: LibvirtJob, /) -> Outcome:
        """Let it go on; what was shut down stays so."""
        domain = job.domain()
        state = domain.state()
        if state is DomainState.OFF:
            if domain.has_managed_save():
                domain.start()
        elif state is not DomainState.RUNNING:
            domain.resume()
        return NOTHING

    def measure(self, job: LibvirtJob, /) -> Outcome:
        """Return its figures, read with those of all other domains."""
        domain = job.domain()
        interval = self._statistics.measure(job.resource.uri, job.deadline("the statistics"))
        return Outcome(measurements=interval.measurements(domain.uuid))

    def snapshot(self, job: LibvirtJob, /) -> Outcome:
        """Fix the point in time of a snapshot or of a full copy."""
        if job.call.restoring and (why := _why_not_replaced(job)):
            return Outcome(artifact={}, consistency=Consistency.NONE, note=why)
        domain = job.domain()
        if job.call.full:
            return DomainBackup(job, domain).cut()
        if not domain.is_persistent():
            raise UnsupportedError(
                f"{domain.name} is transient: libvirt forgets it, and its snapshots, when it stops",
                hint="Make it persistent (virsh dumpxml, then virsh define), or make full backups.",
            )
        disks = disks_to_save(job, read_definition(domain.xml()))
        if job.options.snapshot_kind is SnapshotKind.INTERNAL:
            return internal.take(job, domain, disks)
        return overlays.take(job, domain, disks)

    def copy(self, job: LibvirtJob, /) -> Outcome:
        """Store a full copy."""
        return DomainBackup(job, job.domain()).copy()

    def apply(self, job: LibvirtJob, /) -> Outcome:
        """Put the domain back to a snapshot or a full copy."""
        if job.call.full:
            return DomainRestore(job).apply()
        domain = job.domain()
        apply = internal.apply if internal.find(job, domain) is not None else overlays.apply
        apply(job, domain)
        return NOTHING

    def probe(self, job: LibvirtJob, /) -> Outcome:
        """See whether it runs, and ask its agent."""
        return probing.probe(job)

    def start(self, job: LibvirtJob, /) -> Outcome:
        """Switch on what a restore has switched off and not left as it is to be."""
        return power.switch_on(job)

    def delete(self, job: LibvirtJob, /) -> Outcome:
        """Remove a snapshot or a full copy, finished or half-made."""
        domain = _domain_if_there(job)
        if job.call.full:
            _delete_copy(job, domain)
        elif domain is not None:
            internal.delete(job, domain)
            if unread := overlays.delete(job, domain):
                files = ", ".join(unread)
                return Outcome(note=f"nothing reads {files} any more; it is not quiesce's and was left alone")
        return NOTHING

    def doctor(self, job: LibvirtJob, /) -> Sequence[Finding]:
        """Return every check made, passed or not."""
        return doctor.examine(job, job.domain())

    def inspect_target(self, job: LibvirtJob, /) -> RestoreTarget:
        """Tell which files a full copy names otherwise than the hypervisor does now."""
        if job.call.operation is not Operation.APPLY or not job.call.full:
            return NO_OBJECTION
        restore = DomainRestore(job)
        try:
            restore.require_free_name()
        except ForeignObjectError as error:
            problem = TargetProblem(code=error.code, detail=str(error), remedy=error.hint)
            return RestoreTarget(problems=(problem,))
        return RestoreTarget(differences=restore.differences(), lost=restore.lost())

    def verify(self, job: LibvirtJob, /) -> Proof:
        """Read a full copy; of a snapshot, look whether everything that it consists of is there."""
        if job.call.full:
            return job.saving.verify()
        domain = job.domain()
        if internal.find(job, domain) is not None:
            return proof("presence", detail=f"libvirt has the snapshot {job.object_name}")
        faults = overlays.faults(job, domain)
        if faults is None:
            return proof("presence", damage=f"{domain.name} has no snapshot {job.object_name}")
        return proof("presence", damage="; ".join(faults), detail="all files")


def _why_not_replaced(job: LibvirtJob) -> str:
    """Return why a restore replaces nothing that a safety point could hold; empty when it does."""
    if job.new_name:
        return f"it is restored as {job.new_name}, so nothing happens to the one that is there"
    return "" if _domain_if_there(job) is not None else "there is no domain, so nothing is replaced"


def _delete_copy(job: LibvirtJob, domain: Domain | None) -> None:
    backup_job.end(job, domain)
    if domain is not None:
        DomainBackup(job, domain).clear()
    if note := job.saving.remove():
        job.warn(note)


def _domain_if_there(job: LibvirtJob) -> Domain | None:
    try:
        return job.domain()
    except ResourceNotFoundError:
        return None
