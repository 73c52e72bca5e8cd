"""How long things may take: a thaw is given more than a freeze, and is tried for ever."""

from __future__ import annotations

import pytest

from quiesce.engine import timeout_s
from quiesce.engine.attempts import retry_pause_s
from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Step

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans

PLAN = planned("backup", topology([node("vm", compute=True)]))
STEPS: dict[Operation, Step] = {step.operation: step for step in PLAN.steps}


@pytest.mark.parametrize("asked", [None, 0.5, 5.0, 300.0])
def test_a_thaw_is_given_at_least_as_long_as_a_freeze(asked: float | None) -> None:
    parameters = Parameters(operation_timeout_s=asked)
    assert timeout_s(STEPS[Operation.THAW], parameters) >= timeout_s(STEPS[Operation.FREEZE], parameters)
    assert timeout_s(STEPS[Operation.THAW], parameters) >= 60.0


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_has_a_deadline(operation: Operation) -> None:
    step = STEPS.get(operation, STEPS[Operation.SNAPSHOT])
    assert 0 < timeout_s(step, Parameters()) <= 86400


@pytest.mark.parametrize("error", [RecoverableError("busy"), NonRecoverableError("no"), RuntimeError("bug")])
@pytest.mark.parametrize("tries", [1, 7, 10_000])
def test_a_thaw_is_tried_again_whatever_it_answered(error: Exception, tries: int) -> None:
    pause = retry_pause_s(STEPS[Operation.THAW], tries, error, Parameters(task_retries=0))
    assert pause is not None
    assert pause <= 30.0


def test_other_operations_are_tried_again_as_often_as_was_asked_when_that_may_help() -> None:
    parameters = Parameters(task_retries=2, task_retry_interval_s=4.0)
    freeze = STEPS[Operation.FREEZE]
    assert [retry_pause_s(freeze, n, RecoverableError("busy"), parameters) for n in (1, 2, 3)] == [
        4.0,
        4.0,
        None,
    ]
    assert retry_pause_s(freeze, 1, NonRecoverableError("no"), parameters) is None
    assert retry_pause_s(freeze, 1, RecoverableError("later", retry_after_s=9.0), parameters) == 9.0
    endless = Parameters(task_retries=-1)
    assert retry_pause_s(freeze, 10_000, RecoverableError("busy"), endless) is not None
