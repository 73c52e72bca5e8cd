"""Snapshots inside the qcow2 images (internal snapshots): with memory when the domain runs.

They bring a machine back in the middle of what it did, but saving the memory stops the guest for as long as
that takes. Every disk must be qcow2, and stay on the file that holds the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quiesce.errors import ForeignObjectError, ResourceNotFoundError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.outcome import Outcome
from quiesce.providers.libvirt import jobs, xml
from quiesce.providers.libvirt.client import Domain, Hypervisor
from quiesce.providers.libvirt.definition import Disk, read_definition, with_metadata_of
from quiesce.providers.libvirt.settings import object_name

_SAYS: Final = "quiesce execution "


def take(domain: Domain, call: Call, disks: Sequence[Disk], excluded: Sequence[str]) -> Outcome:
    """Fix the point in time; a repetition finds the one that was fixed."""
    name = object_name(call)
    found = domain.snapshots().get(name)
    if found is None:
        _require_qcow2(disks)
        jobs.require_no_job(domain)
        domain.snapshot(_snapshot_xml(call, excluded), disk_only=False, metadata=True)
    elif _maker(found) != call.execution:
        raise ForeignObjectError(f"{domain.name} has a snapshot {name} already")
    return Outcome(artifact={"kind": "internal", "objects": [name]})


def is_one(domain: Domain, call: Call) -> bool:
    """Tell whether the restore point is an internal snapshot of ours."""
    found = domain.snapshots().get(object_name(call))
    return found is not None and _maker(found) is not None


def apply(hypervisor: Hypervisor, domain: Domain, call: Call) -> None:
    """Go back to the snapshot, memory included.

    Checkpoints of ours go first: QEMU would die on reverting with bitmaps, and stay down.
    """
    found = domain.snapshots().get(object_name(call))
    if found is None or _maker(found) is None:
        raise ResourceNotFoundError(f"{domain.name} has no snapshot {object_name(call)} of ours")
    _require_same_files(domain, found)
    jobs.require_no_job(domain)
    jobs.drop_checkpoints(domain)
    kept = domain.metadata(live=False)
    domain.drop_managed_save()
    domain.revert(object_name(call))
    hypervisor.define_domain(with_metadata_of(domain.xml(secrets=True), kept))


def delete(domain: Domain, call: Call) -> None:
    """Remove the snapshot; fine when it is not there."""
    found = domain.snapshots().get(object_name(call))
    maker = _maker(found) if found else None
    if maker is None or (call.undo and maker != call.execution):
        return
    jobs.require_no_job(domain)
    domain.delete_snapshot(object_name(call))


def _snapshot_xml(call: Call, excluded: Sequence[str]) -> str:
    tree = xml.element("domainsnapshot")
    xml.add(tree, "name", object_name(call))
    xml.add(tree, "description", _SAYS + call.execution)
    if excluded:
        disks = xml.add(tree, "disks")
        for target in excluded:
            xml.add(disks, "disk", name=target, snapshot="no")
    return xml.write(tree)


def _maker(text: str) -> str | None:
    says = xml.text_of(xml.read(text), "description")
    return says.removeprefix(_SAYS) if says.startswith(_SAYS) else None


def _require_qcow2(disks: Sequence[Disk]) -> None:
    others = [f"{disk.target} ({disk.format})" for disk in disks if disk.format != "qcow2"]
    if others:
        raise UnsupportedError(
            f"an internal snapshot needs qcow2 disks; these are not: {', '.join(others)}",
            hint="Set snapshot_kind to external, or name them in exclude_disks.",
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
