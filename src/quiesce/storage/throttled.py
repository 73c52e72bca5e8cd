"""Keeps a storage's traffic within a bandwidth and a number of connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Data, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a storage may be asked for; None: as much as it can."""

    upload_bytes_per_s: float | None = None
    download_bytes_per_s: float | None = None
    #: calls at one time
    connections: int | None = None


class ThrottledStorage:
    """Answers the port `Storage` by another one; callers wait until it is their turn.

    An object goes at full speed; the pause follows it. So the bandwidth holds on average over some objects.
    """

    def __init__(
        self,
        storage: Storage,
        limits: Limits,
        *,
        tick: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._up = _Rate(limits.upload_bytes_per_s, tick, sleep)
        self._down = _Rate(limits.download_bytes_per_s, tick, sleep)
        self._connections = threading.BoundedSemaphore(limits.connections or 1 << 30)

    @property
    def location(self) -> str:
        """That of the other one."""
        return self._storage.location

    def prepare(self) -> None:
        """Prepare the other one."""
        with self._connections:
            self._storage.prepare()

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Wait for what others have put, then put."""
        self._up.wait(len(data))
        with self._connections:
            self._storage.put(name, data, exclusive=exclusive)

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Wait for what others have got, then get."""
        self._down.wait(length or 0)
        with self._connections:
            data = self._storage.get(name, offset=offset, length=length)
        self._down.owe(len(data) - (length or 0))
        return data

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """List; it is held to the connections only."""
        listing = iter(self._storage.list(folder))
        while (found := self._next(listing)) is not None:
            yield found

    def stat(self, name: ObjectName) -> StoredObject:
        """Describe one object."""
        with self._connections:
            return self._storage.stat(name)

    def delete(self, name: ObjectName) -> None:
        """Delete one object."""
        with self._connections:
            self._storage.delete(name)

    def remove_unfinished(self) -> None:
        """Remove what is unfinished in the other one."""
        with self._connections:
            self._storage.remove_unfinished()

    def close(self) -> None:
        """Close the other one."""
        self._storage.close()

    def _next(self, listing: Iterator[StoredObject]) -> StoredObject | None:
        with self._connections:
            return next(listing, None)


class _Rate:
    """Bytes per second: each caller's bytes move the moment at which the next one may go."""

    def __init__(
        self, bytes_per_s: float | None, tick: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._tick = tick
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = float("-inf")

    def wait(self, size_bytes: int) -> None:
        """Wait for this caller's turn, and let the next one wait for *size_bytes*."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now = self._tick()
            turn = max(now, self._free)
            self._free = turn + size_bytes / self._bytes_per_s
        if turn > now:
            self._sleep(turn - now)

    def owe(self, size_bytes: int) -> None:
        """Let the next one wait for *size_bytes* more, or less."""
        if self._bytes_per_s is not None:
            with self._lock:
                self._free = max(self._free, self._tick() if size_bytes > 0 else self._free)
                self._free += size_bytes / self._bytes_per_s
