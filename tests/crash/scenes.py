"""What the crash tests run: deployments, fault worlds, and one life of one execution."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from quiesce.app.calls import Performer
from quiesce.app.masking import Masking
from quiesce.app.points.catalog import points_made, points_removed
from quiesce.engine import Purpose, RunEnvironment, Runner
from quiesce.engine.attempts import LEAST_REMOVAL_TRIES
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.former_state import FormerState, Side
from quiesce.model.history import History
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId
from quiesce.model.operation import INDEBTING, REPLACING, Operation
from quiesce.model.plan import Plan
from quiesce.model.records import Begun
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import COMPUTE, CONTAINED_IN, Instance, Link, Node, Relationship, Topology
from quiesce.planning import plan_workflow, read_parameters, workflow_named
from quiesce.ports import Journal
from quiesce.providers.fake import DESCRIPTION
from quiesce.providers.fake.provider import FakeProvider
from quiesce.providers.fake.world import FakeFault, FakeFormer, FakeMisbehaviour, FakeThing, FakeWorld
from quiesce.stores.memory import MemoryRecords
from quiesce.testing import FakeClock, Fuse, FusedJournal, FusedProvider, InlineWorkers, hang

NIGHTLY = os.environ.get("QUIESCE_SIZE") == "nightly"
#: the suite is only to fail, and soon
ON_A_MUTANT = os.environ.get("QUIESCE_SIZE") == "mutant"
EXECUTION = ExecutionId("this-execution")
POINT = BackupName("point")


def topology(**links: tuple[str, ...]) -> Topology:
    """One instance for each name; ``vm*`` are hosts; a name's links are what it is contained in."""
    nodes, instances = {}, {}
    for name, targets in links.items():
        kind = "quiesce.nodes.fake.Machine" if name.startswith("vm") else "quiesce.nodes.fake.Service"
        root = ("cloudify.nodes.Root", COMPUTE) if name.startswith("vm") else ("cloudify.nodes.Root",)
        nodes[NodeId(name)] = Node(
            id=NodeId(name),
            type=kind,
            type_hierarchy=(*root, kind),
            relationships=tuple(
                Relationship(target=NodeId(t), type=CONTAINED_IN, type_hierarchy=(CONTAINED_IN,))
                for t in targets
            ),
        )
        instances[InstanceId(name)] = Instance(
            id=InstanceId(name),
            node=NodeId(name),
            links=tuple(Link(target=InstanceId(t), type=CONTAINED_IN, contained=True) for t in targets),
        )
    return Topology(nodes=nodes, instances=instances)


TOPOLOGIES = {
    "one machine": topology(vm=()),
    "a service on a machine": topology(vm=(), db=("vm",)),
    "three tiers on two machines": topology(vm1=(), vm2=(), db=("vm1",), app=("vm2", "db"), web=("app",)),
}


def _faults(*faults: tuple[Operation, FakeMisbehaviour, int]) -> Callable[[], list[FakeFault]]:
    return lambda: [FakeFault(operation=o, misbehaviour=m, times=n) for o, m, n in faults]


