"""Trees as they are stored: entries in the order of a walk, in segments, and a root that lists those."""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from quiesce.errors import DamagedArtifactError
from quiesce.repository.content import RECORD_BYTES, BlobRecord, read_records, write_records
from quiesce.repository.sealing import ADDRESS_BYTES

_NS: Final = 10**9
_HEAD: Final = struct.Struct("<III")
_FIXED: Final = struct.Struct("<BBIIHIIqIqIQQII")
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_DEVICE: Final = struct.Struct("<II")
_SEGMENT: Final = struct.Struct("<II")

FILE: Final = ord("f")
DIRECTORY: Final = ord("d")
LINK: Final = ord("l")
PIPE: Final = ord("p")
CHARACTER_DEVICE: Final = ord("c")
BLOCK_DEVICE: Final = ord("b")
HARD_LINK: Final = ord("h")
_DEVICES: Final = {CHARACTER_DEVICE, BLOCK_DEVICE}
_KINDS: Final = {FILE, DIRECTORY, LINK, PIPE, CHARACTER_DEVICE, BLOCK_DEVICE, HARD_LINK}

_TYPES: Final = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    LINK: stat.S_IFLNK,
    PIPE: stat.S_IFIFO,
    CHARACTER_DEVICE: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
}
_KIND_OF_TYPE: Final = {type_: kind for kind, type_ in _TYPES.items()}

#: had holes when it was read
SPARSE: Final = 1
#: its records are lists of records
INDIRECT: Final = 2
_HAS_ATTRIBUTES: Final = 4

#: a segment ends at an entry that its path chooses, so that what is added or removed changes one segment
_LEAST_ENTRIES: Final = 256
_MOST_ENTRIES: Final = 4096
_MOST_SEGMENT_BYTES: Final = 1 << 20
_ONE_IN: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One entry of a stored tree: everything that comes back with it."""

    #: below the root, whose own is empty
    path: bytes
    kind: int
    bits: int = 0
    #: permissions
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    #: with inode, size and mtime, by which an unchanged file is known
    ctime_ns: int = 0
    inode: int = 0
    size_bytes: int = 0
    #: inode flags
    flags: int = 0
    attributes: Mapping[bytes, bytes] = field(default_factory=dict)
    records: tuple[BlobRecord, ...] = ()
    #: of a symbolic link; of a hard link the path of the first name
    target: bytes = b""
    #: major and minor number
    device: tuple[int, int] = (0, 0)

    @property
    def type_and_mode(self) -> int:
        """Its kind and permissions as `os.stat_result.st_mode` has them; of a hard link permissions only."""
        return _TYPES.get(self.kind, 0) | self.mode

    @property
    def is_hard_link(self) -> bool:
        """Whether it is a further name of a file before it."""
        return self.kind == HARD_LINK

    @property
    def is_indirect(self) -> bool:
        """Whether its records are lists of records."""
        return bool(self.bits & INDIRECT)


class Segment(NamedTuple):
    """One piece of a tree: a blob of entries."""

    first: bytes
    address: bytes
    entries: int


class SegmentDraft:
    """Entries on their way into one segment."""

    def __init__(self) -> None:
        self.first = b""
        self.entries = 0
        self._previous = b""
        self._data: list[BlobRecord] = []
        self._lists: list[BlobRecord] = []
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def add(self, entry: TreeEntry) -> None:
        """Append *entry*."""
        if not self.entries:
            self.first = entry.path
        (self._lists if entry.is_indirect else self._data).extend(entry.records)
        part = _write_entry(entry, self._previous)
        self._parts.append(part)
        self._size_bytes += len(part) + len(entry.records) * RECORD_BYTES
        self._previous = entry.path
        self.entries += 1

    @property
    def is_full(self) -> bool:
        """Whether the next entry begins a segment of its own."""
        if self.entries >= _MOST_ENTRIES or self._size_bytes >= _MOST_SEGMENT_BYTES:
            return True
        return self.entries >= _LEAST_ENTRIES and zlib.crc32(self._previous) % _ONE_IN == 0

    def as_bytes(self) -> bytes:
        """Return the segment."""
        head = _HEAD.pack(self.entries, len(self._data), len(self._lists))
        return b"".join((head, write_records(self._data), write_records(self._lists), *self._parts))


def needs_of(segment: bytes) -> tuple[list[BlobRecord], list[BlobRecord]]:
    """Return the blobs of content, and the lists, that a segment's entries consist of."""
    try:
        _, data, lists = _HEAD.unpack_from(segment)
    except struct.error:
        raise DamagedArtifactError("a segment of a tree has no head") from None
    begin = _HEAD.size
    return read_records(segment, begin, data), read_records(segment, begin + data * RECORD_BYTES, lists)


def read_segment(segment: bytes) -> Iterator[TreeEntry]:
    """Yield the entries of a segment.

    Raises:
        DamagedArtifactError: when it is none.
    """
    data, lists = needs_of(segment)
    (count, _, _) = _HEAD.unpack_from(segment)
    reading = _EntryReader(segment, _HEAD.size + (len(data) + len(lists)) * RECORD_BYTES, data, lists)
    try:
        for _ in range(count):
            yield reading.next()
    except (struct.error, IndexError):
        raise DamagedArtifactError("a segment of a tree ends in the middle of an entry") from None


