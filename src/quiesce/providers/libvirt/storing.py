"""Storing what an export serves as one file of a backup, checksummed while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quiesce.errors import OperationTimeoutError
from quiesce.ports import Context
from quiesce.providers.libvirt import image
from quiesce.providers.libvirt.copying import PIECE, CheckedWriter
from quiesce.providers.libvirt.nbd import ALLOCATION, DEPTH, NbdClient
from quiesce.repository import Compression, Draft, StoredFile

#: longest wait for the next bytes of a disk
_SILENCE_S: Final = 60.0
#: how often a copy looks whether all is well with what it copies
_LOOK_S: Final = 0.5


class DiskStore:
    """Stores exports in one draft."""

    def __init__(
        self,
        draft: Draft,
        context: Context,
        *,
        compress: bool,
        look: Callable[[], None],
    ) -> None:
        """Call *look* now and then while copying; what it raises ends the copy."""
        self._draft = draft
        self._context = context
        self._compress = compress
        self._look = look
        self._look_again = 0.0
        self._done_bytes = 0

    def file_name(self, export: str, layer: int) -> str:
        """Return the name of the file that holds a layer of an export."""
        return f"{export}.{layer}.qcow2" + (".gz" if self._compress else "")

    def store(self, socket: Path, export: str, name: str, since: str | None = None) -> int:
        """Store all data of *export*, or what its bitmap *since* names; return the disk's size in bytes."""
        contexts = [ALLOCATION, *([_bitmap(since)] if since else [])]
        with NbdClient(str(socket), export, contexts, _SILENCE_S) as served:
            if name not in self._draft.finished:
                layout = image.Layout(served.size_bytes, _runs(served, since))
                write = self._write_compressed if self._compress else self._write_plain
                write(served, layout, name)
            return served.size_bytes

    def _write_plain(self, served: NbdClient, layout: image.Layout, name: str) -> None:
        with CheckedWriter(self._draft.path(name)) as writer:
            for head in layout.head():
                writer.write(head)
            for buffer, length in served.read(layout.data(), writer.buffer):
                writer.give(buffer, _padded(buffer, length))
                self._advance(length, layout)
            stored = StoredFile(path=name, size_bytes=layout.file_bytes, sha256=writer.finish())
        self._draft.enter(stored)

    def _write_compressed(self, served: NbdClient, layout: image.Layout, name: str) -> None:
        free = [memoryview(bytearray(PIECE)) for _ in range(DEPTH + 1)]
        with self._draft.create(name, Compression.GZIP) as out:
            for head in layout.head():
                out.write(head)
            for buffer, length in served.read(layout.data(), free.pop):
                out.write(buffer[: _padded(buffer, length)])
                free.append(buffer)
                self._advance(length, layout)

    def _advance(self, length: int, layout: image.Layout) -> None:
        self._done_bytes += length
        self._context.progress(self._done_bytes, layout.data_clusters * image.CLUSTER)
        if self._context.given_up() or self._context.remaining_s() <= 0:
            raise OperationTimeoutError("copying the disks took too long")
        if time.monotonic() >= self._look_again:
            self._look()
            self._look_again = time.monotonic() + _LOOK_S


def _bitmap(name: str) -> str:
    return f"qemu:dirty-bitmap:{name}"


def _runs(served: NbdClient, since: str | None) -> list[image.Run]:
    allocated = list(served.extents(ALLOCATION))
    data = image.whole_clusters((e.offset, e.length) for e in allocated if not e.is_zero)
    if since is None:
        return data
    changes = served.extents(_bitmap(since))
    dirty = image.whole_clusters((e.offset, e.length) for e in changes if e.is_dirty)
    zeros = image.without(dirty, data)
    return [
        *image.without(dirty, zeros),
        *(image.Run(first=r.first, count=r.count, zero=True) for r in zeros),
    ]


def _padded(buffer: memoryview, length: int) -> int:
    """Fill the disk's last cluster up with zeros; return how much of *buffer* counts then."""
    whole = -(-length // image.CLUSTER) * image.CLUSTER
    buffer[length:whole] = bytes(whole - length)
    return whole
