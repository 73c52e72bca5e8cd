"""One connection for all calls that log in alike."""

from __future__ import annotations

import threading
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

    def __init__(self, connect: Callable[[K], C]) -> None:
        self._connect = connect
        self._made: dict[K, C] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> C:
        """Return the connection for *key*; connecting must be quick, and log in when first used."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._connect(key)
            return self._made[key]

    def close(self) -> None:
        """Close them all; asked again, new ones are made."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for connection in made:
            connection.close()
