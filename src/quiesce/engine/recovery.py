"""Recovery: how an interrupted execution is continued, from its journal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from quiesce.model.history import History
from quiesce.model.operation import INDEBTING, REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryDecision:
    """How to continue."""

    #: why the execution is rolled back instead of continued; None: it is continued
    roll_back: str | None = None
    #: what has to be done again, because the thaw or start in between undid it, or it is of another time
    again: tuple[Operation, ...] = ()


CONTINUE = RecoveryDecision()


def decide(plan: Plan, history: History) -> RecoveryDecision:
    """Tell how to continue *plan* after its engine died.

    Cuts from both sides of a thaw are not one point in time, so a window interrupted before its last cut is
    rolled back; a copy continues. What was prepared for a window that never began is prepared again. A
    restore that has replaced something continues, stopped and frozen again; one that has not is rolled back.
    """
    began_resting = any(any(_begun(plan, history, operation)) for operation in INDEBTING)
    if any(_open(plan, history, Operation.SNAPSHOT)):
        began_window = began_resting or any(_begun(plan, history, Operation.SNAPSHOT))
        return _BROKEN if began_window else RecoveryDecision(again=(Operation.PREPARE,))
    if not began_resting or not any(_open(plan, history, *REPLACING)):
        return CONTINUE
    if not any(_begun(plan, history, *REPLACING)):
        return RecoveryDecision(roll_back="it was interrupted before anything was replaced")
    return RecoveryDecision(again=(Operation.STOP, Operation.FREEZE))


_BROKEN = RecoveryDecision(
    roll_back="it was interrupted before its last cut, and cuts of two points in time are never mixed"
)


def _begun(plan: Plan, history: History, *operations: Operation) -> Iterator[Step]:
    return (step for step in _main(plan, operations) if step.id in history.begun_at)


def _open(plan: Plan, history: History, *operations: Operation) -> Iterator[Step]:
    return (step for step in _main(plan, operations) if step.id not in history.done_at)


def _main(plan: Plan, operations: Collection[Operation]) -> Iterator[Step]:
    return (step for step in plan.steps if step.operation in operations and step.role is Role.MAIN)
