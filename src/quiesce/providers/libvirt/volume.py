"""Volumes that no running domain uses: snapshots inside qcow2 images, and full copies of any format.

What a running domain uses is saved through that domain, with its other disks at one instant.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from quiesce.backups import Manifest
from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import ELSEWHERE, Proof
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.provider_kit.ownership import is_removable, made_for
from quiesce.provider_kit.saving import proof
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, DomainState, HypervisorObject
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.disk.assembling import Assembly, DiskTarget
from quiesce.providers.libvirt.disk.serving import served
from quiesce.providers.libvirt.disk.storing import DiskStore, StoredDisk
from quiesce.providers.libvirt.domain.backup_job import socket_path
from quiesce.providers.libvirt.domain.domain_xml import read_definition
from quiesce.providers.libvirt.domain.restore import require_no_snapshots
from quiesce.providers.libvirt.job import LibvirtJob
from quiesce.providers.libvirt.ownership import key_in, tag_of
from quiesce.providers.libvirt.resource import names_of

_EXPORT: Final = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeArtifact:
    """What the catalog says of a volume's part of a restore point."""

    path: str
    #: the running domain that its data are saved through; all else is empty then
    through: str | None = None
    format: str = ""
    cut_at: float = 0.0
    #: when its file was changed last
    changed_ns: int = 0
    #: the snapshot inside the image
    tag: str | None = None
    objects: tuple[str, ...] = ()
    #: of a full copy: what is stored
    disks: tuple[StoredDisk, ...] = ()


class LibvirtVolumeOperations(CheckedOperations[LibvirtJob]):
    """Saves volumes."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    measure = unsupported
    prepare = stop = start = probe = unsupported

    def snapshot(self, job: LibvirtJob, /) -> Outcome:
        """Fix the point in time: by a snapshot inside the image where its format has them."""
        job.require_local()
        if job.call.full and (made := job.saving.made_before_cut()) is not None:
            return Outcome(artifact=made.content)
        path = _path(job)
        user = _running_user(job, path)
        if user is not None:
            return _through(job, user, path)
        image = _image(job, path)
        if image.format == "qcow2":
            return Outcome(artifact=as_artifact(_cut_qcow2(job, image)))
        if not job.call.full:
            raise UnsupportedError(
                f"{path} is {image.format}, which has no snapshots",
                hint="Make full backups of it (snapshot_incremental: false).",
            )
        return Outcome(artifact=as_artifact(_artifact(image, tag=None)))

    def copy(self, job: LibvirtJob, /) -> Outcome:
        """Store what the cut fixed, then forget the snapshot that fixed it."""
        cut = read_artifact(VolumeArtifact, artifact_of(job.call))
        if cut.through:
            return Outcome(artifact=job.call.artifact)
        made = job.saving.made_before() or _store(job, cut)
        if cut.tag is not None:
            _drop_snapshot(job, cut.path, cut.tag)
        return Outcome(artifact=made.content)

    def apply(self, job: LibvirtJob, /) -> Outcome:
        """Put the volume back to what it was."""
        if _is_through(job):
            return Outcome(note="its data come back with its domain")
        if job.call.full:
            _restore(job)
            return NOTHING
        path = _path(job)
        _require_free(job, path)
        tag = next((tag for tag in _tags(job, path) if made_for(job.call, key_in(tag))), None)
        if tag is None:
            raise ResourceNotFoundError(f"{path} has no snapshot {job.object_name} of ours")
        qemu_img.revert(path, tag)
        return NOTHING

    def delete(self, job: LibvirtJob, /) -> Outcome:
        """Remove the snapshot or the stored copy, finished or half-made."""
        with contextlib.suppress(ResourceNotFoundError):
            path = _path(job)
            for tag in [tag for tag in _tags(job, path) if is_removable(job.call, key_in(tag))]:
                _require_free(job, path)
                _drop_snapshot(job, path, tag)
        if job.call.full:
            socket_path(job).unlink(missing_ok=True)
            if note := job.saving.remove():
                job.warn(note)
        return NOTHING

    def doctor(self, job: LibvirtJob, /) -> Sequence[Finding]:
        """Tell whether it is there, and through what it can be saved."""
        job.require_local()
        path = _path(job)
        image = _image(job, path)
        findings = [Finding(check="found", passed=True, detail=f"{path}, {image.format}")]
        user = _running_user(job, path)
        if user is not None:
            findings.append(Finding(check="in use", passed=True, detail=_through(job, user, path).note))
        elif image.format != "qcow2":
            findings.append(
                Finding(
                    check="snapshot",
                    passed=False,
                    detail=f"{image.format} has no snapshots",
                    remedy="Make full backups of it, or convert it to qcow2.",
                )
            )
        return findings

    def verify(self, job: LibvirtJob, /) -> Proof:
        """Read a full copy; of a snapshot, look whether it is there."""
        if _is_through(job):
            return proof(ELSEWHERE, detail="its data are in its domain's part of the restore point")
        if job.call.full:
            return job.saving.verify()
        path = _path(job)
        there = any(made_for(job.call, key_in(tag)) for tag in _tags(job, path))
        return proof("presence", damage="" if there else f"{path} has no snapshot {job.object_name}")


def _store(job: LibvirtJob, cut: VolumeArtifact) -> Manifest:
    draft, socket = job.saving.begin(), socket_path(job)
    store = DiskStore(job, draft, look=lambda: None)
    with served(job, cut.path, cut.format, socket, _EXPORT, tag=cut.tag):
        size_bytes = store.store(socket, _EXPORT, _EXPORT)
    if cut.tag is None and Path(cut.path).stat().st_mtime_ns != cut.changed_ns:
        raise NonRecoverableError(
            f"{cut.path} was written to after the cut, so the copy is worth nothing",
            hint="Stop what writes to it, or keep it as qcow2, which can be read as it was at the cut.",
        )
    disk = StoredDisk(target=_EXPORT, path=cut.path, format=cut.format, size_bytes=size_bytes, item=_EXPORT)
    return job.saving.complete(
        draft,
        as_artifact(replace(cut, disks=(disk,))),
        consistency=Consistency.FILESYSTEM,
        cut_at=cut.cut_at,
    )


def _restore(job: LibvirtJob) -> None:
    manifest = job.saving.manifest()
    disks = read_artifact(VolumeArtifact, manifest.content).disks
    if not disks:
        raise NonRecoverableError("the manifest names no disk")
    disk = disks[0]
    target = DiskTarget(
        name=_EXPORT,
        path=Path(disk.path),
        format=disk.format,
        size_bytes=disk.size_bytes,
        item=disk.item,
    )
    _require_free(job, disk.path)
    if Path(disk.path).exists():
        require_no_snapshots(target, _image(job, disk.path).format)
    assembly = Assembly(job.repository, manifest, [target], job.key.point, job.context)
    with assembly.prepared():
        _require_free(job, disk.path)
        assembly.put()
    if job.resource.pool:
        job.hypervisor.pool(job.resource.pool).refresh()


def _path(job: LibvirtJob) -> str:
    return _volume(job).path()


def _volume(job: LibvirtJob) -> HypervisorObject:
    def look_up(name: str) -> HypervisorObject:
        return job.hypervisor.volume(name, job.resource.pool)

    return job.resource.find(look_up)


def _is_through(job: LibvirtJob) -> bool:
    """Tell whether the volume's data were saved through a domain."""
    return (job.call.artifact or {}).get("through") is not None


