"""What a cut is worth is computed from what the journal says, and the weakest part speaks for the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quiesce.app.points.catalog import points_made
from quiesce.app.points.consistency import ConsistencyAssessment
from quiesce.app.points.window import window_s
from quiesce.model.consistency import Consistency
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, SNAPSHOT_CREATE, SNAPSHOT_DELETE, Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Aborted, Begun, Done, Failed, Record, Started
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.model.topology import Topology

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans

FREEZES = (FS_PREPARE, FS_FINALIZE)
SAVES = (SNAPSHOT_CREATE, SNAPSHOT_DELETE)
EXECUTION = Execution(
    id=ExecutionId("backup-1"), deployment=DeploymentName("made"), workflow="backup", created_at=7.0
)


def deployment() -> Topology:
    """A database on a machine that uses a disk, and a disk that nothing concerns."""
    return topology(
        [
            node("db", operations=FREEZES),
            node("vm", compute=True, operations=FREEZES),
            node("disk", operations=SAVES),
            node("other", operations=SAVES),
        ],
        {"db": ["vm"], "vm": ["disk"]},
    )


class Telling:
    """Writes the journal of one backup, one step a second, with changes."""

    def __init__(self, where: Topology) -> None:
        self.where = where
        self.plan: Plan = planned("backup", where, snapshot_type="daily", snapshot_rotation=3)
        self.records: list[Record] = [Started(at=0.0, tick=0.0, plan_digest=self.plan.digest)]
        self.tick = 0.0

    def step(self, operation: Operation, instance: str, role: Role | None = None) -> Step:
        return next(
            step
            for step in self.plan.steps
            if step.operation is operation and step.node == instance and role in (None, step.role)
        )

    def done(self, step: Step, outcome: Outcome = NOTHING, *, ended: float | None = None) -> None:
        self.tick += 1.0
        self.records += [
            Begun(at=self.tick, tick=self.tick, step=step.id),
            Done(
                at=self.tick,
                tick=self.tick,
                step=step.id,
                outcome=outcome,
                began=self.tick,
                ended=self.tick + 0.5 if ended is None else ended,
            ),
        ]

    def passed_over(self, step: Step) -> None:
        self.tick += 1.0
        self.records += [
            Begun(at=self.tick, tick=self.tick, step=step.id),
            Failed(
                at=self.tick,
                tick=self.tick,
                step=step.id,
                code="operation",
                message="no agent",
                passed_over=True,
            ),
        ]

    def all_but(self, *left_out: Step) -> None:
        for step in self.plan.steps:
            if step.role is not Role.UNDO and step not in left_out:
                self.done(step)

    @property
    def point(self) -> RestorePoint:
        (point,) = points_made(self.plan, History.of(self.records), EXECUTION, self.where)
        return point

    @property
    def worth(self) -> dict[str, Consistency]:
        return {
            artifact.instance.removesuffix("_1"): artifact.consistency for artifact in self.point.artifacts
        }


@pytest.fixture
def telling() -> Telling:
    """The story of a backup, not yet begun."""
    return Telling(deployment())


def test_a_service_frozen_on_a_machine_makes_its_disks_application_consistent(telling: Telling) -> None:
    telling.all_but()
    assert telling.worth == {"disk": Consistency.APPLICATION, "other": Consistency.CRASH}
    assert telling.point.consistency is Consistency.CRASH
    assert telling.point.state is PointState.COMPLETE
    assert (telling.point.type, telling.point.rotation, telling.point.made_at) == ("daily", 3, 7.0)


def test_what_can_be_reached_is_known_beforehand(telling: Telling) -> None:
    around = ConsistencyAssessment.of(telling.plan, History(), telling.where)
    cuts = [step for step in telling.plan.steps if step.operation is Operation.SNAPSHOT]
    assert {step.node: around.reachable(step) for step in cuts} == {
        "disk": Consistency.APPLICATION,
        "other": Consistency.CRASH,
    }


def test_a_freeze_that_was_passed_over_lowers_what_it_concerns_and_says_why(telling: Telling) -> None:
    missing = telling.step(Operation.FREEZE, "db")
    telling.passed_over(missing)
    telling.all_but(missing, telling.step(Operation.THAW, "db"))
    (disk, _) = telling.point.artifacts
    assert disk.consistency is Consistency.CRASH
    assert disk.note == "db_1 was not frozen: no agent"


def test_a_cut_that_ended_after_the_thaw_began_is_not_believed(telling: Telling) -> None:
    """That the cut lies within the freeze is looked up, never assumed."""
    cut = telling.step(Operation.SNAPSHOT, "disk")
    for step in telling.plan.steps:
        if step.role is not Role.UNDO:
            telling.done(step, ended=999.0 if step is cut else None)
    (disk, _) = telling.point.artifacts
    assert disk.consistency is Consistency.CRASH
    assert "the cut was not made within the freeze of" in disk.note


def test_a_node_that_had_thawed_by_itself_takes_the_trust_away(telling: Telling) -> None:
    thaw = telling.step(Operation.THAW, "vm")
    for step in telling.plan.steps:
        outcome = Outcome(consistency=Consistency.CRASH, note="it had thawed by itself")
        if step.role is not Role.UNDO:
            telling.done(step, outcome if step is thaw else NOTHING)
    (disk, _) = telling.point.artifacts
    assert disk.consistency is Consistency.CRASH
    assert disk.note == "it had thawed by itself"


def test_what_a_provider_says_of_its_cut_is_a_bound(telling: Telling) -> None:
    cut = telling.step(Operation.SNAPSHOT, "disk")
    for step in telling.plan.steps:
        if step.role is not Role.UNDO:
            telling.done(step, Outcome(consistency=Consistency.NONE, note="torn") if step is cut else NOTHING)
    assert telling.worth["disk"] is Consistency.NONE


def test_a_restore_point_is_incomplete_until_every_part_is_done(telling: Telling) -> None:
    cut = telling.step(Operation.SNAPSHOT, "other")
    telling.all_but(cut)
    assert telling.point.state is PointState.INCOMPLETE
    telling.records.append(Begun(at=9.0, tick=9.0, step=cut.id))
    assert [a.state for a in telling.point.artifacts] == [PointState.COMPLETE, PointState.INCOMPLETE]


def test_a_rolled_back_restore_point_is_gone_when_every_piece_is(telling: Telling) -> None:
    for name in ("disk", "other"):
        telling.done(telling.step(Operation.SNAPSHOT, name))
    telling.records.append(Aborted(at=5.0, tick=5.0, code="c", message="m"))
    telling.done(telling.step(Operation.DELETE, "disk", Role.UNDO))
    assert telling.point.state is PointState.INCOMPLETE
    assert [artifact.instance for artifact in telling.point.artifacts] == ["other_1"]
    telling.done(telling.step(Operation.DELETE, "other", Role.UNDO))
    assert telling.point.state is PointState.REMOVED


def test_the_window_is_measured_from_the_first_freeze_to_the_last_thaw(telling: Telling) -> None:
    telling.all_but()
    history = History.of(telling.records)
    first = history.done[telling.step(Operation.FREEZE, "db").id]
    last = history.done[telling.step(Operation.THAW, "db").id]
    assert window_s(telling.plan, history) == last.ended - first.began
    assert telling.point.window_s == last.ended - first.began
    assert telling.point.skew_s == 1.0


@pytest.mark.parametrize(
    ("ceiling", "right"),
    [(Consistency.APPLICATION, Consistency.APPLICATION), (Consistency.CRASH, Consistency.CRASH)],
)
def test_a_plan_promises_no_more_than_the_freezes_of_its_kinds_can_reach(
    ceiling: Consistency, right: Consistency
) -> None:
    """A paused process is stopped wherever it is: its cut is worth no more than after a power cut."""
    where = deployment()
    plan = planned("backup", where)
    steps = tuple(
        replace(step, ceiling=ceiling) if step.operation is Operation.FREEZE else step for step in plan.steps
    )
    assessment = ConsistencyAssessment.of(replace(plan, steps=steps), History(), where)
    (cut,) = (step for step in steps if step.operation is Operation.SNAPSHOT and step.node == "disk")
    assert assessment.reachable(cut) is right
