"""The frozen window of an execution, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.model.history import History
from quiesce.model.ids import InstanceId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan


def window_s(plan: Plan, history: History) -> float:
    """Return the time from the first freeze's begin to the last thaw's end, in seconds; 0 without any."""
    intervals = frozen_intervals(plan, history).values()
    if not intervals:
        return 0.0
    return max(end for _, end in intervals) - min(begin for begin, _ in intervals)


def frozen_intervals(plan: Plan, history: History) -> Mapping[InstanceId, tuple[float, float]]:
    """Return, for each instance that was frozen and thawed, the ticks between which it may have been."""
    freezes = {step.id for step in plan.steps if step.operation is Operation.FREEZE}
    intervals = {}
    for step in plan.steps:
        if step.operation is not Operation.THAW or step.of not in freezes or step.of is None:
            continue
        first, thawed = history.first_tick.get(step.of), history.done.get(step.id)
        if first is not None and thawed is not None:
            frozen = history.done.get(step.of)
            intervals[step.instance] = (frozen.began if frozen else first, thawed.ended)
    return intervals
