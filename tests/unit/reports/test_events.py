"""Event lines: what users of cfy know, line for line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from quiesce.model.consistency import Consistency
from quiesce.model.execution import Execution
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.operation import (
    FREEZE_SUSPEND,
    LIFECYCLE_RESUME,
    LIFECYCLE_SUSPEND,
    SNAPSHOT_CREATE,
    STATISTICS,
)
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.plan import Plan, Step
from quiesce.model.records import (
    Aborted,
    Begun,
    Done,
    Ended,
    Ending,
    Failed,
    Level,
    Logged,
    Record,
    Started,
)
from quiesce.planning import workflow_named
from quiesce.reports.events import Events, is_alarming

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans

AT = dt.datetime(2017, 9, 28, 8, 12, 5, 125_000).timestamp()  # noqa: DTZ001  local time, as printed
STAMP = "2017-09-28 08:12:05.125"

#: the documented transcript of the suspend plugin's own example; times and ids apart
TRANSCRIPT = """\
CFY <examples> Starting 'resume' workflow execution
CFY <examples> [server_1] Starting to resume
CFY <examples> [server_1.resume] Sending task 'script_runner.tasks.run'
CFY <examples> [server_1.resume] Task started 'script_runner.tasks.run'
LOG <examples> [server_1.resume] INFO: resume server_id=Server!
CFY <examples> [server_1.resume] Task succeeded 'script_runner.tasks.run'
CFY <examples> [server_1] Done resume
CFY <examples> 'resume' workflow execution succeeded
"""


def lines(plan: Plan, *records: Record) -> list[str]:
    execution = Execution(
        id=ExecutionId("x"), deployment=DeploymentName("examples"), workflow=plan.workflow, created_at=AT
    )
    events = Events(execution, plan, closing=workflow_named(plan.workflow).closing)
    texts = [str(event) for record in records for event in events.of(record)]
    assert all(text.startswith(f"{STAMP}  ") for text in texts)
    return [text.removeprefix(f"{STAMP}  ") for text in texts]


def story(plan: Plan, said: str = "") -> Iterator[Record]:
    """Every step begins and is done, one after the other."""
    yield Started(at=AT, tick=0.0, plan_digest="")
    for step in plan.steps:
        yield Begun(at=AT, tick=0.0, step=step.id)
        if said:
            yield Logged(at=AT, tick=0.0, level=Level.INFO, message=said, step=step.id)
        yield Done(at=AT, tick=0.0, step=step.id, outcome=NOTHING)
    yield Ended(at=AT, tick=0.0, ending=Ending.COMPLETED)


@pytest.mark.parametrize(
    ("workflow", "operation"), [("resume", LIFECYCLE_RESUME), ("suspend", LIFECYCLE_SUSPEND)]
)
def test_the_transcript_of_the_suspend_plugins_example(workflow: str, operation: str) -> None:
    plan = planned(workflow, topology([node("server", operations=[operation])]))
    expected = TRANSCRIPT.replace("resume", workflow).splitlines()
    assert lines(plan, *story(plan, f"{workflow} server_id=Server!")) == expected


@pytest.mark.parametrize(
    ("workflow", "closing"),
    [("backup", "Backuped to"), ("restore", "Restored from"), ("remove_backup", "Removed")],
)
def test_workflows_on_restore_points_close_with_the_name(workflow: str, closing: str) -> None:
    plan = planned(workflow, topology([node("vm", compute=True)]))
    *_, last_but_one, last = lines(plan, *story(plan))
    assert last_but_one == f"LOG <examples> INFO: {closing} 'one'"
    assert last == f"CFY <examples> '{workflow}' workflow execution succeeded"


def test_operations_that_are_not_deprecated_are_shown_by_their_full_names() -> None:
    plan = planned("suspend", topology([node("vm", operations=[FREEZE_SUSPEND])]))
    assert f"CFY <examples> [vm_1] Starting to {FREEZE_SUSPEND}" in lines(plan, *story(plan))


def test_a_retry_is_sent_again_and_says_when() -> None:
    plan, step = _one_cut()
    told = lines(
        plan,
        Begun(at=AT, tick=0.0, step=step.id),
        Failed(at=AT, tick=0.0, step=step.id, code="recoverable", message="busy", retry_in_s=1.5),
        Begun(at=AT, tick=0.0, step=step.id, attempt=2),
    )
    assert told == [
        f"CFY <examples> [vm_1] Starting to {SNAPSHOT_CREATE}",
        "CFY <examples> [vm_1.create] Sending task 'script_runner.tasks.run'",
        "CFY <examples> [vm_1.create] Task started 'script_runner.tasks.run'",
        "CFY <examples> [vm_1.create] Task failed 'script_runner.tasks.run' -> busy [retry in 1.5 s]",
        "CFY <examples> [vm_1.create] Sending task 'script_runner.tasks.run' [retry 1]",
        "CFY <examples> [vm_1.create] Task started 'script_runner.tasks.run' [retry 1]",
    ]


def test_what_was_passed_over_says_so() -> None:
    plan, step = _one_cut()
    (line,) = lines(
        plan,
        Failed(at=AT, tick=0.0, step=step.id, code="cannot-freeze", message="no agent", passed_over=True),
    )
    assert line.endswith("-> no agent [skipped]")


@pytest.mark.parametrize(("cancelled", "word"), [(True, "Cancelling"), (False, "Failing")])
def test_the_turn_for_the_worse_is_told_with_its_reason(cancelled: bool, word: str) -> None:
    plan, _ = _one_cut()
    aborted = Aborted(at=AT, tick=0.0, code="c", message="the reason", cancelled=cancelled)
    assert lines(plan, aborted) == [f"CFY <examples> {word} 'backup' workflow execution: the reason"]


def test_an_execution_that_did_not_succeed_never_says_that_it_did() -> None:
    plan, _ = _one_cut()
    ended = Ended(at=AT, tick=0.0, ending=Ending.FAILED, message="no")
    assert lines(plan, ended) == ["CFY <examples> 'backup' workflow execution failed: no"]


def test_taking_up_says_who_did() -> None:
    plan, _ = _one_cut()
    started = Started(at=AT, tick=0.0, plan_digest="", turn=2, by="guard")
    assert lines(plan, started) == ["CFY <examples> Resuming 'backup' workflow execution (guard)"]


@pytest.mark.parametrize(
    ("worth", "level"),
    [
        (None, "INFO"),
        (Consistency.APPLICATION, "INFO"),
        (Consistency.FILESYSTEM, "INFO"),
        (Consistency.CRASH, "WARNING"),
        (Consistency.NONE, "WARNING"),
    ],
)
def test_a_note_of_a_provider_is_a_warning_only_when_it_lowers_the_worth(
    worth: Consistency | None, level: str
) -> None:
    plan, step = _one_cut()
    outcome = Outcome(note="slow disk", consistency=worth)
    told = lines(plan, Done(at=AT, tick=0.0, step=step.id, outcome=outcome))
    assert told[1] == f"LOG <examples> [vm_1.create] {level}: slow disk"


def test_figures_are_told_where_they_were_measured() -> None:
    plan = planned("statistics", topology([node("vm", operations=[STATISTICS])]))
    outcome = Outcome(measurements={"cpu_percent": 3.14159, "threads": 4})
    told = lines(plan, Done(at=AT, tick=0.0, step=plan.steps[0].id, outcome=outcome))
    assert told[0] == "LOG <examples> [vm_1.perfomance] INFO: cpu_percent 3.142, threads 4"


def test_failures_and_warnings_are_alarming_and_nothing_else_is() -> None:
    alarming = [
        Failed(at=AT, tick=0.0, step="s", code="c", message="m"),  # type: ignore[arg-type]
        Aborted(at=AT, tick=0.0, code="c", message="m"),
        Logged(at=AT, tick=0.0, level=Level.WARNING, message="m"),
        Logged(at=AT, tick=0.0, level=Level.ERROR, message="m"),
    ]
    calm = [
        Logged(at=AT, tick=0.0, level=Level.INFO, message="m"),
        Started(at=AT, tick=0.0, plan_digest=""),
        Ended(at=AT, tick=0.0, ending=Ending.COMPLETED),
    ]
    assert [is_alarming(record) for record in (*alarming, *calm)] == [True] * 4 + [False] * 3


def _one_cut() -> tuple[Plan, Step]:
    plan = planned("backup", topology([node("vm", operations=[SNAPSHOT_CREATE])]))
    return plan, plan.steps[0]
