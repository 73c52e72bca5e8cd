"""One connection for all calls that log in alike."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something to be given back."""

    def close(self) -> None:
        """Give it back."""
        ...


K = TypeVar("K", bound=Hashable)
C = TypeVar("C", bound=Closable)


class Connections(Generic[K, C]):
    """Makes each connection once, when it is first asked for. Safe from many threads."""

    def __init__(self, connect: Callable[[K], C], is_alive: Callable[[C], bool] = lambda _: True) -> None:
        """A connection that is not *is_alive* any more is closed and made again."""
        self._connect = connect
        self._is_alive = is_alive
        self._made: dict[K, C] = {}
        self._locks: defaultdict[K, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def get(self, key: K) -> C:
        """Return the connection for *key*; while it is being made, only those wait who want the same."""
        with self._lock:
            lock = self._locks[key]
        with lock:
            found = self._made.get(key)
            if found is not None and not self._is_alive(found):
                found.close()
                found = None
            if found is None:
                found = self._made[key] = self._connect(key)
            return found

    def close(self) -> None:
        """Close them all; asked again, new ones are made."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for connection in made:
            connection.close()
