"""Random histories of everything that can happen to a repository, against a model.

Each interleaves writers, collections, removals and copies at any call of the storage: there, the power is
cut, the answer is lost, the request is repeated, time passes, or another operation runs. Whatever happened,
every point that is there can be read and is what was written, every point that was promised is there, and in
the end, when the grace is over, nothing is stored that no point needs.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from quiesce.errors import ObjectNotFoundError, QuiesceError, StorageUnavailableError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Data
from quiesce.repository import CheckRange, FileKey, Point, PointKey, Repository, WriterSession
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.needs import addresses_of
from quiesce.storage import MemoryStorage

from .conftest import GRACE_S, Clock

#: 1,000 for the large size: make histories
HISTORIES = int(os.environ.get("QUIESCE_HISTORIES", "25"))
_STEPS = 30
_TRIES = 3
T = TypeVar("T")

#: few, so that deduplication meets everything else
CONTENTS = [random.Random(number).randbytes(500 + 97 * number) for number in range(6)]


class PowerCut(BaseException):
    """The process is gone: nothing of ours may catch this, and go on."""


class FaultyStorage:
    """A storage on which anything may happen between two calls, asked again when it does not answer."""

    def __init__(self, memory: MemoryStorage, happen: Callable[[str], str]) -> None:
        self._memory = memory
        self._happen = happen
        self.location = memory.location

    def prepare(self) -> None:
        """Nothing has to be there."""

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Put it, perhaps twice, perhaps without an answer."""
        self._call(lambda: self._memory.put(name, data, exclusive=exclusive))

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a part."""
        return self._call(lambda: self._memory.get(name, offset=offset, length=length))

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """List what is there; things happen while it is listed."""
        yield from self._call(lambda: [*self._memory.list(folder)])

    def stat(self, name: ObjectName) -> StoredObject:
        """Describe one object."""
        return self._call(lambda: self._memory.stat(name))

    def delete(self, name: ObjectName) -> None:
        """Delete it, perhaps without an answer."""
        self._call(lambda: self._memory.delete(name))

    def remove_unfinished(self) -> None:
        """Nothing is."""

    def close(self) -> None:
        """Nothing is held."""

    def _call(self, call: Callable[[], T]) -> T:
        for _ in range(_TRIES):
            what = self._happen("before")
            if what == "cut":
                raise PowerCut
            if what == "no answer":
                continue
            result = call()
            what = self._happen("after")
            if what == "cut":
                raise PowerCut
            if what != "no answer":
                return result
        raise StorageUnavailableError("it does not answer")


class History:
    """One history, and the model that it is held against."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = Clock()
        self._quiet = True
        self.memory = MemoryStorage(now=self.clock)
        self.key = FileKey.new()
        Repository.create(self.memory, self.key, grace_s=GRACE_S)
        storage = FaultyStorage(self.memory, self._happen)
        self.repository = self._open(self.memory)
        self._faulty = self._open(storage)  # type: ignore[arg-type]
        self._depth = 0
        self._sessions: list[tuple[WriterSession, PointKey, dict[str, bytes], dict[str, object]]] = []
        self._count = 0
        #: what each point must hold when it is there
        self.contents: dict[PointKey, dict[str, bytes]] = {}
        self.promised: set[PointKey] = set()
        self._changing: set[PointKey] = set()
        self.told: list[str] = []
        self._quiet = False

    def _open(self, storage: MemoryStorage) -> Repository:
        return Repository.open(storage, [self.key], clock=self.clock, monotonic=self.clock)

    def run(self) -> None:
        """Let everything happen, then check the end."""
        for _ in range(_STEPS):
            self._step()
            self.check()
        for session, *_ in self._sessions:
            session.close()
        self._quiet = True
        for _ in range(5):
            self.clock.now += GRACE_S + 1
            self.repository.collect(most_waste=0)
            self.check()
        self.check_end()

    def _happen(self, when: str) -> str:
        """Say what happens at a call of the storage; other operations run here, in the middle of one."""
        if self._quiet:
            return ""
        drawn = self.chance.random()
        if drawn < 0.01:
            return "cut"
        if drawn < 0.04:
            return "no answer"
        if drawn < 0.05:
            self.clock.now += GRACE_S * self.chance.choice([0.1, 0.3, 1.1])
        elif drawn < 0.08 and self._depth < 2:
            self._step()
        return ""

    def _step(self) -> None:
        steps = [self._begin, self._add, self._add, self._commit, self._remove, self._remove,
                 self._bring_back, self._collect, self._collect, self._collect, self._wait,
                 self._abandon]  # fmt: skip
        step = self.chance.choice(steps)
        self.told.append(f"{'  ' * self._depth}{step.__name__}")
        self._depth += 1
        try:
            step()
        except (PowerCut, QuiesceError) as error:
            self.told.append(f"{'  ' * self._depth}{type(error).__name__}: {error}")
            if isinstance(error, PowerCut) and self._depth > 1:
                raise
        finally:
            self._depth -= 1

    def _begin(self) -> None:
        if len(self._sessions) < 3:
            self._count += 1
            key = PointKey(deployment="shop", point=f"p{self._count}", instance="db")
            self._sessions.append((self._faulty.write(threads=1), key, {}, {}))

    def _add(self) -> None:
        if not self._sessions:
            self._begin()
        taken = self._take()
        session, _, contents, items = taken
        content = self.chance.choice(CONTENTS)
        name = str(len(contents))
        try:
            items[name] = session.add_stream([content])
            contents[name] = content
        finally:
            self._sessions.append(taken)

    def _commit(self) -> None:
        if not self._sessions:
            return
        session, key, contents, items = self._take()
        self.contents[key] = contents
        try:
            for _ in range(2):  # safe to repeat
                session.commit(Point(key=key, made_at=1.0, items=items))  # type: ignore[arg-type]
                self.promised.add(key)
                if self.chance.random() < 0.8:
                    break
        finally:
            session.close()

    def _abandon(self) -> None:
        if self._sessions:
            self._take()[0].close()

    def _remove(self) -> None:
        if self.promised:
            key = self.chance.choice(sorted(self.promised))
            self.promised.discard(key)
            with self._alone(key):
                self._faulty.remove(key)

    def _bring_back(self) -> None:
        removed = {each.point.key for each in self.repository.removed()} - self._changing
        if removed:
            key = self.chance.choice(sorted(removed))
            self.promised.discard(key)
            with self._alone(key):
                self._faulty.bring_back([key], threads=1)
                self.promised.add(key)

    @contextlib.contextmanager
    def _alone(self, key: PointKey) -> Iterator[None]:
        """Keep others from removing and bringing back *key* meanwhile: each would be as right."""
        self._changing.add(key)
        try:
            yield
        finally:
            self._changing.discard(key)

    def _collect(self) -> None:
        self._faulty.collect(most_waste=self.chance.choice([0, 0.25, 0.9]))

    def _wait(self) -> None:
        self.clock.now += GRACE_S * self.chance.choice([0.2, 0.6, 1.1, 2])

    def _take(self) -> tuple[WriterSession, PointKey, dict[str, bytes], dict[str, object]]:
        return self._sessions.pop(self.chance.randrange(len(self._sessions)))

    def check(self) -> None:
        """Every point that is there is whole, and every promised one is there."""
        quiet, self._quiet = self._quiet, True
        points = {point.key: point for point in self.repository.points()}
        assert self.promised <= points.keys(), self.told
        for reader in self.repository.read(*points):
            expected = self.contents[reader.point.key]
            try:
                held = {name: b"".join(reader.read(name)) for name in reader.point.items}
            except QuiesceError as error:
                raise AssertionError("\n".join([*self.told, str(error)])) from error
            assert held == expected, self.told
        self._quiet = quiet

    def check_end(self) -> None:
        """Nothing is stored that nobody needs, and nothing is wrong."""
        opened = self.repository._opened
        index = opened.load_index()
        fetcher = BlobFetcher(opened, index)
        needed = {a for point in self.repository.points() for a in addresses_of(fetcher, point)}
        stored = [blob.address for blobs in index.listings().values() for blob, _ in blobs]
        assert set(stored) == needed, self.told
        assert len(index.packs) == len(opened.stored_packs()), self.told
        assert not list(self.memory.list("condemned")), self.told
        assert not list(self.memory.list("removed")), self.told
        assert self.repository.check(CheckRange()).problems == [], self.told


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_no_point_ever_loses_a_blob_and_nothing_idle_stays(seed: int) -> None:
    """Whatever happens, in whatever order, between any two calls of the storage."""
    History(seed).run()


def test_a_collector_that_forgets_what_is_needed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model has teeth. The rules of the grace have tests of their own, in test_collecting.py."""
    monkeypatch.setattr("quiesce.repository.collecting._lies_first", lambda *_: False)

    def run_some() -> None:
        for seed in range(20):
            History(seed).run()

    with pytest.raises((AssertionError, QuiesceError)):
        run_some()


def test_what_is_not_there_is_not_found() -> None:
    """The faulty storage answers as the memory does."""
    with pytest.raises(ObjectNotFoundError):
        FaultyStorage(MemoryStorage(), lambda _: "").get(ObjectName("x"))
