"""Bringing a domain back from a full copy, in place or as another domain.

Nothing of the domain is touched before every stored byte has been read and found as it was written, and the
new disks lie ready beside the old ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.libvirt import jobs, marks, qemu_img
from quiesce.providers.libvirt.assembling import Assembly, Target
from quiesce.providers.libvirt.backup import DEFINITION, NVRAM, layers_of
from quiesce.providers.libvirt.client import Domain, Hypervisor
from quiesce.providers.libvirt.definition import (
    Disk,
    as_new_domain,
    read_definition,
    with_identity,
    with_metadata_of,
    with_sources,
)
from quiesce.providers.libvirt.settings import Settings, key_of, place_of
from quiesce.repository import Manifest, Repository, storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to become of a backup."""

    manifest: Manifest
    #: the domain that is there now
    domain: Domain | None
    #: as it was stored, for the domain that it is to be
    definition: str
    targets: tuple[Target, ...]


class Restores:
    """Brings back domains from one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def apply(self, hypervisor: Hypervisor, call: Call, settings: Settings, context: Context) -> Outcome:
        """Put the domain back, or make another one of it under the name *restore_as*."""
        manifest = self._repository.manifest(place_of(call))
        plan = self._plan(hypervisor, manifest, settings.restore_as, key_of(call))
        _require_free(hypervisor, plan)
        assembly = Assembly(self._repository, plan.manifest, plan.targets, key_of(call), context)
        with assembly.prepared():
            if plan.domain is not None:
                _stop(plan.domain, context)
            assembly.put()
            self._define(hypervisor, plan)
        return NOTHING

    def _plan(self, hypervisor: Hypervisor, manifest: Manifest, wanted: str | None, key: str) -> _Plan:
        definition = self._definition(manifest)
        domain = _find(hypervisor, wanted) if wanted else _find_saved(hypervisor, manifest)
        if wanted and domain is not None and marks.restored_from(domain) != key:
            raise ForeignObjectError(f"there is a domain {wanted} already; nothing was restored")
        if wanted:
            definition = with_metadata_of(as_new_domain(definition, wanted), marks.restored(key))
        if domain is not None:
            definition = with_identity(definition, domain.name, domain.uuid)
        targets = tuple(_targets(manifest, definition, domain, wanted))
        return _Plan(manifest=manifest, domain=domain, definition=definition, targets=targets)

    def _definition(self, manifest: Manifest) -> str:
        with self._repository.open(manifest, DEFINITION) as stored:
            text = stored.read().decode(errors="replace")
            stored.check()
        return text

    def _define(self, hypervisor: Hypervisor, plan: _Plan) -> None:
        paths = {target.name: str(target.path) for target in plan.targets}
        formats = {target.name: target.format for target in plan.targets}
        definition = with_sources(plan.definition, paths, formats)
        if plan.domain is not None:
            definition = with_metadata_of(definition, plan.domain.metadata(live=False))
        made = hypervisor.define_domain(definition)
        self._put_nvram(plan.manifest, made)
        if plan.manifest.content.get("active"):
            made.start()

    def _put_nvram(self, manifest: Manifest, domain: Domain) -> None:
        path = read_definition(domain.xml()).nvram
        if path is None or NVRAM not in {file.path for file in manifest.files}:
            return
        with self._repository.open(manifest, NVRAM) as stored, storage_errors(f"write {path}"):
            content = stored.read()
            stored.check()
            Path(path).write_bytes(content)


def _find(hypervisor: Hypervisor, name: str) -> Domain | None:
    try:
        return hypervisor.domain(name)
    except ResourceNotFoundError:
        return None


def _find_saved(hypervisor: Hypervisor, manifest: Manifest) -> Domain | None:
    """Return the domain that was saved, or the one that has its name by now."""
    by_uuid = _find(hypervisor, str(manifest.content.get("uuid", "")))
    return by_uuid or _find(hypervisor, str(manifest.content.get("domain", "")))


def _targets(
    manifest: Manifest, definition: str, domain: Domain | None, wanted: str | None
) -> Sequence[Target]:
    stored = read_definition(definition)
    current = read_definition(domain.xml()) if domain is not None else None
    disks = manifest.content.get("disks")
    targets: list[Target] = []
    for disk in disks if isinstance(disks, list) else []:
        if isinstance(disk, dict):
            name = str(disk["target"])
            found = (current.disk(name) if current else None) or stored.disk(name)
            targets.append(_target(manifest, disk, found, wanted))
    return targets


def _target(manifest: Manifest, disk: dict[str, Json], found: Disk | None, wanted: str | None) -> Target:
    """Return where a stored disk goes: to where the domain has it now, or had it; beside it for a new one."""
    name, image_format, size_bytes = str(disk["target"]), str(disk["format"]), int(str(disk["size_bytes"]))
    path = Path(found.path if found else str(disk["path"]))
    if found is not None and found.kind == "block":
        _require_device(path, name, size_bytes, wanted)
        image_format = "raw"
    elif wanted:
        path = path.with_name(f"{wanted}-{name}.{image_format}")
    return Target(
        name=name,
        path=path,
        format=image_format,
        size_bytes=size_bytes,
        layers=tuple(layers_of(manifest.content, name)),
    )


def _require_device(path: Path, name: str, size_bytes: int, wanted: str | None) -> None:
    """Return when the disk can be written onto that block device."""
    if wanted:
        raise UnsupportedError(
            f"disk {name} is the block device {path}, and quiesce makes no other one for {wanted}",
            hint="Restore in place, or name the disk in exclude_disks when making the backup.",
        )
    if not path.is_block_device():
        raise ResourceNotFoundError(f"the block device {path}, for disk {name}, is not there")
    with storage_errors(f"look at {path}"), path.open("rb") as device:
        if device.seek(0, os.SEEK_END) < size_bytes:
            raise NonRecoverableError(f"{path} is smaller than disk {name} was; nothing was restored")


def _require_free(hypervisor: Hypervisor, plan: _Plan) -> None:
    """Return when nothing but this domain would lose what lies where the disks are to be put."""
    paths = {str(target.path) for target in plan.targets}
    for other in hypervisor.domains():
        if plan.domain is not None and other.uuid == plan.domain.uuid:
            continue
        shared = paths & {disk.path for disk in read_definition(other.xml()).disks}
        if shared:
            raise ForeignObjectError(f"{', '.join(sorted(shared))} belongs to domain {other.name}")
    for target in plan.targets:
        require_no_snapshots(target)


def require_no_snapshots(target: Target) -> None:
    """Return when replacing the file destroys no snapshot inside it.

    Raises:
        UnsupportedError: when it would.
    """
    if target.is_device or not target.path.exists():
        return
    kept = qemu_img.info(str(target.path)).snapshots
    if kept:
        raise UnsupportedError(
            f"{target.path} holds the snapshots {', '.join(kept)}, which restoring would destroy",
            hint="Remove these restore points first, or restore under another name with restore_as.",
        )


def _stop(domain: Domain, context: Context) -> None:
    """Let the domain be off, with nothing left that speaks of its old disks."""
    domain.destroy()
    domain.drop_managed_save()
    for name, mark in jobs.marks_of_checkpoints(domain).items():
        if mark is None:
            context.log(Level.WARNING, f"checkpoint {name} is not ours; it does not fit the restored disks")
        else:
            domain.delete_checkpoint(name, metadata_only=True)
