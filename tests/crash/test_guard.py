"""The guard: thaws when the engine dies or stops acting, from the journal alone, and says so in it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from quiesce.app.run.execution import Watching, execute
from quiesce.app.run.guard import GuardLoop, Order
from quiesce.app.run.recover import Unfinished, find_unfinished
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import BusyError, GuardError, StoreError, SupersededError
from quiesce.messenger import WebMessenger
from quiesce.model.call import Call
from quiesce.model.deployment import Deployment
from quiesce.model.execution import ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.operation import INDEBTING, REPLACING, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.records import Begun, Record, Started
from quiesce.ports import Context
from quiesce.providers.fake import DESCRIPTION
from quiesce.providers.fake.provider import FakeProvider
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour
from quiesce.stores.catalog import SqlCatalog
from quiesce.stores.database import Database
from quiesce.stores.deployments import SqlDeployments
from quiesce.stores.executions import SqlExecutions
from quiesce.stores.journal import SqlJournal
from quiesce.stores.leases import FileLease, FileLeases
from quiesce.stores.manifests import RepositoryManifests
from quiesce.stores.policies import SqlPolicies
from quiesce.testing import Fuse, FusedProvider, InlineWorkers, PowerCut, hang
from tests.crash.scenes import Guardless, Scene
from tests.unit.fixed_keyring import a_home


class Theatre:
    """A scene whose journal, lease and catalog are the real ones."""

    def __init__(self, directory: Path, world: str = "healthy", workflow: str = "backup") -> None:
        self.scene = Scene(workflow, "a service on a machine", world)
        self.database = Database(f"sqlite:///{directory}/quiesce.db")
        self.leases = FileLeases(directory / "leases")
        self.execution = replace(self.scene.execution, id=ExecutionId("this-execution"))
        services = self.services()
        services.deployments.add(
            Deployment(
                name=self.execution.deployment,
                blueprint="",
                blueprint_dir="",
                created_at=1.0,
                topology=self.scene.topology,
            ),
            {},
        )
        services.executions.add(self.execution, self.scene.plan)

    def services(self, fuse: Fuse | None = None) -> Services:
        """Return services as a process of its own would have them."""
        provider = FusedProvider(FakeProvider(world=self.scene.world, sleep=hang), fuse or Fuse(None))
        live = self.scene.live_deployment()
        return Services(
            deployments=SqlDeployments(self.database),
            executions=SqlExecutions(self.database),
            catalog=SqlCatalog(self.database),
            manifests=RepositoryManifests(a_home(Path("/nonexistent"))),
            leases=self.leases,
            policies=SqlPolicies(self.database),
            schedulers=self.leases,
            messenger=WebMessenger(),
            clock=self.scene.clock,
            descriptions=[DESCRIPTION],
            provider=lambda _: provider,
            live=lambda _: live,  # type: ignore[return-value]
            guard=Guardless,
            pause=self.scene.clock.sleep,
            random_text=lambda n: "x" * n,
            repositories=no_repositories,
            proofs_dir="/nonexistent",
            workers=InlineWorkers,
        )

    def history(self) -> History:
        return History.of(self.records())

    def records(self) -> Sequence[Record]:
        return list(self.services().executions.journal(self.execution.id).read())

    def engine_dies_at(self, touches: int) -> None:
        with contextlib.suppress(PowerCut):
            execute(
                self.services(Fuse(touches)), self.execution, Purpose.FORWARD, Watching(), guard=Guardless()
            )

    def guard(self, *orders: Order | None) -> None:
        loop = GuardLoop(self.services(), self.execution.id, self.scene.clock.sleep)
        loop.run(_Orders(orders, self.scene), 30.0)


def no_repositories() -> NoReturn:
    raise AssertionError("a guard opens no repository")


class _Orders:
    def __init__(self, orders: Sequence[Order | None], scene: Scene) -> None:
        self._orders: Iterator[Order | None] = iter(orders)
        self._scene = scene

    def next(self, until_tick: float | None) -> Order | None:
        order = next(self._orders)
        if order is None:
            assert until_tick is not None, "the guard waits without a bound although a window is open"
            self._scene.clock.at = max(self._scene.clock.at, until_tick)
        return order


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path)


@pytest.mark.parametrize("touches", range(1, 16))
def test_the_guard_thaws_what_a_dead_engine_left_frozen(theatre: Theatre, touches: int) -> None:
    """Wherever the engine died, nothing is frozen when its guard is done, and the journal says so."""
    theatre.engine_dies_at(touches)
    theatre.guard(Order.OPENED, Order.GONE)
    assert theatre.scene.world.frozen == set()
    assert theatre.history().debts(theatre.scene.plan) == []
    assert not theatre.services().executions.get(theatre.execution.id).owes


def test_the_guard_reads_the_journal_when_it_is_needed_not_before(theatre: Theatre) -> None:
    """A freeze that began after the guard was ready is thawed too."""
    loop = GuardLoop(theatre.services(), theatre.execution.id, theatre.scene.clock.sleep)
    theatre.engine_dies_at(8)
    assert theatre.scene.world.frozen
    loop.run(_Orders([Order.GONE], theatre.scene), 30.0)
    assert theatre.scene.world.frozen == set()


def test_the_guard_acts_when_the_engine_lives_and_does_not(theatre: Theatre) -> None:
    """At the bound the journal is taken from a living engine, which can write to it no more."""
    journal = theatre.services().executions.take_over(theatre.execution.id)
    freeze = next(s for s in theatre.scene.plan.steps if s.operation is Operation.FREEZE)
    journal.append(
        [
            Started(at=1.0, tick=1.0, plan_digest=theatre.scene.plan.digest),
            Begun(at=1.0, tick=1.0, step=freeze.id),
        ]
    )
    theatre.scene.world.frozen.add(freeze.instance)
    theatre.guard(Order.OPENED, None, Order.SETTLED)
    assert theatre.scene.world.frozen == set()
    with pytest.raises(SupersededError):
        journal.append([Begun(at=2.0, tick=2.0, step=freeze.id)])


@pytest.mark.parametrize("refusals", [0, 3])
def test_a_freeze_whose_answer_never_came_is_thawed_again_when_the_engine_is_dead(
    theatre: Theatre, refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped engine may wake and freeze after the guard's thaw; its death settles it once more.

    Also when the journal cannot be read at that moment.
    """
    journal_of, refused = SqlExecutions.journal, refusals

    def unreachable(self: SqlExecutions, execution: ExecutionId) -> SqlJournal:
        nonlocal refused
        if refused < refusals:
            refused += 1
            raise StoreError("the database cannot be used: connection refused")
        return journal_of(self, execution)

    monkeypatch.setattr(SqlExecutions, "journal", unreachable)
    journal = theatre.services().executions.take_over(theatre.execution.id)
    freeze = next(s for s in theatre.scene.plan.steps if s.operation is Operation.FREEZE)
    journal.append(
        [
            Started(at=1.0, tick=1.0, plan_digest=theatre.scene.plan.digest),
            Begun(at=1.0, tick=1.0, step=freeze.id),
        ]
    )

    class WakingUp(_Orders):
        def next(self, until_tick: float | None) -> Order | None:
            order = super().next(until_tick)
            if order is Order.GONE:
                self._scene.world.frozen.add(freeze.instance)  # the engine's call went through after all
                nonlocal refused
                refused = 0
            return order

    loop = GuardLoop(theatre.services(), theatre.execution.id, theatre.scene.clock.sleep)
    loop.run(WakingUp([Order.OPENED, None, Order.GONE], theatre.scene), 30.0)
    assert theatre.scene.world.frozen == set()