WORLDS: dict[str, Callable[[], list[FakeFault]]] = {
    "healthy": _faults(),
    "snapshot fails": _faults((Operation.SNAPSHOT, FakeMisbehaviour.PERMANENT, 1)),
    "preparation fails": _faults((Operation.PREPARE, FakeMisbehaviour.PERMANENT, 1)),
    "preparation unconfirmed": _faults((Operation.PREPARE, FakeMisbehaviour.MUTE, 9)),
    "freeze fails": _faults((Operation.FREEZE, FakeMisbehaviour.PERMANENT, 1)),
    "freeze unconfirmed": _faults((Operation.FREEZE, FakeMisbehaviour.MUTE, 1)),
    "freeze unconfirmed for good": _faults((Operation.FREEZE, FakeMisbehaviour.MUTE, 9)),
    "freeze comes late": _faults((Operation.FREEZE, FakeMisbehaviour.LATE, 9)),
    "thaw fails twice": _faults((Operation.THAW, FakeMisbehaviour.RECOVERABLE, 2)),
    "thaw unconfirmed": _faults((Operation.THAW, FakeMisbehaviour.MUTE, 1)),
    "snapshot hangs": _faults((Operation.SNAPSHOT, FakeMisbehaviour.HANG, 1)),
    "freeze hangs": _faults((Operation.FREEZE, FakeMisbehaviour.HANG, 1)),
    "freeze comes after it was given up": _faults((Operation.FREEZE, FakeMisbehaviour.SLOW, 1)),
    "snapshot comes after it was given up": _faults((Operation.SNAPSHOT, FakeMisbehaviour.SLOW, 1)),
    "snapshot unconfirmed": _faults((Operation.SNAPSHOT, FakeMisbehaviour.MUTE, 9)),
    "stop fails": _faults((Operation.STOP, FakeMisbehaviour.PERMANENT, 1)),
    "stop unconfirmed": _faults((Operation.STOP, FakeMisbehaviour.MUTE, 9)),
    "stop comes late": _faults((Operation.STOP, FakeMisbehaviour.LATE, 9)),
    "stop comes after it was given up": _faults((Operation.STOP, FakeMisbehaviour.SLOW, 1)),
    "start fails twice": _faults((Operation.START, FakeMisbehaviour.RECOVERABLE, 2)),
    "start unconfirmed": _faults((Operation.START, FakeMisbehaviour.MUTE, 1)),
    "probe fails": _faults((Operation.PROBE, FakeMisbehaviour.PERMANENT, 1)),
    "copy fails": _faults((Operation.COPY, FakeMisbehaviour.PERMANENT, 1)),
    "removal fails twice": _faults(
        (Operation.SNAPSHOT, FakeMisbehaviour.PERMANENT, 1),
        (Operation.DELETE, FakeMisbehaviour.RECOVERABLE, 2),
    ),
    "provider lies": _faults(
        (Operation.FREEZE, FakeMisbehaviour.LIE, 1), (Operation.SNAPSHOT, FakeMisbehaviour.LIE, 1)
    ),
}

PARAMETERS: dict[str, dict[str, object]] = {
    "backup": {"snapshot_name": POINT, "snapshot_incremental": False},
    "restore": {"snapshot_name": POINT, "safety_snapshot": True, "operation_timeout": 300},
    "undo_restore": {"operation_timeout": 300},
    "extract": {"snapshot_name": POINT, "target": "/elsewhere"},
    "remove_backup": {"snapshot_name": POINT},
}


@dataclass(slots=True)
class Guardless:
    """A guard that only notes what it is told."""

    watched: bool = False
    released: list[bool] = field(default_factory=list)

    def prepare(self, execution: str) -> None: ...

    def watch(self, max_freeze_s: float) -> None:
        self.watched = True

    opened: bool = False

    def window_opened(self) -> None:
        assert self.watched, "a freeze began before the guard was ready"
        self.opened = True

    def release(self, *, settled: bool) -> None:
        self.released.append(settled)


