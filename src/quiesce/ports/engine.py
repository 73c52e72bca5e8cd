"""What the engine asks of its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from quiesce.model.outcome import Outcome
from quiesce.model.records import Record


class Journal(Protocol):
    """The durable account of one execution."""

    def append(self, records: Sequence[Record]) -> None:
        """Make all of *records* durable, together, before returning.

        Raises:
            SupersededError: when another process has taken the execution over; nothing was written.
            StoreError: when they could not be made durable.
        """
        ...

    def read(self) -> Iterable[Record]:
        """Return every record, oldest first."""
        ...


class Clock(Protocol):
    """Time, as a port, so that time-outs and retries are tested in microseconds."""

    def now(self) -> float:
        """Return seconds since the epoch. May jump; for people only."""
        ...

    def tick(self) -> float:
        """Return seconds that never jump, comparable between processes of one boot."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A step's attempt is over: *outcome* or *error* is set."""

    ticket: int
    began: float
    ended: float
    outcome: Outcome | None = None
    error: BaseException | None = None


class Workers(Protocol):
    """Runs calls side by side."""

    def make_ready(self, places: int) -> None:
        """Have threads for *places* calls side by side, so that the frozen window need not wait for them."""
        ...

    def start(self, ticket: int, action: Callable[[], Outcome]) -> None:
        """Begin *action* in the background; its completion carries *ticket*."""
        ...

    def wait(self, until_tick: float | None) -> Sequence[Completion]:
        """Return what has completed, at least one unless *until_tick* passes or `wake` is called first."""
        ...

    def wake(self) -> None:
        """Make a `wait` in another thread return. Safe in a signal handler."""
        ...

    def abandon(self, ticket: int) -> None:
        """Stop counting on *ticket*: its thread may never return and no longer takes a place."""
        ...


class Guard(Protocol):
    """The engine's side of the process that thaws when the engine cannot."""

    def prepare(self, execution: str) -> None:
        """Tell the guard which execution it is for. Does not wait for it."""
        ...

    def watch(self, max_freeze_s: float) -> None:
        """Return when the guard is ready to thaw; called before the first freeze begins.

        Raises:
            GuardError: when there is no guard. Nothing may be frozen then.
        """
        ...

    def window_opened(self) -> None:
        """Say that the first freeze begins now: the guard's own ``max_freeze`` runs from here."""
        ...

    def release(self, *, settled: bool) -> None:
        """Say that the engine is done; unless *settled*, the guard keeps trying to thaw."""
        ...
