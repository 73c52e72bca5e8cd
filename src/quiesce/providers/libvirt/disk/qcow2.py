"""Restored disks as qcow2 images, laid out before the first byte of data is read.

    header | refcount table | refcount blocks | L1 | L2 tables | data, in the order of the disk

An image holds clusters that hold data and nothing else.
"""

from __future__ import annotations

import bisect
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CLUSTER_BITS: Final = 16
CLUSTER: Final = 1 << CLUSTER_BITS
_ENTRIES: Final = CLUSTER // 8
_REFCOUNTS: Final = CLUSTER // 2
_MAGIC: Final = 0x514649FB
_HEADER: Final = struct.Struct(">IIQIIQIIQQIIQQQQII")
_HEADER_BYTES: Final = 104
_COPIED: Final = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Clusters in a row, of the disk."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The cluster after the last one."""
        return self.first + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRun:
    """Clusters in a row, of the disk, and where a file holds them."""

    run: Run
    #: position in the file
    offset: int


def whole_clusters(stretches: Iterable[tuple[int, int]]) -> list[Run]:
    """Return the clusters that *stretches* (offset, length; ascending) touch."""
    runs: list[Run] = []
    for offset, length in stretches:
        first, end = offset >> CLUSTER_BITS, (offset + length + CLUSTER - 1) >> CLUSTER_BITS
        if runs and first <= runs[-1].end:
            first = runs[-1].first
            runs[-1] = Run(first=first, count=max(end, runs[-1].end) - first)
        elif length:
            runs.append(Run(first=first, count=end - first))
    return runs


class Layout:
    """Where everything lies in a file that holds *runs* of a disk of *size_bytes*."""

    def __init__(self, size_bytes: int, runs: Sequence[Run]) -> None:
        self.size_bytes = size_bytes
        self.runs = sorted(runs, key=lambda run: run.first)
        self.data_clusters = sum(run.count for run in runs)
        self._l1_entries = _l1_entries(size_bytes)
        self._tables = sorted({index for run in self.runs for index in _tables_of(run)})
        self._place()
        self._placed = self._place_runs()
        self._firsts = [run.first for run in self.runs]

    def _place(self) -> None:
        l1_clusters = _ceil(self._l1_entries * 8, CLUSTER)
        fixed = 1 + l1_clusters + len(self._tables) + self.data_clusters
        blocks = table = 1
        while True:
            total = fixed + blocks + table
            needed = _ceil(total, _REFCOUNTS)
            if needed <= blocks and _ceil(blocks * 8, CLUSTER) <= table:
                break
            blocks, table = max(blocks, needed), max(table, _ceil(needed * 8, CLUSTER))
        self.total_clusters = total
        self._refcount_blocks, self._refcount_table = blocks, table
        self._l1_offset = (1 + table + blocks) * CLUSTER
        self._l2_offset = self._l1_offset + l1_clusters * CLUSTER
        self.data_offset = self._l2_offset + len(self._tables) * CLUSTER

    @property
    def file_bytes(self) -> int:
        """How large the file will be."""
        return self.total_clusters * CLUSTER

    def head(self) -> Iterator[bytes]:
        """Return everything that comes before the data, in pieces of whole clusters."""
        yield self._header()
        yield _padded(_words(CLUSTER * (1 + self._refcount_table + i) for i in range(self._refcount_blocks)))
        yield from self._refcounts()
        yield _padded(self._l1())
        yield from self._l2_tables()

    def place_of(self, offset: int) -> int:
        """Return where in the file what lies at *offset* of the disk goes; it is within one of the runs."""
        cluster, within = divmod(offset, CLUSTER)
        piece = self._placed[bisect.bisect_right(self._firsts, cluster) - 1]
        return piece.offset + (cluster - piece.run.first) * CLUSTER + within

    def _header(self) -> bytes:
        head = _HEADER.pack(
            _MAGIC, 3, 0, 0, CLUSTER_BITS, self.size_bytes, 0, self._l1_entries, self._l1_offset,
            CLUSTER, self._refcount_table, 0, 0, 0, 0, 0, 4, _HEADER_BYTES,
        )  # fmt: skip
        return head.ljust(CLUSTER, b"\0")

    def _refcounts(self) -> Iterator[bytes]:
        for begin in range(0, self._refcount_blocks * _REFCOUNTS, _REFCOUNTS):
            used = min(max(self.total_clusters - begin, 0), _REFCOUNTS)
            yield (b"\0\1" * used).ljust(CLUSTER, b"\0")

    def _l1(self) -> bytes:
        entries = array("Q", bytes(8 * self._l1_entries))
        for position, index in enumerate(self._tables):
            entries[index] = (self._l2_offset + position * CLUSTER) | _COPIED
        entries.byteswap()
        return entries.tobytes()

    def _l2_tables(self) -> Iterator[bytes]:
        tables = {index: array("Q", bytes(CLUSTER)) for index in self._tables}
        for piece in self._placed:
            _enter(tables, piece)
        for index in self._tables:
            tables[index].byteswap()
            yield tables[index].tobytes()

    def _place_runs(self) -> list[PlacedRun]:
        offset, placed = self.data_offset, []
        for run in self.runs:
            placed.append(PlacedRun(run=run, offset=offset))
            offset += run.count * CLUSTER
        return placed


def _enter(tables: dict[int, array[int]], piece: PlacedRun) -> None:
    """Write the piece's entries into the tables, table by table."""
    run = piece.run
    for index in _tables_of(run):
        first, end = max(run.first, index * _ENTRIES), min(run.end, (index + 1) * _ENTRIES)
        begin = (piece.offset + (first - run.first) * CLUSTER) | _COPIED
        length = end - first
        entries = array("Q", range(begin, begin + length * CLUSTER, CLUSTER))
        tables[index][first - index * _ENTRIES : end - index * _ENTRIES] = entries


def _l1_entries(size_bytes: int) -> int:
    return max(1, _ceil(_ceil(size_bytes, CLUSTER), _ENTRIES))


def _tables_of(run: Run) -> range:
    return range(run.first // _ENTRIES, (run.end - 1) // _ENTRIES + 1)


def _words(values: Iterable[int]) -> bytes:
    words = array("Q", values)
    words.byteswap()
    return words.tobytes()


def _padded(data: bytes) -> bytes:
    return data.ljust(_ceil(len(data), CLUSTER) * CLUSTER, b"\0")


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)