def test_a_stop_whose_answer_never_came_is_started_again_when_the_engine_is_dead(tmp_path: Path) -> None:
    """Starts get more time of a living engine than thaws; its death settles once more what wakes up late."""
    theatre = Theatre(tmp_path, workflow="restore")
    journal = theatre.services().executions.take_over(theatre.execution.id)
    stop = next(s for s in theatre.scene.plan.steps if s.operation is Operation.STOP)
    journal.append(
        [
            Started(at=1.0, tick=1.0, plan_digest=theatre.scene.plan.digest),
            Begun(at=1.0, tick=1.0, step=stop.id),
        ]
    )
    theatre.scene.world.stopped.add(stop.instance)
    seen: list[bool] = []

    class WakingUp(_Orders):
        def next(self, until_tick: float | None) -> Order | None:
            seen.append(stop.instance in self._scene.world.stopped)
            order = super().next(until_tick)
            if order is Order.GONE:
                self._scene.world.stopped.add(stop.instance)  # the engine's call went through after all
            return order

    loop = GuardLoop(theatre.services(), theatre.execution.id, theatre.scene.clock.sleep)
    loop.run(WakingUp([Order.OPENED, None, None, Order.GONE], theatre.scene), 30.0)
    assert seen == [True, True, True, False], "a living engine was not given the time to start what it stops"
    assert theatre.scene.world.stopped == set()


