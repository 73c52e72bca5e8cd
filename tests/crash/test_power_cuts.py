"""Cut the power at every touch of journal or provider, in every world; run again; nothing is lost."""

from __future__ import annotations

import contextlib

import pytest

from quiesce.planning import WORKFLOWS
from quiesce.testing import Fuse, PowerCut
from tests.crash.invariants import check
from tests.crash.scenes import NIGHTLY, TOPOLOGIES, WORLDS, Scene

#: in the small size, the large topology is cut at every n-th touch only
STRIDES = {"three tiers on two machines": 1 if NIGHTLY else 5}


@pytest.mark.parametrize("guarded", [False, True], ids=["alone", "guarded"])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_nothing_stays_frozen_after_a_power_cut(
    workflow: str, topology: str, world: str, guarded: bool
) -> None:
    """Wherever the power is cut, running again completes or rolls back, and thaws every node."""
    whole = Fuse(None)
    scene = Scene(workflow, topology, world)
    scene.live(whole)
    check(scene, lies=world == "provider lies")
    for ticks in range(0, whole.touches, STRIDES.get(topology, 1)):
        _die_and_come_back(Scene(workflow, topology, world), ticks, guarded, lies=world == "provider lies")


def _die_and_come_back(scene: Scene, ticks: int, guarded: bool, lies: bool) -> None:
    with contextlib.suppress(PowerCut):
        scene.live(Fuse(ticks))
    if guarded:
        scene.let_the_guard_settle()
        assert scene.world.frozen == set(), "the guard left something frozen"
        assert scene.world.stopped == set(), "the guard left something stopped"
    scene.write_everywhere()
    scene.live()
    check(scene, lies=lies)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_two_power_cuts_in_a_row_are_survived(workflow: str) -> None:
    """A second cut, while the first one is being cleaned up, changes nothing of the promise."""
    whole = Fuse(None)
    Scene(workflow, "a service on a machine", "freeze unconfirmed").live(whole)
    for first in range(0, whole.touches, 1 if NIGHTLY else 3):
        for second in range(0, whole.touches, 1 if NIGHTLY else 3):
            scene = Scene(workflow, "a service on a machine", "freeze unconfirmed")
            for ticks in (first, second):
                with contextlib.suppress(PowerCut):
                    scene.live(Fuse(ticks))
                scene.write_everywhere()
            scene.live()
            check(scene)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_finished_execution_is_left_alone(workflow: str) -> None:
    """Running a finished execution again touches nothing."""
    scene = Scene(workflow, "three tiers on two machines", "healthy")
    scene.live()
    effects = list(scene.world.effects)
    records = list(scene.kept.records)
    scene.live()
    assert scene.world.effects == effects
    assert scene.kept.records == records


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_cancel_at_any_moment_leaves_nothing_frozen(workflow: str, world: str) -> None:
    """Whenever somebody cancels, debts are settled and incomplete things are removed."""
    for looks in range(0, 60, 1 if NIGHTLY else 4):
        scene = Scene(workflow, "a service on a machine", world)
        left = iter(range(looks))
        scene.live(cancel=lambda left=left: None if next(left, None) is not None else "enough")  # type: ignore[misc]
        check(scene, lies=world == "provider lies")
