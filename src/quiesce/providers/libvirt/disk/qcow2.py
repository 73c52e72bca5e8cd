"""The disk files of a backup: plain qcow2 images, laid out before the first byte of data is read.

    header | refcount table | refcount blocks | L1 | L2 tables | data, in the order of the disk

A file holds clusters that hold data and nothing else. An incremental one (a *layer*) holds the clusters
that changed; those that became zero are noted, the others are not there at all. It names no backing
file: which layers belong together, the manifest says. Any tool that reads qcow2 reads them
(``qemu-img rebase -u`` puts a chain together).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import DamagedArtifactError

CLUSTER_BITS: Final = 16
CLUSTER: Final = 1 << CLUSTER_BITS
_ENTRIES: Final = CLUSTER // 8
_REFCOUNTS: Final = CLUSTER // 2
_MAGIC: Final = 0x514649FB
_HEADER: Final = struct.Struct(">IIQIIQIIQQIIQQQQII")
_HEADER_BYTES: Final = 104
_COPIED: Final = 1 << 63
_ZERO: Final = 1
_OFFSET_MASK: Final = 0x00FFFFFFFFFFFE00


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Clusters in a row, of the disk."""

    first: int
    count: int
    #: they read as zeros and take no room
    zero: bool = False

    @property
    def end(self) -> int:
        """The cluster after the last one."""
        return self.first + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRun:
    """Clusters in a row, of the disk, and where a file holds them."""

    run: Run
    #: position in the file; 0 for zeros
    offset: int


def whole_clusters(stretches: Iterable[tuple[int, int]], *, zero: bool = False) -> list[Run]:
    """Return the clusters that *stretches* (offset, length; ascending) touch."""
    runs: list[Run] = []
    for offset, length in stretches:
        first, end = offset >> CLUSTER_BITS, (offset + length + CLUSTER - 1) >> CLUSTER_BITS
        if runs and first <= runs[-1].end:
            first = runs[-1].first
            runs[-1] = Run(first=first, count=max(end, runs[-1].end) - first, zero=zero)
        elif length:
            runs.append(Run(first=first, count=end - first, zero=zero))
    return runs


def without(runs: Iterable[Run], taken: Sequence[Run]) -> list[Run]:
    """Return *runs* without the clusters of *taken*; both ascending."""
    left: list[Run] = []
    position = 0
    for run in runs:
        first = run.first
        while position < len(taken) and taken[position].end <= first:
            position += 1
        index = position
        while index < len(taken) and taken[index].first < run.end:
            if taken[index].first > first:
                left.append(Run(first=first, count=taken[index].first - first, zero=run.zero))
            first = max(first, taken[index].end)
            index += 1
        if first < run.end:
            left.append(Run(first=first, count=run.end - first, zero=run.zero))
    return left


