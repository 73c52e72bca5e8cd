"""Putting stored disks together beside their places, checked, and then in their places.

Each stored file is read once: its checksum is computed while its data are written into the new disk. Nothing
is put in its place before every stored byte was found as it was written. New disks have no names until then,
so that a failed check, a cancel and a killed process leave nothing of them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from quiesce.archives import Archives, Compression, Manifest, StoredFile, require_length, require_same
from quiesce.files.durable import storage_errors
from quiesce.ports import Context
from quiesce.provider_kit.saving import watched
from quiesce.providers.libvirt.disk import qcow2
from quiesce.providers.libvirt.disk.copying import (
    PIECE,
    BufferPart,
    Mover,
    check_file,
    read_ahead,
    reopen_direct,
    write_all,
)
from quiesce.providers.libvirt.disk.new_file import NewFile

_SUFFIX: Final = "quiesce-restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskTarget:
    """One disk that is to be written."""

    name: str
    #: where it is to be in the end
    path: Path
    format: str
    size_bytes: int
    #: the stored files it is made of, oldest first
    layers: tuple[str, ...]

    @property
    def is_device(self) -> bool:
        """Tell whether it is a block device, which is written in place."""
        return self.path.exists() and stat.S_ISBLK(self.path.stat().st_mode)

    def beside(self, key: str) -> Path:
        """Return where it is put together."""
        return self.path.with_name(f".{self.path.name}.{key}.{_SUFFIX}")


class Assembly:
    """Disks of one backup on their way back."""

    def __init__(
        self,
        repository: Archives,
        manifest: Manifest,
        targets: Sequence[DiskTarget],
        key: str,
        context: Context,
    ) -> None:
        self._repository = repository
        self._manifest = manifest
        self._targets = targets
        self._key = key
        self._advance = watched(context, manifest.size_bytes)
        #: what lies beside, whole or not
        self._new: dict[Path, NewFile] = {}

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Let the new disks lie beside the old ones, checked; what is left of them goes at the end.

        Raises:
            DamagedArtifactError: when anything stored is not what was written; nothing was touched.
        """
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="check") as pool:
                checks = [pool.submit(self._check, file) for file in self._read_by_nobody_else()]
                try:
                    for target in self._targets:
                        self._assemble(target)
                finally:
                    for check in checks:
                        check.result()
            yield
        finally:
            self._clear()

    def put(self) -> None:
        """Put every new disk in its place; the old one is gone then. May run again after it was cut off."""
        for target in self._targets:
            with storage_errors(f"replace {target.path}"):
                if target.is_device:
                    _write_device(target, self._layers(target))
                else:
                    self._new[target.beside(self._key)].give_name()
                    _take_over_owner(target.path, target.beside(self._key))
                    target.beside(self._key).replace(target.path)

    def _read_by_nobody_else(self) -> list[StoredFile]:
        """Return the files whose checksums are not computed while disks are put together."""
        files = [target for target in self._targets if not target.is_device]
        checked = {layer for target in files for layer in target.layers if self._is_plain(layer)}
        return [file for file in self._manifest.files if file.path not in checked]

    def _is_plain(self, layer: str) -> bool:
        return self._manifest.file(layer).compression is Compression.NONE

    def _check(self, file: StoredFile) -> None:
        path = self._repository.path(self._manifest, file.path)
        require_length(path, file)
        check_file(path, file, self._advance)

    def _assemble(self, target: DiskTarget) -> None:
        if target.is_device:
            return
        layers, path = self._layers(target), target.beside(self._key)
        with storage_errors(f"write {path}"), _NewDisk(self._begin(path), target, layers) as disk:
            for name, layer in zip(target.layers, layers, strict=True):
                if self._is_plain(name):
                    require_length(layer.path, self._manifest.file(name))
                found = disk.take(layer, self._advance)
                if self._is_plain(name):
                    require_same(layer.path, self._manifest.file(name), *found)
            disk.finish()

    def _layers(self, target: DiskTarget) -> list[qcow2.Layer]:
        return [qcow2.read_layer(self._plain(target, layer)) for layer in target.layers]

    def _plain(self, target: DiskTarget, layer: str) -> Path:
        """Return a layer's file, decompressed when it is stored compressed."""
        if self._is_plain(layer):
            return self._repository.path(self._manifest, layer)
        plain = self._scratch(target, layer)
        if plain not in self._new:
            with storage_errors(f"write {plain}"):
                self._decompress(target, layer, self._begin(plain))
        return self._new[plain].opened

    def _begin(self, path: Path) -> NewFile:
        self._new[path] = NewFile(path)
        return self._new[path]

    def _decompress(self, target: DiskTarget, layer: str, plain: NewFile) -> None:
        at_most = qcow2.longest_file(target.size_bytes)
        with (
            os.fdopen(os.dup(plain.descriptor), "wb") as out,
            self._repository.open(self._manifest, layer, at_most=at_most) as stored,
        ):
            while data := stored.read(PIECE):
                out.write(data)
                self._advance(0)
            stored.check()

    def _scratch(self, target: DiskTarget, layer: str) -> Path:
        if target.is_device:
            return self._repository.directory(self._manifest.place) / f".{layer}.{self._key}.{_SUFFIX}"
        return target.path.with_name(f".{target.path.name}.{layer}.{self._key}.{_SUFFIX}")

    def _clear(self) -> None:
        for file in self._new.values():
            with contextlib.suppress(OSError):
                file.close()
        self._new.clear()
        # of a process that was killed while names were given
        for target in self._targets:
            with contextlib.suppress(OSError):
                target.beside(self._key).unlink()


