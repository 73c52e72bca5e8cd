"""Threads that perform calls side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from quiesce.model.outcome import Outcome
from quiesce.ports import Clock, Completion

#: what ends within this time of one another, in seconds, is accounted for, and followed, in one commit
PAUSE_S: Final = 0.0003
#: how long the first of them waits for the others at most, in seconds
GATHERING_S: Final = 0.003


class ThreadWorkers:
    """As many threads as there is work for; a thread that hangs is left behind and replaced.

    `start` and `wait` belong to one thread, the coordinator. Threads are daemons: one that never returns
    does not keep the process alive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: queue.SimpleQueue[tuple[int, Callable[[], Outcome]]] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        self._threads = 0
        self._unanswered = 0

    def make_ready(self, places: int) -> None:
        """Start threads until *places* of them are idle."""
        while self._threads < self._unanswered + places:
            self._add_thread()

    def start(self, ticket: int, action: Callable[[], Outcome]) -> None:
        """Begin *action* in an idle thread, or in a new one."""
        self._unanswered += 1
        self._tasks.put((ticket, action))
        if self._threads < self._unanswered:
            self._add_thread()

    def wait(self, until_tick: float | None) -> Sequence[Completion]:
        """Return what has completed; none when *until_tick* has passed or `wake` was called."""
        timeout = None if until_tick is None else max(0.0, until_tick - self._clock.tick())
        news: list[Completion | None] = []
        try:
            news.append(
                self._news.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            )
            gathering_ends = self._clock.tick() + GATHERING_S
            while len(news) < self._unanswered and self._clock.tick() < gathering_ends:
                news.append(self._news.get(timeout=PAUSE_S))
        except queue.Empty:
            pass
        completions = [completion for completion in news if completion is not None]
        self._unanswered -= len(completions)
        return completions

    def wake(self) -> None:
        """Make a `wait` in another thread return. Safe in a signal handler."""
        self._news.put(None)

    def abandon(self, ticket: int) -> None:
        """Do nothing: a thread takes no place that another one could need."""

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work_on, name=f"quiesce-worker-{self._threads}", daemon=True).start()

    def _work_on(self) -> None:
        while True:
            ticket, action = self._tasks.get()
            self._news.put(self._perform(ticket, action))

    def _perform(self, ticket: int, action: Callable[[], Outcome]) -> Completion:
        began = self._clock.tick()
        outcome, error = None, None
        try:
            outcome = action()
        except BaseException as raised:  # noqa: BLE001  whatever a provider raises must reach the engine
            error = raised
        return Completion(ticket=ticket, began=began, ended=self._clock.tick(), outcome=outcome, error=error)
