"""Checks a repository: that all is there that points need, and that it is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import DamagedArtifactError, ObjectNotFoundError
from quiesce.model.stored_object import ObjectName
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.index import BlobIndex, PackedBlob, PackId, PackListing, read_listings
from quiesce.repository.keys import WrappedKeys
from quiesce.repository.needs import addresses_of
from quiesce.repository.opened import CONDEMNED, INDEX, OpenedRepository, bounded_object, small_object
from quiesce.repository.packs import is_filled, pack_name, read_trailer, writer_of
from quiesce.repository.points import POINTS, Point, point_name
from quiesce.repository.removing import removed_points
from quiesce.repository.sealing import MOST_OBJECT_BYTES, blob_cipher, open_blob

KEYS: Final = "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRange:
    """Which packs are read whole: those of one part of several, after the one that was read last."""

    part: int = 1
    parts: int = 1
    after: bytes = b""

    def contains(self, pack: PackId) -> bool:
        """Tell whether *pack* is to be read."""
        return pack > self.after and int.from_bytes(pack[:4]) % self.parts == self.part - 1


@dataclass(slots=True)
class RepositoryChecked:
    """What a check found."""

    problems: list[str] = field(default_factory=list)
    points: int = 0
    packs: int = 0
    packs_read: int = 0
    bytes_read: int = 0
    #: packs that no index knows: of a writer that was cut off, or whose index is lost
    unknown_packs: int = 0
    #: the pack that was read last: where the next check may go on
    last: bytes = b""


class RepositoryChecker:
    """Checks one repository. It may take long, and be called again with the range where it was stopped."""

    def __init__(self, opened: OpenedRepository) -> None:
        self._opened = opened
        self._listings: dict[PackId, PackListing] = {}
        self._index = BlobIndex()
        self.checked = RepositoryChecked()

    def run(self, reading: CheckRange | None = None) -> RepositoryChecked:
        """Check what is told; with *reading*, also every byte of the packs in that range."""
        self._check_keys()
        points = list(self._points())
        self._load_indexes()
        sizes = {pack: stored.size_bytes for pack, stored in self._opened.stored_packs().items()}
        self._check_packs(sizes)
        self._check_points(points, [*self._removed()])
        self._check_condemned()
        if reading is not None:
            for pack in sorted(filter(reading.contains, sizes)):
                self._read_pack(pack)
        return self.checked

    def _say(self, problem: object) -> None:
        text = str(problem)
        if text not in self.checked.problems:
            self.checked.problems.append(text)

    def _check_keys(self) -> None:
        opened = self._opened
        ours = f"{KEYS}/{opened.keys.repository.hex()}-"
        for stored in opened.storage.list(KEYS):
            if not stored.name.startswith(ours):
                continue
            try:
                data = small_object(opened.storage, stored.name)
                wrapped = WrappedKeys.parse(data)
                if wrapped.as_bytes() != data or not wrapped.is_authentic(opened.keys):
                    self._say(f"{stored.name} is not what was written there")
            except DamagedArtifactError as error:
                self._say(f"{stored.name}: {error}")

    def _points(self) -> Iterator[Point]:
        damaged: list[ObjectName] = []
        for name, data in self._opened.sealed_below(POINTS, damaged):
            point = Point.parse(data)
            if point_name(self._opened.keys, point.key) != name:
                self._say(f"{name} is the point {point.key}, which belongs elsewhere")
            self.checked.points += 1
            yield point
        for name in damaged:
            self._say(f"{name} is not what was written there: that point is lost")

    def _load_indexes(self) -> None:
        damaged: list[ObjectName] = []
        for _, data in self._opened.sealed_below(INDEX, damaged):
            for listing in read_listings(data):
                self._listings[listing.pack] = listing
                self._index.add(listing)
        for name in damaged:
            self._say(f"{name} is not what was written there: it can be made anew from the packs")

    def _check_packs(self, sizes: dict[PackId, int]) -> None:
        self.checked.packs = len(sizes)
        self.checked.unknown_packs = sum(pack not in self._listings for pack in sizes)
        for pack, listing in self._listings.items():
            end = max((blob.offset + blob.length for blob in listing.blobs), default=0)
            if pack not in sizes:
                self._say(f"{pack_name(pack)} is gone")
            elif sizes[pack] < end:
                self._say(f"{pack_name(pack)} is cut off at {sizes[pack]} bytes")

    def _check_points(self, points: list[Point], removed: list[Point]) -> None:
        fetcher, seen = BlobFetcher(self._opened, self._index), set[bytes]()
        there = {point.key for point in points}
        for point in points:
            for instance in point.instances:
                key = type(point.key)(
                    deployment=point.key.deployment, point=point.key.point, instance=instance
                )
                if key not in there:
                    self._say(f"the point {key} is gone")
            self._check_needs(fetcher, point, seen)
        for point in removed:
            self._check_needs(fetcher, point, seen)

    def _check_needs(self, fetcher: BlobFetcher, point: Point, seen: set[bytes]) -> None:
        try:
            lost = sum(self._index.find(address) is None for address in addresses_of(fetcher, point, seen))
        except (DamagedArtifactError, ObjectNotFoundError) as error:
            self._say(f"the point {point.key}: {error}")
        else:
            if lost:
                self._say(f"the point {point.key} needs {lost} blobs that no index knows")

    def _removed(self) -> Iterator[Point]:
        """Yield the removed points that nobody may have collected yet."""
        damaged: list[ObjectName] = []
        since = self._opened.clock() - self._opened.grace_s
        for removed in removed_points(self._opened, damaged):
            if removed.removed_at > since:
                yield removed.point
        for name in damaged:
            self._say(f"{name} is not what was written there: that removed point cannot come back")

    def _check_condemned(self) -> None:
        damaged: list[ObjectName] = []
        for _ in self._opened.sealed_below(CONDEMNED, damaged):
            pass
        for name in damaged:
            self._say(f"{name} is not what was written there")

    def _read_pack(self, pack: PackId) -> None:
        name = pack_name(pack)
        try:
            data = bounded_object(self._opened.storage, name, MOST_OBJECT_BYTES)
        except ObjectNotFoundError:
            return  # collected meanwhile, or said above
        except DamagedArtifactError as error:
            self._say(error)
            return
        self.checked.packs_read += 1
        self.checked.bytes_read += len(data)
        self.checked.last = pack
        try:
            listing = read_trailer(pack, data, self._opened.objects)
            if not is_filled(listing, data):
                self._say(f"{name} has gaps, or is cut off")
            if pack in self._listings and sorted(self._listings[pack].blobs) != sorted(listing.blobs):
                self._say(f"{name} holds something else than the index says")
        except DamagedArtifactError as error:
            self._say(error)
            listing = self._listings.get(pack, PackListing(pack, []))
        self._read_blobs(listing, data)

    def _read_blobs(self, listing: PackListing, data: bytes) -> None:
        view, cipher = memoryview(data), blob_cipher(self._opened.keys, writer_of(listing.pack))
        damaged: list[PackedBlob] = []
        for blob in listing.blobs:
            try:
                plain = open_blob(cipher, blob.address, view[blob.offset : blob.offset + blob.length])
            except DamagedArtifactError:
                damaged.append(blob)
                continue
            if self._opened.addresses.of(plain) != blob.address:
                damaged.append(blob)
        if damaged:
            self._say(f"{pack_name(listing.pack)}: {len(damaged)} of {len(listing.blobs)} blobs are damaged")
