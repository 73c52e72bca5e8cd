"""Brings content back: whole trees, disks, streams, or parts of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.files.content import write_all_at
from quiesce.files.metadata import Allowed, Metadata
from quiesce.files.mounts import is_at_or_below
from quiesce.files.problems import TreeProblems
from quiesce.files.writing import Sync, TreeFileWriter, TreeWriter
from quiesce.repository.content import BLOCK_BYTES, LIST_BYTES, BlobRecord, read_records
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.points import Point, PointItem
from quiesce.repository.saving_trees import read_tree
from quiesce.repository.trees import (
    DIRECTORY,
    FILE,
    HARD_LINK,
    LINK,
    SPARSE,
    TreeEntry,
)

_BATCH_BYTES: Final = 8 << 20
_BATCH_ENTRIES: Final = 2048
_BATCHES_UNDER_WAY: Final = 3
_HOLE_BYTES: Final = 4096
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)


def _nobody(_moved_bytes: int) -> None:
    """Tell nobody."""


class PointReader:
    """Reads one point. What it returns is authentic; what is damaged raises `DamagedArtifactError`."""

    def __init__(self, fetcher: BlobFetcher, point: Point, *, threads: int | None = None) -> None:
        self.point = point
        self._fetcher = fetcher
        self._threads = threads or (os.cpu_count() or 1)

    def entries(self, item: str, *, below: bytes = b"") -> Iterator[TreeEntry]:
        """Yield the entries of a tree, or those at and below a path."""
        return read_tree(self._fetcher, self._item(item, "tree").root, below=below)

    def entry(self, item: str, path: bytes) -> TreeEntry:
        """Return one entry of a tree; of a hard link the file that it is a name of.

        Raises:
            ResourceNotFoundError: the tree has none of that path.
        """
        found = next(self.entries(item, below=path), None)
        if found is None or found.path != path:
            raise ResourceNotFoundError(f"{os.fsdecode(path)!r} is not in {item} of {self.point.key}")
        return self.entry(item, found.target) if found.kind == HARD_LINK else found

    def read_file(
        self, item: str, path: bytes, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """Yield what a file of a tree holds from *offset* on; zeros too."""
        entry = self.entry(item, path)
        end = entry.size_bytes if length is None else min(offset + length, entry.size_bytes)
        lists = list(entry.records) if entry.is_indirect else None
        records = self._from(lists, offset) if lists is not None else _placed(0, entry.records)
        return _range(self._fetched(records, offset, end), offset, end)

    def read(self, item: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield what a disk or stream holds from *offset* on; zeros too."""
        found = self._item(item, "disk", "stream")
        end = found.size_bytes if length is None else min(offset + length, found.size_bytes)
        records = self._from(read_records(self._fetcher.get(found.root)), offset)
        return _range(self._fetched(records, offset, end), offset, end)

    def restore_tree(
        self,
        item: str,
        root: int,
        *,
        allowed: Allowed | None = None,
        sync: Sync = Sync.FILE_SYSTEM,
        below: bytes = b"",
        progress: Callable[[int], None] = _nobody,
    ) -> TreeProblems:
        """Write a tree into an empty directory of ours; return what could not be kept.

        *progress* hears how many bytes were written; it may raise to end it.
        Of what is at and *below* a path, the path's last name is then the only one in the directory.

        Raises:
            ResourceNotFoundError: there is nothing *below*.
        """
        entries = self._alone(item, below) if below else self.entries(item)
        writer = TreeWriter(root, allowed=allowed, sync=sync)
        try:
            for entry, content in self._with_content(entries):
                self._restore(writer, entry, content, progress)
            return writer.finish()
        finally:
            writer.close()

    def restore_disk(
        self,
        item: str,
        descriptor: int,
        *,
        is_zero: bool = False,
        progress: Callable[[int], None] = _nobody,
    ) -> None:
        """Write a disk to an open file or device; what *is_zero* beforehand needs no zeros written."""
        for offset, length, data in self.blocks(item):
            if data is not None:
                write_all_at(descriptor, data, offset)
            elif not is_zero:
                _write_zeros(descriptor, offset, length)
            progress(length)

    def blocks(self, item: str) -> Iterator[tuple[int, int, bytes | None]]:
        """Yield offset, length and data of each piece of a disk or stream in order; None: all zeros."""
        found = self._item(item, "disk", "stream")
        records = self._from(read_records(self._fetcher.get(found.root)), 0)
        for offset, record, data in self._fetched(records, 0, found.size_bytes):
            yield offset, record.length, None if record.is_zeros else data

    def extents(self, item: str) -> Iterator[tuple[int, int]]:
        """Yield offset and length of each piece of a disk or stream that is not all zeros, in order.

        Lists are read, no content.
        """
        found = self._item(item, "disk", "stream")
        for offset, record in self._from(read_records(self._fetcher.get(found.root)), 0):
            if not record.is_zeros:
                yield offset, record.length

    def _alone(self, item: str, below: bytes) -> Iterator[TreeEntry]:
        """Yield what is at and below a path as a tree by itself, with files first named elsewhere."""
        self.entry(item, below)
        begin, firsts = below.rfind(b"/") + 1, dict[bytes, bytes]()
        for entry in self.entries(item, below=below):
            path = entry.path[begin:]
            if entry.kind != HARD_LINK:
                yield replace(entry, path=path)
            elif is_at_or_below(entry.target, below):
                yield replace(entry, path=path, target=entry.target[begin:])
            elif entry.target in firsts:
                yield replace(entry, path=path, target=firsts[entry.target])
            else:
                firsts[entry.target] = path
                yield replace(self.entry(item, entry.target), path=path)

    def _restore(
        self,
        writer: TreeWriter,
        entry: TreeEntry,
        content: dict[bytes, bytes],
        progress: Callable[[int], None],
    ) -> None:
        if entry.kind == HARD_LINK:
            try:
                writer.hard_link(entry.path, entry.target)
            except FileNotFoundError:
                writer.problems.add(entry.path, "another name of what is not there")
            return
        metadata = _metadata(entry)
        if entry.kind == DIRECTORY:
            writer.directory(entry.path, metadata)
        elif entry.kind == LINK:
            writer.symbolic_link(entry.path, entry.target, metadata)
        elif entry.kind == FILE:
            with writer.file(entry.path, metadata, entry.size_bytes) as file:
                self._fill(file, entry, content, progress)
        else:
            writer.special(entry.path, metadata, os.makedev(*entry.device))

    def _fill(
        self,
        file: TreeFileWriter,
        entry: TreeEntry,
        content: dict[bytes, bytes],
        progress: Callable[[int], None],
    ) -> None:
        put = _put_sparse if entry.bits & SPARSE else _put
        if content or not entry.records:
            for record in entry.records:
                put(file, record, content.get(record.address, b""))
            progress(entry.size_bytes)
            return
        records: Iterable[BlobRecord] = entry.records
        records = self._fetcher.records(records) if entry.is_indirect else records
        for _, record, data in self._fetched(_placed(0, records), 0, entry.size_bytes):
            put(file, record, data)
            progress(record.length)

    def _with_content(self, entries: Iterator[TreeEntry]) -> Iterator[tuple[TreeEntry, dict[bytes, bytes]]]:
        """Yield each entry with its content, as far as it is small; it is fetched ahead."""
        with ThreadPoolExecutor(self._threads, "quiesce-fetch") as pool:
            under_way: deque[tuple[list[TreeEntry], Future[dict[bytes, bytes]]]] = deque()
            for batch, wanted in _batches(entries):
                under_way.append((batch, pool.submit(self._fetcher.get_many, wanted)))
                if len(under_way) > _BATCHES_UNDER_WAY:
                    yield from _finished(*under_way.popleft())
            while under_way:
                yield from _finished(*under_way.popleft())

    def _fetched(
        self, records: Iterator[tuple[int, BlobRecord]], begin: int, end: int
    ) -> Iterator[tuple[int, BlobRecord, bytes]]:
        """Yield offset, record and data of what lies between *begin* and *end*, fetched ahead."""
        with ThreadPoolExecutor(self._threads, "quiesce-fetch") as pool:
            under_way: deque[tuple[int, BlobRecord, Future[bytes] | None]] = deque()
            for offset, record in records:
                if offset >= end:
                    break
                if offset + record.length <= begin:
                    continue
                future = None if record.is_zeros else pool.submit(self._fetcher.get, record.address)
                under_way.append((offset, record, future))
                if len(under_way) > 2 * self._threads:
                    yield _checked(*under_way.popleft())
            while under_way:
                yield _checked(*under_way.popleft())

    def _from(self, lists: list[BlobRecord], offset: int) -> Iterator[tuple[int, BlobRecord]]:
        """Yield the records of *lists* with their offsets, from the list on in which *offset* lies."""
        first = offset // LIST_BYTES
        return _placed(first * LIST_BYTES, self._fetcher.records(lists[first:]))

    def _item(self, name: str, *kinds: str) -> PointItem:
        found = self.point.items.get(name)
        if found is None or found.kind not in kinds:
            raise ResourceNotFoundError(f"the point {self.point.key} has no {' or '.join(kinds)} {name!r}")
        return found


