"""Bringing a domain back from a full copy, in place or as another domain.

Nothing of the domain is touched before every stored byte has been read and found as it was written, and the
new disks lie ready beside the old ones. What `exclude_disks` names is neither written nor taken away from the
domain in place; a new domain gets no disk that the backup does not hold, so that it never writes into the
original's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.files.declared import write_declared
from quiesce.files.durable import storage_errors
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import read_artifact
from quiesce.providers.libvirt.client import Domain
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.disk.assembling import Assembly, DiskTarget
from quiesce.providers.libvirt.disk.storing import StoredDisk
from quiesce.providers.libvirt.domain import overlays, power
from quiesce.providers.libvirt.domain.backup import DEFINITION, NVRAM, SECRETS, DomainCopy
from quiesce.providers.libvirt.domain.checkpoints import forget_checkpoints
from quiesce.providers.libvirt.domain.domain_xml import (
    DomainDisk,
    as_new_domain,
    networks_of,
    paths_of,
    read_definition,
    with_disks_of,
    with_identity,
    with_metadata_of,
    with_sources,
    without_other_disks,
)
from quiesce.providers.libvirt.domain.metadata import restored, restored_from
from quiesce.providers.libvirt.domain.selection import targets_to_restore
from quiesce.providers.libvirt.job import LibvirtJob

#: the formats that a restored disk may have; one that there is keeps its own
_WRITTEN: Final = frozenset({"qcow2", "raw"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _RestorePlan:
    """What is to become of a backup."""

    copy: DomainCopy
    #: the domain that is there now
    domain: Domain | None
    #: as it was stored, for the domain that it is to be; its restored disks are still to be named
    definition: str
    targets: tuple[DiskTarget, ...]
    #: targets whose first file is read by restore points; it is kept by another name
    covered: frozenset[str] = frozenset()


class DomainRestore:
    """The full copy of a domain, on its way back."""

    def __init__(self, job: LibvirtJob) -> None:
        self._job = job
        self._saved = job.saved
        self._manifest = self._saved.saving.manifest()

    def apply(self) -> Outcome:
        """Put the domain back, or make another one of it under a new name; tell what is not kept."""
        plan, lost = self._plan(), self.lost()
        self._require_free(plan)
        job = self._job
        assembly = Assembly(self._saved.repository, self._manifest, plan.targets, job.key.point, job.context)
        with assembly.prepared():
            if plan.domain is not None:
                power.switch_off(job, plan.domain)
                self._forget_checkpoints(plan.domain)
                for target in plan.targets:
                    if target.name in plan.covered:
                        overlays.make_room(job, plan.domain, target.name, str(target.path))
            assembly.put()
            before = read_definition(plan.domain.xml()).disks if plan.domain is not None else ()
            made = self._define(plan)
            overlays.remove_unread(job, made, [disk for disk in before if disk.target in plan.covered])
        power.leave(job, made, running=plan.copy.active)
        return Outcome(note="; ".join(lost))

    def require_free_name(self) -> None:
        """Return when no other domain has the name that a new one is to get.

        Raises:
            ForeignObjectError: when one has.
        """
        wanted = self._job.new_name
        there = self._find(wanted) if wanted else None
        if there is not None and restored_from(there) != self._job.key.point:
            raise ForeignObjectError(
                f"there is a domain {wanted} already; nothing was restored",
                hint="Restore under another name, or remove that domain yourself.",
            )

    def differences(self) -> tuple[str, ...]:
        """Return which files of the host the stored definition names that are not the domain's of now."""
        copy, wanted = read_artifact(DomainCopy, self._manifest.content), self._job.new_name
        domain = self._find(wanted) if wanted else self._find_saved(copy)
        text = self._stored(DEFINITION).decode(errors="replace")
        definition = as_new_domain(text, wanted) if wanted else text
        chosen = self._chosen(copy, definition, domain)
        if domain is not None and not wanted:
            definition = _with_kept_disks(definition, domain.xml(), chosen)
        targets = self._targets(copy, definition, domain, chosen)
        written = {f"disk {target.name}": str(target.path) for target in targets}
        now = paths_of(domain.xml()) if domain is not None else {}
        return tuple(
            _difference(what, then, now.get(what), written.get(what))
            for what, then in paths_of(definition).items()
            if then != now.get(what)
        )

    def lost(self) -> tuple[str, ...]:
        """Return what the restored domain will not be or have that the saved one was or had."""
        copy, wanted = read_artifact(DomainCopy, self._manifest.content), self._job.new_name
        there = None if wanted else self._find_saved(copy)
        found = {
            f"it does not start with the host, for {copy.domain} may": bool(wanted) and copy.autostart,
            "its virtual TPM has a new state, so what is sealed to the old one cannot be opened": copy.has_tpm
            and there is None,
            "its virtual TPM has the state of now": copy.has_tpm and there is not None,
            f"the disk {', '.join(copy.excluded_disks)}, which the backup does not hold": bool(wanted)
            and bool(copy.excluded_disks),
        }
        return tuple(what for what, applies in found.items() if applies)

    def _plan(self) -> _RestorePlan:
        copy = read_artifact(DomainCopy, self._manifest.content)
        wanted = self._job.new_name
        domain = self._find(wanted) if wanted else self._find_saved(copy)
        definition = self._definition()
        if domain is not None:
            _require_persistent(domain)
        if wanted:
            self.require_free_name()
            definition = with_metadata_of(as_new_domain(definition, wanted), restored(self._job.key.point))
        if domain is not None:
            definition = with_identity(definition, domain.name, domain.uuid)
        chosen = self._chosen(copy, definition, domain)
        if wanted:
            definition, dropped = without_other_disks(definition, chosen)
            if dropped:
                self._job.warn(f"{wanted} gets no disk {', '.join(dropped)}, which is not restored")
            if shared := networks_of(definition):
                self._job.warn(f"{wanted} is plugged into {', '.join(shared)}, as the one that was saved is")
        elif domain is not None:
            definition = _with_kept_disks(definition, domain.xml(secrets=True), chosen)
        targets = self._targets(copy, definition, domain, chosen)
        now = set() if domain is None else {disk.path for disk in read_definition(domain.xml()).disks}
        covered = frozenset(each.name for each in targets if domain is not None and str(each.path) not in now)
        return _RestorePlan(copy=copy, domain=domain, definition=definition, targets=targets, covered=covered)

    def _chosen(self, copy: DomainCopy, definition: str, domain: Domain | None) -> frozenset[str]:
        """Return the targets of the disks that are to be put back."""
        texts = [definition, *([domain.xml()] if domain is not None else [])]
        known = {disk.target for text in texts for disk in read_definition(text).disks}
        saved = {disk.target for disk in copy.disks}
        return targets_to_restore(self._job, copy.domain, saved, known)

    def _targets(
        self, copy: DomainCopy, definition: str, domain: Domain | None, chosen: frozenset[str]
    ) -> tuple[DiskTarget, ...]:
        stored, wanted = read_definition(definition), self._job.new_name
        current = self._places(domain) if domain is not None and not wanted else {}
        return tuple(
            _target(disk, current.get(disk.target), stored.disk(disk.target), wanted)
            for disk in copy.disks
            if disk.target in chosen
        )

    def _places(self, domain: Domain) -> dict[str, DomainDisk]:
        """Return where each disk of the domain is to be: in the file that it had before it had snapshots."""
        found = {}
        for disk in read_definition(domain.xml()).disks:
            first = overlays.first_file(self._job, domain, disk) if disk.kind == "file" else disk
            why = "" if first.path == disk.path else overlays.why_not_first(disk, first)
            if why:
                self._job.warn(f"{disk.target} stays {disk.path}: {why}")
            found[disk.target] = disk if why else first
        return found

    def _definition(self) -> str:
        """Return the stored definition with its secrets."""
        name = SECRETS if SECRETS in self._manifest.items else DEFINITION
        return self._stored(name).decode(errors="replace")

    def _stored(self, name: str) -> bytes:
        with self._saved.repository.open(self._manifest, name) as stored:
            content = stored.read()
            stored.check()
        return content

    def _find(self, name: str) -> Domain | None:
        try:
            return self._job.hypervisor.domain(name)
        except ResourceNotFoundError:
            return None

    def _find_saved(self, copy: DomainCopy) -> Domain | None:
        """Return the domain that was saved, or the one that has its name by now."""
        return self._find(copy.uuid) or self._find(copy.domain)

    def _require_free(self, plan: _RestorePlan) -> None:
        """Return when nothing but this domain would lose what lies where the disks are to be put."""
        paths = {str(target.path) for target in plan.targets}
        for other in self._job.hypervisor.domains():
            if plan.domain is not None and other.uuid == plan.domain.uuid:
                continue
            shared = paths & {disk.path for disk in read_definition(other.xml()).disks}
            if shared:
                raise ForeignObjectError(f"{', '.join(sorted(shared))} belongs to domain {other.name}")
        current = {} if plan.domain is None else _formats(plan.domain)
        for target in (each for each in plan.targets if each.name not in plan.covered):
            require_no_snapshots(target, current.get(str(target.path), target.format))

    def _forget_checkpoints(self, domain: Domain) -> None:
        """Let nothing speak of the domain's old disks."""
        for name in forget_checkpoints(domain):
            self._job.warn(f"checkpoint {name} is not ours; it does not fit the restored disks")

    def _define(self, plan: _RestorePlan) -> Domain:
        paths = {target.name: str(target.path) for target in plan.targets}
        formats = {target.name: target.format for target in plan.targets}
        definition = with_sources(plan.definition, paths, formats)
        if plan.domain is not None:
            definition = with_metadata_of(definition, plan.domain.metadata(live=False))
        made = self._job.hypervisor.define_domain(definition)
        self._put_nvram(made)
        if plan.copy.autostart and plan.domain is None and not self._job.new_name:
            made.set_autostart()
        return made

    def _put_nvram(self, domain: Domain) -> None:
        path = read_definition(domain.xml()).nvram
        if path is None or NVRAM not in self._manifest.items:
            return
        with self._saved.repository.open(self._manifest, NVRAM) as stored, storage_errors(f"write {path}"):
            content = stored.read()
            stored.check()
            # QEMU's user, which a guest may have become, can put a link there
            write_declared(Path(path), content)


