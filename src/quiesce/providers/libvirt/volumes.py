"""Volumes that no running domain uses: snapshots inside qcow2 images, and full copies of any format.

What a running domain uses is saved through that domain, with its other disks at one instant.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, Finding
from quiesce.providers.libvirt import qemu_img, xml
from quiesce.providers.libvirt.assembling import Assembly, Target
from quiesce.providers.libvirt.backup import layers_of, require_local
from quiesce.providers.libvirt.client import Domain, Hypervisor, Hypervisors, State
from quiesce.providers.libvirt.jobs import socket_path
from quiesce.providers.libvirt.restore import require_no_snapshots
from quiesce.providers.libvirt.settings import (
    Settings,
    execution_key,
    key_of,
    object_name,
    place_of,
    related_names,
)
from quiesce.providers.libvirt.storing import DiskStore
from quiesce.repository import Manifest, Repository

_EXPORT: Final = "volume"
_SERVER_STARTS_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Volume:
    """A volume as it is now."""

    path: str
    image: qemu_img.Image

    @property
    def changed_ns(self) -> int:
        """When its file was changed last."""
        return Path(self.path).stat().st_mtime_ns


class Volumes:
    """Saves volumes, full copies in one repository."""

    def __init__(self, hypervisors: Hypervisors, repository: Repository) -> None:
        self._hypervisors = hypervisors
        self._repository = repository

    def perform(self, call: Call, settings: Settings, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        hypervisor = self._hypervisors.get(settings.uri)
        match call.operation:
            case Operation.SNAPSHOT:
                return self._cut(hypervisor, call, settings)
            case Operation.COPY:
                return self._copy(call, settings, context)
            case Operation.APPLY:
                return self._apply(hypervisor, call, settings, context)
            case Operation.DELETE:
                return self._delete(hypervisor, call, settings, context)
            case other:
                raise UnsupportedError(f"a volume has no {other}")

    def examine(self, call: Call, settings: Settings) -> Sequence[Finding]:
        """Tell whether it is there, and through what it can be saved."""
        require_local(settings)
        hypervisor = self._hypervisors.get(settings.uri)
        path = _path(hypervisor, settings)
        image = qemu_img.info(path)
        findings = [Finding(check="found", passed=True, detail=f"{path}, {image.format}")]
        user = _running_user(hypervisor, path)
        if user is not None:
            detail = _through(user, call, path).note
            findings.append(Finding(check="in use", passed=True, detail=detail))
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

    def _cut(self, hypervisor: Hypervisor, call: Call, settings: Settings) -> Outcome:
        """Fix the point in time: by a snapshot inside the image where its format has them."""
        require_local(settings)
        if call.full and (made := self._repository.made_before(place_of(call), call.execution)) is not None:
            return Outcome(artifact=made.content)
        path = _path(hypervisor, settings)
        user = _running_user(hypervisor, path)
        if user is not None:
            return _through(user, call, path)
        volume = _Volume(path=path, image=qemu_img.info(path))
        if volume.image.format == "qcow2":
            return _cut_qcow2(volume, call)
        if not call.full:
            raise UnsupportedError(
                f"{path} is {volume.image.format}, which has no snapshots",
                hint="Make full backups of it (snapshot_incremental: false).",
            )
        return Outcome(artifact=_artifact(volume, tag=None))

    def _copy(self, call: Call, settings: Settings, context: Context) -> Outcome:
        """Store what the cut fixed, then forget the snapshot that fixed it."""
        artifact = dict(call.artifact or {})
        if artifact.get("kind") == "through":
            return Outcome(artifact=artifact)
        made = self._repository.made_before(place_of(call), call.execution)
        if made is None:
            made = self._store(call, settings, context, artifact)
        if isinstance(tag := artifact.get("tag"), str):
            _drop_snapshot(str(artifact["path"]), tag)
        return Outcome(artifact=made.content)

    def _apply(self, hypervisor: Hypervisor, call: Call, settings: Settings, context: Context) -> Outcome:
        """Put the volume back to what it was."""
        if (call.artifact or {}).get("kind") == "through":
            return Outcome(note="its data come back with its domain")
        if call.full:
            return self._restore(hypervisor, call, settings, context)
        path = _path(hypervisor, settings)
        _require_free(hypervisor, path)
        tag = _our_tag(path, call)
        if tag is None:
            raise ResourceNotFoundError(f"{path} has no snapshot {object_name(call)} of ours")
        qemu_img.revert(path, tag)
        return NOTHING

    def _delete(self, hypervisor: Hypervisor, call: Call, settings: Settings, context: Context) -> Outcome:
        """Remove the snapshot or the stored copy, finished or half-made."""
        with contextlib.suppress(ResourceNotFoundError):
            path = _path(hypervisor, settings)
            tag = _our_tag(path, call)
            if tag is not None:
                _require_free(hypervisor, path)
                _drop_snapshot(path, tag)
        if call.full:
            socket_path(settings.scratch_dir, key_of(call), execution_key(call)).unlink(missing_ok=True)
            try:
                self._repository.delete(place_of(call), made_by=call.execution if call.undo else None)
            except ForeignObjectError as error:
                context.log(Level.WARNING, f"left alone: {error}")
        return NOTHING

    def _store(self, call: Call, settings: Settings, context: Context, artifact: dict[str, Json]) -> Manifest:
        path, tag = str(artifact["path"]), artifact.get("tag")
        draft = self._repository.begin(place_of(call), execution=call.execution, provider="libvirt")
        store = DiskStore(draft, context, compress=settings.compress, look=lambda: None)
        socket = socket_path(settings.scratch_dir, key_of(call), execution_key(call))
        name = store.file_name(_EXPORT, 0)
        with _served(path, str(artifact["format"]), socket, tag if isinstance(tag, str) else None):
            size_bytes = store.store(socket, _EXPORT, name)
        if tag is None and Path(path).stat().st_mtime_ns != artifact["changed_ns"]:
            raise NonRecoverableError(
                f"{path} was written to after the cut, so the copy is worth nothing",
                hint="Stop what writes to it, or keep it as qcow2, which can be read as it was at the cut.",
            )
        disk: Json = {
            "target": _EXPORT,
            "path": path,
            "format": artifact["format"],
            "size_bytes": size_bytes,
            "layers": [name],
        }
        return draft.complete(
            function=call.function,
            consistency=Consistency.FILESYSTEM,
            cut_at=float(str(artifact["cut_at"])),
            made_at=time.time(),
            content=artifact | {"disks": [disk]},
        )

    def _restore(self, hypervisor: Hypervisor, call: Call, settings: Settings, context: Context) -> Outcome:
        manifest = self._repository.manifest(place_of(call))
        disks = manifest.content["disks"]
        disk = disks[0] if isinstance(disks, list) else None
        if not isinstance(disk, dict):
            raise NonRecoverableError("the manifest names no disk")
        target = Target(
            name=_EXPORT,
            path=Path(str(disk["path"])),
            format=str(disk["format"]),
            size_bytes=int(str(disk["size_bytes"])),
            layers=tuple(layers_of(manifest.content, _EXPORT)),
        )
        _require_free(hypervisor, str(target.path))
        require_no_snapshots(target)
        assembly = Assembly(self._repository, manifest, [target], key_of(call), context)
        with assembly.prepared():
            _require_free(hypervisor, str(target.path))
            assembly.put()
        if settings.pool:
            hypervisor.pool(settings.pool).refresh()
        return NOTHING


def _path(hypervisor: Hypervisor, settings: Settings) -> str:
    missing: ResourceNotFoundError | None = None
    for name in settings.names:
        try:
            return hypervisor.volume(name, settings.pool).path()
        except ResourceNotFoundError as error:
            missing = missing or error
    raise missing or ResourceNotFoundError(f"no volume {settings.name}")


def _running_user(hypervisor: Hypervisor, path: str) -> Domain | None:
    """Return the running domain that uses the volume, itself or as the base of an overlay."""
    for domain in hypervisor.domains():
        if domain.state() is State.OFF:
            continue
        sources = xml.read(domain.xml(live=True)).iter("source")
        if path in {value for source in sources for value in source.attrib.values()}:
            return domain
    return None


def _require_free(hypervisor: Hypervisor, path: str) -> None:
    user = _running_user(hypervisor, path)
    if user is not None:
        raise RecoverableError(
            f"{path} is in use by the running domain {user.name}", hint=f"Stop {user.name} first."
        )


def _through(user: Domain, call: Call, path: str) -> Outcome:
    """Answer for a volume whose data are in its domain's part of the restore point."""
    neighbours = {name for related in call.related for name in related_names(related)}
    if not neighbours & {user.name, user.uuid}:
        raise UnsupportedError(
            f"{path} is in use by the running domain {user.name}, to which the blueprint does not connect it",
            hint=f"Connect the node of {user.name} to this volume and back them up together, or stop it.",
        )
    return Outcome(
        artifact={"kind": "through", "domain": user.name},
        note=f"in use by {user.name}: its data are in that domain's part of the restore point",
    )


