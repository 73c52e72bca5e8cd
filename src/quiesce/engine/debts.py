"""Which thaws and starts are due. Pure bookkeeping, proportional to what changes, not to the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quiesce.model.history import History
from quiesce.model.ids import StepId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step

#: how long a thaw or a start waits, in seconds, for the first answer of those of an earlier group
ORDER_PATIENCE_S = 1.0


class Debts:
    """The debts of a plan: a thaw or a start is owed from the moment that its freeze or stop begins."""

    def __init__(self, plan: Plan, history: History) -> None:
        self._history = history
        self._settles = {step.id: step for step in plan.steps if step.role is Role.SETTLE}
        self._by_of: dict[StepId | None, list[Step]] = {}
        for step in self._settles.values():
            self._by_of.setdefault(step.of, []).append(step)
        groups = [step.group for step in self._settles.values()]
        self.first_group = min(groups, default=len(plan.groups))
        self.last_group = max(groups, default=-1)
        self._unattempted = dict.fromkeys(range(self.first_group, self.last_group + 1), 0)
        self._owed: dict[StepId, Step] = {}
        self._attempted: set[StepId] = set()
        self._given_up: set[StepId] = set()
        self._not_before: dict[StepId, float] = {}
        self._since: float | None = None
        self._begun_any = bool(history.begun_at)
        for step in reversed(history.debts(plan)):
            self._add(step)

    @property
    def owed(self) -> Iterable[Step]:
        """What is owed and not given up, in the order in which they came to be owed."""
        return self._owed.values()

    def owes(self, step: Step) -> bool:
        """Tell whether *step* is owed and not given up."""
        return step.id in self._owed

    def all_attempted(self) -> bool:
        """Tell whether everything that is owed was tried at least once."""
        return not any(self._unattempted.values())

    def due(self, now: float, limit: int, running: dict[StepId, Step]) -> list[Step]:
        """Return at most *limit* thaws and starts that are to begin now, most recently owed first.

        None while something is still being replaced: what used it would go on in the middle of that.
        """
        if not self._owed or any(step.operation in REPLACING for step in running.values()):
            return []
        if self._since is None:
            self._since = now
        found: list[Step] = []
        for step in self._candidates(now, running):
            if len(found) >= limit:
                break
            found.append(step)
        return found

    def next_time(self, now: float) -> float | None:
        """Return the tick at which one becomes due by the passing of time alone."""
        times = [tick for tick in self._not_before.values() if tick > now]
        if self._since is not None and not self.all_attempted():
            turns = range(1, self.last_group - self.first_group + 2)
            times += [t for n in turns if (t := self._since + n * ORDER_PATIENCE_S) > now]
        return min(times, default=None)

    def began(self, step: Step) -> None:
        """Note that *step* (any) has begun: what settles it is owed from now on."""
        self._not_before.pop(step.id, None)
        self._look_again(step)
        if not self._begun_any:
            self._begun_any = True
            for other in self._by_of.get(None, ()):
                self._settle(other)

    def answered(self, step: Step, again_at: float | None) -> None:
        """Note that an attempt of *step* (any) is over; what is still owed is tried again at *again_at*."""
        if step.id in self._settles:
            self._mark_attempted(step)
            if again_at is not None:
                self._not_before[step.id] = again_at
        self._look_again(step)

    def answered_late(self, step: Step) -> None:
        """Note that an abandoned attempt of *step* took effect after all."""
        self._look_again(step)

    def give_up(self, step: Step) -> None:
        """Do not try *step* again in this process; it stays owed in the journal."""
        self._given_up.add(step.id)
        self._discard(step)

    def _candidates(self, now: float, running: dict[StepId, Step]) -> Iterator[Step]:
        for step in reversed(tuple(self._owed.values())):
            waiting = step.id in running or step.of in running or self._not_before.get(step.id, now) > now
            if not waiting and self._is_its_turn(step, now):
                yield step

    def _is_its_turn(self, step: Step, now: float) -> bool:
        if step.operation is Operation.START and self._awaits(step):
            return False
        since = self._since if self._since is not None else now
        if now - since >= (step.group - self.first_group + 1) * ORDER_PATIENCE_S:
            return True
        if any(self._unattempted[group] for group in range(self.first_group, step.group)):
            return False
        return not self._awaits(step)

    def _awaits(self, step: Step) -> bool:
        """Tell whether one that comes before *step* was not tried yet."""
        return any(name in self._owed and name not in self._attempted for name in step.after)

    def _look_again(self, step: Step) -> None:
        for other in self._by_of.get(step.id, ()):
            self._settle(other)
        if step.id in self._settles:
            self._settle(step)

    def _settle(self, step: Step) -> None:
        if self._history.is_owed(step) and step.id not in self._given_up:
            self._add(step)
        else:
            self._discard(step)

    def _add(self, step: Step) -> None:
        if step.id not in self._owed:
            self._owed[step.id] = step
            self._attempted.discard(step.id)
            self._unattempted[step.group] += 1

    def _discard(self, step: Step) -> None:
        if self._owed.pop(step.id, None) is not None and step.id not in self._attempted:
            self._unattempted[step.group] -= 1

    def _mark_attempted(self, step: Step) -> None:
        if step.id in self._owed and step.id not in self._attempted:
            self._unattempted[step.group] -= 1
        self._attempted.add(step.id)
