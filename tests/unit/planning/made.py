"""Topologies made by hand or at random, and a provider description that answers for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import settings
from hypothesis import strategies as st

from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.consistency import Consistency
from quiesce.model.former_state import FormerState
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json, NodeId
from quiesce.model.operation import INTERFACES, STATISTICS_ALIAS, Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import COMPUTE, Implementation, Instance, Link, Node, Topology
from quiesce.planning import declared_options, plan_workflow, read_parameters, workflow_named

EVERYTHING = tuple(name for name in INTERFACES if name != STATISTICS_ALIAS)
SCRIPT = Description(name="script", factory="", functions=frozenset({"script_runner.tasks.run"}))
ACME = Description(
    name="acme",
    factory="",
    kinds=(
        Kind(
            name="machine",
            types=frozenset({"acme.Machine", "acme.Disk"}),
            capabilities=Capabilities(
                operations=frozenset(Operation), copies_backups=True, self_thaw=True, cheap_snapshot=True
            ),
        ),
    ),
)
POINT = BackupName("one")


def node(
    name: str,
    *,
    compute: bool = False,
    operations: Iterable[str] = EVERYTHING,
    kind: str = "made.Node",
    properties: Mapping[str, Json] | None = None,
) -> Node:
    """Return a node that brings *operations* as scripts."""
    hierarchy = ("cloudify.nodes.Root", *([COMPUTE] if compute else []), kind)
    return Node(
        id=NodeId(name),
        type=kind,
        type_hierarchy=hierarchy,
        properties=properties or {},
        operations={
            name: Implementation(plugin="script", function="script_runner.tasks.run") for name in operations
        },
    )


def topology(nodes: Iterable[Node], links: Mapping[str, Sequence[str]] | None = None) -> Topology:
    """Return one instance ``<node>_1`` for each of *nodes*; *links* tell what each depends on."""
    by_name = {each.id: each for each in nodes}
    instances = {
        InstanceId(f"{name}_1"): Instance(
            id=InstanceId(f"{name}_1"),
            node=name,
            links=tuple(
                Link(target=InstanceId(f"{target}_1"), type="t") for target in (links or {}).get(name, ())
            ),
        )
        for name in by_name
    }
    return Topology(nodes=by_name, instances=instances)


def point(held: Iterable[InstanceId], name: str = POINT, made_at: float = 1.0) -> RestorePoint:
    """Return a restore point that holds *held*."""
    return RestorePoint(
        deployment=DeploymentName("made"),
        name=BackupName(name),
        full=False,
        type="irregular",
        rotation=1,
        execution=ExecutionId("earlier"),
        state=PointState.COMPLETE,
        consistency=Consistency.CRASH,
        made_at=made_at,
        artifacts=tuple(
            Artifact(
                instance=instance,
                provider="script",
                function="",
                state=PointState.COMPLETE,
                consistency=Consistency.CRASH,
            )
            for instance in held
        ),
    )


def planned(
    workflow: str,
    where: Topology,
    points: Sequence[RestorePoint] | None = None,
    descriptions: Sequence[Description] = (SCRIPT, ACME),
    former: Mapping[InstanceId, FormerState] | None = None,
    **given: Json,
) -> Plan:
    """Return the plan; workflows that need a restore point get one that holds everything."""
    if workflow == "extract":
        given.setdefault("target", "/elsewhere")
    if workflow_named(workflow).takes_points:
        points = [point(where.instances)] if points is None else points
        if not given.get("all"):
            given.setdefault("snapshot_name", points[0].name)
    if workflow == "backup":
        given.setdefault("snapshot_name", POINT)
    return plan_workflow(
        workflow,
        where,
        descriptions,
        read_parameters(workflow, given, now=0.0, options=declared_options(descriptions)),
        points=points or (),
        safety_name=BackupName("safety"),
        former=former,
    )


def groups(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return the groups that have steps, each with the instances' names in the plan's order."""
    members: list[list[str]] = [[] for _ in plan.groups]
    for step in plan.steps:
        members[step.group].append(step.instance.removesuffix("_1"))
    return [(group.title, names) for group, names in zip(plan.groups, members, strict=True) if names]


def comes_before(plan: Plan, operation: Operation) -> set[tuple[str, str]]:
    """Return the pairs (earlier, later) of instances that *plan* orders within *operation*'s groups."""
    steps = {
        step.id: step for step in plan.steps if step.operation is operation and step.role is not Role.UNDO
    }
    return {
        (steps[first].instance.removesuffix("_1"), step.instance.removesuffix("_1"))
        for step in steps.values()
        for first in step.after
    }


def order_of(plan: Plan, operation: Operation) -> dict[InstanceId, int]:
    """Return the earliest turn at which each instance's *operation* may begin: group first, then edges."""
    turns: dict[str, tuple[int, int]] = {}
    waiting = [step for step in plan.steps if step.operation is operation and step.role is not Role.UNDO]
    while waiting:
        ready = [step for step in waiting if all(first in turns for first in step.after)]
        assert ready, "a circle in the plan"
        for step in ready:
            turns[step.id] = (step.group, 1 + max((turns[first][1] for first in step.after), default=0))
        waiting = [step for step in waiting if step.id not in turns]
    ranks = sorted(set(turns.values()))
    by_id = {step.id: step for step in plan.steps}
    return {by_id[name].instance: ranks.index(turn) for name, turn in turns.items()}


def settled_by(plan: Plan) -> dict[str | None, Step]:
    """Return the thaw that settles each step."""
    return {step.of: step for step in plan.steps if step.role is Role.SETTLE}


relaxed = settings(max_examples=60)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Up to nine nodes with any operations, computes and services, linked at will, in circles too."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 9)))]
    bits = st.integers(0, 2 ** len(EVERYTHING) - 1)
    nodes = [
        node(
            name,
            compute=draw(st.booleans()),
            operations=_chosen(EVERYTHING, draw(bits) | draw(bits)),
            properties={"skip_actions": list(_chosen(EVERYTHING, draw(bits) & draw(bits) & draw(bits)))},
        )
        for name in names
    ]
    masks = st.integers(0, 2 ** len(names) - 1)
    links = {name: _chosen(names, draw(masks) & draw(masks)) for name in names}
    return topology(nodes, {name: [t for t in targets if t != name] for name, targets in links.items()})


def _chosen(names: Sequence[str], mask: int) -> list[str]:
    return [name for position, name in enumerate(names) if mask >> position & 1]
