"""One request for everybody who wants the same thing at the same time.

A platform that is asked by a hundred calls for a hundred states answers one list as quickly. Nobody is ever
answered from a request that began before he asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from quiesce.errors import OperationTimeoutError, ProviderError, RecoverableError
from quiesce.provider_kit.deadline import Deadline

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")

_LOOK_UP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to ask."""

    #: how long the first request waits for others to join it
    gather_s: float = 0.03
    #: shortest and longest time between the beginnings of two requests
    least_s: float = 0.25
    most_s: float = 5.0
    #: time between two requests as a share of how long somebody has waited
    share: float = 0.2
    #: the same while something is frozen meanwhile: by so much a window may grow because we look too late
    urgent_share: float = 0.05
    #: asking takes at most one part in so many of the time, however slow the platform is
    rest: float = 1.0
    #: whether an error that asking again may mend is waited out; else everybody gets it
    patient: bool = True

    def pause_s(self, waited_s: float, took_s: float, *, urgent: bool = False) -> float:
        """Return the time from the end of one request, which took *took_s*, to the next."""
        share = self.urgent_share if urgent else self.share
        wished_s = min(max(waited_s * share, self.least_s), self.most_s)
        return max(wished_s - took_s, took_s * (self.rest - 1.0), 0.0)


#: no gathering, no pause: for questions that are asked once
AT_ONCE = Pace(gather_s=0.0, least_s=0.0, most_s=0.0, patient=False)


class _Asker(Generic[K]):
    """Somebody who waits."""

    def __init__(self, key: K, after: int, *, urgent: bool) -> None:
        self.key = key
        #: number of the newest request that is too old for him
        self.after = after
        self.since = time.monotonic()
        self.urgent = urgent


