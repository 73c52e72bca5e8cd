"""The frozen window has a bound, hung cut or not; a thaw is tried until it works."""

from __future__ import annotations

import pytest

from quiesce.app.points.window import frozen_intervals, window_s
from quiesce.engine import Attempt, RunEnvironment, Runner
from quiesce.errors import CannotFreezeError
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Ending
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour, FakeThing
from quiesce.testing import Hung, InlineWorkers
from tests.crash.invariants import check
from tests.crash.scenes import POINT, TOPOLOGIES, WORLDS, Guardless, Scene

#: what the engine needs beyond ``max_freeze`` for the thaws themselves, on the fake clock
THAWING_S = 3.0


@pytest.mark.parametrize("world", [name for name in WORLDS if not name.startswith("thaw")])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("workflow", ["backup", "restore"])
def test_the_window_is_bounded_whatever_hangs(workflow: str, topology: str, world: str) -> None:
    """From the first freeze to the last thaw it takes no longer than max_freeze and the thaws."""
    scene = Scene(workflow, topology, world)
    if workflow == "restore":
        scene.plan = scene.plan_with(max_freeze=30)
    scene.live()
    check(scene, lies=world == "provider lies")
    assert window_s(scene.plan, scene.history()) <= scene.plan.parameters.max_freeze_s + THAWING_S


def test_a_hung_cut_fails_with_a_reason_and_leaves_no_pieces() -> None:
    """At the bound the cut is given up, and the execution says why."""
    scene = Scene("backup", "three tiers on two machines", "snapshot hangs")
    history = scene.live()
    assert history.ended is not None
    assert history.ended.ending is Ending.FAILED
    assert "limit" in history.ended.message
    assert scene.our_things() == {}


def test_a_thaw_is_tried_again_until_it_works() -> None:
    """Five failures are not enough to leave a node frozen."""
    scene = Scene("backup", "a service on a machine", "healthy")
    scene.world.faults = [
        FakeFault(operation=Operation.THAW, misbehaviour=FakeMisbehaviour.RECOVERABLE, times=5)
    ]
    history = scene.live()
    check(scene)
    assert history.ended is not None
    assert history.ended.ending is Ending.COMPLETED


def test_a_thaw_that_never_works_is_told_and_stays_owed() -> None:
    """The execution fails, names the node, and its debt is still in the journal for whoever comes next."""
    scene = Scene("backup", "a service on a machine", "healthy")
    scene.world.faults = [
        FakeFault(
            operation=Operation.THAW, misbehaviour=FakeMisbehaviour.RECOVERABLE, times=10_000, instance="vm"
        )
    ]
    history = scene.live()
    assert history.ended is not None
    assert history.ended.ending is Ending.FAILED
    assert "NOT THAWED: vm" in history.ended.message
    assert [step.instance for step in history.debts(scene.plan)] == ["vm"]
    scene.world.faults = []
    scene.live()
    assert scene.world.frozen == set()
    assert scene.history().debts(scene.plan) == []


def test_a_freeze_that_comes_after_its_thaw_is_thawed_again() -> None:
    """The call was given up, the node was thawed, and only then the freeze took effect."""
    scene = Scene("backup", "a service on a machine", "healthy")
    scene.world.faults = [
        FakeFault(operation=Operation.FREEZE, misbehaviour=FakeMisbehaviour.SLOW, times=1, instance="vm")
    ]
    scene.live()
    thaws = [name for operation, name in scene.world.effects if operation is Operation.THAW]
    assert thaws.count("vm") == 2
    check(scene)


def test_one_thaw_that_hangs_does_not_hold_up_the_others() -> None:
    """The other nodes are thawed at once, although the hung one comes first in the order."""
    scene = Scene("backup", "three tiers on two machines", "healthy")
    scene.world.faults = [
        FakeFault(operation=Operation.THAW, misbehaviour=FakeMisbehaviour.HANG, times=1, instance="vm1")
    ]
    scene.live()
    check(scene)
    frozen = {
        name: end - begin for name, (begin, end) in frozen_intervals(scene.plan, scene.history()).items()
    }
    assert frozen["vm1"] > 50
    assert max(seconds for name, seconds in frozen.items() if name != "vm1") < 10


def test_services_freeze_before_hosts_and_thaw_after_them() -> None:
    """A dependent is frozen before what it depends on, and thawed after it."""
    scene = Scene("backup", "three tiers on two machines", "healthy")
    scene.live()
    frozen = [name for operation, name in scene.world.effects if operation is Operation.FREEZE]
    thawed = [name for operation, name in scene.world.effects if operation is Operation.THAW]
    assert frozen[:3] == ["web", "app", "db"]
    assert set(frozen[3:]) == {"vm1", "vm2"}
    assert set(thawed[:2]) == {"vm1", "vm2"}
    assert thawed[2:] == ["db", "app", "web"]


def test_every_cut_lies_within_the_freeze_of_every_node() -> None:
    """All freezes are over before the first cut begins, and no thaw begins before the last cut is over."""
    scene = Scene("backup", "three tiers on two machines", "healthy")
    scene.live()
    operations = [operation for operation, _ in scene.world.effects]
    first_cut, last_cut = operations.index(Operation.SNAPSHOT), len(operations) - 1
    while operations[last_cut] is not Operation.SNAPSHOT:
        last_cut -= 1
    assert Operation.FREEZE not in operations[first_cut:]
    assert Operation.THAW not in operations[: last_cut + 1]
    assert operations.index(Operation.COPY) > max(i for i, o in enumerate(operations) if o is Operation.THAW)


def test_an_undo_leaves_what_another_execution_made() -> None:
    """A name that is taken by an earlier execution of ours fails the backup, and its object stays."""
    scene = Scene("backup", "a service on a machine", "healthy")
    earlier = FakeThing(
        instance="vm", maker="an-earlier-execution", content="as it was", complete=True, full=True
    )
    scene.world.things[f"vm-{POINT}"] = earlier
    scene.live()
    assert scene.world.frozen == set()
    assert scene.our_things() == {}
    assert scene.world.things[f"vm-{POINT}"] is earlier


def test_no_window_is_bounded_where_nothing_could_be_frozen() -> None:
    """A cut has its own time, not the window's, when every freeze that was offered was impossible."""
    scene = Scene("backup", "one machine", "healthy")

    def perform(attempt: Attempt) -> Outcome:
        if attempt.step.operation in (Operation.FREEZE, Operation.THAW):
            raise CannotFreezeError("there is no agent")
        if attempt.step.operation is Operation.SNAPSHOT:
            raise Hung
        return NOTHING

    environment = RunEnvironment(
        journal=scene.kept.take_over(),
        perform=perform,
        workers=InlineWorkers(scene.clock),
        clock=scene.clock,
        guard=Guardless(),
    )
    history = Runner(scene.plan, environment).run()
    assert history.ended is not None
    assert "did not answer within 601.0 s" in history.ended.message
