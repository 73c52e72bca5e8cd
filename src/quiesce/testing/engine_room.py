"""A clock and workers without time and threads, so that every run is the same run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from quiesce.model.outcome import Outcome
from quiesce.ports import Completion
from quiesce.testing.fuses import PowerCut


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self.at

    def tick(self) -> float:
        """Return the same."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.at += seconds


class Hung(BaseException):
    """Raised inside a call that never answers, or only when nobody waits for it any more."""

    def __init__(self, *, answers_late: bool = False) -> None:
        super().__init__()
        self.answers_late = answers_late


def hang(seconds: float) -> None:
    """Never answer; with endless *seconds*, answer after the call was abandoned."""
    raise Hung(answers_late=seconds == float("inf"))


#: an engine that waits so often in a row for a time that is past would burn a processor
_MOST_SPINS = 20
#: more often than this no test's engine has to wait
_MOST_WAITS = 20_000


class InlineWorkers:
    """Performs one call at each `wait`, in the caller's thread; a wait for nothing moves the clock."""

    def __init__(self, clock: FakeClock, *, call_s: float = 0.001) -> None:
        self._clock = clock
        self._call_s = call_s
        self._tasks: deque[tuple[int, Callable[[], Outcome]]] = deque()
        self._late: dict[int, Callable[[], Outcome]] = {}
        self._behind_next: list[tuple[int, Callable[[], Outcome]]] = []
        self._spins = 0
        self._waits = 0

    def make_ready(self, places: int) -> None:
        """Need nothing: it performs by itself."""

    def start(self, ticket: int, action: Callable[[], Outcome]) -> None:
        """Queue *action*."""
        self._tasks.append((ticket, action))

    def wait(self, until_tick: float | None) -> Sequence[Completion]:
        """Perform the call that has waited longest; without one, let the time pass."""
        self._waits += 1
        if self._waits > _MOST_WAITS:
            raise AssertionError("the engine does not come to an end")
        if not self._tasks:
            return self._let_time_pass(until_tick)
        ticket, action = self._tasks.popleft()
        self._tasks.extendleft(self._behind_next)
        self._behind_next.clear()
        began = self._clock.tick()
        self._clock.sleep(self._call_s)
        try:
            outcome, error = action(), None
        except (PowerCut, KeyboardInterrupt):
            raise
        except Hung as hung:
            if hung.answers_late:
                self._late[ticket] = action
            return []
        except BaseException as raised:  # noqa: BLE001  whatever a provider raises must reach the engine
            outcome, error = None, raised
        return [
            Completion(ticket=ticket, began=began, ended=self._clock.tick(), outcome=outcome, error=error)
        ]

    def _let_time_pass(self, until_tick: float | None) -> Sequence[Completion]:
        if until_tick is None or until_tick == float("inf"):
            raise AssertionError("the engine waits for nothing, for ever")
        self._spins = self._spins + 1 if until_tick <= self._clock.at else 0
        if self._spins > _MOST_SPINS:
            raise AssertionError("the engine spins: it waits for what is past")
        self._clock.at = max(self._clock.at + 1e-6, until_tick)
        return []

    def wake(self) -> None:
        """Nothing waits."""

    def abandon(self, ticket: int) -> None:
        """Let a call that answers late go on, right behind the next one that is performed."""
        if ticket in self._late:
            self._behind_next.append((ticket, self._late.pop(ticket)))
