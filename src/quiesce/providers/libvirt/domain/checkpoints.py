"""Checkpoints: from when on a domain's changes are followed. Ours say in their description whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.provider_kit.ownership import Owner, claim, is_removable
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.domain.domain_xml import DomainDisk, read_definition
from quiesce.providers.libvirt.job import LibvirtJob
from quiesce.providers.libvirt.ownership import description_of, object_name, owner_in


def checkpoint_xml(owner: Owner, disks: Sequence[DomainDisk], excluded: Iterable[str]) -> str:
    """Return a checkpoint that follows *disks* from now on."""
    tree = xml.element("domaincheckpoint")
    xml.add(tree, "name", object_name(owner))
    xml.add(tree, "description", description_of(owner))
    listed = xml.add(tree, "disks")
    for disk in disks:
        xml.add(listed, "disk", name=disk.target, checkpoint="bitmap")
    for target in excluded:
        xml.add(listed, "disk", name=target, checkpoint="no")
    return xml.write(tree)


def owners_of_checkpoints(domain: Domain) -> dict[str, Owner | None]:
    """Return the checkpoints, oldest first; None for those that are not ours."""
    return {
        name: owner_in(xml.text_of(xml.read(text), "description"))
        for name, text in domain.checkpoints().items()
    }


def claim_checkpoint(job: LibvirtJob, domain: Domain) -> None:
    """Return when no checkpoint of the call's name is there, or this execution made it.

    Raises:
        ForeignObjectError: when somebody else did.
    """
    known = owners_of_checkpoints(domain)
    if job.object_name in known:
        claim(job.call, known[job.object_name], f"checkpoint {job.object_name} of {domain.name}")


def removable_checkpoint(job: LibvirtJob, domain: Domain) -> str | None:
    """Return the name of the checkpoint that the call is to remove; None when there is none."""
    owner = owners_of_checkpoints(domain).get(job.object_name)
    return job.object_name if is_removable(job.call, owner) else None


def remove_checkpoint(domain: Domain, name: str) -> None:
    """Remove a checkpoint that exists, even when its bitmaps are lost."""
    try:
        domain.delete_checkpoint(name)
    except NonRecoverableError:
        domain.delete_checkpoint(name, metadata_only=True)


def drop_checkpoints(domain: Domain) -> list[str]:
    """Remove every checkpoint, and its bitmaps, because libvirt does nothing to the disks while there is one.

    Returns:
        Their names. The next backup has nothing to build on, and is a full one.

    Raises:
        UnsupportedError: when one is not ours; nothing was removed.
    """
    known = owners_of_checkpoints(domain)
    foreign = [name for name, owner in known.items() if owner is None]
    if foreign:
        raise UnsupportedError(
            f"{domain.name} has the checkpoints {', '.join(foreign)}, which are not ours and in the way",
            hint="Remove them (virsh checkpoint-delete); their tool's next backup will be a full one.",
        )
    for name in reversed(known):
        if domain.state() is DomainState.OFF:
            domain.delete_checkpoint(name, metadata_only=True)
        else:
            remove_checkpoint(domain, name)
    if known and domain.state() is DomainState.OFF:
        _remove_bitmaps(domain, known)
    return list(known)


def forget_checkpoints(domain: Domain) -> list[str]:
    """Remove ours, because the disks are to be others; return those that are not ours."""
    known = owners_of_checkpoints(domain)
    for name, owner in known.items():
        if owner is not None:
            domain.delete_checkpoint(name, metadata_only=True)
    return [name for name, owner in known.items() if owner is None]


def _remove_bitmaps(domain: Domain, names: Iterable[str]) -> None:
    for disk in read_definition(domain.xml()).disks:
        if disk.kind == "file" and disk.format == "qcow2":
            for name in set(qemu_img.info(disk.path, disk.format).bitmaps) & set(names):
                qemu_img.remove_bitmap(disk.path, name)