def _batches(entries: Iterator[TreeEntry]) -> Iterator[tuple[list[TreeEntry], list[bytes]]]:
    batch: list[TreeEntry] = []
    wanted: list[bytes] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        if entry.size_bytes <= BLOCK_BYTES and not entry.is_indirect:
            wanted += [record.address for record in entry.records if not record.is_zeros]
            size += entry.size_bytes
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ENTRIES:
            yield batch, wanted
            batch, wanted, size = [], [], 0
    yield batch, wanted


def _finished(
    batch: list[TreeEntry], future: Future[dict[bytes, bytes]]
) -> Iterator[tuple[TreeEntry, dict[bytes, bytes]]]:
    content = future.result()
    for entry in batch:
        small = entry.size_bytes <= BLOCK_BYTES and not entry.is_indirect
        yield entry, content if small else {}


def _placed(offset: int, records: Iterable[BlobRecord]) -> Iterator[tuple[int, BlobRecord]]:
    for record in records:
        yield offset, record
        offset += record.length


def _checked(offset: int, record: BlobRecord, future: Future[bytes] | None) -> tuple[int, BlobRecord, bytes]:
    return offset, record, b"" if future is None else _of_length(record, future.result())


def _of_length(record: BlobRecord, data: bytes) -> bytes:
    if len(data) != record.length:
        raise DamagedArtifactError(f"the blob {record.address.hex()} has not the length it should have")
    return data


