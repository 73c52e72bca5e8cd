"""What may begin next. Pure bookkeeping: no clock, no threads, no I/O."""

from __future__ import annotations

import heapq
from collections import deque

from quiesce.engine.debts import Debts
from quiesce.model.history import History
from quiesce.model.ids import StepId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step


class Scheduler:
    """Says which steps of a plan may begin, given what its history says.

    Forward, groups follow each other. Thaws become due when their groups are reached or when the execution
    is aborted; removals when it is aborted. A step that is begun must be reported as over, once; the history
    must hold the record of it before it is reported here.
    """

    def __init__(self, plan: Plan, history: History, *, only_settle: bool = False) -> None:
        self.plan = plan
        self.only_settle = only_settle
        self.history = history
        self.steps = {step.id: step for step in plan.steps}
        self.running: dict[StepId, Step] = {}
        self.debts = Debts(plan, history)
        #: MAIN steps that need not be run any more: done, skipped, or failed where others carry on
        self.closed = {step.id for step in plan.steps if step.id in history.done_at}
        self._main: list[list[Step]] = [[] for _ in plan.groups]
        for step in plan.steps:
            if step.role is Role.MAIN:
                self._main[step.group].append(step)
        self._undos = {step.id: step for step in plan.steps if step.role is Role.UNDO}
        self._applied = any(self._replaces(name) for name in history.begun_at)
        self._group = -1
        self._open = 0
        self._waiting: dict[StepId, int] = {}
        self._followers: dict[StepId, list[StepId]] = {}
        self._ready: deque[Step] = deque()
        self._delayed: list[tuple[float, StepId]] = []
        self._undo_not_before: dict[StepId, float] = {}

    # -- questions --------------------------------------------------------------------------------------

    def take(self, now: float, free: int, free_for_thaws: int) -> list[Step]:
        """Return the steps that are to begin now; thaws have places of their own."""
        if self.only_settle:
            return self.debts.due(now, free_for_thaws, self.running)
        if self.history.aborted is None:
            main = self._due_main(now, free)
            return main or self._due_thaws(now, free_for_thaws)
        return self._due_thaws(now, free_for_thaws) + self._due_undos(now, free)

    def is_over(self) -> bool:
        """Tell whether nothing is left to begin and nothing is running."""
        if self.running or (self.only_settle and any(self.debts.owed)):
            return False
        if self.only_settle:
            return True
        if self.history.aborted is None:
            return self._group >= len(self.plan.groups)
        return not any(self.debts.owed) and not self._owed_undos()

    def next_time(self, now: float) -> float | None:
        """Return the tick at which something becomes due by the passing of time alone."""
        forward = self.history.aborted is None and not self.only_settle
        times = [self._delayed[0][0]] if self._delayed and forward else []
        times += [tick for tick in self._undo_not_before.values() if tick > now]
        settling = self.debts.next_time(now)
        return min(times if settling is None else [*times, settling], default=None)

    # -- answers ----------------------------------------------------------------------------------------

    def began(self, step: Step) -> None:
        """Note that *step* has begun."""
        self.running[step.id] = step
        self._applied = self._applied or step.operation in REPLACING
        self._undo_not_before.pop(step.id, None)
        self.debts.began(step)

    def over(self, step: Step, *, again_at: float | None = None) -> None:
        """Note that an attempt of *step* is over; *again_at* is when it is to be tried again."""
        self.running.pop(step.id, None)
        self.debts.answered(step, again_at)
        if step.role is Role.UNDO and again_at is not None:
            self._undo_not_before[step.id] = again_at
        elif step.role is Role.MAIN and again_at is not None:
            heapq.heappush(self._delayed, (again_at, step.id))
        elif step.role is Role.MAIN:
            self._close(step)

    def give_up_undo(self, step: Step) -> None:
        """Do not try this removal again in this process."""
        self._undos.pop(step.id, None)

    def reopen(self, operation: Operation) -> None:
        """Count every step of *operation* as not yet done: it has to be done again."""
        self.closed -= {step.id for step in self.plan.steps if step.operation is operation}

    # -- forward ----------------------------------------------------------------------------------------

    def _due_main(self, now: float, free: int) -> list[Step]:
        while self._group < len(self.plan.groups) and self._open == 0 and self._may_advance():
            self._enter(self._group + 1)
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(self.steps[heapq.heappop(self._delayed)[1]])
        count = min(max(free, 0), len(self._ready))
        return [self._ready.popleft() for _ in range(count)]

    def _may_advance(self) -> bool:
        return not (self._is_thawing() and any(self.debts.owed))

    def _is_thawing(self) -> bool:
        return self.debts.first_group <= self._group <= self.debts.last_group

    def _enter(self, group: int) -> None:
        self._group = group
        self._waiting.clear()
        self._followers.clear()
        members = self._main[group] if group < len(self.plan.groups) else []
        todo = {step.id: step for step in members if step.id not in self.closed}
        self._open = len(todo)
        for step in todo.values():
            first = [name for name in step.after if name in todo]
            self._waiting[step.id] = len(first)
            for name in first:
                self._followers.setdefault(name, []).append(step.id)
            if not first:
                self._ready.append(step)

    def _close(self, step: Step) -> None:
        if step.id in self.closed:
            return
        self.closed.add(step.id)
        if step.group != self._group:
            return
        self._open -= 1
        for name in self._followers.get(step.id, ()):
            self._waiting[name] -= 1
            if self._waiting[name] == 0:
                self._ready.append(self.steps[name])

    # -- thaws and removals -----------------------------------------------------------------------------

    def _due_thaws(self, now: float, limit: int) -> list[Step]:
        if self.history.aborted is None and not self._is_thawing():
            return []
        return self.debts.due(now, limit, self.running)

    def _owed_undos(self) -> list[Step]:
        if self._applied:
            return []  # what was made before something was replaced is the way back
        return [step for step in self._undos.values() if self.history.is_owed(step)]

    def _due_undos(self, now: float, free: int) -> list[Step]:
        if free <= 0 or not self.debts.all_attempted():
            return []
        busy = {step.instance for step in self.running.values()}
        return [
            step
            for step in self._owed_undos()
            if step.instance not in busy and self._undo_not_before.get(step.id, now) <= now
        ][:free]

    def _replaces(self, name: StepId) -> bool:
        return name in self.steps and self.steps[name].operation in REPLACING
