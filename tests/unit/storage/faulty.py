"""A storage whose answers get lost, and a clock that obeys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from quiesce.errors import StorageUnavailableError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports import Data
from quiesce.storage import MemoryStorage

T = TypeVar("T")


class Clock:
    """Time passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def tick(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class FaultyStorage(MemoryStorage):
    """Fails as *plan* says, call after call: before the effect, after it, or not at all."""

    def __init__(self, plan: Iterator[str]) -> None:
        super().__init__()
        self.plan = plan
        self.calls = 0

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        self._through(lambda: MemoryStorage.put(self, name, data, exclusive=exclusive))

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        return self._through(lambda: MemoryStorage.get(self, name, offset=offset, length=length))

    def delete(self, name: ObjectName) -> None:
        self._through(lambda: MemoryStorage.delete(self, name))

    def stat(self, name: ObjectName) -> StoredObject:
        return self._through(lambda: MemoryStorage.stat(self, name))

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        everything = list(super().list(folder))
        self._through(lambda: None)
        for number, found in enumerate(everything, start=1):
            yield found
            if number % 5 == 0:
                self._through(lambda: None)

    def _through(self, action: Callable[[], T]) -> T:
        self.calls += 1
        fault = next(self.plan, "none")
        if fault == "before":
            raise StorageUnavailableError("no connection")
        result = action()
        if fault == "after":
            raise StorageUnavailableError("the answer was lost")
        return result


def by_chance(seed: int, share: float) -> Iterator[str]:
    """Give faults without end: *share* of the calls fail, half of them after the effect."""
    chance = random.Random(seed)
    while True:
        yield chance.choice(("before", "after")) if chance.random() < share else "none"
