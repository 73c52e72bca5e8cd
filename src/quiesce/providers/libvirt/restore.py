"""Bringing a backup back: checked, put together beside the old disks, then put in their place.

Nothing of the domain is touched before every stored byte has been read and found as it was written. The
new disks are made while the check runs; a failed check removes them again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    OperationTimeoutError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.libvirt import image, jobs, qemu_img
from quiesce.providers.libvirt.backup import DEFINITION, NVRAM, layers_of
from quiesce.providers.libvirt.client import Domain, Hypervisor
from quiesce.providers.libvirt.copying import PIECE, check_file
from quiesce.providers.libvirt.definition import (
    as_new_domain,
    read_definition,
    with_identity,
    with_metadata_of,
    with_sources,
)
from quiesce.providers.libvirt.settings import Settings, key_of, place_of
from quiesce.repository import Compression, Manifest, Repository, StoredFile, storage_errors

_SUFFIX: Final = "quiesce-restore"
#: how much the kernel is asked to copy at once
_AT_ONCE: Final = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """One disk that is to be written."""

    name: str
    #: where it is to be in the end
    path: Path
    format: str
    size_bytes: int
    layers: tuple[str, ...]

    @property
    def is_device(self) -> bool:
        """Tell whether it is a block device, which is written in place."""
        return self.path.exists() and stat.S_ISBLK(self.path.stat().st_mode)

    def beside(self, key: str) -> Path:
        """Return where it is put together."""
        return self.path.with_name(f".{self.path.name}.{key}.{_SUFFIX}")


class Restores:
    """Brings back backups of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def apply(self, hypervisor: Hypervisor, call: Call, settings: Settings, context: Context) -> Outcome:
        """Put the domain back, or make another one of it under the name *restore_as*."""
        manifest = self._repository.manifest(place_of(call))
        definition = self._definition(manifest)
        wanted = settings.restore_as
        domain = _find(hypervisor, wanted or str(manifest.content.get("uuid", "")))
        if domain is None and not wanted:
            domain = _find(hypervisor, str(manifest.content.get("domain", "")))
        if wanted:
            if domain is not None:
                raise ForeignObjectError(f"there is a domain {wanted} already; nothing was restored")
            definition = as_new_domain(definition, wanted)
        elif domain is not None:
            definition = with_identity(definition, domain.name, domain.uuid)
        targets = _targets(manifest, definition, domain, wanted)
        _require_free(hypervisor, targets, domain)
        with self._assembled(manifest, targets, call, context):
            if domain is not None:
                _stop(domain, context)
            for target in targets:
                self._put(manifest, target, key_of(call))
            self._define(hypervisor, domain, definition, targets, manifest)
        return NOTHING

    def _definition(self, manifest: Manifest) -> str:
        with self._repository.open(manifest, DEFINITION) as stored:
            text = stored.read().decode()
            stored.check()
        return text

    @contextlib.contextmanager
    def _assembled(
        self, manifest: Manifest, targets: Sequence[_Target], call: Call, context: Context
    ) -> Iterator[None]:
        """Let the new disks lie beside the old ones, checked; what is left of them goes at the end."""
        key = key_of(call)
        work = _Work(context, sum(file.size_bytes for file in manifest.files))
        try:
            with ThreadPoolExecutor(2, thread_name_prefix="restore") as pool:
                checks = [pool.submit(self._check, manifest, file, work) for file in _largest_first(manifest)]
                try:
                    for target in targets:
                        self._assemble(manifest, target, key, work)
                finally:
                    for check in checks:
                        check.result()
            yield
        finally:
            for target in targets:
                for path in target.path.parent.glob(f".{target.path.name}.{key}.*"):
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _check(self, manifest: Manifest, file: StoredFile, work: _Work) -> None:
        check_file(self._repository.path(manifest, file.path), file.size_bytes, file.sha256, work.advance)

    def _assemble(self, manifest: Manifest, target: _Target, key: str, work: _Work) -> None:
        if target.is_device:
            return
        paths = [self._plain(manifest, target, layer, key) for layer in target.layers]
        layers = [image.read_layer(path) for path in paths]
        with storage_errors(f"write {target.beside(key)}"):
            _write_image(target.beside(key), target, layers, work)

    def _plain(self, manifest: Manifest, target: _Target, layer: str, key: str) -> Path:
        """Return a layer's file, decompressed beside the disk when it is stored compressed."""
        if manifest.file(layer).compression is Compression.NONE:
            return self._repository.path(manifest, layer)
        plain = target.beside(key).with_suffix(f".{layer}")
        with storage_errors(f"write {plain}"), plain.open("wb") as out:
            plain.chmod(0o600)
            with self._repository.open(manifest, layer) as stored:
                while data := stored.read(PIECE):
                    out.write(data)
                stored.check()
        return plain

    def _define(
        self,
        hypervisor: Hypervisor,
        domain: Domain | None,
        definition: str,
        targets: Sequence[_Target],
        manifest: Manifest,
    ) -> None:
        paths = {target.name: str(target.path) for target in targets}
        formats = {target.name: target.format for target in targets}
        kept = domain.metadata(live=False) if domain is not None else None
        with_disks = with_sources(definition, paths, formats)
        made = hypervisor.define_domain(with_metadata_of(with_disks, kept))
        self._put_nvram(manifest, made)
        if manifest.content.get("active"):
            made.start()

    def _put(self, manifest: Manifest, target: _Target, key: str) -> None:
        if target.is_device:
            layers = [image.read_layer(self._repository.path(manifest, layer)) for layer in target.layers]
            with storage_errors(f"write {target.path}"):
                _write_device(target, layers)
            return
        with storage_errors(f"replace {target.path}"):
            target.beside(key).replace(target.path)

    def _put_nvram(self, manifest: Manifest, domain: Domain) -> None:
        path = read_definition(domain.xml()).nvram
        if path is None or NVRAM not in {file.path for file in manifest.files}:
            return
        with self._repository.open(manifest, NVRAM) as stored, storage_errors(f"write {path}"):
            Path(path).write_bytes(stored.read())


