"""Any history of misfortunes, in any deployment, ends with everything thawed and the catalog true.

`QUIESCE_SIZE=nightly` generates 10,000 runs, ``make test`` a seeded few hundred.
"""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from quiesce.engine import Purpose
from quiesce.errors import StoreError, SupersededError
from quiesce.model.operation import Operation
from quiesce.model.topology import Topology
from quiesce.planning import WORKFLOWS
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour
from quiesce.testing import Fuse, PowerCut
from tests.crash.invariants import check
from tests.crash.scenes import NIGHTLY, ON_A_MUTANT, Scene, topology
from tests.crash.test_journal_trouble import FullDisk, Stolen

OPERATIONS = sorted(set(Operation) - {Operation.MEASURE, Operation.SUSPEND, Operation.RESUME})


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Up to three hosts and four services, each on hosts or services that came before it."""
    hosts = [f"vm{n}" if n else "vm" for n in range(draw(st.integers(1, 3)))]
    links: dict[str, tuple[str, ...]] = dict.fromkeys(hosts, ())
    for number in range(draw(st.integers(0, 4))):
        targets = draw(st.lists(st.sampled_from(sorted(links)), unique=True, max_size=3))
        links[f"service{number}"] = tuple(targets)
    return topology(**links)


faults = st.builds(
    FakeFault,
    operation=st.sampled_from(OPERATIONS),
    misbehaviour=st.sampled_from(sorted(set(FakeMisbehaviour) - {FakeMisbehaviour.LIE})),
    times=st.integers(1, 3),
)


class Misfortunes(RuleBasedStateMachine):
    """One execution, taken up and struck down again and again."""

    @initialize(
        workflow=st.sampled_from(sorted(WORKFLOWS)),
        made=topologies(),
        faults=st.lists(faults, max_size=4),
    )
    def begin(self, workflow: str, made: Topology, faults: list[FakeFault]) -> None:
        """Choose a deployment, a workflow and a world."""
        self.scene = Scene(workflow, made, faults)
        self.scene.plan = self.scene.plan_with(operation_timeout=300)

    @rule(ticks=st.integers(0, 80))
    def the_power_is_cut(self, ticks: int) -> None:
        """The process dies at some touch."""
        with contextlib.suppress(PowerCut):
            self.scene.live(Fuse(ticks))

    @rule(ticks=st.none() | st.integers(0, 20))
    def the_guard_settles(self, ticks: int | None) -> None:
        """The guard takes over; it may die as well."""
        with contextlib.suppress(PowerCut):
            self.scene.live(Fuse(ticks), purpose=Purpose.SETTLE)

    @rule(good=st.integers(0, 10), lasting=st.none() | st.integers(1, 4))
    def the_disk_is_full(self, good: int, lasting: int | None) -> None:
        """The journal cannot be written for a while."""
        with contextlib.suppress(StoreError):
            self.scene.live(spoil=lambda journal: FullDisk(journal, good, lasting))

    @rule(good=st.integers(0, 10))
    def another_takes_over(self, good: int) -> None:
        """Somebody else takes the journal."""
        with contextlib.suppress(SupersededError):
            self.scene.live(spoil=lambda journal: Stolen(journal, self.scene, good))

    @rule(looks=st.integers(0, 20))
    def somebody_cancels(self, looks: int) -> None:
        """A cancel comes at some moment."""
        left = iter(range(looks))
        self.scene.live(cancel=lambda: None if next(left, None) is not None else "enough")

    @rule()
    def applications_write(self) -> None:
        """Time passes, data changes."""
        self.scene.write_everywhere()

    @rule()
    def somebody_rolls_back(self) -> None:
        """An operator gives the execution up."""
        self.scene.live(purpose=Purpose.ROLL_BACK)

    def teardown(self) -> None:
        """In the end the world behaves, and a last process ends what is left."""
        if not hasattr(self, "scene"):
            return
        self.scene.world.faults = []
        self.scene.live()
        check(self.scene)


Misfortunes.TestCase.settings = settings(
    max_examples=10_000 if NIGHTLY else 200,
    stateful_step_count=8,
    phases=[Phase.generate] if ON_A_MUTANT else list(Phase),
    suppress_health_check=list(HealthCheck),
)
TestAnyHistoryEndsWell = Misfortunes.TestCase
