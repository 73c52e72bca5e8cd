"""Storing what an export serves as one file of a backup, checksummed while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.archives import Compression, Draft, StoredFile
from quiesce.provider_kit.saving import watched
from quiesce.providers.libvirt.disk import qcow2
from quiesce.providers.libvirt.disk.copying import PIECE, CheckedWriter
from quiesce.providers.libvirt.disk.nbd import ALLOCATION, DEPTH, NbdClient
from quiesce.providers.libvirt.job import LibvirtJob

#: longest wait for the next bytes of a disk
_SILENCE_S: Final = 60.0
#: how often a copy looks whether all is well with what it copies
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDisk:
    """One disk of a full copy, as the manifest names it."""

    target: str
    #: where it lay
    path: str
    format: str
    size_bytes: int
    #: the stored files it is made of, oldest first
    layers: tuple[str, ...]


class DiskStore:
    """Stores exports in one draft."""

    def __init__(self, job: LibvirtJob, draft: Draft, look: Callable[[], None]) -> None:
        """Call *look* now and then while copying; what it raises ends the copy."""
        self._draft = draft
        self._context = job.context
        self._compress = job.options.compress
        self._look = look
        self._look_again = 0.0

    def file_name(self, export: str, layer: int) -> str:
        """Return the name of the file that holds a layer of an export."""
        return f"{export}.{layer}.qcow2" + (".gz" if self._compress else "")

    def store(self, socket: Path, export: str, name: str, since: str | None = None) -> int:
        """Store all data of *export*, or what its bitmap *since* names; return the disk's size in bytes."""
        contexts = [ALLOCATION, *([_bitmap(since)] if since else [])]
        with NbdClient(str(socket), export, contexts, _SILENCE_S) as served:
            if name not in self._draft.finished:
                layout = qcow2.Layout(served.size_bytes, _runs(served, since))
                write = self._write_compressed if self._compress else self._write_plain
                write(served, layout, name, self._watched(layout))
            return served.size_bytes

    def _write_plain(
        self, served: NbdClient, layout: qcow2.Layout, name: str, advance: Callable[[int], None]
    ) -> None:
        with CheckedWriter(self._draft.own_path(name)) as writer:
            for head in layout.head():
                writer.write(head)
            for buffer, length in served.read(layout.data(), writer.buffer):
                writer.give(buffer, _padded(buffer, length))
                advance(length)
            stored = StoredFile(path=name, size_bytes=layout.file_bytes, sha256=writer.finish())
        self._draft.enter(stored)

    def _write_compressed(
        self, served: NbdClient, layout: qcow2.Layout, name: str, advance: Callable[[int], None]
    ) -> None:
        free = [memoryview(bytearray(PIECE)) for _ in range(DEPTH + 1)]
        with self._draft.create(name, Compression.GZIP) as out:
            for head in layout.head():
                out.write(head)
            for buffer, length in served.read(layout.data(), free.pop):
                out.write(buffer[: _padded(buffer, length)])
                free.append(buffer)
                advance(length)

    def _watched(self, layout: qcow2.Layout) -> Callable[[int], None]:
        """Return what is told of bytes copied; it ends the copy when nobody waits, or *look* says so."""
        moved = watched(self._context, layout.data_clusters * qcow2.CLUSTER)

        def advance(size_bytes: int) -> None:
            moved(size_bytes)
            if time.monotonic() >= self._look_again:
                self._look()
                self._look_again = time.monotonic() + _LOOK_S

        return advance


def _bitmap(name: str) -> str:
    return f"qemu:dirty-bitmap:{name}"


def _runs(served: NbdClient, since: str | None) -> list[qcow2.Run]:
    allocated = list(served.extents(ALLOCATION))
    data = qcow2.whole_clusters((e.offset, e.length) for e in allocated if not e.is_zero)
    if since is None:
        return data
    changes = served.extents(_bitmap(since))
    dirty = qcow2.whole_clusters((e.offset, e.length) for e in changes if e.is_dirty)
    zeros = qcow2.without(dirty, data)
    return [
        *qcow2.without(dirty, zeros),
        *(qcow2.Run(first=r.first, count=r.count, zero=True) for r in zeros),
    ]


def _padded(buffer: memoryview, length: int) -> int:
    """Fill the disk's last cluster up with zeros; return how much of *buffer* counts then."""
    whole = -(-length // qcow2.CLUSTER) * qcow2.CLUSTER
    buffer[length:whole] = bytes(whole - length)
    return whole
