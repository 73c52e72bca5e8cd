"""Putting stored disks together beside their places, checked, and then in their places.

The new disks are made while the check of every stored byte runs; nothing is put in its place before both
are over, and a failed check removes the new disks again.
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

from quiesce.errors import DamagedArtifactError, OperationTimeoutError
from quiesce.ports import Context
from quiesce.providers.libvirt import image
from quiesce.providers.libvirt.copying import PIECE, check_file
from quiesce.repository import Compression, Manifest, Repository, StoredFile, storage_errors

_SUFFIX: Final = "quiesce-restore"
#: how much the kernel is asked to copy at once
_AT_ONCE: Final = 32 << 20
_CANNOT_COPY: Final = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
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
        repository: Repository,
        manifest: Manifest,
        targets: Sequence[Target],
        key: str,
        context: Context,
    ) -> None:
        self._repository = repository
        self._manifest = manifest
        self._targets = targets
        self._key = key
        self._work = _Work(context, manifest.size_bytes)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Let the new disks lie beside the old ones, checked; what is left of them goes at the end.

        Raises:
            DamagedArtifactError: when anything stored is not what was written; nothing was touched.
        """
        try:
            with ThreadPoolExecutor(2, thread_name_prefix="check") as pool:
                checks = [pool.submit(self._check, file) for file in _largest_first(self._manifest)]
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
                    target.beside(self._key).replace(target.path)

    def _check(self, file: StoredFile) -> None:
        path = self._repository.path(self._manifest, file.path)
        check_file(path, file.size_bytes, file.sha256, self._work.advance)

    def _assemble(self, target: Target) -> None:
        layers = self._layers(target)
        if not target.is_device:
            with storage_errors(f"write {target.beside(self._key)}"):
                _write_image(target.beside(self._key), target, layers, self._work)

    def _layers(self, target: Target) -> list[image.Layer]:
        return [image.read_layer(self._plain(target, layer)) for layer in target.layers]

    def _plain(self, target: Target, layer: str) -> Path:
        """Return a layer's file, decompressed when it is stored compressed."""
        if self._manifest.file(layer).compression is Compression.NONE:
            return self._repository.path(self._manifest, layer)
        plain = self._scratch(target, layer)
        if not plain.exists():
            with storage_errors(f"write {plain}"):
                self._decompress(layer, plain)
        return plain

    def _decompress(self, layer: str, plain: Path) -> None:
        with plain.open("wb") as out, self._repository.open(self._manifest, layer) as stored:
            plain.chmod(0o600)
            while data := stored.read(PIECE):
                out.write(data)
                self._work.advance(0)
            stored.check()

    def _scratch(self, target: Target, layer: str) -> Path:
        if target.is_device:
            return self._repository.directory(self._manifest.place) / f".{layer}.{self._key}.{_SUFFIX}"
        return target.path.with_name(f".{target.path.name}.{layer}.{self._key}.{_SUFFIX}")

    def _clear(self) -> None:
        for target in self._targets:
            doomed = [target.beside(self._key), *(self._scratch(target, layer) for layer in target.layers)]
            for path in doomed:
                with contextlib.suppress(OSError):
                    path.unlink()


class _Work:
    """Counts what was moved, and ends it when nobody waits any more."""

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
            self._context.progress(self._done_bytes, self._total_bytes)
        if self._context.given_up() or self._context.remaining_s() <= 0:
            raise OperationTimeoutError("bringing the disks back took too long; nothing was replaced")


def _largest_first(manifest: Manifest) -> list[StoredFile]:
    return sorted(manifest.files, key=lambda file: file.size_bytes, reverse=True)


def _write_image(path: Path, target: Target, layers: Sequence[image.Layer], work: _Work) -> None:
    chosen = [(layer, piece) for layer, piece in image.merged(layers) if not piece.run.zero]
    with _private(path) as out, contextlib.ExitStack() as opened:
        sources = {layer.path: opened.enter_context(layer.path.open("rb")).fileno() for layer in layers}
        places = _begin_image(out, target, [piece.run for _, piece in chosen])
        for (layer, piece), place in zip(chosen, places, strict=True):
            length = piece.run.count * image.CLUSTER
            if target.format != "qcow2":
                length = min(length, target.size_bytes - place)
            _copy_range((sources[layer.path], piece.offset), (out, place), length, work)
        os.fsync(out)


def _begin_image(out: int, target: Target, runs: Sequence[image.Run]) -> list[int]:
    """Write what comes before the data, and return where in the file each run's data go."""
    if target.format != "qcow2":
        os.truncate(out, target.size_bytes)
        return [run.first * image.CLUSTER for run in runs]
    layout = image.Layout(target.size_bytes, runs)
    for head in layout.head():
        os.write(out, head)
    return [piece.offset for piece in layout.pieces()]


def _write_device(target: Target, layers: Sequence[image.Layer]) -> None:
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


def _copy_range(source: tuple[int, int], into: tuple[int, int], length: int, work: _Work) -> None:
    """Let the kernel copy between two (file, position), which costs nothing where files can share blocks."""
    (file, begin), (out, place) = source, into
    while length:
        work.advance(0)
        try:
            moved = os.copy_file_range(file, out, min(length, _AT_ONCE), begin, place)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            moved = os.pwrite(out, os.pread(file, min(length, PIECE), begin), place)
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