def _running_user(job: LibvirtJob, path: str) -> Domain | None:
    """Return the running domain that uses the volume, itself or as the base of an overlay."""
    for domain in job.hypervisor.domains():
        if domain.state() is DomainState.OFF:
            continue
        sources = xml.read(domain.xml(live=True)).iter("source")
        if path in {value for source in sources for value in source.attrib.values()}:
            return domain
    return None


def _require_free(job: LibvirtJob, path: str) -> None:
    user = _running_user(job, path)
    if user is not None:
        raise RecoverableError(
            f"{path} is in use by the running domain {user.name}", hint=f"Stop {user.name} first."
        )


def _through(job: LibvirtJob, user: Domain, path: str) -> Outcome:
    """Answer for a volume whose data are in its domain's part of the restore point."""
    neighbours = {name for related in job.call.related for name in names_of(related)}
    if not neighbours & {user.name, user.uuid}:
        raise UnsupportedError(
            f"{path} is in use by the running domain {user.name}, to which the blueprint does not connect it",
            hint=f"Connect the node of {user.name} to this volume and back them up together, or stop it.",
        )
    return Outcome(
        artifact=as_artifact(VolumeArtifact(path=path, through=user.name)),
        note=f"in use by {user.name}: its data are in that domain's part of the restore point",
    )


def _cut_qcow2(job: LibvirtJob, image: qemu_img.DiskImage) -> VolumeArtifact:
    tag = tag_of(job.owner)
    if tag not in image.snapshots:
        others = [found for found in image.snapshots if found.rpartition("@")[0] == job.object_name]
        if others or job.object_name in image.snapshots:
            raise ForeignObjectError(f"{image.path} has a snapshot {job.object_name} already")
        qemu_img.snapshot(image.path, tag)
    return _artifact(image, tag=tag)


def _artifact(image: qemu_img.DiskImage, *, tag: str | None) -> VolumeArtifact:
    return VolumeArtifact(
        path=image.path,
        format=image.format,
        tag=tag,
        objects=(tag,) if tag else (),
        changed_ns=Path(image.path).stat().st_mtime_ns,
        cut_at=time.time(),
    )


def _tags(job: LibvirtJob, path: str) -> tuple[str, ...]:
    return _image(job, path).snapshots if Path(path).exists() else ()


def _drop_snapshot(job: LibvirtJob, path: str, tag: str) -> None:
    if tag in _tags(job, path):
        qemu_img.delete_snapshot(path, tag)


def _image(job: LibvirtJob, path: str) -> qemu_img.DiskImage:
    """Return what the volume is, in the format that its domain gives it.

    Where no domain has it, libvirt says what its pool has found, which is what a guest may have written: then
    it is believed as long as nothing but the file itself would be read.

    Raises:
        UnsupportedError: when another file would be, which no domain has asked for.
    """
    told = _format_in_domains(job, path)
    image = qemu_img.info(path, told or _format_in_pool(job))
    if told is None and (image.backing is not None or image.has_data_file):
        raise UnsupportedError(
            f"{path} says that its data are in {image.backing or 'another file'}, and no domain uses it: its "
            "last guest may have written that",
            hint="Let a domain have it as a disk with its format, or save it as that domain's disk.",
        )
    return image


def _format_in_domains(job: LibvirtJob, path: str) -> str | None:
    definitions = (read_definition(domain.xml()) for domain in job.hypervisor.domains())
    found = [disk.format for each in definitions for disk in each.disks if disk.path == path]
    return found[0] if found else None


def _format_in_pool(job: LibvirtJob) -> str:
    return xml.attribute(xml.read(_volume(job).xml()), "target/format", "type", "raw")
