"""Reads all that points need, as a restore would, and writes nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from quiesce.errors import DamagedArtifactError, ObjectNotFoundError, ResourceNotFoundError
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.index import PackId
from quiesce.repository.needs import addresses_of
from quiesce.repository.opened import OpenedRepository
from quiesce.repository.points import Point, PointKey, point_name

#: blobs that one thread reads at once: in bounded memory, and neighbours together
_AT_ONCE: Final = 32
_BATCHES_UNDER_WAY: Final = 4


@dataclass(slots=True)
class PointsVerified:
    """What reading some points has found."""

    points: int = 0
    blobs: int = 0
    bytes_read: int = 0
    #: by point, the first thing that is wrong with it
    damages: dict[PointKey, str] = field(default_factory=dict)
    #: in which something of that lies
    damaged_packs: set[PackId] = field(default_factory=set)


class PointVerifier:
    """Reads points; what several need is read once."""

    def __init__(self, opened: OpenedRepository, progress: Callable[[int], None]) -> None:
        self._opened = opened
        self._progress = progress
        self._fetcher = BlobFetcher(opened, opened.load_index())
        self._whole: set[bytes] = set()
        self._damaged: dict[bytes, str] = {}
        self._verified = PointsVerified()

    def run(self, keys: Iterable[PointKey]) -> PointsVerified:
        """Read what *keys* need, one after the other."""
        with ThreadPoolExecutor(os.cpu_count() or 1, "quiesce-verify") as pool:
            for key in keys:
                self._verified.points += 1
                try:
                    self._read(self._point(key), pool)
                except (DamagedArtifactError, ObjectNotFoundError, ResourceNotFoundError) as error:
                    self._verified.damages[key] = str(error)
        # where another pack had it whole, too: else collecting could keep the damaged one of both
        self._verified.damaged_packs |= self._fetcher.damaged
        return self._verified

    def _point(self, key: PointKey) -> Point:
        point = Point.parse(self._opened.get_sealed(point_name(self._opened.keys, key)))
        if point.key != key:
            raise DamagedArtifactError(f"the point {key} is another one: {point.key}")
        return point

    def _read(self, point: Point, pool: ThreadPoolExecutor) -> None:
        under_way: deque[tuple[list[bytes], Future[int]]] = deque()
        try:
            for batch in _batches(self._unread(point)):
                under_way.append((batch, pool.submit(self._read_batch, batch)))
                if len(under_way) > _BATCHES_UNDER_WAY:
                    self._note(*under_way.popleft())
            while under_way:
                self._note(*under_way.popleft())
        finally:
            for _, future in under_way:
                future.cancel()

    def _unread(self, point: Point) -> Iterator[bytes]:
        """Yield what was not read for a point before, each once."""
        seen: set[bytes] = set()
        address = b""
        try:
            for address in addresses_of(self._fetcher, point):
                if address in self._damaged:
                    raise DamagedArtifactError(self._damaged[address])
                if address not in self._whole and address not in seen:
                    seen.add(address)
                    yield address
        except DamagedArtifactError:
            self._note_damage(address)  # a list that could not be read is the last that was named
            raise

    def _note_damage(self, address: bytes) -> None:
        places = self._fetcher.index.places(address, avoided=True)
        self._verified.damaged_packs.update(place.pack for place in places)

    def _read_batch(self, batch: list[bytes]) -> int:
        try:
            return sum(map(len, self._fetcher.get_many(batch).values()))
        except (DamagedArtifactError, ObjectNotFoundError):
            return sum(map(self._read_one, batch))

    def _read_one(self, address: bytes) -> int:
        try:
            return len(self._fetcher.get(address))
        except (DamagedArtifactError, ObjectNotFoundError) as error:
            self._damaged[address] = str(error)
            self._note_damage(address)
            raise

    def _note(self, batch: list[bytes], future: Future[int]) -> None:
        size_bytes = future.result()
        self._whole.update(batch)
        self._verified.blobs += len(batch)
        self._verified.bytes_read += size_bytes
        self._progress(size_bytes)


def _batches(addresses: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(addresses, _AT_ONCE)):
        yield batch