def test_the_guard_goes_on_for_as_long_as_it_takes(theatre: Theatre) -> None:
    """A hundred failing thaws are not the end of it."""
    theatre.engine_dies_at(8)
    theatre.scene.world.faults = [
        FakeFault(operation=Operation.THAW, misbehaviour=FakeMisbehaviour.RECOVERABLE, times=100)
    ]
    theatre.guard(Order.OWING)
    assert theatre.scene.world.frozen == set()


def test_a_guard_that_cannot_write_thaws_all_the_same(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk under the journal nothing stays frozen; it is written down when that works again."""
    theatre.engine_dies_at(8)
    assert theatre.scene.world.frozen
    take_over = SqlExecutions.take_over
    refusals: list[str] = []

    def full(self: SqlExecutions, execution: ExecutionId) -> object:
        if theatre.scene.world.frozen:
            refusals.append(execution)
            assert len(refusals) < 50, "the guard waits for the disk instead of thawing"
            raise StoreError("the database cannot be used: disk full")
        return take_over(self, execution)

    monkeypatch.setattr(SqlExecutions, "take_over", full)
    theatre.guard(Order.GONE)
    assert theatre.scene.world.frozen == set()
    assert theatre.history().debts(theatre.scene.plan) == []


def _lock_until_thawed(theatre: Theatre, database: Path) -> tuple[threading.Thread, list[bool]]:
    """Hold the database's write lock, as an engine does that is stopped within a commit."""
    locked = threading.Event()
    in_time: list[bool] = []

    def hold() -> None:
        connection = sqlite3.connect(database, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        locked.set()
        for _ in range(1000):
            if not theatre.scene.world.frozen:
                break
            time.sleep(0.01)
        in_time.append(not theatre.scene.world.frozen)
        connection.execute("ROLLBACK")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(10)
    return holder, in_time


@pytest.mark.parametrize("orders", [(Order.OPENED, None, Order.SETTLED), (Order.GONE,), (Order.OWING,)])
@pytest.mark.parametrize("touches", [8, 10, 12])
def test_the_guard_thaws_before_it_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, orders: tuple[Order | None, ...], touches: int
) -> None:
    """Somebody who is stopped within a commit holds up the journal, and not the thaw."""
    monkeypatch.setattr("quiesce.stores.database.BUSY_TIMEOUT_S", 60.0)
    theatre = Theatre(tmp_path)
    theatre.engine_dies_at(touches)
    assert theatre.scene.world.frozen
    holder, in_time = _lock_until_thawed(theatre, tmp_path / "quiesce.db")
    theatre.guard(*orders)
    holder.join()
    assert in_time == [True], "it waited for the database's lock with everything frozen"
    assert theatre.history().debts(theatre.scene.plan) == [], "it was not written down afterwards"
    assert not theatre.services().executions.get(theatre.execution.id).owes


def test_what_the_engine_still_wrote_before_it_was_fenced_off_is_thawed_too(theatre: Theatre) -> None:
    """Its last commit may come while the guard thaws what it knows of."""
    early, late = (s for s in theatre.scene.plan.steps if s.operation is Operation.FREEZE)
    executions = theatre.services().executions
    take_over = SqlExecutions.take_over
    journal = take_over(executions, theatre.execution.id)  # type: ignore[arg-type]
    digest = theatre.scene.plan.digest
    journal.append([Started(at=1.0, tick=1.0, plan_digest=digest), Begun(at=1.0, tick=1.0, step=early.id)])
    theatre.scene.world.frozen.add(early.instance)

    def after_its_last_commit(self: SqlExecutions, execution: ExecutionId) -> object:
        while early.instance in theatre.scene.world.frozen:
            time.sleep(0.001)  # the guard has read the journal, and thaws what it knows of
        if late.id not in theatre.history().begun_at:
            journal.append([Begun(at=2.0, tick=2.0, step=late.id)])
            theatre.scene.world.frozen.add(late.instance)
        return take_over(self, execution)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlExecutions, "take_over", after_its_last_commit)
        theatre.guard(Order.OPENED, None, Order.SETTLED)
    assert theatre.scene.world.frozen == set()
    assert theatre.history().debts(theatre.scene.plan) == []


