"""What is remembered of an execution, so that the next window is predicted."""

from __future__ import annotations

from quiesce.model.cut_size import CutSize, Lasted
from quiesce.model.history import History
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING
from quiesce.model.records import Begun, Done, Failed, Record, Started
from quiesce.planning import lasted

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


def remembered(
    seconds: float, *, done: bool, before: Lasted | None = None, size: CutSize | None = None
) -> Lasted:
    sizes = {} if size is None else {CUT.instance: size}
    known = {} if before is None else {KEY: before}
    return lasted(PLAN, tried(seconds, done=done), known, sizes)[KEY]


def test_what_succeeded_lasts_what_it_lasted() -> None:
    assert remembered(0.25, done=True, before=Lasted(seconds=30.0)) == Lasted(seconds=0.25)


def test_what_failed_is_never_predicted_to_be_quicker_than_it_was_tried() -> None:
    """After two cuts that were broken off at 30 s, 218 ms were predicted."""
    broken_off = Lasted(seconds=30.0, finished=False)
    assert remembered(30.0, done=False, before=Lasted(seconds=0.2)) == broken_off
    assert remembered(30.0, done=False) == broken_off


def test_what_failed_early_does_not_count_as_quick() -> None:
    assert remembered(0.1, done=False, before=Lasted(seconds=30.0)) == Lasted(seconds=30.0)
    assert not remembered(0.1, done=False).finished


def test_what_failed_early_does_not_count_as_quick_for_its_size() -> None:
    """A cut of much more than before that fails at once says nothing of how long it would have lasted."""
    before, more = Lasted(seconds=1.0, size=CutSize(entries=1000)), CutSize(entries=3000)
    assert remembered(0.1, done=False, before=before, size=more) == before
    assert remembered(9.0, done=False, before=before, size=more) == Lasted(
        seconds=9.0, finished=False, size=more
    )


def test_what_was_never_tried_is_not_remembered() -> None:
    assert lasted(PLAN, History(), {KEY: Lasted(seconds=30.0)}, {}) == {}
