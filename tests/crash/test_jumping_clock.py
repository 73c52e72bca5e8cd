"""The wall clock jumps, forwards and back, at every look: nothing but the shown times changes."""

from __future__ import annotations

import random

import pytest

from quiesce.app.points.window import window_s
from quiesce.model.records import Begun
from quiesce.testing import FakeClock
from tests.crash.invariants import check
from tests.crash.scenes import TOPOLOGIES, WORLDS, Scene

YEAR_S = 366 * 86400.0


class JumpingClock(FakeClock):
    """Time goes on as it does; what time it is, nobody can say."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(7)

    def now(self) -> float:
        """Return any time within a year of the real one."""
        return self.at + self._random.uniform(-YEAR_S, YEAR_S)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("workflow", ["backup", "restore"])
def test_nothing_depends_on_the_wall_clock(workflow: str, topology: str, world: str) -> None:
    """The same steps, in the same order, at the same ticks, and the same window."""
    lived = []
    for clock in (FakeClock(), JumpingClock()):
        scene = Scene(workflow, topology, world)
        scene.clock = clock
        scene.world.tick = clock.tick
        history = scene.live()
        check(scene, lies=world == "provider lies")
        assert history.ended is not None
        begun = [(r.step, r.tick) for r in scene.kept.records if isinstance(r, Begun)]
        lived.append((begun, window_s(scene.plan, history), history.ended.ending))
    assert lived[0] == lived[1]
