"""How far copies are: told by providers, kept in the journal now and then, shown while they run."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from quiesce.app.run.execution import NoGuard
from quiesce.app.run.report import report_execution
from quiesce.cli.console import LiveProgress
from quiesce.engine import Attempt, RunEnvironment, Runner, ThreadWorkers
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId, StepId
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.plan import Step
from quiesce.model.records import Begun, Done, Progressed, Record, Started
from quiesce.reports.events import Events
from quiesce.reports.text import execution_text, progress_text
from quiesce.stores.memory import MemoryRecords
from quiesce.testing import FakeClock

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans

EXECUTION = Execution(
    id=ExecutionId("backup-1"), deployment=DeploymentName("made"), workflow="backup", created_at=0.0
)
CUT_ONLY = planned("backup", topology([node("vm", compute=True)]))
#: the same, and two copies after the thaw
_COPIES = [
    replace(step, id=StepId(f"{name}.copy"), operation=Operation.COPY, group=len(CUT_ONLY.groups))
    for step in CUT_ONLY.steps
    if step.operation is Operation.SNAPSHOT
    for name in ("a", "b")
]
PLAN = replace(
    CUT_ONLY,
    groups=(*CUT_ONLY.groups, replace(CUT_ONLY.groups[0], title="copy", operation=Operation.COPY)),
    steps=(*CUT_ONLY.steps, *_COPIES),
)
A, B = (step.id for step in _COPIES)
BEGUN: list[Record] = [
    Started(at=0.0, tick=0.0, plan_digest=PLAN.digest),
    *(Begun(at=1.0, tick=1.0, step=name) for name in (A, B)),
]


def told(step: StepId, done: int, total: int | None) -> Progressed:
    """A step says how far it is."""
    return Progressed(at=2.0, tick=2.0, step=step, done_bytes=done, total_bytes=total)


def live_line(records: list[Record]) -> str:
    """What a terminal shows after *records*."""
    shown = LiveProgress()
    shown.started(EXECUTION, PLAN)
    try:
        shown(records)
        return str(shown._line())
    finally:
        shown.stopped()


class Clock(FakeClock):
    """The real one."""

    def tick(self) -> float:
        return time.monotonic()


def test_the_journal_is_told_while_a_copy_runs_and_not_while_a_cut_does() -> None:
    journal = MemoryRecords().take_over()

    def perform(attempt: Attempt) -> Outcome:
        attempt.done_bytes, attempt.total_bytes = 512, 1024
        ends = time.monotonic() + 60
        while attempt.step.operation is Operation.COPY and not _known(attempt.step):
            assert time.monotonic() < ends
            time.sleep(0.01)
        return NOTHING

    def _known(step: Step) -> bool:
        return any(isinstance(r, Progressed) and r.step == step.id for r in list(journal.read()))

    clock = Clock()
    environment = RunEnvironment(
        journal=journal, perform=perform, workers=ThreadWorkers(clock), clock=clock, guard=NoGuard()
    )
    Runner(PLAN, environment).run()
    found = [record for record in journal.read() if isinstance(record, Progressed)]
    assert {(r.step, r.done_bytes, r.total_bytes) for r in found} == {(A, 512, 1024), (B, 512, 1024)}


@pytest.mark.parametrize(
    ("operation", "done", "total", "before", "news"),
    [
        (Operation.COPY, 0, 1000, 0, False),
        (Operation.COPY, 1, None, 0, True),
        (Operation.COPY, 509, 1000, 500, False),
        (Operation.COPY, 510, 1000, 500, True),
        (Operation.APPLY, 1000, 1000, 990, True),
        (Operation.SNAPSHOT, 1000, 1000, 0, False),
    ],
)
def test_it_is_told_by_hundredths(
    operation: Operation, done: int, total: int | None, before: int, news: bool
) -> None:
    step = replace(_COPIES[0], operation=operation)
    attempt = Attempt(ticket=1, step=step, number=1, began=0.0, deadline=1.0)
    attempt.done_bytes, attempt.total_bytes, attempt.recorded_bytes = done, total, before
    assert attempt.has_progressed is news


def test_a_terminal_shows_how_much_of_all_that_runs_is_moved() -> None:
    records = [*BEGUN, told(A, 1 << 20, 4 << 20), told(B, 2 << 20, 4 << 20)]
    assert live_line(records) == "backup: copy: 0 of 2 done, 2 running, 3.0 MiB of 8.0 MiB (37 %)"


def test_a_terminal_claims_no_total_while_one_is_unknown() -> None:
    assert live_line([*BEGUN, told(A, 1 << 20, 4 << 20)]).endswith("2 running, 1.0 MiB")
    assert live_line([*BEGUN, told(A, 1, 9), told(B, 1, None)]).endswith("2 running, 2 B")
    assert live_line(BEGUN).endswith("2 running")


def test_the_report_of_a_running_execution_says_how_far_it_is_and_of_one_that_is_over_nothing() -> None:
    done = Done(at=3.0, tick=3.0, step=A, outcome=NOTHING)
    history = History.of([*BEGUN, told(A, 1, 2), told(B, 50, 200), done])
    report = report_execution(EXECUTION, PLAN, history)
    shown = {step.step: (step.done_bytes, step.total_bytes) for step in report.steps}
    assert (shown[A], shown[B]) == ((None, None), (50, 200))
    assert "running: copy of vm_1, 50 B of 200 B (25 %)" in execution_text(report)
    assert "running: copy of vm_1," not in execution_text(
        report_execution(EXECUTION, PLAN, History.of(BEGUN))
    )


def test_a_new_attempt_begins_from_nothing() -> None:
    history = History.of([*BEGUN, told(A, 1, 2), Begun(at=4.0, tick=4.0, step=A, attempt=2)])
    assert A not in history.progress


def test_event_lines_do_not_tell_it() -> None:
    assert list(Events(EXECUTION, PLAN).of(told(A, 1, 2))) == []


def test_nothing_is_divided_by_nothing() -> None:
    assert progress_text(0, 0) == "0 B"
