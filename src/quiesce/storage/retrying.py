"""Asks again when a storage does not answer, for a bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from quiesce.errors import ObjectExistsError, ObjectNotFoundError, StorageUnavailableError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Data, Storage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long, and how often, a storage that does not answer is asked again."""

    #: no new try begins so long after the first failure; the last error is raised then
    give_up_after_s: float = 300.0
    #: the first pause; each is twice as long as the one before
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def pause_s(self, failures: int, chance: float) -> float:
        """Return the pause after so many *failures*, by *chance* shorter, so that not all come at once."""
        whole = min(self.longest_pause_s, self.first_pause_s * float(2 ** min(failures - 1, 30)))
        return whole * (0.5 + chance / 2)


class RetryingStorage:
    """Answers the port `Storage` by another one; only `StorageUnavailableError` makes it ask again.

    Every call of the port may be repeated. Of an exclusive put whose answer was lost, a repetition finds the
    object that was put: it has succeeded when what is there is what was to be put. So of two that put the
    *same* bytes exclusively, both may succeed; put something of your own into what has to be yours alone.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        patience: Patience | None = None,
        tick: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Pause by *sleep*, which may raise to give up at once."""
        self._storage = storage
        self._patience = patience or Patience()
        self._tick = tick
        self._sleep = sleep
        self._chance = chance

    @property
    def location(self) -> str:
        """That of the other one."""
        return self._storage.location

    def prepare(self) -> None:
        """Prepare the other one."""
        self._repeat(self._storage.prepare)

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Put until it is answered."""
        if not exclusive:
            self._repeat(lambda: self._storage.put(name, data))
            return
        failed = False

        def put() -> None:
            nonlocal failed
            try:
                self._storage.put(name, data, exclusive=True)
            except StorageUnavailableError:
                failed = True
                raise
            except ObjectExistsError:
                if not (failed and self._is_there(name, data)):
                    raise

        self._repeat(put)

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Get until it is answered."""
        return self._repeat(lambda: self._storage.get(name, offset=offset, length=length))

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """List from the beginning again where it stops, and leave out what was yielded already."""
        seen: set[ObjectName] = set()
        trying = self._new_try()
        while True:
            try:
                for found in self._storage.list(folder):
                    if found.name not in seen:
                        seen.add(found.name)
                        yield found
                        trying.succeeded()
                return
            except StorageUnavailableError as error:
                trying.failed(error)

    def stat(self, name: ObjectName) -> StoredObject:
        """Ask until it is answered."""
        return self._repeat(lambda: self._storage.stat(name))

    def delete(self, name: ObjectName) -> None:
        """Delete until it is answered."""
        self._repeat(lambda: self._storage.delete(name))

    def remove_unfinished(self) -> None:
        """Remove until it is answered."""
        self._repeat(self._storage.remove_unfinished)

    def close(self) -> None:
        """Close the other one."""
        self._storage.close()

    def _is_there(self, name: ObjectName, data: Data) -> bool:
        try:
            return self._storage.get(name) == data
        except ObjectNotFoundError:
            return False

    def _repeat(self, ask: Callable[[], T]) -> T:
        trying = self._new_try()
        while True:
            try:
                return ask()
            except StorageUnavailableError as error:
                trying.failed(error)

    def _new_try(self) -> _Trying:
        return _Trying(self._patience, self._tick, self._sleep, self._chance)


class _Trying:
    """The failures of one call so far."""

    def __init__(
        self,
        patience: Patience,
        tick: Callable[[], float],
        sleep: Callable[[float], None],
        chance: Callable[[], float],
    ) -> None:
        self._patience = patience
        self._tick = tick
        self._sleep = sleep
        self._chance = chance
        self._failures = 0
        self._first = 0.0

    def succeeded(self) -> None:
        """Let the next failure be the first one."""
        self._failures = 0

    def failed(self, error: StorageUnavailableError) -> None:
        """Pause before the next try, or raise *error* when there is to be none."""
        now = self._tick()
        if not self._failures:
            self._first = now
        self._failures += 1
        pause_s = self._patience.pause_s(self._failures, self._chance())
        if now + pause_s - self._first > self._patience.give_up_after_s:
            raise error
        self._sleep(pause_s)