def _take_over_owner(old: Path, new: Path) -> None:
    """Let those who may use the *old* file use the *new* one."""
    if not old.exists():
        return
    found = old.stat()
    with contextlib.suppress(PermissionError):
        os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


class _NewDisk:
    """An image file that becomes what layers say, each read once from its beginning to its end."""

    def __init__(self, file: NewFile, target: DiskTarget, layers: Sequence[qcow2.Layer]) -> None:
        self._file = file
        self._target = target
        chosen = [
            (layer, piece) for layer, piece in qcow2.merged(layers, target.size_bytes) if not piece.run.zero
        ]
        self._head, places = _laid_out(target, [piece.run for _, piece in chosen])
        #: what of each layer goes where: position in the layer, length, position in the image
        self._moves: dict[Path, list[tuple[int, int, int]]] = {layer.path: [] for layer in layers}
        for (layer, piece), place in zip(chosen, places, strict=True):
            self._moves[layer.path].append((piece.offset, piece.run.count * qcow2.CLUSTER, place))

    def __enter__(self) -> Self:
        with os.fdopen(os.dup(self._file.descriptor), "wb") as file:
            for head in self._head:
                file.write(head)
        self._descriptor = reopen_direct(self._file.descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def take(self, layer: qcow2.Layer, advance: Callable[[int], None]) -> tuple[int, str]:
        """Write what *layer* contributes; return the size and the SHA-256 of its file."""
        parts = _by_piece(self._moves[layer.path])
        size_bytes = 0
        with Mover(self._descriptor, str(self._file.path)) as mover:
            for buffer, length in read_ahead(layer.path, mover.buffer):
                mover.give(buffer, length, parts.get(size_bytes // PIECE, ()))
                size_bytes += length
                advance(length)
            return size_bytes, mover.finish()

    def finish(self) -> None:
        """Make it durable."""
        if self._target.format != "qcow2":
            os.truncate(self._descriptor, self._target.size_bytes)
        os.fsync(self._descriptor)


def _laid_out(target: DiskTarget, runs: Sequence[qcow2.Run]) -> tuple[Iterable[bytes], list[int]]:
    """Return what comes before the data, and where in the file each run's data go."""
    if target.format != "qcow2":
        return (), [run.first * qcow2.CLUSTER for run in runs]
    layout = qcow2.Layout(target.size_bytes, runs)
    return layout.head(), [piece.offset for piece in layout.pieces()]


def _by_piece(moves: Iterable[tuple[int, int, int]]) -> dict[int, list[BufferPart]]:
    """Return what is to be moved by the number of the piece, of a file read piece by piece, that holds it."""
    found: dict[int, list[BufferPart]] = {}
    for position, length, place in moves:
        for number in range(position // PIECE, -(-(position + length) // PIECE)):
            begin = max(position, number * PIECE)
            end = min(position + length, (number + 1) * PIECE)
            part = BufferPart(
                begin=begin - number * PIECE, length=end - begin, place=place + begin - position
            )
            found.setdefault(number, []).append(part)
    return found


def _write_device(target: DiskTarget, layers: Sequence[qcow2.Layer]) -> None:
    """Write a block device from its first byte to its last."""
    with target.path.open("r+b", buffering=0) as device, contextlib.ExitStack() as opened:
        descriptor = device.fileno()
        sources = {layer.path: opened.enter_context(layer.path.open("rb")) for layer in layers}
        position = 0
        for layer, piece in qcow2.merged(layers, target.size_bytes):
            begin = piece.run.first * qcow2.CLUSTER
            end = min(piece.run.end * qcow2.CLUSTER, target.size_bytes)
            if not piece.run.zero:
                _write_zeros(descriptor, position, begin)
                _copy(sources[layer.path], piece.offset, descriptor, begin, end)
                position = end
        _write_zeros(descriptor, position, target.size_bytes)
        os.fsync(descriptor)


def _copy(source: BinaryIO, offset: int, descriptor: int, begin: int, end: int) -> None:
    """Write what follows *offset* of *source* to the stretch from *begin* to *end*."""
    source.seek(offset)
    for place, size in _parts(begin, end):
        write_all(descriptor, memoryview(source.read(size)), place)


def _write_zeros(descriptor: int, begin: int, end: int) -> None:
    for place, size in _parts(begin, end):
        write_all(descriptor, memoryview(bytes(size)), place)


def _parts(begin: int, end: int) -> Iterator[tuple[int, int]]:
    return ((place, min(PIECE, end - place)) for place in range(begin, end, PIECE))
