"""A thaw never comes while something is still being replaced: it waits for that, within bounds."""

from __future__ import annotations

import pytest

from quiesce.engine.attempts import GIVEN_UP_PATIENCE_S
from quiesce.model.operation import Operation
from quiesce.model.records import Aborted, Begun, Failed
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour
from tests.crash.invariants import check
from tests.crash.scenes import Scene

SECOND = 1.5


def _scene(**parameters: object) -> Scene:
    """A restore in which one machine's apply fails while the other's does not answer."""
    faults = [
        FakeFault(operation=Operation.APPLY, misbehaviour=FakeMisbehaviour.SLOW, instance="vm1"),
        FakeFault(operation=Operation.APPLY, misbehaviour=FakeMisbehaviour.PERMANENT, instance="vm2"),
    ]
    scene = Scene("restore", "three tiers on two machines", faults)
    scene.plan = scene.plan_with(**parameters)
    return scene


@pytest.mark.parametrize("max_freeze", [3600, 5])
def test_no_thaw_begins_while_an_apply_is_on_its_way(max_freeze: int) -> None:
    """The failure of one apply does not thaw anything under another one that still runs."""
    scene = _scene(max_freeze=max_freeze)
    scene.live()
    check(scene)
    steps = {step.id: step for step in scene.plan.steps}
    records = scene.kept.records
    aborted = next(r for r in records if isinstance(r, Aborted))
    abandoned = next(n for n, r in enumerate(records) if isinstance(r, Failed) and r.abandoned)
    thaws = [
        (n, r)
        for n, r in enumerate(records)
        if isinstance(r, Begun) and steps[r.step].operation is Operation.THAW
    ]
    assert thaws
    assert all(n > abandoned for n, _ in thaws)
    bound = min(GIVEN_UP_PATIENCE_S, max_freeze)
    assert max(r.tick for _, r in thaws) - aborted.tick <= bound + SECOND, "it waited without a bound"


def test_the_window_ends_although_an_apply_is_on_its_way() -> None:
    """Whoever is given up near the end of the window has no more time than what is left of it."""
    scene = _scene(max_freeze=5)
    scene.live()
    freezes = [r for r in scene.kept.records if isinstance(r, Begun) and r.step.endswith(".fs_prepare")]
    thaws = [r for r in scene.kept.records if isinstance(r, Begun) and r.step.endswith(".fs_finalize")]
    assert max(r.tick for r in thaws) - min(r.tick for r in freezes) <= 5 + SECOND
