"""The fold of a journal: the state of an execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from quiesce.errors import CannotFreezeError
from quiesce.model.ids import StepId
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Aborted, Begun, Done, Ended, Failed, Logged, Progressed, Record, Started


@dataclass(slots=True)
class History:
    """What *Record*s say so far. Positions are indexes into the journal."""

    count: int = 0
    started: Started | None = None
    first_started: Started | None = None
    aborted: Aborted | None = None
    ended: Ended | None = None
    #: position of the last Begun of a step
    begun_at: dict[StepId, int] = field(default_factory=dict)
    attempts: dict[StepId, int] = field(default_factory=dict)
    #: position of the last Done of a step
    done_at: dict[StepId, int] = field(default_factory=dict)
    done: dict[StepId, Done] = field(default_factory=dict)
    #: the last attempt's failure, while no Done has followed
    failed: dict[StepId, Failed] = field(default_factory=dict)
    #: position since which nothing can be owed for a step: it said that it did nothing
    void_at: dict[StepId, int] = field(default_factory=dict)
    #: how far the present attempt of a step is
    progress: dict[StepId, Progressed] = field(default_factory=dict)
    #: the tick of the first Begun of each step, for measuring
    first_tick: dict[StepId, float] = field(default_factory=dict)
    #: the tick of the last Begun of what was begun again
    _begun_again: dict[StepId, float] = field(default_factory=dict)
    #: attempts of earlier processes: retries are counted from zero after a crash
    _earlier: dict[StepId, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> History:
        """Fold *records*, oldest first."""
        history = cls()
        for record in records:
            history.add(record)
        return history

    def add(self, record: Record) -> None:
        """Add one record."""
        match record:
            case Started():
                self._start(record)
            case Begun():
                self._begin(record)
            case Done(step=step):
                self.done_at[step] = self.count
                self.done[step] = record
                self.failed.pop(step, None)
                self.progress.pop(step, None)
            case Failed():
                self._fail(record)
            case Aborted():
                self.aborted = self.aborted or record
            case Ended():
                self.ended = record
            case Progressed() | Logged():
                self._listen(record)
            case unknown:
                assert_never(unknown)
        self.count += 1

    def _start(self, record: Started) -> None:
        self.started = record
        self.first_started = self.first_started or record
        self.ended = None
        self._earlier = dict(self.attempts)
        for step in self.unanswered():
            self.begun_at[step] = self.count  # the dead engine's call may have gone through since

    def _begin(self, record: Begun) -> None:
        step = record.step
        self.begun_at[step] = self.count
        attempts = self.attempts[step] = self.attempts.get(step, 0) + 1
        if attempts == 1:
            self.first_tick[step] = record.tick
            return
        self._begun_again[step] = record.tick
        self.progress.pop(step, None)

    def tries(self, step: StepId) -> int:
        """Return how often the process that took the execution up last has begun *step*."""
        return self.attempts.get(step, 0) - self._earlier.get(step, 0)

    def last_tick(self, step: StepId) -> float | None:
        """Return the tick at which *step* was begun last; None: it never was."""
        return self._begun_again.get(step, self.first_tick.get(step))

    def _listen(self, record: Progressed | Logged) -> None:
        if isinstance(record, Progressed):
            self.progress[record.step] = record

    def _fail(self, record: Failed) -> None:
        self.failed[record.step] = record
        if record.code == CannotFreezeError.code:
            self.void_at[record.step] = self.count

    def unanswered(self) -> list[StepId]:
        """Return the steps whose last attempt was given up while it still ran: its effect may come late."""
        return [step for step, failed in self.failed.items() if failed.abandoned]

    def is_owed(self, step: Step) -> bool:
        """Tell whether *step* (a SETTLE or an UNDO) is due because of what began or was done before.

        The last sign of the step it settles counts: a freeze that is confirmed late is owed a thaw again.
        """
        if step.of is None:
            return bool(self.begun_at) and step.id not in self.done_at
        signs = (self.begun_at.get(step.of, -1), self.done_at.get(step.of, -1))
        answered = max(self.done_at.get(step.id, -1), self.void_at.get(step.of, -1))
        return max(signs) > answered

    def debts(self, plan: Plan) -> list[Step]:
        """Return the thaws that are owed, most recently begun first."""
        owed = [step for step in plan.steps if step.role is Role.SETTLE and self.is_owed(step)]
        owed.sort(key=lambda step: self.begun_at.get(step.of, -1) if step.of else -1, reverse=True)
        return owed

    def leftovers(self, plan: Plan) -> list[Step]:
        """Return the removals that are owed if the execution does not complete."""
        return [step for step in plan.steps if step.role is Role.UNDO and self.is_owed(step)]
