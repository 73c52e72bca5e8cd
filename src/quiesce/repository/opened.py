"""An open repository, as all that works with it sees it: storage, keys, and what is known of packs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import DamagedArtifactError, ObjectLockedError, ObjectNotFoundError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Storage
from quiesce.repository.index import PACK_ID_BYTES, BlobIndex, PackId, PackListing, read_listings
from quiesce.repository.keys import Keys
from quiesce.repository.packs import PACKS, pack_of, read_end
from quiesce.repository.sealing import MOST_OBJECT_BYTES, Addresses, ObjectSealer

INDEX: Final = "index"
#: packs that are going to be deleted when their grace is over
CONDEMNED: Final = "condemned"
#: the mark of a repository and its keys are no larger
_SMALL_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRepository:
    """What every part of this package is given."""

    storage: Storage
    keys: Keys
    #: for how long what nobody needs is kept, in case that somebody is just beginning to
    grace_s: float
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    objects: ObjectSealer = field(init=False)
    addresses: Addresses = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", ObjectSealer(self.keys))
        object.__setattr__(self, "addresses", Addresses(self.keys))

    def put_sealed(self, name: ObjectName, plain: bytes, *, exclusive: bool = False) -> None:
        """Store one sealed object."""
        self.storage.put(name, self.objects.seal(name, plain), exclusive=exclusive)

    def get_sealed(self, name: ObjectName) -> bytes:
        """Return what was sealed under *name*."""
        return self.objects.open(name, bounded_object(self.storage, name, MOST_OBJECT_BYTES))

    def put_index(self, listings: Iterable[PackListing]) -> ObjectName:
        """Tell everybody what some packs hold, which are there already."""
        name = fresh_name(INDEX)
        self.put_sealed(name, b"".join(listing.as_bytes() for listing in listings))
        return name

    def stored_packs(self) -> dict[PackId, StoredObject]:
        """Return the packs that are there now."""
        found = ((pack_of(stored.name), stored) for stored in self.storage.list(PACKS))
        return {pack: stored for pack, stored in found if pack is not None}

    def condemned(self, damaged: list[ObjectName] | None = None) -> dict[ObjectName, frozenset[PackId]]:
        """Return the packs that are going to be deleted, by the object that says so.

        One that is *damaged* says nothing: who collects cannot read it either, so nothing is deleted for it.
        """
        unread = [] if damaged is None else damaged
        return {name: _pack_set(data) for name, data in self.sealed_below(CONDEMNED, unread)}

    def load_index(self) -> BlobIndex:
        """Return where all blobs lie; what is in packs that are gone or condemned is not to be found.

        A pack that is gone is as if it had never been, so whoever writes stores its blobs anew. What a
        damaged index told is learned from the packs themselves.
        """
        damaged: list[ObjectName] = []
        index = self.read_indexes(damaged)
        # looked at after the indexes: what they name and is not there now will not come
        there = self.stored_packs()
        if damaged:
            for listing in self.untold(index, there, damaged):
                index.add(listing)
        index.avoid(pack for pack in index.packs if pack not in there)
        for packs in self.condemned().values():
            index.avoid(packs)
        return index

    def delete_unlocked(self, names: Iterable[ObjectName]) -> int:
        """Delete what may be deleted already; return how many that were."""
        deleted = 0
        for name in names:
            with suppress(ObjectLockedError):
                self.storage.delete(name)
                deleted += 1
        return deleted

    def read_indexes(self, damaged: list[ObjectName]) -> BlobIndex:
        """Return what all indexes tell; one that cannot be read is added to *damaged*."""
        index = BlobIndex()
        for _, data in self.sealed_below(INDEX, damaged):
            for listing in read_listings(data):
                index.add(listing)
        return index

    def untold(
        self, index: BlobIndex, packs: Mapping[PackId, StoredObject], damaged: list[ObjectName]
    ) -> Iterator[PackListing]:
        """Yield what those of *packs* hold of which *index* knows nothing, by their ends.

        A pack of which even the end cannot be read is added to *damaged*; one that is gone is passed over.
        """
        for pack, stored in packs.items():
            if pack in index:
                continue
            try:
                yield read_end(pack, stored, self.storage, self.objects)
            except ObjectNotFoundError:
                continue
            except DamagedArtifactError:
                damaged.append(stored.name)

    def sealed_below(
        self, folder: str, damaged: list[ObjectName] | None = None
    ) -> Iterator[tuple[ObjectName, bytes]]:
        """Yield all sealed objects of *folder*, those too that took the place of others meanwhile.

        One that cannot be read is added to *damaged*, or raised.
        """
        seen: set[ObjectName] = set()
        again = True
        while again:
            again = False
            for name in sorted({stored.name for stored in self.storage.list(folder)} - seen):
                seen.add(name)
                try:
                    yield name, self.get_sealed(name)
                except ObjectNotFoundError:
                    # somebody gathered several in a new one, and deleted them
                    again = True
                except DamagedArtifactError:
                    if damaged is None:
                        raise
                    damaged.append(name)


def small_object(storage: Storage, name: ObjectName) -> bytes:
    """Return an object that is small when it is ours, which nothing has proven yet."""
    return bounded_object(storage, name, _SMALL_BYTES)


def bounded_object(storage: Storage, name: ObjectName, most_bytes: int) -> bytes:
    """Return an object; one that is larger than any of ours is not read.

    Raises:
        DamagedArtifactError: when it is.
    """
    data = storage.get(name, length=most_bytes + 1)
    if len(data) > most_bytes:
        raise DamagedArtifactError(f"{name} is larger than anything that is written there")
    return data


def fresh_name(folder: str) -> ObjectName:
    """Return a name that nobody else has or will have."""
    return ObjectName(f"{folder}/{os.urandom(16).hex()}")


def _pack_set(data: bytes) -> frozenset[PackId]:
    return frozenset(PackId(data[at : at + PACK_ID_BYTES]) for at in range(0, len(data), PACK_ID_BYTES))