def _cut_qcow2(volume: _Volume, call: Call) -> Outcome:
    tag = f"{object_name(call)}@{execution_key(call)}"
    if tag not in volume.image.snapshots:
        others = [
            found
            for found in volume.image.snapshots
            if object_name(call) in {found, found.rpartition("@")[0]}
        ]
        if others:
            raise ForeignObjectError(f"{volume.path} has a snapshot {others[0]} already")
        qemu_img.snapshot(volume.path, tag)
    return Outcome(artifact=_artifact(volume, tag=tag))


def _artifact(volume: _Volume, *, tag: str | None) -> dict[str, Json]:
    return {
        "kind": "volume",
        "path": volume.path,
        "format": volume.image.format,
        "tag": tag,
        "objects": [tag] if tag else [],
        "changed_ns": volume.changed_ns,
        "cut_at": time.time(),
    }


def _our_tag(path: str, call: Call) -> str | None:
    if not Path(path).exists():
        return None
    for tag in qemu_img.info(path).snapshots:
        name, marked, maker = tag.rpartition("@")
        ours = name == object_name(call) and marked
        if ours and not (call.undo and maker != execution_key(call)):
            return tag
    return None


def _drop_snapshot(path: str, tag: str) -> None:
    if tag in qemu_img.info(path).snapshots:
        qemu_img.delete_snapshot(path, tag)


@contextlib.contextmanager
def _served(path: str, image_format: str, socket: Path, tag: str | None) -> Iterator[None]:
    socket.unlink(missing_ok=True)
    server = qemu_img.serve(path, image_format, str(socket), _EXPORT, tag)
    try:
        ends = time.monotonic() + _SERVER_STARTS_S
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > ends:
                said = (
                    server.stderr.read().decode(errors="replace") if server.stderr and server.poll() else ""
                )
                raise NonRecoverableError(f"qemu-nbd does not serve {path}: {said.strip()}")
            time.sleep(0.01)
        yield
    finally:
        server.terminate()
        server.wait(timeout=_SERVER_STARTS_S)
        if server.stderr:
            server.stderr.close()
        socket.unlink(missing_ok=True)
