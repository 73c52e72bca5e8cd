"""Reads blobs out of packs: neighbours together, and from another pack where one is damaged."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quiesce.errors import DamagedArtifactError, ObjectNotFoundError
from quiesce.repository.content import BlobRecord, read_records
from quiesce.repository.index import BlobIndex, BlobPlace, PackId
from quiesce.repository.opened import OpenedRepository
from quiesce.repository.packs import pack_name, writer_of
from quiesce.repository.sealing import blob_cipher, open_blob

#: what lies between two blobs that are wanted is read, too, when it is no more than this
_GAP_BYTES: Final = 128 << 10
_MOST_AT_ONCE_BYTES: Final = 16 << 20


class BlobFetcher:
    """Returns what blobs hold, authenticated; from many threads at once."""

    def __init__(self, opened: OpenedRepository, index: BlobIndex) -> None:
        self._opened = opened
        self.index = index
        #: in which something was met that is not as it was written
        self.damaged: set[PackId] = set()
        self._cipher = functools.lru_cache(maxsize=4096)(self._new_cipher)

    def get(self, address: bytes) -> bytes:
        """Return the content of one blob.

        Raises:
            DamagedArtifactError: when it is nowhere as it was written.
        """
        damage: Exception | None = None
        for place in self.index.places(address, avoided=True):
            try:
                return self._open(address, place, self._read(place.pack, place.offset, place.length))
            except DamagedArtifactError as error:
                self.damaged.add(place.pack)
                damage = damage or error
            except ObjectNotFoundError as error:
                damage = damage or error
        raise _lost(address, damage or "in no pack that an index knows")

    def get_many(self, addresses: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the content of several blobs, all of which fit into memory."""
        found: dict[bytes, bytes] = {}
        for pack, begin, run in _runs(self._places(set(addresses))):
            try:
                found.update(self._opened_run(pack, begin, run))
            except (DamagedArtifactError, ObjectNotFoundError):
                found.update((address, self.get(address)) for address, _ in run)
        return found

    def records(self, lists: Iterable[BlobRecord]) -> Iterator[BlobRecord]:
        """Yield the records that *lists* are lists of."""
        for address, count in lists:
            records = read_records(self.get(address))
            if len(records) != count:
                raise DamagedArtifactError(f"the list {address.hex()} has not the length it should have")
            yield from records

    def _places(self, addresses: set[bytes]) -> list[tuple[BlobPlace, bytes]]:
        places = []
        for address in addresses:
            place = next(self.index.places(address, avoided=True), None)
            if place is None:
                raise _lost(address, "in no pack that an index knows")
            places.append((place, address))
        places.sort()
        return places

    def _opened_run(
        self, pack: PackId, begin: int, run: list[tuple[bytes, BlobPlace]]
    ) -> Iterator[tuple[bytes, bytes]]:
        last = run[-1][1]
        data = memoryview(self._read(pack, begin, last.offset + last.length - begin))
        for address, place in run:
            at = place.offset - begin
            yield address, self._open(address, place, data[at : at + place.length])

    def _read(self, pack: PackId, offset: int, length: int) -> bytes:
        return self._opened.storage.get(pack_name(pack), offset=offset, length=length)

    def _open(self, address: bytes, place: BlobPlace, sealed: bytes | memoryview) -> bytes:
        if len(sealed) != place.length:
            raise DamagedArtifactError(f"the pack {place.pack.hex()} is cut off")
        return open_blob(self._cipher(writer_of(place.pack)), address, sealed)

    def _new_cipher(self, writer: bytes) -> AESGCM:
        return blob_cipher(self._opened.keys, writer)


def _lost(address: bytes, why: object) -> DamagedArtifactError:
    return DamagedArtifactError(f"the blob {address.hex()} is lost: {why}")


def _runs(
    places: list[tuple[BlobPlace, bytes]],
) -> Iterator[tuple[PackId, int, list[tuple[bytes, BlobPlace]]]]:
    """Yield the parts of packs to be read at once, with the blobs in them."""
    run: list[tuple[bytes, BlobPlace]] = []
    begin = end = 0
    for place, address in places:
        near = run and place.pack == run[-1][1].pack and place.offset - end <= _GAP_BYTES
        if not near or place.offset + place.length - begin > _MOST_AT_ONCE_BYTES:
            if run:
                yield run[0][1].pack, begin, run
            run, begin = [], place.offset
        run.append((address, place))
        end = place.offset + place.length
    if run:
        yield run[0][1].pack, begin, run
