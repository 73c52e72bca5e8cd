"""Combining what many threads ask for at the same time into one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Together(Generic[K, V]):
    """Answers `get` for many keys by one call of *fetch*, without ever waiting for company.

    While one request is under way, the keys that arrive gather and make up the next one. Nobody is
    answered from a request that began before he asked.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Mapping[K, V | Exception]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._waiting: dict[K, Future[V]] = {}
        self._fetching = threading.Lock()

    def get(self, key: K) -> V:
        """Return the answer for *key*, or raise what *fetch* has for it or raised."""
        with self._lock:
            answer = self._waiting.setdefault(key, Future())
        while not answer.done():
            with self._fetching:
                self._lead(answer)
        return answer.result()

    def _lead(self, mine: Future[V]) -> None:
        """Fetch for everybody who waits, unless *mine* was answered meanwhile."""
        if mine.done():
            return
        with self._lock:
            batch, self._waiting = self._waiting, {}
        try:
            answers = self._fetch(list(batch))
        except Exception as error:  # noqa: BLE001  handed to everybody who waits
            answers = dict.fromkeys(batch, error)
        for key, future in batch.items():
            _answer(future, answers.get(key))


def _answer(future: Future[V], answer: V | Exception | None) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
    elif answer is None:
        future.set_exception(LookupError("no answer"))
    else:
        future.set_result(answer)
