"""Threads that perform calls side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from quiesce.model.outcome import Outcome
from quiesce.ports import Clock, Completion


class ThreadWorkers:
    """As many threads as there is work for; a thread that hangs is left behind and replaced.

    Threads are daemons: one that never returns does not keep the process alive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: deque[tuple[int, Callable[[], Outcome]]] = deque()
        self._completions: deque[Completion] = deque()
        self._work = threading.Condition()
        self._news = threading.Event()
        self._idle = 0

    def start(self, ticket: int, action: Callable[[], Outcome]) -> None:
        """Begin *action* in an idle thread, or in a new one."""
        with self._work:
            self._tasks.append((ticket, action))
            if self._idle >= len(self._tasks):
                self._work.notify()
                return
        threading.Thread(target=self._work_on, name=f"quiesce-worker-{ticket}", daemon=True).start()

    def wait(self, until_tick: float | None) -> Sequence[Completion]:
        """Return what has completed; none when *until_tick* has passed or `wake` was called."""
        if not self._completions:
            timeout = None if until_tick is None else max(0.0, until_tick - self._clock.tick())
            self._news.wait(min(timeout, threading.TIMEOUT_MAX) if timeout is not None else None)
        self._news.clear()
        return [self._completions.popleft() for _ in range(len(self._completions))]

    def wake(self) -> None:
        """Make a `wait` in another thread return. Safe in a signal handler."""
        self._news.set()

    def abandon(self, ticket: int) -> None:
        """Do nothing: a thread takes no place that another one could need."""

    def _work_on(self) -> None:
        while True:
            with self._work:
                self._idle += 1
                while not self._tasks:
                    self._work.wait()
                ticket, action = self._tasks.popleft()
                self._idle -= 1
            self._completions.append(self._perform(ticket, action))
            self._news.set()

    def _perform(self, ticket: int, action: Callable[[], Outcome]) -> Completion:
        began = self._clock.tick()
        outcome, error = None, None
        try:
            outcome = action()
        except BaseException as raised:  # noqa: BLE001  whatever a provider raises must reach the engine
            error = raised
        return Completion(ticket=ticket, began=began, ended=self._clock.tick(), outcome=outcome, error=error)