class Scene:
    """One deployment, one workflow on it, and a world in which it runs, again and again."""

    def __init__(self, workflow: str, where: str | Topology, world: str | list[FakeFault]) -> None:
        self.topology = TOPOLOGIES[where] if isinstance(where, str) else where
        self.clock = FakeClock()
        self.world = FakeWorld(
            tick=self.clock.tick, faults=WORLDS[world]() if isinstance(world, str) else world
        )
        #: whether the platform refuses removals for good, or more often than they are tried
        removals = [fault for fault in self.world.faults if fault.operation is Operation.DELETE]
        self.stubborn = sum(fault.times for fault in removals) >= LEAST_REMOVAL_TRIES or any(
            fault.misbehaviour is FakeMisbehaviour.PERMANENT for fault in removals
        )
        self.kept = MemoryRecords()
        self.guard = Guardless()
        self.workflow = workflow
        self.epoch = 0
        self.write_everywhere()
        self.world.things["theirs"] = FakeThing(
            instance="vm", maker=None, content="theirs", complete=True, full=True
        )
        self.former = self._replace_everything() if workflow_named(workflow).takes_former else None
        self.points = self._make_point() if workflow_named(workflow).takes_points else []
        self.plan = self._plan()
        self.execution = Execution(
            id=EXECUTION, deployment=DeploymentName("d"), workflow=workflow, created_at=1.0, points=(POINT,)
        )
        self.things_before = dict(self.world.things)
        self.contents_before = dict(self.world.contents)

    def live(
        self,
        fuse: Fuse | None = None,
        purpose: Purpose = Purpose.FORWARD,
        cancel: Callable[[], str | None] = lambda: None,
        spoil: Callable[[Journal], Journal] = lambda journal: journal,
    ) -> History:
        """Let one process live: until the execution is over, or the fuse blows."""
        fuse = fuse or Fuse(None)
        self.world.while_off = fuse.burn
        provider = FusedProvider(FakeProvider(world=self.world, sleep=hang), fuse)
        journal = spoil(FusedJournal(self.kept.take_over(), fuse))
        performer = Performer(
            self._services(provider),  # type: ignore[arg-type]
            Deployment(
                name=self.execution.deployment,
                blueprint="",
                blueprint_dir="",
                created_at=1.0,
                topology=self.topology,
            ),
            self.execution,
            self.plan,
            points=self.points,
            history=self.history(),
        )
        run = Runner(
            self.plan,
            RunEnvironment(
                journal=journal,
                perform=performer,
                workers=InlineWorkers(self.clock),
                clock=self.clock,
                guard=self.guard,
                cancel_asked=cancel,
            ),
            purpose,
        )
        performer.log = run.log
        return run.run()

    def let_the_guard_settle(self) -> None:
        """Settle what is owed, and once more what was given up: its effect may have come since."""
        history = self.history()
        signs = [
            Begun(at=self.clock.at, tick=self.clock.at, step=step.id, attempt=history.attempts[step.id])
            for step in self.plan.steps
            if step.operation in INDEBTING and step.id in history.unanswered()
        ]
        if signs and history.ended is None:
            self.kept.take_over().append(signs)
        self.live(purpose=Purpose.SETTLE)

    def write_everywhere(self) -> None:
        """Let the applications that are not frozen write: what is copied from now on is of another time.

        What has been put back stays as it is, so that it can be recognized.
        """
        self.epoch += 1
        for instance in self.topology.instances:
            if instance not in self.world.frozen and not any(
                (operation, instance) in self.world.effects for operation in REPLACING
            ):
                self.world.contents[instance] = f"epoch {self.epoch}"

    def history(self) -> History:
        return History.of(self.kept.records)

    def made(self) -> list[RestorePoint]:
        return points_made(self.plan, self.history(), self.execution, self.topology)

    def left(self) -> list[RestorePoint]:
        return points_removed(self.plan, self.history(), self.points)

    def our_things(self) -> dict[str, FakeThing]:
        return {name: thing for name, thing in self.world.things.items() if thing.maker == EXECUTION}

    def plan_with(self, **parameters: object) -> Plan:
        """Return this scene's plan with other parameters."""
        return self._plan(parameters)

    def _plan(self, changes: dict[str, object] | None = None) -> Plan:
        given = PARAMETERS.get(self.workflow, {}) | (changes or {})
        parameters = read_parameters(self.workflow, given, now=1.0)  # type: ignore[arg-type]
        return plan_workflow(
            self.workflow,
            self.topology,
            [DESCRIPTION],
            parameters,
            points=self.points,
            safety_name=BackupName("safety"),
            former=self.former,
        )

    def _replace_everything(self) -> dict[InstanceId, FormerState]:
        """Let an earlier restore have replaced every instance."""
        for instance in self.topology.instances:
            self.world.former[instance] = FakeFormer(
                execution=ExecutionId("restore-1"), point=POINT, content="before the restore", succeeded=True
            )
        kept = FormerState(
            execution=ExecutionId("restore-1"),
            point=POINT,
            replaced_at=0.5,
            succeeded=True,
            kept=Side.FORMER,
            place="memory",
        )
        return dict.fromkeys(self.topology.instances, kept)

    def _make_point(self) -> list[RestorePoint]:
        for instance in self.topology.instances:
            self.world.things[f"{instance}-{POINT}"] = FakeThing(
                instance=instance,
                maker="an-earlier-execution",
                content="as it was",
                complete=True,
                full=False,
            )
        artifacts = tuple(
            Artifact(
                instance=instance,
                provider="fake",
                function="",
                state=PointState.COMPLETE,
                consistency=Consistency.APPLICATION,
                content={"objects": [f"{instance}-{POINT}"]},
            )
            for instance in self.topology.instances
        )
        point = RestorePoint(
            deployment=DeploymentName("d"),
            name=POINT,
            full=False,
            type="irregular",
            rotation=1,
            execution=ExecutionId("an-earlier-execution"),
            state=PointState.COMPLETE,
            consistency=Consistency.APPLICATION,
            made_at=0.5,
            artifacts=artifacts,
        )
        return [point]

    def live_deployment(self) -> SimpleNamespace:
        """Return a deployment without properties, inputs and secrets."""
        return SimpleNamespace(
            properties=lambda _: {},
            inputs=lambda _instance, _interface: {},
            runtime_properties=lambda _: {},
            set_runtime_properties=lambda _instance, _properties: None,
            secret=lambda name: name,
        )

    def _services(self, provider: object) -> SimpleNamespace:
        live = self.live_deployment()
        return SimpleNamespace(
            live=lambda _: live, provider=lambda _: provider, clock=self.clock, masking=Masking()
        )
