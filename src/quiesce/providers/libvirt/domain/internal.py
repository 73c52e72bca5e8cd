"""Snapshots inside the qcow2 images (internal snapshots): with memory when the domain runs.

They bring a machine back in the middle of what it did, but saving the memory stops the guest for as long as
that takes. Every disk must be qcow2, and stay on the file that holds the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.ownership import Owner, claim, is_removable, made_for
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain
from quiesce.providers.libvirt.domain.backup_job import require_no_job
from quiesce.providers.libvirt.domain.checkpoints import drop_checkpoints
from quiesce.providers.libvirt.domain.domain_xml import DomainDisk, read_definition, with_metadata_of
from quiesce.providers.libvirt.domain.selection import targets_to_restore
from quiesce.providers.libvirt.job import LibvirtJob
from quiesce.providers.libvirt.ownership import description_of, owner_in


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalArtifact:
    """What the catalog says of an internal snapshot."""

    objects: tuple[str, ...]
    #: of the domain
    uuid: str
    kind: str = "internal"


def take(job: LibvirtJob, domain: Domain, disks: Sequence[DomainDisk]) -> Outcome:
    """Fix the point in time; a repetition finds the one that was fixed."""
    found = domain.snapshots().get(job.object_name)
    if found is None:
        _require_qcow2(disks)
        require_no_job(domain)
        domain.snapshot(_snapshot_xml(job), disk_only=False, metadata=True)
    else:
        claim(job.call, _owner_in(found), f"snapshot {job.object_name} of {domain.name}")
    return Outcome(artifact=as_artifact(InternalArtifact(objects=(job.object_name,), uuid=domain.uuid)))


def find(job: LibvirtJob, domain: Domain) -> str | None:
    """Return the restore point as libvirt describes it; None when it is no internal snapshot of ours."""
    found = domain.snapshots().get(job.object_name)
    return found if found is not None and made_for(job.call, _owner_in(found)) else None


def apply(job: LibvirtJob, domain: Domain) -> None:
    """Go back to the snapshot, memory included.

    Checkpoints of ours go first: QEMU would die on reverting with bitmaps, and stay down.
    """
    found = find(job, domain)
    if found is None:
        raise ResourceNotFoundError(f"{domain.name} has no snapshot {job.object_name} of ours")
    _require_none_excluded(job, domain, found)
    _require_same_files(domain, found)
    require_no_job(domain)
    drop_checkpoints(domain)
    kept = domain.metadata(live=False)
    domain.drop_managed_save()
    domain.revert(job.object_name)
    job.hypervisor.define_domain(with_metadata_of(domain.xml(secrets=True), kept))


def delete(job: LibvirtJob, domain: Domain) -> None:
    """Remove the snapshot; fine when it is not there."""
    found = domain.snapshots().get(job.object_name)
    if found is None or not is_removable(job.call, _owner_in(found)):
        return
    require_no_job(domain)
    domain.delete_snapshot(job.object_name)


def _snapshot_xml(job: LibvirtJob) -> str:
    tree = xml.element("domainsnapshot")
    xml.add(tree, "name", job.object_name)
    xml.add(tree, "description", description_of(job.owner))
    if job.options.exclude_disks:
        disks = xml.add(tree, "disks")
        for target in sorted(job.options.exclude_disks):
            xml.add(disks, "disk", name=target, snapshot="no")
    return xml.write(tree)


def _owner_in(text: str) -> Owner | None:
    return owner_in(xml.text_of(xml.read(text), "description"))


def _require_qcow2(disks: Sequence[DomainDisk]) -> None:
    others = [f"{disk.target} ({disk.format})" for disk in disks if disk.format != "qcow2"]
    if others:
        raise UnsupportedError(
            f"an internal snapshot needs qcow2 disks; these are not: {', '.join(others)}",
            hint="Set snapshot_kind to external, or name them in exclude_disks.",
        )


def _require_none_excluded(job: LibvirtJob, domain: Domain, snapshot: str) -> None:
    """Return when the snapshot holds no disk that is to be left as it is: it goes back with all of them."""
    disks = xml.read(snapshot).findall("disks/disk")
    held = {disk.get("name", "") for disk in disks if disk.get("snapshot") != "no"}
    known = {disk.target for disk in read_definition(domain.xml()).disks}
    kept = sorted((held or known) - targets_to_restore(job, domain.name, held or known, known))
    if kept:
        raise UnsupportedError(
            f"the internal snapshot {job.object_name} of {domain.name} goes back with all disks it holds, "
            f"so {', '.join(kept)} cannot be left out",
            hint="Restore without exclude_disks, or make external snapshots.",
        )


def _require_same_files(domain: Domain, snapshot: str) -> None:
    then = xml.read(snapshot).find("domain")
    if then is None:
        return
    before = {disk.target: disk.path for disk in read_definition(xml.write(then)).disks}
    now = {disk.target: disk.path for disk in read_definition(domain.xml()).disks}
    moved = [target for target, path in before.items() if now.get(target) != path]
    if moved:
        raise UnsupportedError(
            f"the disks {', '.join(moved)} of {domain.name} are on other files than at the snapshot",
            hint="Remove the external snapshots that were taken since; their overlays are merged then.",
        )
