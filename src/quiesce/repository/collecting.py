"""Collection of garbage: what no point needs is marked first, and deleted when its grace is over.

No locks. What keeps writers and collectors from harming each other:

- A pack younger than the grace is left alone: its writer may not have written its point yet.
- A pack that is *condemned* is not relied on by anybody who begins to write from then on. Whoever had begun
  before looks again before the point is written, and stores anew what lies in condemned packs only.
- A point that was removed keeps what it needs for the grace; what was kept aside of it goes afterwards.
- A condemned pack is deleted when it has been condemned for the grace, and all points, read once more, can do
  without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import ObjectLockedError, RecoverableError
from quiesce.model.stored_object import ObjectName
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.index import BlobIndex, PackedBlob, PackId, PackListing, read_listings
from quiesce.repository.needs import addresses_of
from quiesce.repository.opened import CONDEMNED, INDEX, OpenedRepository, fresh_name
from quiesce.repository.packs import pack_name
from quiesce.repository.points import POINTS, Point
from quiesce.repository.removing import removed_points
from quiesce.repository.storing import BlobStore

#: more than this part of a pack is waste: what is needed of it is stored anew
_MOST_WASTE: Final = 0.25
_MOST_INDEXES: Final = 16
_INDEX_BLOBS: Final = 1_000_000
_CLOCK: Final = "clock"


@dataclass(slots=True)
class Collected:
    """What a collection found and did."""

    points: int = 0
    #: points that were removed, and cannot come back from now on
    forgotten_points: int = 0
    packs: int = 0
    #: packs that nobody needs from now on
    condemned_packs: int = 0
    #: needed parts of wasteful packs, stored anew
    moved_bytes: int = 0
    deleted_packs: int = 0
    deleted_bytes: int = 0
    #: packs that may not be deleted yet (WORM); tried again by the next collection
    locked_packs: int = 0


@dataclass(slots=True)
class _View:
    """What is there, in the order in which it must be looked at."""

    condemned: dict[ObjectName, frozenset[PackId]]
    condemned_at: dict[ObjectName, float]
    now: float
    #: damaged notes of what is condemned: that begins anew
    unread: list[ObjectName]
    forgotten: list[ObjectName] = field(default_factory=list)
    indexes: list[ObjectName] = field(default_factory=list)
    index: BlobIndex = field(default_factory=BlobIndex)
    modified: dict[PackId, float] = field(default_factory=dict)
    sizes: dict[PackId, int] = field(default_factory=dict)
    blobs: dict[PackId, list[tuple[PackedBlob, bool]]] = field(default_factory=dict)


class Collector:
    """Collects the garbage of one repository; any number may do so at once."""

    def __init__(self, opened: OpenedRepository, *, most_waste: float = _MOST_WASTE) -> None:
        self._opened = opened
        self._most_waste = most_waste
        self._begun = opened.monotonic()
        self.collected = Collected()

    def run(self, *, simulate: bool = False) -> Collected:
        """Delete what has been condemned for long enough, and condemn what nobody needs.

        With *simulate* nothing is changed, and the result says what would be.

        Raises:
            DamagedArtifactError: when a point, or a list that it needs, cannot be read: nothing is deleted
                then, because nobody knows what it needs.
        """
        view = self._look()
        kept = _last_places(view)
        ripe = self._ripe(view)
        doomed = {pack for packs in ripe.values() for pack in packs if pack in view.modified} - kept
        idle = self._idle(view)
        self.collected.packs = len(view.modified)
        self.collected.condemned_packs = len(idle)
        self.collected.deleted_packs = len(doomed)
        self.collected.deleted_bytes = sum(view.sizes[pack] for pack in doomed)
        if not simulate:
            self._condemn(view, idle)
            self._merge_indexes(view, doomed)
            self._delete(view, ripe, doomed)
            self._forget(view)
        return self.collected

    def _look(self) -> _View:
        opened = self._opened
        objects = {stored.name: stored.modified for stored in opened.storage.list(CONDEMNED)}
        unread: list[ObjectName] = []
        view = _View(
            condemned=opened.condemned(unread),
            condemned_at=objects,
            now=self._storage_time(),
            unread=unread,
        )
        points = [Point.parse(data) for _, data in opened.sealed_below(POINTS)]
        # looked at after the points: whoever removes one puts it here before
        points += self._removed_lately(view)
        for name, data in opened.sealed_below(INDEX):
            view.indexes.append(name)
            for listing in read_listings(data):
                view.index.add(listing)
        for pack, stored in opened.stored_packs().items():
            view.modified[pack], view.sizes[pack] = stored.modified, stored.size_bytes
        view.index.avoid(pack for pack in view.index.packs if pack not in view.modified)
        self._mark(view.index, points)
        view.blobs = view.index.listings()
        return view

    def _removed_lately(self, view: _View) -> Iterator[Point]:
        """Yield the removed points whose grace is not over; note those for which it is."""
        damaged: list[ObjectName] = []
        for removed in removed_points(self._opened, damaged):
            if removed.removed_at > view.now - self._opened.grace_s:
                yield removed.point
            else:
                view.forgotten.append(removed.name)
        view.forgotten += damaged
        self.collected.forgotten_points = len(view.forgotten)

    def _mark(self, index: BlobIndex, points: list[Point]) -> None:
        fetcher, seen = BlobFetcher(self._opened, index), set[bytes]()
        for point in points:
            for address in addresses_of(fetcher, point, seen):
                index.mark(address)
        self.collected.points = len(points)

    def _storage_time(self) -> float:
        """Return what the storage's clock says, which alone can be compared with the times of objects."""
        storage, name = self._opened.storage, fresh_name(_CLOCK)
        storage.put(name, b"")
        try:
            return storage.stat(name).modified
        finally:
            storage.delete(name)

    def _ripe(self, view: _View) -> dict[ObjectName, frozenset[PackId]]:
        until = view.now - self._opened.grace_s
        return {
            name: packs
            for name, packs in view.condemned.items()
            if view.condemned_at.get(name, view.now) <= until
        }

    def _idle(self, view: _View) -> dict[PackId, list[PackedBlob]]:
        """Return the packs to be condemned, each with the blobs to be stored anew first."""
        condemned = frozenset[PackId]().union(*view.condemned.values())
        view.index.avoid(condemned)
        found = {}
        for pack, modified in sorted(view.modified.items()):
            if pack in condemned or modified > view.now - self._opened.grace_s:
                continue
            needed = [
                blob
                for blob, marked in view.blobs.get(pack, ())
                if marked and _lies_first(view.index, blob.address, pack)
            ]
            if self._is_wasteful(needed, view.blobs.get(pack, [])):
                found[pack] = needed
        return found

    def _is_wasteful(self, needed: list[PackedBlob], blobs: list[tuple[PackedBlob, bool]]) -> bool:
        total, used = sum(blob.length for blob, _ in blobs), sum(blob.length for blob in needed)
        return not needed or total - used > total * self._most_waste

    def _condemn(self, view: _View, idle: dict[PackId, list[PackedBlob]]) -> None:
        if not idle:
            return
        view.index.avoid(idle)
        addresses = sorted({blob.address for blobs in idle.values() for blob in blobs})
        self._move(view.index, addresses)
        self._opened.put_sealed(fresh_name(CONDEMNED), b"".join(sorted(idle)))

    def _move(self, index: BlobIndex, addresses: list[bytes]) -> None:
        """Store anew what is needed of packs that are going to be condemned."""
        if not addresses:
            return
        fetcher, store = BlobFetcher(self._opened, index), BlobStore(self._opened, index)
        try:
            for address in addresses:
                store.add(fetcher.get(address))
            store.flush()
            self.collected.moved_bytes = store.figures.packed_bytes
        finally:
            store.close()

    def _merge_indexes(self, view: _View, doomed: set[PackId]) -> None:
        """Put one index in place of many, in which nothing is said of what is gone, or going."""
        gone = doomed | {pack for pack in view.blobs if pack not in view.modified}
        if not gone & view.blobs.keys() and len(view.indexes) <= _MOST_INDEXES:
            return
        kept = [
            PackListing(pack, sorted((blob for blob, _ in blobs), key=lambda blob: blob.offset))
            for pack, blobs in view.blobs.items()
            if pack not in gone
        ]
        for part in _parts(kept):
            self._opened.put_index(part)
        for name in view.indexes:
            self._opened.storage.delete(name)

    def _delete(self, view: _View, ripe: dict[ObjectName, frozenset[PackId]], doomed: set[PackId]) -> None:
        deleted: set[PackId] = set()
        for name, packs in ripe.items():
            results = [self._delete_pack(pack, deleted) for pack in sorted(packs & doomed)]
            # a pack that is kept for something that is needed stays condemned: it may be damaged
            if all(results) and not (packs & view.modified.keys()) - doomed:
                self._opened.storage.delete(name)
        self.collected.deleted_packs = len(deleted)
        self.collected.deleted_bytes = sum(view.sizes[pack] for pack in deleted)

    def _forget(self, view: _View) -> None:
        self._opened.delete_unlocked(view.unread)
        for name in view.forgotten:
            try:
                self._opened.storage.delete(name)
            except ObjectLockedError:
                self.collected.forgotten_points -= 1

    def _delete_pack(self, pack: PackId, deleted: set[PackId]) -> bool:
        if self._opened.monotonic() - self._begun > self._opened.grace_s / 2:
            raise RecoverableError("collecting took so long that the points have to be read again")
        try:
            self._opened.storage.delete(pack_name(pack))
        except ObjectLockedError:
            self.collected.locked_packs += 1
            return False
        deleted.add(pack)
        return True


def _last_places(view: _View) -> set[PackId]:
    """Return the condemned packs that hold the last copy of something that is needed.

    Where several do, all are kept: which of them is damaged is not known, and two collectors agree.
    """
    condemned = frozenset[PackId]().union(*view.condemned.values()) & view.modified.keys()
    kept: set[PackId] = set()
    for pack in sorted(condemned):
        for blob, marked in view.blobs.get(pack, ()):
            if marked and _is_nowhere_else(view, blob.address, condemned):
                kept.add(pack)
                break
    return kept


def _is_nowhere_else(view: _View, address: bytes, condemned: frozenset[PackId]) -> bool:
    places = {place.pack for place in view.index.places(address)}
    return not places - condemned


def _lies_first(index: BlobIndex, address: bytes, pack: PackId) -> bool:
    place = index.find(address)
    return place is None or place.pack == pack


def _parts(listings: Iterable[PackListing]) -> Iterator[list[PackListing]]:
    part: list[PackListing] = []
    count = 0
    for listing in listings:
        part.append(listing)
        count += len(listing.blobs)
        if count >= _INDEX_BLOBS:
            yield part
            part, count = [], 0
    if part:
        yield part
