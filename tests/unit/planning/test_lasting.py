"""What is remembered of an execution, so that the next window is predicted."""

from __future__ import annotations

from quiesce.model.history import History
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING
from quiesce.model.records import Begun, Done, Failed, Record, Started
from quiesce.planning import lasted_s

from .made import node, planned, topology

PLAN = planned("backup", topology([node("vm")]))
CUT = next(step for step in PLAN.steps if step.operation is Operation.SNAPSHOT)
KEY = (CUT.instance, Operation.SNAPSHOT)


def tried(seconds: float, *, done: bool) -> History:
    """A cut that took so long, or failed after so long, after a first try that took 5 s."""
    begun = [Begun(at=1.0, tick=1.0, step=CUT.id), Begun(at=7.0, tick=7.0, step=CUT.id, attempt=2)]
    first = Failed(at=6.0, tick=6.0, step=CUT.id, code="x", message="no", retry_in_s=1.0)
    end = 7.0 + seconds
    last: Record = Failed(at=end, tick=end, step=CUT.id, code="x", message="no", attempt=2)
    if done:
        last = Done(at=end, tick=end, step=CUT.id, outcome=NOTHING, began=7.0, ended=end, attempt=2)
    return History.of([Started(at=0.0, tick=0.0, plan_digest=PLAN.digest), begun[0], first, begun[1], last])


def test_what_succeeded_lasts_what_it_lasted() -> None:
    assert lasted_s(PLAN, tried(0.25, done=True), {KEY: 30.0}) == {KEY: 0.25}


def test_what_failed_is_never_predicted_to_be_quicker_than_it_was_tried() -> None:
    """After two cuts that were broken off at 30 s, 218 ms were predicted."""
    assert lasted_s(PLAN, tried(30.0, done=False), {KEY: 0.2}) == {KEY: 30.0}
    assert lasted_s(PLAN, tried(30.0, done=False), {}) == {KEY: 30.0}


def test_what_failed_early_does_not_count_as_quick() -> None:
    assert lasted_s(PLAN, tried(0.1, done=False), {KEY: 30.0}) == {KEY: 30.0}


def test_what_was_never_tried_is_not_remembered() -> None:
    assert lasted_s(PLAN, History(), {KEY: 30.0}) == {}
