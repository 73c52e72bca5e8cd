"""A repository in memory, with a clock that stands still until it is moved."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from quiesce.repository import FileKey, Point, PointItem, PointKey, PointReader, Repository, WriterSession
from quiesce.storage import MemoryStorage

GRACE_S = 1000.0


@dataclass
class Clock:
    """Tells the time, to the storage and to us."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A repository, and what a test needs to look at it."""

    clock: Clock
    storage: MemoryStorage
    key: FileKey
    repository: Repository

    def save(self, name: str, *contents: bytes, instance: str = "db_1") -> PointKey:
        """Store a point of some streams."""
        key = PointKey(deployment="shop", point=name, instance=instance)
        with self.repository.write(threads=1) as session:
            items = {str(number): session.add_stream([data]) for number, data in enumerate(contents)}
            session.commit(Point(key=key, made_at=self.clock.now, items=items))
        return key

    def read(self, key: PointKey) -> list[bytes]:
        """Return the streams of a point."""
        reader = self.repository.reader(key)
        return [b"".join(reader.read(item)) for item in reader.point.items]

    def packs(self) -> int:
        """Tell how many packs there are."""
        return len(list(self.storage.list("packs")))

    def collect_all(self) -> None:
        """Collect until nothing is left to be done."""
        for _ in range(4):
            self.clock.now += GRACE_S + 1
            self.repository.collect(most_waste=0)

    def commit(self, session: WriterSession, name: str, **items: PointItem) -> PointReader:
        """Commit a point, and return a reader of it."""
        key = PointKey(deployment="shop", point=name, instance="db_1")
        session.commit(Point(key=key, made_at=self.clock.now, items=items))
        return self.repository.reader(key)


def make_scene() -> Scene:
    """Return a new, empty repository in memory."""
    clock, key = Clock(), FileKey.new()
    storage = MemoryStorage(now=clock)
    Repository.create(storage, key, grace_s=GRACE_S)
    repository = Repository.open(storage, [key], clock=clock, monotonic=clock)
    return Scene(clock, storage, key, repository)


@pytest.fixture
def scene() -> Scene:
    return make_scene()
