"""Where each blob lies: compact enough for ten million in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, NewType

from quiesce.errors import DamagedArtifactError
from quiesce.repository.sealing import ADDRESS_BYTES, OVERHEAD_BYTES

#: the writer's 16 bytes and the pack's number
PackId = NewType("PackId", bytes)
PACK_ID_BYTES: Final = 20
_PLACE: Final = struct.Struct("<II")
_SLOT: Final = struct.Struct("<III")
_SLOT_BYTES: Final = ADDRESS_BYTES + _SLOT.size
_COUNT: Final = struct.Struct("<I")
_ENTRY_BYTES: Final = ADDRESS_BYTES + _PLACE.size
_BUCKETS: Final = 1 << 16


class PackedBlob(NamedTuple):
    """One blob in a pack."""

    address: bytes
    offset: int
    length: int


class BlobPlace(NamedTuple):
    """Where a blob lies."""

    pack: PackId
    offset: int
    length: int


class PackListing(NamedTuple):
    """What one pack holds."""

    pack: PackId
    blobs: list[PackedBlob]

    def as_bytes(self) -> bytes:
        """Return it as packs and indexes have it."""
        parts = [self.pack, _COUNT.pack(len(self.blobs))]
        parts += [blob.address + _PLACE.pack(blob.offset, blob.length) for blob in self.blobs]
        return b"".join(parts)


def read_listings(data: bytes) -> Iterator[PackListing]:
    """Yield the listings that *data* holds, one after the other.

    Raises:
        DamagedArtifactError: when it holds anything else.
    """
    offset = 0
    while offset < len(data):
        begin = offset + PACK_ID_BYTES + _COUNT.size
        if begin > len(data):
            raise DamagedArtifactError("an index ends in the middle of a pack")
        (count,) = _COUNT.unpack_from(data, offset + PACK_ID_BYTES)
        end = begin + count * _ENTRY_BYTES
        if end > len(data):
            raise DamagedArtifactError("an index ends in the middle of a pack")
        yield PackListing(PackId(data[offset : offset + PACK_ID_BYTES]), _blobs(data, begin, end))
        offset = end


def _blobs(data: bytes, begin: int, end: int) -> list[PackedBlob]:
    found = []
    for at in range(begin, end, _ENTRY_BYTES):
        offset, length = _PLACE.unpack_from(data, at + ADDRESS_BYTES)
        if length < OVERHEAD_BYTES:
            raise DamagedArtifactError("an index lists a blob of no length")
        found.append(PackedBlob(data[at : at + ADDRESS_BYTES], offset, length))
    return found


class BlobIndex:
    """Finds blobs by their addresses: 44 bytes for each, in buckets by the first two bytes of the address.

    Written by one thread at a time, read by any. A blob may lie in several packs.
    """

    def __init__(self) -> None:
        self._buckets = [b""] * _BUCKETS
        self._packs: list[PackId] = []
        self._numbers: dict[PackId, int] = {}
        self._avoided: set[int] = set()
        self._marks: list[bytearray] = []

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // _SLOT_BYTES

    @property
    def packs(self) -> list[PackId]:
        """Every pack of which something is known."""
        return list(self._packs)

    def __contains__(self, pack: PackId) -> bool:
        return pack in self._numbers

    def add(self, listing: PackListing) -> None:
        """Know one pack more; fine when it is known."""
        if listing.pack in self._numbers:
            return
        number = self._numbers[listing.pack] = len(self._packs)
        self._packs.append(listing.pack)
        buckets, pack = self._buckets, _SLOT.pack
        for address, offset, length in listing.blobs:
            buckets[address[0] << 8 | address[1]] += address + pack(number, offset, length)

    def avoid(self, packs: Iterable[PackId]) -> None:
        """Find nothing in *packs* any more, as far as `find` and `places` are asked for what may be used."""
        self._avoided.update(self._numbers[pack] for pack in packs if pack in self._numbers)

    def find(self, address: bytes) -> BlobPlace | None:
        """Return one place where it lies that may be relied on; None when there is none."""
        return next(self.places(address), None)

    def places(self, address: bytes, *, avoided: bool = False) -> Iterator[BlobPlace]:
        """Yield every place where it lies; those to be avoided too, at the end, when they are asked for."""
        late = []
        for number, offset, length in self._slots(address):
            place = BlobPlace(self._packs[number], offset, length)
            if number not in self._avoided:
                yield place
            elif avoided:
                late.append(place)
        yield from late

    def mark(self, address: bytes) -> bool:
        """Note that a point needs the blob; False when it lies nowhere."""
        if not self._marks:
            self._marks = [bytearray(len(bucket) // _SLOT_BYTES) for bucket in self._buckets]
        key = address[0] << 8 | address[1]
        found = False
        for at in _places_in(self._buckets[key], address):
            self._marks[key][at // _SLOT_BYTES] = 1
            found = True
        return found

    def listings(self) -> dict[PackId, list[tuple[PackedBlob, bool]]]:
        """Return all blobs by pack, each with whether it was marked."""
        found: dict[PackId, list[tuple[PackedBlob, bool]]] = {pack: [] for pack in self._packs}
        for key, bucket in enumerate(self._buckets):
            marks = self._marks[key] if self._marks else b""
            for slot, at in enumerate(range(0, len(bucket), _SLOT_BYTES)):
                number, offset, length = _SLOT.unpack_from(bucket, at + ADDRESS_BYTES)
                blob = PackedBlob(bucket[at : at + ADDRESS_BYTES], offset, length)
                found[self._packs[number]].append((blob, bool(marks and marks[slot])))
        return found

    def _slots(self, address: bytes) -> Iterator[tuple[int, int, int]]:
        bucket = self._buckets[address[0] << 8 | address[1]]
        for at in _places_in(bucket, address):
            yield _SLOT.unpack_from(bucket, at + ADDRESS_BYTES)


def _places_in(bucket: bytes, address: bytes) -> Iterator[int]:
    at = bucket.find(address)
    while at >= 0:
        if at % _SLOT_BYTES == 0:
            yield at
        at = bucket.find(address, at + 1)
