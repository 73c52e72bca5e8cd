"""How long each step will last, as far as can be known beforehand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from quiesce.model.capabilities import Description
from quiesce.model.history import History
from quiesce.model.ids import InstanceId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Step

#: what an operation is taken to last, in seconds, when nothing at all is known of it
DEFAULT_S: Final = 0.1
_IN_WINDOW: Final = frozenset(
    {
        Operation.STOP,
        Operation.FREEZE,
        Operation.SNAPSHOT,
        *REPLACING,
        Operation.THAW,
        Operation.START,
    }
)


def predictor(
    measured_s: Mapping[tuple[InstanceId, Operation], float], descriptions: Sequence[Description]
) -> Callable[[Step], float]:
    """Return a function that gives a step's duration in seconds.

    As it lasted on that instance the last time; else as is typical of the provider; else as others lasted.
    """
    by_operation: dict[Operation, list[float]] = {}
    for (_, operation), seconds in measured_s.items():
        by_operation.setdefault(operation, []).append(seconds)
    usual = {operation: statistics.median(values) for operation, values in by_operation.items()}
    typical = {
        (description.name, operation): seconds
        for description in descriptions
        for kind in description.kinds
        for operation, seconds in kind.capabilities.typical_s.items()
    }

    def duration_s(step: Step) -> float:
        own = measured_s.get((step.instance, step.operation))
        if own is not None:
            return own
        return typical.get((step.provider, step.operation), usual.get(step.operation, DEFAULT_S))

    return duration_s


def lasted_s(
    plan: Plan, history: History, before: Mapping[tuple[InstanceId, Operation], float]
) -> Mapping[tuple[InstanceId, Operation], float]:
    """Return how long the operations within the window have lasted, to be remembered, in seconds.

    What failed would have lasted at least as long as it was tried, and no less than it was known to
    *before*, until it succeeds.
    """
    found: dict[tuple[InstanceId, Operation], float] = {}
    for step in plan.steps:
        key = step.instance, step.operation
        done, failed = history.done.get(step.id), history.failed.get(step.id)
        if step.operation not in _IN_WINDOW:
            continue
        if done is not None:
            found[key] = done.ended - done.began
        elif failed is not None and step.id in history.last_begun:
            tried = failed.tick - history.last_begun[step.id].tick
            found[key] = max(tried, before.get(key, 0.0))
    return found
