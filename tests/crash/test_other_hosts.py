"""Two machines that share a database: neither thaws, continues or puts back what is the other one's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quiesce.app.points.verify import verify
from quiesce.app.run.execution import Watching
from quiesce.app.run.recover import find_unfinished, recover
from quiesce.app.run.run import cancel, continue_execution, give_up, preview, run_job, run_workflow
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import DamagedPlanError, OtherHostError, PlanError, QuiesceError
from quiesce.model.execution import ExecutionState
from quiesce.model.ids import ExecutionId, Json
from quiesce.model.request import WorkflowRequest
from quiesce.model.restore_point import Trust
from quiesce.providers.fake import DESCRIPTION
from quiesce.stores.schema import executions
from tests.crash.test_guard import Theatre

WATCHING = Watching()


class Stage(Theatre):
    """One deployment, whose execution machine a has begun; each machine has its own view of the services."""

    def __init__(self, directory: Path, *, remote: bool = False) -> None:
        super().__init__(directory)
        self.descriptions = [replace(DESCRIPTION, remote=remote)]
        self.execution = replace(self.execution, host="a")
        self.on("a").executions.update(self.execution)

    def on(self, host: str) -> Services:
        return replace(self.services(), host=host, descriptions=self.descriptions)

    def die_frozen(self) -> None:
        """Let the engine die on machine a, with something frozen."""
        self.engine_dies_at(8)
        assert self.frozen == {"db", "vm"}

    @property
    def frozen(self) -> set[str]:
        return set(self.scene.world.frozen)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def asked(workflow: str, *, here: bool = False, **parameters: Json) -> WorkflowRequest:
    return WorkflowRequest(deployment="d", workflow=workflow, parameters=parameters, here=here)


def test_no_other_machine_settles_a_debt_and_its_own_does(stage: Stage) -> None:
    stage.die_frozen()
    before = stage.frozen
    (found,) = find_unfinished(stage.on("b"))
    assert found.owed
    assert found.host == "a"
    (left,) = recover(stage.on("b"), WATCHING)
    assert left == found
    assert stage.frozen == before
    recover(stage.on("a"), WATCHING)
    assert stage.frozen == set()


def test_what_is_the_same_from_everywhere_is_settled_from_everywhere(tmp_path: Path) -> None:
    stage = Stage(tmp_path, remote=True)
    stage.die_frozen()
    recover(stage.on("b"), WATCHING)
    assert stage.frozen == set()


def test_a_database_that_is_not_shared_knows_no_machines(stage: Stage) -> None:
    stage.die_frozen()
    recover(stage.on(""), WATCHING)
    assert stage.frozen == set()


@pytest.mark.parametrize("purpose", [Purpose.FORWARD, Purpose.ROLL_BACK])
def test_no_other_machine_goes_on_with_it_unless_it_is_meant(stage: Stage, purpose: Purpose) -> None:
    stage.die_frozen()
    before = stage.frozen
    with pytest.raises(OtherHostError, match=r"ran on a, and this is b; nothing was touched") as refused:
        continue_execution(stage.on("b"), stage.execution.id, purpose, WATCHING)
    assert f"quiesce executions resume {stage.execution.id} --here" in refused.value.hint
    assert stage.frozen == before
    continue_execution(stage.on("b"), stage.execution.id, purpose, WATCHING, here=True)
    assert stage.frozen == set()
    assert stage.on("b").executions.get(stage.execution.id).host == "b"
    assert find_unfinished(stage.on("b")) == []


def test_no_workflow_begins_on_top_of_what_another_machine_has_left(stage: Stage) -> None:
    stage.die_frozen()
    before = stage.frozen
    with pytest.raises(OtherHostError):
        run_workflow(stage.on("b"), asked("backup", snapshot_name="two"), WATCHING)
    with pytest.raises(OtherHostError):
        run_job(stage.on("b"), asked("backup"), WATCHING, stage.execution.id)
    assert stage.frozen == before
    assert run_workflow(stage.on("a"), asked("backup", snapshot_name="two"), WATCHING).error is None


def test_what_a_machine_that_is_gone_has_left_is_written_off(stage: Stage) -> None:
    stage.die_frozen()
    journal = stage.on("a").executions.take_over(stage.execution.id)
    ended = give_up(stage.on("b"), stage.execution.id)
    assert (ended.state, ended.owes) == (ExecutionState.FAILED, False)
    assert find_unfinished(stage.on("b")) == []
    assert stage.frozen  # nothing was done
    with pytest.raises(QuiesceError, match="taken this execution over"):
        journal.append([])
    with pytest.raises(QuiesceError, match="nothing to write off"):
        give_up(stage.on("b"), stage.execution.id)


@pytest.mark.parametrize("workflow", ["restore", "remove_backup"])
def test_what_one_machine_saved_is_not_put_back_or_removed_on_another(stage: Stage, workflow: str) -> None:
    give_up(stage.on("a"), stage.execution.id)
    made = run_workflow(stage.on("a"), asked("backup", snapshot_name="one"), WATCHING).report
    assert made.execution.host == "a"
    request = asked(workflow, snapshot_name="one")
    with pytest.raises(OtherHostError, match="restore point one was made on a, and this is b"):
        run_workflow(stage.on("b"), request, WATCHING)
    refusal = preview(stage.on("b"), request).refused
    assert refusal is not None
    assert refusal.code == "other-host"
    assert run_workflow(stage.on("b"), replace(request, here=True), WATCHING).error is None


def test_a_restore_is_undone_on_its_own_machine_only(stage: Stage) -> None:
    give_up(stage.on("a"), stage.execution.id)
    run_workflow(stage.on("a"), asked("backup", snapshot_name="one"), WATCHING)
    assert run_workflow(stage.on("a"), asked("restore", snapshot_name="one"), WATCHING).error is None
    with pytest.raises(OtherHostError, match="restore-xxxxxxxxxx ran on a, and this is b"):
        run_workflow(stage.on("b"), asked("undo_restore"), WATCHING)
    with pytest.raises(PlanError, match="no restore of the chosen instances has left anything"):
        run_workflow(stage.on("b"), asked("undo_restore", here=True), WATCHING)


def test_a_snapshot_on_another_machine_is_not_taken_for_damaged(stage: Stage) -> None:
    give_up(stage.on("a"), stage.execution.id)
    run_workflow(stage.on("a"), asked("backup", snapshot_name="one"), WATCHING)
    for name in [name for name in stage.scene.world.things if name != "theirs"]:
        del stage.scene.world.things[name]  # machine b has none of them
    point, found = verify(stage.on("b"), "d", "one")
    assert set(found.unreachable.values()) == {"it lies on a, and this is b"}
    assert point.trust is not Trust.DAMAGED


def test_a_plan_whose_end_is_missing_is_told_and_nothing_is_taken_for_settled(stage: Stage) -> None:
    stage.die_frozen()
    with stage.database.write() as connection:
        whole = connection.execute(executions.select()).mappings().one()["plan"]
        connection.execute(executions.update().values(plan=whole[: len(whole) // 2]))
    before = stage.frozen
    (found,) = find_unfinished(stage.on("a"))
    assert "cannot be read: its end is missing" in found.damage
    assert "vm.fs_prepare" in found.damage
    assert recover(stage.on("a"), WATCHING) == [found]
    with pytest.raises(DamagedPlanError):
        run_workflow(stage.on("a"), asked("backup", snapshot_name="two"), WATCHING)
    assert stage.frozen == before
    give_up(stage.on("a"), stage.execution.id)
    assert run_workflow(stage.on("a"), asked("backup", snapshot_name="two"), WATCHING).error is None


def test_what_is_over_needs_no_cancelling(stage: Stage) -> None:
    give_up(stage.on("a"), stage.execution.id)
    with pytest.raises(QuiesceError, match="is failed; it needs no cancelling"):
        cancel(stage.on("a"), ExecutionId("this-execution"))