def _range(fetched: Iterator[tuple[int, BlobRecord, bytes]], begin: int, end: int) -> Iterator[bytes]:
    for offset, record, data in fetched:
        first, last = max(begin - offset, 0), min(end - offset, record.length)
        if not record.is_zeros:
            yield data[first:last]
            continue
        for at in range(first, last, BLOCK_BYTES):
            yield _ZERO_BLOCK[: last - at]


def _put(file: TreeFileWriter, record: BlobRecord, data: bytes) -> None:
    if not record.is_zeros:
        file.write(_of_length(record, data))
        return
    for at in range(0, record.length, BLOCK_BYTES):
        file.write(_ZERO_BLOCK[: record.length - at])


def _put_sparse(file: TreeFileWriter, record: BlobRecord, data: bytes) -> None:
    """Write a block of a file that had holes: zeros become holes again."""
    if record.is_zeros:
        file.skip(record.length)
        return
    for begin, end, is_hole in _runs_of(_of_length(record, data)):
        if is_hole:
            file.skip(end - begin)
        else:
            file.write(data[begin:end])


def _runs_of(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield begin and end of each part that is all zeros, or that is not, by pages."""
    begin, was = 0, False
    for at in range(0, len(data), _HOLE_BYTES):
        piece = data[at : at + _HOLE_BYTES]
        is_hole = piece == _ZERO_BLOCK[: len(piece)]
        if at and is_hole != was:
            yield begin, at, was
            begin = at
        was = is_hole
    if data:
        yield begin, len(data), was


def _write_zeros(descriptor: int, offset: int, length: int) -> None:
    for at in range(0, length, BLOCK_BYTES):
        write_all_at(descriptor, _ZERO_BLOCK[: length - at], offset + at)


def _metadata(entry: TreeEntry) -> Metadata:
    return Metadata(
        mode=entry.type_and_mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime_ns=entry.mtime_ns,
        attributes=entry.attributes,
        flags=entry.flags,
    )
