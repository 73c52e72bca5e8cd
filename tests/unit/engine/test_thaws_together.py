"""Thaws that are written down together are written down soon, however the clock moves on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.crash.scenes import Guardless, Scene

from quiesce.engine import Purpose, RunEnvironment, Runner
from quiesce.engine.runner import THAWS_TOGETHER_S
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Begun, Started
from quiesce.ports import Completion
from quiesce.testing import FakeClock, InlineWorkers


class BusyClock(FakeClock):
    """Moves on whenever it is looked at, as on a machine that has much else to do."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s

    def tick(self) -> float:
        self.at += self._step_s
        return self.at


class LookingWorkers(InlineWorkers):
    """Knows for how long the engine would wait while it has begun something that is not written down."""

    def __init__(self, clock: FakeClock, scene: Scene) -> None:
        super().__init__(clock)
        self._time = clock
        self._scene = scene
        self._started = 0
        self.waits: list[float] = []

    def start(self, ticket: int, action: Callable[[], Outcome]) -> None:
        self._started += 1
        super().start(ticket, action)

    def wait(self, until_tick: float | None) -> Sequence[Completion]:
        written = sum(isinstance(each, Begun) for each in self._scene.kept.records) - FROZEN
        if self._started > written:
            assert until_tick is not None
            self.waits.append(until_tick - self._time.at)
        return super().wait(until_tick)


FROZEN = 5


@pytest.mark.parametrize("looks", range(2, 20))
def test_what_is_due_to_be_written_waits_for_no_answer(looks: int) -> None:
    scene = Scene("backup", "three tiers on two machines", "healthy")
    freezes = [step for step in scene.plan.steps if step.operation is Operation.FREEZE]
    assert len(freezes) == FROZEN
    started = Started(at=1.0, tick=1.0, plan_digest=scene.plan.digest)
    scene.kept.take_over().append([started, *(Begun(at=1.0, tick=1.0, step=each.id) for each in freezes)])
    clock = BusyClock(THAWS_TOGETHER_S / looks)
    workers = LookingWorkers(clock, scene)
    environment = RunEnvironment(
        journal=scene.kept.take_over(),
        perform=lambda _: NOTHING,
        workers=workers,
        clock=clock,
        guard=Guardless(),
    )
    Runner(scene.plan, environment, Purpose.SETTLE).run()
    assert max(workers.waits, default=0.0) <= THAWS_TOGETHER_S