def test_two_never_fight(theatre: Theatre) -> None:
    """While another engine holds the lease, the guard leaves the thaw to it, and ends when it is done."""
    theatre.engine_dies_at(8)
    lease = theatre.leases.acquire(theatre.execution.deployment, ExecutionId("another"))
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            execute(theatre.services(), theatre.execution, Purpose.SETTLE, Watching(by="another"))
            lease.release()

    loop = GuardLoop(theatre.services(), theatre.execution.id, pause)
    loop.run(_Orders([Order.GONE], theatre.scene), 30.0)
    assert theatre.scene.world.frozen == set()
    by = [record.by for record in theatre.records() if isinstance(record, Started)]
    assert by == ["engine", "another"]


@pytest.mark.parametrize("refusals", [1, 3, math.inf])
def test_a_guard_whose_lease_cannot_be_asked_for_thaws_all_the_same(
    theatre: Theatre, refusals: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that restarts, or a home that became read-only, does not end the guard."""
    theatre.engine_dies_at(8)
    assert theatre.scene.world.frozen
    acquire, asked = FileLeases.acquire, 0

    def unreachable(self: FileLeases, deployment: DeploymentName, execution: ExecutionId) -> FileLease:
        nonlocal asked
        asked += 1
        assert asked < 500, "the guard waits for a lease instead of thawing"
        if asked <= refusals:
            raise StoreError("the database cannot be used: connection refused")
        return acquire(self, deployment, execution)

    monkeypatch.setattr(FileLeases, "acquire", unreachable)
    theatre.guard(Order.GONE)
    assert theatre.scene.world.frozen == set()
    assert theatre.history().debts(theatre.scene.plan) == []
    monkeypatch.undo()
    assert theatre.leases.holder(theatre.execution.deployment) is None


def test_an_interruption_is_told_while_its_guard_thaws(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard holds the lease then, for as long as a thaw fails: nobody heard of it until that worked."""
    theatre.engine_dies_at(8)
    perform, found = FakeProvider.perform, list[Unfinished]()

    def looked_at(self: FakeProvider, call: Call, context: Context) -> Outcome:
        found.extend(find_unfinished(theatre.services()))
        with pytest.raises(BusyError, match=r"what execution this-execution left frozen .* is being settled"):
            theatre.leases.acquire(theatre.execution.deployment, ExecutionId("next"))
        return perform(self, call, context)

    monkeypatch.setattr(FakeProvider, "perform", looked_at)
    theatre.guard(Order.GONE)
    assert [each.execution.id for each in found] == [theatre.execution.id] * len(found)
    assert all(each.being_settled and each.owed for each in found)
    assert found != []


def test_a_lease_is_refused_with_the_name_of_its_holder(theatre: Theatre) -> None:
    """Whoever comes second is told who was first."""
    theatre.leases.acquire(theatre.execution.deployment, ExecutionId("first"))
    with pytest.raises(BusyError, match="first"):
        theatre.leases.acquire(theatre.execution.deployment, ExecutionId("second"))


class _DeadGuard(Guardless):
    """Has died before it was to watch, or just before the first freeze."""

    def __init__(self, refused: str) -> None:
        super().__init__()
        self._refused = refused

    def watch(self, max_freeze_s: float) -> None:
        super().watch(max_freeze_s)
        self._refuse("watch")

    def window_opened(self) -> None:
        super().window_opened()
        self._refuse("window_opened")

    def _refuse(self, asked: str) -> None:
        if asked == self._refused:
            raise GuardError("the guard has died")


@pytest.mark.parametrize("refused", ["watch", "window_opened"])
@pytest.mark.parametrize("workflow", ["backup", "restore", "undo_restore"])
def test_without_a_guard_nothing_is_frozen_and_the_execution_ends(
    tmp_path: Path, workflow: str, refused: str
) -> None:
    theatre = Theatre(tmp_path, workflow=workflow)
    services, guard = theatre.services(), _DeadGuard(refused)
    ended, _, history = execute(services, theatre.execution, Purpose.FORWARD, Watching(), guard=guard)
    assert (ended.state, ended.owes) == (ExecutionState.FAILED, False)
    assert history.aborted is not None
    assert history.aborted.code == "guard"
    begun = {step.operation for step in theatre.scene.plan.steps if step.id in history.begun_at}
    assert not begun & (INDEBTING | REPLACING | {Operation.SNAPSHOT})
    assert theatre.scene.our_things() == {}
