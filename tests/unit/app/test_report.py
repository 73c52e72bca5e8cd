"""Reports of executions tell what happened, and nothing that did not."""

from __future__ import annotations

from quiesce.app.run.report import report_execution
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Aborted, Begun, Done, Ended, Ending, Record, Started

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans

EXECUTION = Execution(
    id=ExecutionId("backup-1"), deployment=DeploymentName("made"), workflow="backup", created_at=0.0
)


def test_a_completed_backup_does_not_show_the_removals_that_a_failure_would_have_needed() -> None:
    plan = planned("backup", topology([node("vm", compute=True)]))
    steps = [step for step in plan.steps if step.role is not Role.UNDO]
    report = report_execution(EXECUTION, plan, _completed(plan, steps))
    assert [(step.operation, step.state) for step in report.steps] == [
        (Operation.PREPARE, "done"),
        (Operation.FREEZE, "done"),
        (Operation.SNAPSHOT, "done"),
        (Operation.THAW, "done"),
    ]


def test_a_failed_backup_shows_the_removal_that_is_still_to_come() -> None:
    plan = planned("backup", topology([node("vm", compute=True)]))
    cut = next(step for step in plan.steps if step.operation is Operation.SNAPSHOT)
    history = History.of(
        [
            Started(at=0.0, tick=0.0, plan_digest=plan.digest),
            Begun(at=1.0, tick=1.0, step=cut.id),
            Aborted(at=2.0, tick=2.0, code="timeout", message="no answer"),
        ]
    )
    undo = [step for step in report_execution(EXECUTION, plan, history).steps if step.role is Role.UNDO]
    assert [step.state for step in undo] == ["waiting"]


def _completed(plan: Plan, steps: list[Step]) -> History:
    records: list[Record] = [Started(at=0.0, tick=0.0, plan_digest=plan.digest)]
    for tick, step in enumerate(steps, start=1):
        records += [
            Begun(at=tick, tick=tick, step=step.id),
            Done(at=tick, tick=tick, step=step.id, outcome=NOTHING, began=tick, ended=tick + 0.5),
        ]
    return History.of([*records, Ended(at=9.0, tick=9.0, ending=Ending.COMPLETED)])