def _with_kept_disks(definition: str, current: str, chosen: frozenset[str]) -> str:
    """Return the definition with the disks that are not *chosen* as they are now."""
    kept = {disk.target for disk in read_definition(definition).disks} - chosen
    return with_disks_of(definition, current, kept)


def _difference(what: str, then: str, now: str | None, written: str | None) -> str:
    present = "which the domain of now does not have" if now is None else f"which is {now} now"
    becomes = f"; it is written to {written}" if written is not None else ""
    return f"{what}: {then}, {present}{becomes}"


def _require_persistent(domain: Domain) -> None:
    """Return when the domain is still there after it was stopped, for its disks to be replaced."""
    if not domain.is_persistent():
        raise UnsupportedError(
            f"{domain.name} is transient: it is gone when it is stopped, which a restore in place must do",
            hint=f"Stop it (virsh destroy {domain.name}); then it is restored as a persistent domain.",
        )


def _target(
    disk: StoredDisk, current: DomainDisk | None, stored: DomainDisk | None, wanted: str | None
) -> DiskTarget:
    """Return where a stored disk goes: to where the domain has it now, or had it; beside it for a new one."""
    found = current or stored
    image_format, path = disk.format, Path(found.path if found else disk.path)
    if current is not None and current.format in _WRITTEN:
        image_format = current.format
    if found is not None and found.kind == "block":
        _require_device(path, disk, wanted)
        image_format = "raw"
    elif wanted:
        path = path.with_name(f"{wanted}-{disk.target}.{image_format}")
    return DiskTarget(
        name=disk.target,
        path=path,
        format=image_format,
        size_bytes=disk.size_bytes,
        item=disk.item,
    )


