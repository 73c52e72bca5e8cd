"""How long each step will last, as far as can be known beforehand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from quiesce.model.capabilities import Description
from quiesce.model.ids import InstanceId
from quiesce.model.operation import Operation
from quiesce.model.plan import Step

#: what an operation is taken to last, in seconds, when nothing at all is known of it
DEFAULT_S: Final = 0.1


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