class SharedRequest(Generic[K, V]):
    """Answers many askers by one call of *fetch*. Its thread runs while somebody waits."""

    def __init__(
        self, fetch: Callable[[frozenset[K]], Mapping[K, V | ProviderError]], pace: Pace | None = None
    ) -> None:
        """*fetch* answers for each key it is given, with an error of its own where one has failed."""
        self._fetch = fetch
        self._pace = pace or Pace()
        self._changed = threading.Condition()
        self._askers: set[_Asker[K]] = set()
        self._running = False
        self._begun = 0
        self._answered: dict[K, int] = {}
        self._answers: dict[K, V | ProviderError] = {}

    def now(self, key: K, deadline: Deadline) -> V:
        """Return the answer for *key* of a request that began after this call.

        Raises:
            ProviderError: what the request raised, when it is not waited out (see `Pace.patient`).
            OperationTimeoutError: when *deadline* is over.
        """
        return self.until(key, lambda answer: (answer,), deadline)[0]

    def until(self, key: K, judge: Callable[[V], R | None], deadline: Deadline, *, urgent: bool = False) -> R:
        """Return what *judge* makes of an answer, asking it with newer ones until that is not None.

        With *urgent*, something is held frozen meanwhile, so it is asked more often.

        Raises:
            ProviderError: what *judge* raises; else as `now`.
        """
        with self._waiting(key, urgent=urgent) as asker:
            while True:
                found = judge(self._next(asker, deadline))
                if found is not None:
                    return found

    @contextmanager
    def ahead(self, key: K, deadline: Deadline) -> Iterator[Callable[[], V]]:
        """Ask now, while other things are asked; what is given waits for the answer."""
        with self._waiting(key, urgent=True) as asker:
            yield lambda: self._next(asker, deadline)

    @contextmanager
    def _waiting(self, key: K, *, urgent: bool) -> Iterator[_Asker[K]]:
        with self._changed:
            asker = _Asker(key, self._begun, urgent=urgent)
            self._askers.add(asker)
            self._changed.notify_all()
            if not self._running:
                self._running = True
                threading.Thread(target=self._serve, name="shared-request", daemon=True).start()
        try:
            yield asker
        finally:
            with self._changed:
                self._askers.discard(asker)
                if not any(other.key == key for other in self._askers):
                    self._answers.pop(key, None)
                    self._answered.pop(key, None)
                self._changed.notify_all()

    def _next(self, asker: _Asker[K], deadline: Deadline) -> V:
        with self._changed:
            self._changed.notify_all()  # whoever has judged an answer wants another
            last: ProviderError | None = None
            while True:
                answered = self._answered.get(asker.key, 0)
                if answered > asker.after:
                    asker.after = answered
                    answer = self._answers[asker.key]
                    if not isinstance(answer, ProviderError):
                        return answer
                    if not (self._pace.patient and answer.retryable):
                        raise answer
                    last = answer
                self._changed.wait(max(_left_s(deadline, last), 0.001))

    def _serve(self) -> None:
        """The thread: ask, hand out, pause, while anybody waits."""
        time.sleep(self._pace.gather_s)
        while keys := self._wanted():
            began = time.monotonic()
            answers = self._ask(keys)
            with self._changed:
                for key in keys & {asker.key for asker in self._askers}:
                    self._answers[key] = answers[key]
                    self._answered[key] = self._begun
                self._changed.notify_all()
            self._pause(time.monotonic() - began, self._retry_after_s(answers))

    def _wanted(self) -> frozenset[K]:
        """Return what somebody still wants to know; nothing once nobody waits any more."""
        with self._changed:
            while self._askers:
                keys = frozenset(
                    asker.key for asker in self._askers if self._answered.get(asker.key, 0) <= asker.after
                )
                if keys:
                    self._begun += 1
                    return keys
                self._changed.wait(_LOOK_UP_S)
            self._running = False
            return frozenset()

    def _ask(self, keys: frozenset[K]) -> Mapping[K, V | ProviderError]:
        try:
            answers = self._fetch(keys)
        except ProviderError as error:
            return dict.fromkeys(keys, error)
        except Exception as error:  # noqa: BLE001  it must reach those who wait, not end in this thread
            return dict.fromkeys(keys, _not_understood(error))
        missing = RecoverableError("the platform's answer lacks what was asked for")
        return {key: answers.get(key, missing) for key in keys}

    def _pause(self, took_s: float, retry_after_s: float) -> None:
        """Wait for the next request; who comes meanwhile makes it come sooner, but joins the others."""
        with self._changed:
            self._changed.wait(self._pace.gather_s)
            since = time.monotonic()
            while self._askers:
                pause_s = max(self._pause_s(took_s), retry_after_s)
                left_s = since + pause_s - time.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _pause_s(self, took_s: float) -> float:
        now = time.monotonic()
        return min(
            self._pace.pause_s(now - asker.since, took_s, urgent=asker.urgent) for asker in self._askers
        )

    def _retry_after_s(self, answers: Mapping[K, V | ProviderError]) -> float:
        """Return how long the platform, or an error that is waited out, asks to be left alone."""
        errors = [answer for answer in answers.values() if isinstance(answer, ProviderError)]
        waited_out_s = 1.0 if self._pace.patient else 0.0
        return max(
            (error.retry_after_s or (waited_out_s if error.retryable else 0.0) for error in errors),
            default=0.0,
        )


class SharedRequests(Generic[K, V]):
    """A `SharedRequest` for each key: for lists of which none should wait for another."""

    def __init__(self, fetch: Callable[[K], V], pace: Pace | None = None) -> None:
        """*fetch* answers for one key."""
        self._fetch = fetch
        self._pace = pace
        self._lock = threading.Lock()
        self._used: WeakValueDictionary[K, SharedRequest[K, V]] = WeakValueDictionary()

    def now(self, key: K, deadline: Deadline) -> V:
        """See `SharedRequest.now`."""
        return self._of(key).now(key, deadline)

    def until(self, key: K, judge: Callable[[V], R | None], deadline: Deadline, *, urgent: bool = False) -> R:
        """See `SharedRequest.until`."""
        return self._of(key).until(key, judge, deadline, urgent=urgent)

    def _of(self, key: K) -> SharedRequest[K, V]:
        with self._lock:
            found = self._used.get(key)
            if found is None:
                found = SharedRequest(lambda _: {key: self._fetch(key)}, self._pace)
                self._used[key] = found
            return found


def _left_s(deadline: Deadline, last: ProviderError | None) -> float:
    """Return for how long to wait; when there is no time left, *last* says why the wait was in vain."""
    try:
        return deadline.left_s(_LOOK_UP_S)
    except OperationTimeoutError as error:
        if last is None:
            raise
        raise OperationTimeoutError(f"{error}; the last answer was: {last}") from last


def _not_understood(error: Exception) -> ProviderError:
    found = ProviderError(f"an answer was not understood: {type(error).__name__}: {error}")
    found.__cause__ = error
    return found
