"""Storing what an export serves as one disk of a backup: what holds data, or what has changed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from quiesce.backups import Draft, StoredItem
from quiesce.provider_kit.saving import watched
from quiesce.providers.libvirt.disk.nbd import ALLOCATION, DEPTH, PIECE, NbdClient
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
    #: the item of the backup
    item: str


class DiskStore:
    """Stores exports in one draft."""

    def __init__(self, job: LibvirtJob, draft: Draft, look: Callable[[], None]) -> None:
        """Call *look* now and then while copying; what it raises ends the copy."""
        self._draft = draft
        self._context = job.context
        self._look = look
        self._look_again = 0.0

    def store(
        self,
        socket: Path,
        export: str,
        name: str,
        *,
        since: str | None = None,
        previous: StoredItem | None = None,
    ) -> int:
        """Store *export* as the item *name*; return the disk's size in bytes.

        All data are read; or what its bitmap *since* names, and the rest is as in *previous*.
        """
        contexts = [ALLOCATION, *([_bitmap(since)] if since else [])]
        with NbdClient(str(socket), export, contexts, _SILENCE_S) as served:
            if name not in self._draft.finished:
                ranges = _ranges(served, since)
                with _BlockReader(served, ranges, self._watched(ranges)) as reader:
                    self._draft.store_disk(
                        name, served.size_bytes, reader.read, data=ranges, previous=previous
                    )
            return served.size_bytes

    def _watched(self, ranges: Iterable[tuple[int, int]]) -> Callable[[int], None]:
        """Return what is told of bytes copied; it ends the copy when nobody waits, or *look* says so."""
        moved = watched(self._context, sum(length for _, length in ranges))

        def advance(size_bytes: int) -> None:
            moved(size_bytes)
            if time.monotonic() >= self._look_again:
                self._look()
                self._look_again = time.monotonic() + _LOOK_S

        return advance


class _BlockReader:
    """Reads blocks of an export: those that are known to be wanted before they are asked for."""

    def __init__(
        self, served: NbdClient, ranges: Iterable[tuple[int, int]], advance: Callable[[int], None]
    ) -> None:
        from quiesce.repository import blocks_of

        self._served = served
        self._advance = advance
        self._free = [memoryview(bytearray(PIECE)) for _ in range(DEPTH + 1)]
        self._planned, asked = itertools.tee(blocks_of(iter(ranges), served.size_bytes))
        self._filled = served.read(asked, self._free.pop)
        self._next = next(self._planned, None)
        self._held = ExitStack()
        self._other: NbdClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return a block."""
        if (offset, length) == self._next:
            self._next = next(self._planned, None)
            data = self._taken(self._filled)
        else:
            data = b"".join(self._unplanned(offset, length))
        self._advance(len(data))
        return data

    def _taken(self, filled: Iterator[tuple[memoryview, int]]) -> bytes:
        buffer, length = next(filled)
        data = bytes(buffer[:length])
        self._free.append(buffer)
        return data

    def _unplanned(self, offset: int, length: int) -> Iterator[bytes]:
        """Read a block of which the repository has lost what it had, over a connection of its own."""
        if self._other is None:
            self._other = self._held.enter_context(self._served.another(_SILENCE_S))
        for buffer, got in self._other.read([(offset, length)], lambda: memoryview(bytearray(PIECE))):
            yield bytes(buffer[:got])


def _bitmap(name: str) -> str:
    return f"qemu:dirty-bitmap:{name}"


def _ranges(served: NbdClient, since: str | None) -> list[tuple[int, int]]:
    """Return what is to be read, in order, neighbours joined."""
    if since is None:
        found = ((e.offset, e.length) for e in served.extents(ALLOCATION) if not e.is_zero)
    else:
        found = ((e.offset, e.length) for e in served.extents(_bitmap(since)) if e.is_dirty)
    joined: list[tuple[int, int]] = []
    for offset, length in found:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + length
        else:
            joined.append((offset, length))
    return joined
