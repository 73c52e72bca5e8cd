"""Writers to a database, and what it has acknowledged: the judge of a cut that is made under load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Self

from tests.labs.databases.server import PATIENCE_S, DatabaseServer, wait_until


class Ledger:
    """Writers of numbers, and which of them were acknowledged."""

    def __init__(self, server: DatabaseServer, writers: int = 4) -> None:
        self.server = server
        self.stopped, self._lock, self._next = threading.Event(), threading.Lock(), 0
        self._tried: set[int] = set()
        self._acknowledged: set[int] = set()
        self._threads = [
            threading.Thread(target=self.work, args=(number,), daemon=True) for number in range(writers)
        ]

    def work(self, writer: int) -> None:
        """Do the work of one writer, by its number, until `stopped`."""
        raise NotImplementedError

    def write(self, write: Callable[[int], object]) -> None:
        """Have *write* write one number after the other, until it fails or the ledger is stopped."""
        while not self.stopped.is_set():
            with self._lock:
                self._next += 1
                number = self._next
                self._tried.add(number)
            write(number)
            with self._lock:
                self._acknowledged.add(number)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_for_more(self, than: Collection[int] | None = None) -> None:
        """Return when fifty more were acknowledged than these, or than now."""
        wanted = len(self.now()[0] if than is None else than) + 50
        wait_until(lambda: len(self.now()[0]) > wanted, self.server.said)

    def now(self) -> tuple[frozenset[int], frozenset[int]]:
        """Return what was acknowledged, and what was tried, until now."""
        with self._lock:
            return frozenset(self._acknowledged), frozenset(self._tried)
