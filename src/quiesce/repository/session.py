"""One writer of a repository: stores content, then the points that need it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Self

from quiesce.errors import DamagedArtifactError, ForeignObjectError, ObjectExistsError, RecoverableError
from quiesce.files.mounts import times_tell
from quiesce.files.walking import Entry, everything
from quiesce.model.stored_object import ObjectName
from quiesce.repository.content import (
    BLOCK_BYTES,
    LIST_BYTES,
    BlobRecord,
    read_records,
    write_records,
    zero_blocks,
)
from quiesce.repository.content_draft import ContentDraft, StreamDraft, blocks_of
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.index import PackId
from quiesce.repository.needs import addresses_of, needs_of_item
from quiesce.repository.opened import OpenedRepository
from quiesce.repository.points import Point, PointItem, PointKey, point_name
from quiesce.repository.restoring import PointReader
from quiesce.repository.saving_trees import PreviousTree, TreeSaved, TreeSaver
from quiesce.repository.sealing import ADDRESS_BYTES
from quiesce.repository.storing import BlobStore, StoredFigures
from quiesce.repository.tree_draft import TreeDraft

#: returns *length* bytes from *offset* on
ReadAt = Callable[[int, int], bytes]
_SAFE_PART_OF_GRACE: Final = 0.5
#: no content has this address
_NOWHERE: Final = b"\xff" * ADDRESS_BYTES


class WriterSession:
    """Stores trees, disks and streams, and commits the points that consist of them.

    Any number of them may write at once, on any machines. What one stored before it was cut off, the next
    one finds and does not store again. Close it, or use it in a ``with`` block.
    """

    def __init__(self, opened: OpenedRepository, *, threads: int | None = None) -> None:
        self._opened = opened
        self._begun = opened.monotonic()
        self._store = BlobStore(opened, opened.load_index(), threads=threads)
        self._fetcher = BlobFetcher(opened, self._store.index)
        #: roots that were stored here, with all that they need
        self._made: set[bytes] = set()

    @property
    def figures(self) -> StoredFigures:
        """What was stored by now, and what was there already."""
        return self._store.figures

    def add_tree(
        self,
        root: int,
        *,
        previous: PointItem | None = None,
        force_read: bool = False,
        wanted: Callable[[Entry], bool] = everything,
    ) -> tuple[PointItem, TreeSaved]:
        """Store what is below the open directory *root*.

        A file that is as it was in *previous*, by its times, size and inode, is not opened, unless with
        *force_read*, or on a file system where some writes leave the times as they are (tmpfs).
        """
        known = None
        if previous is not None and not force_read and times_tell(root):
            known = PreviousTree(self._store, self._fetcher, previous)
        saver = TreeSaver(self._store, previous=known, wanted=wanted)
        item = saver.save(root)
        self._made.add(item.root)
        return item, saver.saved

    def add_disk(
        self,
        size_bytes: int,
        read: ReadAt,
        *,
        data: Iterable[tuple[int, int]] | None = None,
        previous: PointItem | None = None,
    ) -> PointItem:
        """Store a disk, of which *data* (offset and length, in order) is read.

        The rest is zeros, or with *previous* as it was there: *data* are then the ranges that changed
        since. Without *data* everything is read.
        """
        content = ContentDraft(self._store)
        ranges = iter(data) if data is not None else iter([(0, size_bytes)])
        # of a disk that has another size now, everything is read: its last block was shorter, or is
        if previous is not None and previous.size_bytes != size_bytes:
            previous, ranges = None, iter([(0, size_bytes)])
        before = self._blocks_before(previous) if previous and data is not None else None
        wanted = blocks_of(ranges, size_bytes)
        offset, length = next(wanted, (size_bytes, 0))
        while content.size_bytes < size_bytes:
            if content.size_bytes == offset:
                content.add(_whole(read(offset, length), length))
                offset, length = next(wanted, (size_bytes, 0))
                if before is not None:
                    next(before)
            elif before is None:
                content.skip_to(offset)
            else:
                self._take_over(content, next(before), read)
        return self._content_item("disk", content)

    def add_stream(self, pieces: Iterable[bytes]) -> PointItem:
        """Store a stream of bytes, in whatever pieces it comes."""
        stream = self.stream()
        for piece in pieces:
            stream.write(piece)
        return self.end_stream(stream)

    def stream(self) -> StreamDraft:
        """Return a stream to write to; `end_stream` makes an item of it."""
        return StreamDraft(self._store)

    def end_stream(self, stream: StreamDraft) -> PointItem:
        """Return the item of a stream that nothing more is written to."""
        return self._content_item("stream", stream.end())

    def tree(self) -> TreeDraft:
        """Return a tree to which entries are added as a walk meets them; `end_tree` makes an item of it."""
        return TreeDraft(self._store)

    def end_tree(self, tree: TreeDraft) -> PointItem:
        """Return the item of a tree to which nothing more is added."""
        item = tree.end()
        self._made.add(item.root)
        return item

    def rely_on(self, item: PointItem) -> bool:
        """Tell whether all that *item*, which an earlier session stored, needs is there still.

        What lies only in packs that are going to be deleted is stored anew.
        """
        try:
            for address in needs_of_item(self._fetcher, item):
                self._rely(address)
        except DamagedArtifactError:
            return False
        self._made.add(item.root)
        return True

    def doubt(self, item: PointItem) -> None:
        """Read all that *item* needs, and rely no more on packs in which any of it is damaged."""
        try:
            for address in needs_of_item(self._fetcher, item):
                self._doubt(address)
        except DamagedArtifactError:
            return  # a list of it: what it told of is not known any more

    def _doubt(self, address: bytes) -> None:
        place = self._store.index.find(address)
        try:
            self._fetcher.get(address)
        except DamagedArtifactError:
            self._store.index.avoid([place.pack] if place is not None else [])

    def reader(self, items: Mapping[str, PointItem]) -> PointReader:
        """Return a reader of *items* that are durable, and part of no point yet."""
        unnamed = Point(key=PointKey(deployment="", point=""), made_at=0.0, items=items)
        return PointReader(self._fetcher, unnamed)

    def flush(self) -> None:
        """Make what was stored by now durable, and known to others."""
        self._store.flush()

    def take_over(self, addresses: Iterable[bytes], source: BlobFetcher) -> None:
        """Store blobs of another repository, as far as they are not here."""
        for address in addresses:
            if not self._store.rely(address):
                self._store.add(source.get(address))

    def commit(self, point: Point) -> None:
        """Make *point* durable: the last thing that is written. Safe to repeat.

        Raises:
            DamagedArtifactError: it has an item that was not stored here, and something of it is nowhere.
            ForeignObjectError: there is another point of that name.
            RecoverableError: blobs that it relies on were deleted meanwhile, because this took longer than
                the repository's grace.
        """
        self._store.flush()
        self._require_stored(point)
        self._store.flush()
        checked = self._secure(point)
        self._put(point)
        if self._opened.monotonic() - checked > self._opened.grace_s * _SAFE_PART_OF_GRACE:
            self._secure(point)

    def close(self) -> None:
        """End its threads; what was stored and is part of no point is collected some day."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _content_item(self, kind: str, content: ContentDraft) -> PointItem:
        root = self._store.add_now(write_records(content.finish_lists()))
        self._made.add(root)
        return PointItem(kind=kind, root=root, size_bytes=content.size_bytes, begun_ns=time.time_ns())  # type: ignore[arg-type]

    def _blocks_before(self, previous: PointItem) -> Iterator[BlobRecord]:
        """Yield one record for each block of an earlier state; what a lost list told of is read anew."""
        lists = self._lists_of(previous)
        for begin in range(0, previous.size_bytes, LIST_BYTES):
            told = self._told_by(lists[begin // LIST_BYTES : begin // LIST_BYTES + 1])
            yield from told or _unknown_blocks(min(LIST_BYTES, previous.size_bytes - begin))

    def _lists_of(self, item: PointItem) -> Sequence[BlobRecord]:
        try:
            return read_records(self._fetcher.get(item.root))
        except DamagedArtifactError:
            return ()

    def _told_by(self, lists: Sequence[BlobRecord]) -> list[BlobRecord]:
        blocks: list[BlobRecord] = []
        try:
            for record in self._fetcher.records(lists):
                blocks += zero_blocks(record.length) if record.is_zeros else (record,)
        except DamagedArtifactError:
            return []
        return blocks

    def _take_over(self, content: ContentDraft, record: BlobRecord, read: ReadAt) -> None:
        if record.is_zeros or self._store.rely(record.address):
            content.add_same(record)
        else:
            content.add(_whole(read(content.size_bytes, record.length), record.length))

    def _require_stored(self, point: Point) -> None:
        items = {name: item for name, item in point.items.items() if item.root not in self._made}
        for address in addresses_of(self._fetcher, replace(point, items=items)):
            self._rely(address)

    def _rely(self, address: bytes) -> None:
        if not self._store.rely(address):
            self._store.add_now(self._fetcher.get(address))

    def _put(self, point: Point) -> None:
        name = point_name(self._opened.keys, point.key)
        try:
            self._opened.put_sealed(name, point.as_bytes(), exclusive=True)
        except ObjectExistsError:
            self._put_instead(name, point)

    def _put_instead(self, name: ObjectName, point: Point) -> None:
        """Let what is stored under *name* be *point*, if it is that already or nobody can read it."""
        try:
            found = Point.parse(self._opened.get_sealed(name))
        except DamagedArtifactError:
            self._opened.storage.delete(name)
            self._opened.put_sealed(name, point.as_bytes(), exclusive=True)
            return
        if found != point:
            raise ForeignObjectError(f"the repository has another point {point.key}")

    def _secure(self, point: Point) -> float:
        """See to it that nothing that the point needs is going to be deleted; return when that was seen."""
        checked = self._opened.monotonic()
        in_danger = self._in_danger(checked)
        if in_danger:
            self._store.index.avoid(in_danger)
            self._rescue(point)
        return checked

    def _in_danger(self, now: float) -> set[PackId]:
        condemned = set().union(*self._opened.condemned().values())
        in_danger = {pack for pack in self._store.relied if pack in condemned}
        if now - self._begun > self._opened.grace_s * _SAFE_PART_OF_GRACE:
            there = self._opened.stored_packs()
            in_danger.update(pack for pack in self._store.relied if pack not in there)
        return in_danger

    def _rescue(self, point: Point) -> None:
        """Store anew what lies only in packs that are going to be deleted, as long as they are there."""
        try:
            for address in addresses_of(self._fetcher, point):
                if self._store.index.find(address) is None:
                    self._store.add_now(self._fetcher.get(address))
        except DamagedArtifactError as error:
            raise RecoverableError(
                f"what the point {point.key} relies on was deleted while it was made: {error}",
                hint="Run it again; a longer grace of the repository keeps this from happening.",
            ) from error
        self._store.flush()


def _unknown_blocks(length: int) -> Iterator[BlobRecord]:
    """Yield blocks that are stored nowhere."""
    for begin in range(0, length, BLOCK_BYTES):
        yield BlobRecord(_NOWHERE, min(BLOCK_BYTES, length - begin))


def _whole(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise RecoverableError(f"{len(data)} bytes of a disk were read where there should be {length}")
    return data