class Layout:
    """Where everything lies in a file that holds *runs* of a disk of *size_bytes*."""

    def __init__(self, size_bytes: int, runs: Sequence[Run]) -> None:
        self.size_bytes = size_bytes
        self.runs = sorted(runs, key=lambda run: run.first)
        self.data_clusters = sum(run.count for run in runs if not run.zero)
        self._l1_entries = _l1_entries(size_bytes)
        self._tables = sorted({index for run in self.runs for index in _tables_of(run)})
        self._place()

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

    def data(self) -> Iterator[tuple[int, int]]:
        """Return the stretches (offset, length) of the disk whose data follow the head, in order."""
        for run in self.runs:
            if not run.zero:
                begin = run.first * CLUSTER
                yield begin, min(run.count * CLUSTER, self.size_bytes - begin)

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
        for piece in self.pieces():
            _enter(tables, piece)
        for index in self._tables:
            tables[index].byteswap()
            yield tables[index].tobytes()

    def pieces(self) -> Iterator[PlacedRun]:
        """Return where the file holds each run."""
        offset = self.data_offset
        for run in self.runs:
            yield PlacedRun(run=run, offset=0 if run.zero else offset)
            offset += 0 if run.zero else run.count * CLUSTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A file that `Layout` laid out, read back."""

    path: Path
    size_bytes: int
    pieces: tuple[PlacedRun, ...]


def longest_file(size_bytes: int) -> int:
    """Return how long a file that `Layout` lays out for a disk of that size can be."""
    return size_bytes + 8 * _ceil(size_bytes, CLUSTER) + 64 * CLUSTER + 16 * _l1_entries(size_bytes) * CLUSTER


def read_layer(path: Path) -> Layer:
    """Return what the file at *path* holds.

    Raises:
        DamagedArtifactError: when it is not a file of ours.
    """
    try:
        with path.open("rb") as file:
            header = _HEADER.unpack(file.read(_HEADER.size))
            if header[0] != _MAGIC or header[4] != CLUSTER_BITS or header[7] != _l1_entries(header[5]):
                raise DamagedArtifactError(f"{path} is not a disk file that quiesce wrote")
            if header[7] * 8 > path.stat().st_size:
                raise DamagedArtifactError(f"{path} is shorter than its own tables")
            file.seek(header[8])
            tables = [
                (i, entry & _OFFSET_MASK) for i, entry in enumerate(_read_words(file.read(header[7] * 8)))
            ]
            found: list[PlacedRun] = []
            for index, offset in tables:
                if offset:
                    file.seek(offset)
                    found.extend(_pieces_of(index, _read_words(file.read(CLUSTER))))
    except (OSError, ValueError, struct.error) as error:
        raise DamagedArtifactError(f"{path} cannot be read as a disk file: {error}") from error
    return Layer(path=path, size_bytes=header[5], pieces=tuple(_joined(found)))


def merged(layers: Sequence[Layer], size_bytes: int) -> list[tuple[Layer, PlacedRun]]:
    """Return which layer holds what of a disk: for each cluster the newest that has it, in order."""
    end = _ceil(size_bytes, CLUSTER)
    taken = [Run(first=end, count=1 << 62)]
    chosen: list[tuple[Layer, PlacedRun]] = []
    for layer in reversed(layers):
        runs = [piece.run for piece in layer.pieces]
        chosen.extend((layer, piece) for piece in _cut_down(layer.pieces, without(runs, taken)))
        taken = _union(taken, runs)
    return sorted(chosen, key=lambda found: found[1].run.first)


def _cut_down(pieces: Iterable[PlacedRun], runs: Iterable[Run]) -> Iterator[PlacedRun]:
    """Return what of *pieces* is left when only *runs*, each within one of them, are; both ascending."""
    rest = iter(pieces)
    piece: PlacedRun | None = None
    for run in runs:
        while piece is None or piece.run.end <= run.first:
            piece = next(rest)
        offset = 0 if run.zero else piece.offset + (run.first - piece.run.first) * CLUSTER
        yield PlacedRun(run=run, offset=offset)


def _union(one: Sequence[Run], other: Sequence[Run]) -> list[Run]:
    ordered = sorted((*one, *other), key=lambda run: run.first)
    return whole_clusters((run.first * CLUSTER, run.count * CLUSTER) for run in ordered)


def _enter(tables: dict[int, array[int]], piece: PlacedRun) -> None:
    """Write the piece's entries into the tables, table by table."""
    run = piece.run
    for index in _tables_of(run):
        first, end = max(run.first, index * _ENTRIES), min(run.end, (index + 1) * _ENTRIES)
        begin = (piece.offset + (first - run.first) * CLUSTER) | _COPIED
        length = end - first
        entries = [_ZERO] * length if run.zero else range(begin, begin + length * CLUSTER, CLUSTER)
        tables[index][first - index * _ENTRIES : end - index * _ENTRIES] = array("Q", entries)


def _pieces_of(index: int, entries: array[int]) -> Iterator[PlacedRun]:
    """Return what one table says, neighbours made one."""
    number = 0
    while number < len(entries):
        entry, begin = entries[number], number
        step = 0 if entry in {0, _ZERO} else CLUSTER
        while number < len(entries) and entries[number] == entry + (number - begin) * step:
            number += 1
        if entry:
            run = Run(first=index * _ENTRIES + begin, count=number - begin, zero=bool(entry & _ZERO))
            yield PlacedRun(run=run, offset=0 if run.zero else entry & _OFFSET_MASK)


def _joined(pieces: Iterable[PlacedRun]) -> Iterator[PlacedRun]:
    """Return *pieces* with those made one that tables have torn apart."""
    last: PlacedRun | None = None
    for piece in pieces:
        if last is not None and _follows(last, piece):
            run = Run(first=last.run.first, count=last.run.count + piece.run.count, zero=last.run.zero)
            last = PlacedRun(run=run, offset=last.offset)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _follows(one: PlacedRun, other: PlacedRun) -> bool:
    if one.run.end != other.run.first or one.run.zero != other.run.zero:
        return False
    return one.run.zero or other.offset == one.offset + one.run.count * CLUSTER


def _l1_entries(size_bytes: int) -> int:
    return max(1, _ceil(_ceil(size_bytes, CLUSTER), _ENTRIES))


def _tables_of(run: Run) -> range:
    return range(run.first // _ENTRIES, (run.end - 1) // _ENTRIES + 1)


def _words(values: Iterable[int]) -> bytes:
    words = array("Q", values)
    words.byteswap()
    return words.tobytes()


def _read_words(data: bytes) -> array[int]:
    words = array("Q", data)
    words.byteswap()
    return words


def _padded(data: bytes) -> bytes:
    return data.ljust(_ceil(len(data), CLUSTER) * CLUSTER, b"\0")


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)