def _require_device(path: Path, disk: StoredDisk, wanted: str | None) -> None:
    """Return when the disk can be written onto that block device."""
    if wanted:
        raise UnsupportedError(
            f"disk {disk.target} is the block device {path}, and quiesce makes no other one for {wanted}",
            hint="Restore in place, or name the disk in exclude_disks.",
        )
    if not path.is_block_device():
        raise ResourceNotFoundError(f"the block device {path}, for disk {disk.target}, is not there")
    with storage_errors(f"look at {path}"), path.open("rb") as device:
        if device.seek(0, os.SEEK_END) < disk.size_bytes:
            raise NonRecoverableError(f"{path} is smaller than disk {disk.target} was; nothing was restored")


def _formats(domain: Domain) -> dict[str, str]:
    return {disk.path: disk.format for disk in read_definition(domain.xml()).disks}


def require_no_snapshots(target: DiskTarget, present_format: str) -> None:
    """Return when replacing the file, which has the *present_format* now, destroys no snapshot inside it.

    Raises:
        UnsupportedError: when it would.
    """
    if target.is_device or not target.path.exists() or present_format == "raw":
        return
    kept = qemu_img.info(str(target.path), present_format).snapshots
    if kept:
        raise UnsupportedError(
            f"{target.path} holds the snapshots {', '.join(kept)}, which restoring would destroy",
            hint="Remove these restore points first, or restore under another name with restore_as.",
        )
