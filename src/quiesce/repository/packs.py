"""Packs: objects of about 16 MiB that hold blobs one after the other, and at their end what they hold."""

from __future__ import annotations

import struct
from typing import Final

from quiesce.errors import DamagedArtifactError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Storage
from quiesce.repository.index import PACK_ID_BYTES, PackedBlob, PackId, PackListing, read_listings
from quiesce.repository.sealing import MOST_OBJECT_BYTES, ObjectSealer

PACKS: Final = "packs"
PACK_BYTES: Final = 16 << 20
_END: Final = struct.Struct("<I8s")
_END_MAGIC: Final = b"quiesceP"
#: of a pack's end, so much is read at once: the list of about 1,500 blobs
_USUAL_END_BYTES: Final = 64 << 10


def pack_name(pack: PackId) -> ObjectName:
    """Return the name under which a pack is stored."""
    text = pack.hex()
    return ObjectName(f"{PACKS}/{text[:2]}/{text}")


def pack_of(name: ObjectName) -> PackId | None:
    """Return the pack that is stored under *name*; None when that is no pack's name."""
    try:
        pack = PackId(bytes.fromhex(name.rpartition("/")[2]))
    except ValueError:
        return None
    return pack if len(pack) == PACK_ID_BYTES and pack_name(pack) == name else None


def writer_of(pack: PackId) -> bytes:
    """Return who wrote it: the number from which its blobs' key is derived."""
    return pack[:16]


class PackDraft:
    """A pack that is being filled."""

    def __init__(self, writer: bytes, number: int) -> None:
        self.id = PackId(writer + number.to_bytes(4, "big"))
        self.size_bytes = 0
        self._parts: list[bytes] = []
        self._blobs: list[PackedBlob] = []

    def add(self, address: bytes, head: bytes, sealed: bytes) -> None:
        """Append one sealed blob."""
        length = len(head) + len(sealed)
        self._blobs.append(PackedBlob(address, self.size_bytes, length))
        self._parts += (head, sealed)
        self.size_bytes += length

    def listing(self) -> PackListing:
        """Return what it holds."""
        return PackListing(self.id, self._blobs)

    def as_bytes(self, objects: ObjectSealer) -> bytes:
        """Return the whole pack, once: its parts are let go, so that it is not in memory twice."""
        trailer = objects.seal(pack_name(self.id), self.listing().as_bytes())
        parts, self._parts = self._parts, []
        return b"".join((*parts, trailer, _END.pack(len(trailer), _END_MAGIC)))


def read_trailer(pack: PackId, data: bytes, objects: ObjectSealer) -> PackListing:
    """Return what the end of a pack says that it holds; *data* is the pack, or as much of its end.

    Raises:
        DamagedArtifactError: when it is not whole.
    """
    length, magic = _END.unpack(data[-_END.size :]) if len(data) >= _END.size else (0, b"")
    if magic != _END_MAGIC or length + _END.size > len(data):
        raise DamagedArtifactError(f"the pack {pack.hex()} has no end")
    trailer = objects.open(pack_name(pack), data[-_END.size - length : -_END.size])
    listings = list(read_listings(trailer))
    if [listing.pack for listing in listings] != [pack]:
        raise DamagedArtifactError(f"the end of the pack {pack.hex()} is another's")
    return listings[0]


def read_end(pack: PackId, stored: StoredObject, storage: Storage, objects: ObjectSealer) -> PackListing:
    """Return what a pack holds; no more than its end is read.

    Raises:
        DamagedArtifactError: when that is not what was written there.
    """
    size_bytes = stored.size_bytes
    data = _last(storage, stored, min(size_bytes, _USUAL_END_BYTES))
    if len(data) >= _END.size:
        length, _ = _END.unpack(data[-_END.size :])
        if len(data) < length + _END.size <= min(size_bytes, MOST_OBJECT_BYTES):
            data = _last(storage, stored, length + _END.size)
    return read_trailer(pack, data, objects)


def _last(storage: Storage, stored: StoredObject, length: int) -> bytes:
    return storage.get(stored.name, offset=stored.size_bytes - length, length=length)


def is_filled(listing: PackListing, data: bytes) -> bool:
    """Tell whether *data* is a whole pack of just what its *listing* says."""
    expected = 0
    for blob in listing.blobs:
        if blob.offset != expected:
            return False
        expected += blob.length
    length, _ = _END.unpack(data[-_END.size :])
    return bool(expected + length + _END.size == len(data))
