"""Waiting with few requests: one listing answers everybody who waits for something in it.

Each collection of each connection has one `Watch`. Its thread runs while somebody waits, lists once for
all of them, and asks less often the longer they have waited.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from quiesce.errors import OperationTimeoutError, ProviderError
from quiesce.ports import Context
from quiesce.providers.openstack.resources import Named

T = TypeVar("T", bound=Named)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to ask."""

    #: how long the first request waits for others to join it
    gather_s: float = 0.03
    least_s: float = 0.25
    most_s: float = 5.0
    #: share of somebody's waiting time between two requests
    share: float = 0.2
    #: the same while something is frozen meanwhile: by so much a window may grow because we look too late
    frozen_share: float = 0.05

    def pause_s(self, waited_s: float, *, frozen: bool = False) -> float:
        """Return the time to the next request."""
        share = self.frozen_share if frozen else self.share
        return min(max(waited_s * share, self.least_s), self.most_s)


class Wish:
    """Somebody who waits."""

    def __init__(self, *, only: str | None, after: int, since: float, frozen: bool) -> None:
        #: the one id that matters to them; None: they need the whole list
        self.only = only
        #: number of the newest answer that is too old for them
        self.after = after
        self.since = since
        #: whether something stays frozen until they have their answer
        self.frozen = frozen


class Watch(Generic[T]):
    """What one collection holds, looked up once for everybody who waits."""

    def __init__(
        self,
        every: Callable[[], Iterable[T]],
        one: Callable[[str], T | None],
        pace: Pace | None = None,
    ) -> None:
        self._every = every
        self._one = one
        self._pace = pace or Pace()
        self._changed = threading.Condition()
        self._wishes: set[Wish] = set()
        self._running = False
        self._begun = 0
        self._answered = 0
        self._answer: Mapping[str, T] = {}
        self._error: ProviderError | None = None

    def until(
        self,
        judge: Callable[[Mapping[str, T]], R | None],
        context: Context,
        *,
        what: str,
        only: str | None = None,
        frozen: bool = False,
    ) -> R:
        """Return what *judge* makes of a listing, asking it with newer ones until that is not None.

        With *only*, the listing may hold nothing but that one object. With *frozen*, something is held frozen
        meanwhile, so it is looked more often.

        Raises:
            OperationTimeoutError: when the time is up or nobody waits any more; *what* says for what.
            ProviderError: what *judge* raises, and whatever makes asking again useless.
        """
        with self._waiting(only, frozen=frozen) as wish:
            while True:
                answer = judge(self._next(wish, context, what))
                if answer is not None:
                    return answer

    def now(self, context: Context, *, what: str, only: str | None = None) -> Mapping[str, T]:
        """Return a listing made after this call."""
        return self.until(lambda listing: listing, context, what=what, only=only)

    @contextmanager
    def ahead(self, context: Context, *, what: str) -> Iterator[Callable[[], Mapping[str, T]]]:
        """Ask for the whole listing now, while other things are asked; what is given returns it."""
        with self._waiting(None) as wish:
            yield lambda: self._next(wish, context, what)

    @contextmanager
    def _waiting(self, only: str | None, *, frozen: bool = False) -> Iterator[Wish]:
        with self._changed:
            wish = Wish(only=only, after=self._begun, since=time.monotonic(), frozen=frozen)
            self._wishes.add(wish)
            self._changed.notify_all()
            if not self._running:
                self._running = True
                threading.Thread(target=self._look, name="openstack-watch", daemon=True).start()
        try:
            yield wish
        finally:
            with self._changed:
                self._wishes.discard(wish)
                self._changed.notify_all()

    def _next(self, wish: Wish, context: Context, what: str) -> Mapping[str, T]:
        with self._changed:
            while True:
                if self._answered > wish.after:
                    wish.after = self._answered
                    if self._error is None:
                        return self._answer
                    if not self._error.retryable:
                        raise self._error
                self._stop_when_over(context, what)
                self._changed.wait(min(max(context.remaining_s(), 0.001), 0.5))

    def _stop_when_over(self, context: Context, what: str) -> None:
        if context.given_up() or context.remaining_s() <= 0:
            why = f"; the last answer was: {self._error}" if self._error else ""
            raise OperationTimeoutError(f"gave up waiting for {what}{why}")

    def _look(self) -> None:
        """The thread: ask, hand out, pause, while anybody waits."""
        time.sleep(self._pace.gather_s)
        while (only := self._wanted()) is not None:
            answer, error = self._ask(only)
            with self._changed:
                self._answered = self._begun
                self._error = error
                self._answer = answer
                self._changed.notify_all()
                self._changed.wait(self._pace.gather_s)
            self._pause(error)

    def _wanted(self) -> frozenset[str | None] | None:
        with self._changed:
            if not self._wishes:
                self._running = False
                return None
            self._begun += 1
            return frozenset(wish.only for wish in self._wishes)

    def _ask(self, only: frozenset[str | None]) -> tuple[Mapping[str, T], ProviderError | None]:
        try:
            if len(only) == 1 and None not in only:
                found = [self._one(str(name)) for name in only]
                return {thing.id: thing for thing in found if thing is not None}, None
            return {thing.id: thing for thing in self._every()}, None
        except ProviderError as error:
            return {}, error
        except Exception as error:  # noqa: BLE001  it must reach those who wait, not end in this thread
            return {}, _bug(error)

    def _pause(self, error: ProviderError | None) -> None:
        """Wait for the next round; who comes meanwhile makes it come sooner, but joins the others."""
        since = time.monotonic()
        with self._changed:
            while self._wishes:
                left_s = since + self._pause_s(error) - time.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _pause_s(self, error: ProviderError | None) -> float:
        now = time.monotonic()
        pause_s = min(self._pace.pause_s(now - wish.since, frozen=wish.frozen) for wish in self._wishes)
        if error is None:
            return pause_s
        return max(pause_s, error.retry_after_s or self._pace.least_s * 4)


def _bug(error: Exception) -> ProviderError:
    found = ProviderError(f"an answer was not understood: {type(error).__name__}: {error}")
    found.__cause__ = error
    return found
