"""How long each step will last, as far as can be known beforehand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from quiesce.model.capabilities import Description
from quiesce.model.cut_size import Basis, CutEstimate, CutSize, Lasted
from quiesce.model.history import History
from quiesce.model.ids import InstanceId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.planning.cut_estimates import estimate_cut

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
_FROZEN: Final = frozenset({Operation.FREEZE, Operation.SNAPSHOT, *REPLACING, Operation.THAW})


def predictor(
    measured: Mapping[tuple[InstanceId, Operation], Lasted],
    descriptions: Sequence[Description],
    cuts: Mapping[InstanceId, CutEstimate],
) -> Callable[[Step], float]:
    """Return a function that gives a step's duration in seconds.

    Of *cuts* as estimated; else as it lasted on that instance the last time; else as is typical of the
    provider; else as others lasted. What was broken off lasts as long as it was tried, at least.
    """
    by_operation: dict[Operation, list[float]] = {}
    for (_, operation), last in measured.items():
        by_operation.setdefault(operation, []).append(last.seconds)
    usual = {operation: statistics.median(values) for operation, values in by_operation.items()}
    typical = {
        (description.name, operation): seconds
        for description in descriptions
        for kind in description.kinds
        for operation, seconds in kind.capabilities.typical_s.items()
    }

    def duration_s(step: Step) -> float:
        if step.operation is Operation.SNAPSHOT and step.instance in cuts:
            return cuts[step.instance].seconds
        own = measured.get((step.instance, step.operation))
        if own is not None and own.finished:
            return own.seconds
        expected = typical.get((step.provider, step.operation), usual.get(step.operation, DEFAULT_S))
        return expected if own is None else max(own.seconds, expected)

    return duration_s


def unmeasured(
    plan: Plan,
    measured: Mapping[tuple[InstanceId, Operation], Lasted],
    cuts: Mapping[InstanceId, CutEstimate],
) -> tuple[InstanceId, ...]:
    """Return who does something in *plan*'s frozen window that never came to its end here."""
    found = dict.fromkeys(
        step.instance
        for step in plan.steps
        if step.operation in _FROZEN and step.role is not Role.UNDO and not _is_known(step, measured, cuts)
    )
    return tuple(found)


def _is_known(
    step: Step,
    measured: Mapping[tuple[InstanceId, Operation], Lasted],
    cuts: Mapping[InstanceId, CutEstimate],
) -> bool:
    if step.operation is Operation.SNAPSHOT and step.instance in cuts:
        return cuts[step.instance].basis is Basis.MEASURED
    last = measured.get((step.instance, step.operation))
    return last is not None and last.finished


def lasted(
    plan: Plan,
    history: History,
    before: Mapping[tuple[InstanceId, Operation], Lasted],
    sizes: Mapping[InstanceId, CutSize],
) -> Mapping[tuple[InstanceId, Operation], Lasted]:
    """Return how long the operations within the window have lasted, to be remembered.

    What failed would have lasted at least as long as it was tried, and no less than it was known to
    *before*, until it succeeds. *sizes* say how much each cut had to take.
    """
    found: dict[tuple[InstanceId, Operation], Lasted] = {}
    for step in plan.steps:
        if step.operation not in _IN_WINDOW:
            continue
        key = step.instance, step.operation
        size = sizes.get(step.instance) if step.operation is Operation.SNAPSHOT else None
        done, failed = history.done.get(step.id), history.failed.get(step.id)
        if done is not None:
            found[key] = Lasted(seconds=done.ended - done.began, size=size)
        elif failed is not None and (begun := history.last_tick(step.id)) is not None:
            tried = Lasted(seconds=failed.tick - begun, finished=False, size=size)
            found[key] = _slower(tried, before.get(key))
    return found


def _slower(tried: Lasted, before: Lasted | None) -> Lasted:
    """Return which of both lets more time be expected for what was *tried*."""
    if before is None:
        return tried
    size = tried.size
    expected_s = before.seconds if size is None else estimate_cut(size, before).seconds
    return before if expected_s >= tried.seconds else tried