def write_root(segments: Iterable[Segment]) -> bytes:
    """Return the blob that lists *segments*."""
    return b"".join(
        _SEGMENT.pack(len(first), entries) + address + first for first, address, entries in segments
    )


def read_root(data: bytes) -> Iterator[Segment]:
    """Yield what `write_root` wrote."""
    at = 0
    while at < len(data):
        begin = at + _SEGMENT.size + ADDRESS_BYTES
        if begin > len(data):
            raise DamagedArtifactError("the root of a tree ends in the middle")
        length, entries = _SEGMENT.unpack_from(data, at)
        if begin + length > len(data):
            raise DamagedArtifactError("the root of a tree ends in the middle")
        yield Segment(data[begin : begin + length], data[at + _SEGMENT.size : begin], entries)
        at = begin + length


def kind_of(mode: int) -> int:
    """Return the kind of what has that `st_mode`."""
    return _KIND_OF_TYPE[stat.S_IFMT(mode)]


def walk_order(path: bytes) -> bytes:
    """Return what sorts paths as a walk meets them."""
    return path.replace(b"/", b"\0")


def _write_entry(entry: TreeEntry, previous: bytes) -> bytes:
    path = entry.path
    shared = _shared(previous, path)
    mtime_s, mtime_ns = divmod(entry.mtime_ns, _NS)
    ctime_s, ctime_ns = divmod(entry.ctime_ns, _NS)
    bits = entry.bits | (_HAS_ATTRIBUTES if entry.attributes else 0)
    fixed = _FIXED.pack(
        entry.kind, bits, shared, len(path) - shared, entry.mode, entry.uid, entry.gid,
        mtime_s, mtime_ns, ctime_s, ctime_ns, entry.inode, entry.size_bytes, entry.flags, len(entry.records),
    )  # fmt: skip
    return b"".join((fixed, path[shared:], _write_attributes(entry.attributes), _write_special(entry)))


def _write_attributes(attributes: Mapping[bytes, bytes]) -> bytes:
    if not attributes:
        return b""
    parts = [_U16.pack(len(attributes))]
    for name in sorted(attributes):
        value = attributes[name]
        parts += (_U16.pack(len(name)), name, _U32.pack(len(value)), value)
    return b"".join(parts)


def _write_special(entry: TreeEntry) -> bytes:
    if entry.kind in _DEVICES:
        return _DEVICE.pack(*entry.device)
    if entry.kind in {LINK, HARD_LINK}:
        return _U32.pack(len(entry.target)) + entry.target
    return b""


def _shared(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with, up to the last slash: exact enough, and quick."""
    cut = one.rfind(b"/") + 1
    return cut if other[:cut] == one[:cut] else 0


class _EntryReader:
    """Goes through the entries of one segment."""

    def __init__(self, data: bytes, at: int, records: list[BlobRecord], lists: list[BlobRecord]) -> None:
        self._data = data
        self._at = at
        self._records = iter(records)
        self._lists = iter(lists)
        self._previous = b""

    def next(self) -> TreeEntry:
        """Return the next entry."""
        (
            kind, bits, shared, rest, mode, uid, gid,
            mtime_s, mtime_ns, ctime_s, ctime_ns, inode, size, flags, records,
        ) = self._unpack(_FIXED)  # fmt: skip
        if kind not in _KINDS or shared > len(self._previous):
            raise DamagedArtifactError("a segment of a tree has an entry of no known kind")
        self._previous = path = self._previous[:shared] + self._take(rest)
        return TreeEntry(
            path=path, kind=kind, bits=bits & ~_HAS_ATTRIBUTES, mode=mode, uid=uid, gid=gid,
            mtime_ns=mtime_s * _NS + mtime_ns, ctime_ns=ctime_s * _NS + ctime_ns,
            inode=inode, size_bytes=size, flags=flags,
            attributes=self._attributes() if bits & _HAS_ATTRIBUTES else {},
            records=self._content(bits, records),
            target=self._take(self._unpack(_U32)[0]) if kind in {LINK, HARD_LINK} else b"",
            device=self._device() if kind in _DEVICES else (0, 0),
        )  # fmt: skip

    def _content(self, bits: int, count: int) -> tuple[BlobRecord, ...]:
        if not count:
            return ()
        source = self._lists if bits & INDIRECT else self._records
        found = tuple(record for _, record in zip(range(count), source, strict=False))
        if len(found) != count:
            raise DamagedArtifactError("a segment of a tree lists less content than its entries have")
        return found

    def _attributes(self) -> dict[bytes, bytes]:
        found = {}
        for _ in range(self._unpack(_U16)[0]):
            name = self._take(self._unpack(_U16)[0])
            found[name] = self._take(self._unpack(_U32)[0])
        return found

    def _device(self) -> tuple[int, int]:
        major, minor = self._unpack(_DEVICE)
        return major, minor

    def _unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        found = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return found

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise DamagedArtifactError("a segment of a tree ends in the middle of an entry")
        taken, self._at = self._data[self._at : end], end
        return taken
