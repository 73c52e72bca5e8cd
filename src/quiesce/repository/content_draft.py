"""Content on its way into blobs: fixed blocks, zeros left out, long ones told of in lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quiesce.ports.storage import Data
from quiesce.repository.content import BLOCK_BYTES, LIST_BYTES, MOST_ZEROS, BlobRecord, write_records
from quiesce.repository.sealing import ZEROS
from quiesce.repository.storing import BlobSlot, BlobStore

#: so many records may stand with an entry itself; more stand in lists
_MOST_DIRECT: Final = 64
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)


class ContentDraft:
    """The content of one file, disk or stream, given in order in blocks at fixed places."""

    __slots__ = ("_lists", "_pieces", "_store", "size_bytes")

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._pieces: list[tuple[BlobSlot | bytes, int]] = []
        self._lists: list[BlobRecord] | None = None
        #: how long it is by now
        self.size_bytes = 0

    def add(self, data: Data) -> None:
        """Append one block; only the last is shorter."""
        length = len(data)
        if not length:
            return
        if _is_zeros(data, length):
            self.skip_to(self.size_bytes + length)
        else:
            self._append(self._store.add(data), length)

    def add_same(self, record: BlobRecord) -> None:
        """Append a block that is stored already."""
        if record.is_zeros:
            self.skip_to(self.size_bytes + record.length)
        else:
            self._append(record.address, record.length)

    def skip_to(self, size_bytes: int) -> None:
        """Append zeros until it is that long."""
        while self.size_bytes < size_bytes:
            to_list_end = LIST_BYTES - self.size_bytes % LIST_BYTES
            self._append_zeros(min(size_bytes - self.size_bytes, MOST_ZEROS, to_list_end))

    def finish(self) -> tuple[bool, tuple[BlobRecord, ...]]:
        """Return whether these are lists, and the records; waits for what is on its way."""
        if self._lists is None and len(self._pieces) <= _MOST_DIRECT:
            return False, tuple(self._records())
        return True, tuple(self.finish_lists())

    def finish_lists(self) -> list[BlobRecord]:
        """Return the records of lists, however short it is."""
        self._end_list()
        return self._lists or []

    def _append_zeros(self, length: int) -> None:
        where, before = self._pieces[-1] if self._pieces else (b"", 0)
        if where == ZEROS and before + length <= MOST_ZEROS:
            self._pieces.pop()
            self.size_bytes -= before
            length += before
        self._append(ZEROS, length)

    def _append(self, where: BlobSlot | bytes, length: int) -> None:
        self._pieces.append((where, length))
        self.size_bytes += length
        if self.size_bytes % LIST_BYTES == 0:
            self._end_list()

    def _end_list(self) -> None:
        records = self._records()
        self._pieces.clear()
        if self._lists is None:
            self._lists = []
        if records:
            self._lists.append(BlobRecord(self._store.add_now(write_records(records)), len(records)))

    def _records(self) -> list[BlobRecord]:
        return [
            BlobRecord(where if isinstance(where, bytes) else where.address, length)
            for where, length in self._pieces
        ]


class StreamDraft:
    """A stream of bytes on its way, in whatever pieces it comes."""

    __slots__ = ("_content", "_rest")

    def __init__(self, store: BlobStore) -> None:
        self._content = ContentDraft(store)
        self._rest = bytearray()

    def write(self, data: Data) -> None:
        """Append *data*."""
        self._rest += data
        while len(self._rest) >= BLOCK_BYTES:
            self._content.add(bytes(self._rest[:BLOCK_BYTES]))
            del self._rest[:BLOCK_BYTES]

    def end(self) -> ContentDraft:
        """Return the content; nothing more is appended."""
        self._content.add(bytes(self._rest))
        self._rest.clear()
        return self._content


def _is_zeros(data: Data, length: int) -> bool:
    # most data are told by their ends, without zeros being made to compare them with
    if data[0] or data[-1]:
        return False
    return data == (_ZERO_BLOCK if length == BLOCK_BYTES else bytes(length))


def blocks_of(ranges: Iterator[tuple[int, int]], size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each block, at its fixed place, that *ranges*, in order, touch."""
    done = 0
    for offset, length in ranges:
        begin = max(offset - offset % BLOCK_BYTES, done)
        end = min(offset + length, size_bytes)
        while begin < end:
            yield begin, min(BLOCK_BYTES, size_bytes - begin)
            begin += BLOCK_BYTES
        done = max(done, begin)
