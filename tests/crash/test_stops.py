"""Stops and starts: in order, to their end, and under the eyes of the guard."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from quiesce.engine import Purpose
from quiesce.model.ids import NodeId
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, INDEBTING, RESTORE_POWER_ON, Operation
from quiesce.model.records import Begun, Done, Failed
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour
from quiesce.testing import Fuse, PowerCut
from tests.crash.invariants import check
from tests.crash.scenes import TOPOLOGIES, Scene

PLACES = "three tiers on two machines"


def _killed_in_its_first_stop() -> Scene:
    scene = Scene("restore", "a service on a machine", "healthy")
    for ticks in range(100):
        scene = Scene("restore", "a service on a machine", "healthy")
        with contextlib.suppress(PowerCut):
            scene.live(Fuse(ticks))
        stops = {step.id for step in scene.plan.steps if step.operation is Operation.STOP}
        history = scene.history()
        if stops & history.begun_at.keys() and not stops & history.done_at.keys():
            return scene
    raise AssertionError("no such moment")


@pytest.mark.parametrize("purpose", [Purpose.SETTLE, Purpose.FORWARD])
def test_a_stop_that_never_answered_is_brought_to_its_end_before_the_start(purpose: Purpose) -> None:
    """What is still going down looks like what runs: a start alone would find it running."""
    scene = _killed_in_its_first_stop()
    before = len(scene.world.effects)
    scene.live(purpose=purpose)
    ours = [o for o, i in scene.world.effects[before:] if i == "db" and o in (*INDEBTING, Operation.START)]
    assert ours[:2] == [Operation.STOP, Operation.START]
    assert scene.world.stopped == set()


def test_a_stop_that_was_answered_is_not_repeated() -> None:
    scene = Scene("restore", PLACES, "healthy")
    scene.live()
    stops = [instance for operation, instance in scene.world.effects if operation is Operation.STOP]
    assert sorted(stops) == ["app", "db", "web"]


def test_a_start_waits_for_what_it_depends_on_however_long_that_takes() -> None:
    """The order of thaws gives way after a second; that of starts does not."""
    slow = FakeFault(operation=Operation.START, misbehaviour=FakeMisbehaviour.HANG, instance="db")
    scene = Scene("restore", PLACES, [slow])
    scene.live()
    check(scene)
    tried = next(
        n for n, r in enumerate(scene.kept.records) if isinstance(r, Failed) and "db.start" in r.step
    )
    others = [n for n, r in enumerate(scene.kept.records) if isinstance(r, Begun) and "app.start" in r.step]
    assert others[0] > tried


def test_starts_come_after_the_thaws_and_before_the_probes() -> None:
    scene = Scene("restore", PLACES, "healthy")
    scene.live()
    steps = [scene.plan.steps[n] for n in _positions(scene)]
    order = [step.operation for step in steps if step.interface != RESTORE_POWER_ON]
    last_thaw = max(n for n, operation in enumerate(order) if operation is Operation.THAW)
    starts = [n for n, operation in enumerate(order) if operation is Operation.START]
    probes = [n for n, operation in enumerate(order) if operation is Operation.PROBE]
    assert last_thaw < min(starts) <= max(starts) < min(probes)


def test_the_guard_watches_before_the_first_stop() -> None:
    """A plan that stops and freezes nothing has a guard, too."""
    scene = Scene("restore", "a service on a machine", "healthy")
    scene.plan = scene.plan_with(include_nodes=["db"], safety_snapshot=False)
    assert not any(step.operation is Operation.FREEZE for step in scene.plan.steps)
    scene.live()
    assert scene.guard.opened
    assert scene.guard.released == [True]


def test_the_guard_watches_before_an_apply_that_switches_a_machine_off() -> None:
    """No window opens by that: nothing is frozen, and the apply may take longer than ``max_freeze``."""
    where = TOPOLOGIES["one machine"]
    machine = replace(where.nodes[NodeId("vm")], properties={"skip_actions": [FS_PREPARE, FS_FINALIZE]})
    scene = Scene("restore", replace(where, nodes={machine.id: machine}), "healthy")
    died_off = 0
    for touches in range(100):
        scene = Scene("restore", scene.topology, "healthy")
        try:
            scene.live(Fuse(touches))
        except PowerCut:
            died_off += scene.world.stopped == {"vm"}
            assert scene.guard.watched or not scene.world.stopped
        else:
            break
        scene.let_the_guard_settle()
        assert scene.world.stopped == set()
    assert died_off > 0
    assert scene.guard.watched
    assert not scene.guard.opened


def test_a_probe_that_fails_fails_the_execution() -> None:
    scene = Scene("restore", PLACES, "probe fails")
    history = scene.live()
    assert history.aborted is not None
    assert ".probe failed" in history.aborted.message


def _positions(scene: Scene) -> list[int]:
    place = {step.id: n for n, step in enumerate(scene.plan.steps)}
    return [place[record.step] for record in scene.kept.records if isinstance(record, Done)]