class _Work:
    """Counts what was moved, and ends it when nobody waits any more or a part of it failed."""

    def __init__(self, context: Context, total_bytes: int) -> None:
        self._context = context
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._lock = threading.Lock()

    def advance(self, moved_bytes: int) -> None:
        """Count so many more bytes.

        Raises:
            OperationTimeoutError: when it took too long.
        """
        with self._lock:
            self._done_bytes += moved_bytes
            self._context.progress(min(self._done_bytes, self._total_bytes), self._total_bytes)
        if self._context.given_up() or self._context.remaining_s() <= 0:
            raise OperationTimeoutError("bringing the disks back took too long; the domain was not touched")


def _find(hypervisor: Hypervisor, name: str) -> Domain | None:
    try:
        return hypervisor.domain(name)
    except ResourceNotFoundError:
        return None


def _largest_first(manifest: Manifest) -> list[StoredFile]:
    return sorted(manifest.files, key=lambda file: file.size_bytes, reverse=True)


def _targets(manifest: Manifest, definition: str, domain: Domain | None, wanted: str | None) -> list[_Target]:
    stored = read_definition(definition)
    current = read_definition(domain.xml()) if domain is not None else None
    disks = manifest.content.get("disks")
    targets: list[_Target] = []
    for disk in disks if isinstance(disks, list) else []:
        if isinstance(disk, dict):
            name, image_format = str(disk["target"]), str(disk["format"])
            found = (current.disk(name) if current else None) or stored.disk(name)
            path = Path(found.path if found else str(disk["path"]))
            if wanted:
                path = path.with_name(f"{wanted}-{name}.{image_format}")
            targets.append(
                _Target(
                    name=name,
                    path=path,
                    format=image_format,
                    size_bytes=int(str(disk["size_bytes"])),
                    layers=tuple(layers_of(manifest.content, name)),
                )
            )
    return targets


def _require_free(hypervisor: Hypervisor, targets: Sequence[_Target], domain: Domain | None) -> None:
    """Return when nothing but this domain would lose what lies where the disks are to be put."""
    paths = {str(target.path) for target in targets}
    for other in hypervisor.domains():
        if domain is not None and other.uuid == domain.uuid:
            continue
        shared = paths & {disk.path for disk in read_definition(other.xml()).disks}
        if shared:
            raise ForeignObjectError(f"{', '.join(sorted(shared))} belongs to domain {other.name}")
    for target in targets:
        _require_no_snapshots(target)


def _require_no_snapshots(target: _Target) -> None:
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


def _write_image(path: Path, target: _Target, layers: Sequence[image.Layer], work: _Work) -> None:
    chosen = [(layer, piece) for layer, piece in image.merged(layers) if not piece.run.zero]
    layout = image.Layout(target.size_bytes, [piece.run for _, piece in chosen])
    with _private(path) as out, contextlib.ExitStack() as opened:
        sources = {layer.path: opened.enter_context(layer.path.open("rb")).fileno() for layer in layers}
        if target.format == "qcow2":
            for head in layout.head():
                os.write(out, head)
            places = [piece.offset for piece in layout.pieces()]
        else:
            os.truncate(out, target.size_bytes)
            places = [piece.run.first * image.CLUSTER for _, piece in chosen]
        for (layer, piece), place in zip(chosen, places, strict=True):
            length = piece.run.count * image.CLUSTER
            if target.format != "qcow2":
                length = min(length, target.size_bytes - place)
            _copy_range(sources[layer.path], piece.offset, out, place, length, work)
        os.fsync(out)


def _write_device(target: _Target, layers: Sequence[image.Layer]) -> None:
    """Write a block device from its first byte to its last."""
    with target.path.open("r+b", buffering=0) as device, contextlib.ExitStack() as opened:
        sources = {layer.path: opened.enter_context(layer.path.open("rb")) for layer in layers}
        position = 0
        for layer, piece in image.merged(layers):
            begin = piece.run.first * image.CLUSTER
            _write_zeros(device, begin - position)
            length = min(piece.run.count * image.CLUSTER, target.size_bytes - begin)
            if piece.run.zero:
                _write_zeros(device, length)
            else:
                source = sources[layer.path]
                source.seek(piece.offset)
                for size in _sizes(length):
                    device.write(source.read(size))
            position = begin + length
        _write_zeros(device, target.size_bytes - position)
        os.fsync(device.fileno())


def _write_zeros(device: FileIO, length: int) -> None:
    for size in _sizes(length):
        device.write(bytes(size))


def _sizes(length: int) -> Iterator[int]:
    while length > 0:
        yield min(length, PIECE)
        length -= PIECE


def _copy_range(source: int, begin: int, out: int, place: int, length: int, work: _Work) -> None:
    """Let the kernel copy, which costs nothing where files can share blocks."""
    while length:
        work.advance(0)
        size = min(length, _AT_ONCE)
        try:
            moved = os.copy_file_range(source, out, size, begin, place)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
            moved = os.pwrite(out, os.pread(source, min(size, PIECE), begin), place)
        if not moved:
            raise DamagedArtifactError("a stored disk file ends before its data do")
        begin, place, length = begin + moved, place + moved, length - moved


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
