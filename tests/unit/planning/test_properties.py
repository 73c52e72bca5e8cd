"""What holds for every plan of every topology, circles of relationships included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId
from quiesce.model.operation import FS_FINALIZE, INTERFACES, REPLACING, RESTORE_VERIFY, Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.topology import Topology
from quiesce.planning import WORKFLOWS, parameters_of, predict_window_s, read_parameters
from quiesce.planning.ordering import depends_on, turned

from .made import order_of, planned, relaxed, settled_by, topologies

workflows = st.sampled_from(sorted(WORKFLOWS))

#: what each operation must wait for: what depends on the instance, or what the instance depends on
DEPENDENTS_FIRST = (Operation.FREEZE, Operation.SUSPEND, Operation.STOP)
DEPENDENTS_LAST = (Operation.THAW, Operation.RESUME, Operation.START, Operation.PROBE, *REPLACING)


def plan_or_none(workflow: str, where: Topology, **parameters: object) -> Plan | None:
    try:
        return planned(workflow, where, **parameters)  # type: ignore[arg-type]
    except PlanError:
        return None  # nothing takes part


#: a machine's apply may switch it off; a node that cannot be frozen may have a thaw all the same
_SETTLED_BY = {
    Operation.FREEZE: {Operation.THAW},
    Operation.STOP: {Operation.START},
    Operation.APPLY: {Operation.START, Operation.THAW},
}


@relaxed
@given(where=topologies(), workflow=workflows)
def test_a_dependent_is_frozen_before_what_it_depends_on_and_thawed_after_it(
    where: Topology, workflow: str
) -> None:
    """Whatever the relationships, except for the edge that closes a circle; groups come first."""
    plan = plan_or_none(workflow, where)
    for step in plan.steps if plan else ():
        group = [other for other in plan.steps if other.group == step.group] if plan else []
        edges = depends_on(where, tuple(other.instance for other in group))
        if step.role is Role.UNDO or step.operation not in (*DEPENDENTS_FIRST, *DEPENDENTS_LAST):
            assert step.after == ()
            continue
        expected = turned(edges) if step.operation in DEPENDENTS_FIRST else edges
        by_id = {other.id: other.instance for other in group}
        assert {by_id[name] for name in step.after} == expected[step.instance]


@relaxed
@given(where=topologies())
def test_direct_dependencies_are_kept_but_for_the_edges_that_close_a_circle(where: Topology) -> None:
    everyone = tuple(where.instances)
    edges = depends_on(where, everyone)
    for instance in where.instances.values():
        for link in instance.links:
            if link.target not in edges[instance.id]:
                assert instance.id in _reachable(link.target, edges), "left out although no circle is closed"


@relaxed
@given(where=topologies(), workflow=workflows)
def test_no_plan_has_a_circle_and_steps_wait_within_their_group_only(where: Topology, workflow: str) -> None:
    plan = plan_or_none(workflow, where)
    if plan is None:
        return
    by_id = {step.id: step for step in plan.steps}
    assert len(by_id) == len(plan.steps), "two steps of one name"
    for operation in Operation:
        order_of(plan, operation)
    for step in plan.steps:
        assert {by_id[name].group for name in step.after} <= {step.group}


@relaxed
@given(where=topologies(), workflow=st.sampled_from(["backup", "restore"]))
def test_a_thaw_settles_every_freeze_of_a_node_that_can_thaw(where: Topology, workflow: str) -> None:
    plan = plan_or_none(workflow, where)
    if plan is None:
        return
    settled = settled_by(plan)
    for step in plan.steps:
        node = where.nodes[step.node]
        can_thaw = FS_FINALIZE in node.operations and FS_FINALIZE not in node.skip_actions
        if step.operation is Operation.FREEZE and can_thaw:
            assert settled[step.id].instance == step.instance
    by_id: dict[str, Step] = {step.id: step for step in plan.steps}
    for step in plan.steps:
        if step.role is Role.SETTLE:
            assert step.operation in _SETTLED_BY[by_id[step.of].operation if step.of else Operation.FREEZE]


@relaxed
@given(where=topologies(), workflow=workflows)
def test_the_same_request_gives_the_same_plan_and_another_request_another(
    where: Topology, workflow: str
) -> None:
    first, second = plan_or_none(workflow, where), plan_or_none(workflow, where)
    assert first == second
    if first is not None and second is not None:
        other = plan_or_none(workflow, where, parallel=7)
        assert first.digest == second.digest
        assert other is not None
        assert other.digest != first.digest


@relaxed
@given(where=topologies(), workflow=workflows)
def test_skipped_actions_are_in_no_plan(where: Topology, workflow: str) -> None:
    plan = plan_or_none(workflow, where)
    for step in plan.steps if plan else ():
        assert step.interface not in where.nodes[step.node].skip_actions
        assert step.interface in where.nodes[step.node].operations
        assert step.interface in WORKFLOWS[workflow].interfaces


@relaxed
@given(where=topologies(), workflow=workflows, data=st.data())
def test_only_what_is_chosen_takes_part_and_its_steps_stay_the_same(
    where: Topology, workflow: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(sorted(where.instances)), min_size=1))
    whole = plan_or_none(workflow, where)
    part = plan_or_none(workflow, where, include_instances=sorted(chosen))
    if part is None or whole is None:
        return
    assert {step.instance for step in part.steps} <= chosen
    assert {s.id for s in part.steps} == {s.id for s in whole.steps if s.instance in chosen}


@relaxed
@given(where=topologies(), workflow=workflows)
def test_the_window_holds_every_cut_between_freeze_and_thaw(where: Topology, workflow: str) -> None:
    plan = plan_or_none(workflow, where)
    if plan is None:
        return
    where_is = {
        operation: [s.group for s in plan.steps if s.operation is operation] for operation in Operation
    }
    for earlier, later in (
        (Operation.FREEZE, Operation.SNAPSHOT),
        (Operation.FREEZE, Operation.APPLY),
        (Operation.SNAPSHOT, Operation.THAW),
        (Operation.APPLY, Operation.THAW),
    ):
        if where_is[earlier] and where_is[later]:
            assert max(where_is[earlier]) < min(where_is[later])


@relaxed
@given(where=topologies(), parallel=st.integers(1, 12))
def test_the_predicted_window_is_never_below_what_the_steps_need(where: Topology, parallel: int) -> None:
    plan = plan_or_none("backup", where, parallel=parallel)
    if plan is None:
        return
    predicted = predict_window_s(plan, lambda _: 1.0)
    freezes = [s for s in plan.steps if s.operation is Operation.FREEZE]
    assert (predicted == 0.0) == (not freezes)
    alone = predict_window_s(plan_or_none("backup", where, parallel=1) or plan, lambda _: 1.0)
    assert predicted <= alone
    if freezes:
        assert predicted >= len(freezes) / parallel


@relaxed
@given(where=topologies())
def test_measuring_disturbs_nothing(where: Topology) -> None:
    plan = plan_or_none("statistics", where)
    assert {step.operation for step in plan.steps if plan} <= {Operation.MEASURE} if plan else True


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_declared_parameter_reaches_the_plan(workflow: str) -> None:
    """A parameter that changes nothing anywhere would be a dead option."""
    samples = {
        "snapshot_name": "two",
        "snapshot_incremental": False,
        "snapshot_type": "daily",
        "snapshot_rotation": 7,
        "include_instances": ["a_1"],
        "include_nodes": ["a"],
        "exclude_nodes": ["b"],
        "include_types": ["t"],
        "exclude_types": ["t"],
        "max_freeze": "5s",
        "on_prepare_error": "continue",
        "min_consistency": "crash",
        "keep_partial": True,
        "safety_snapshot": True,
        "apply_network": True,
        "verify_first": "quick",
        "keep_undo": 0 if workflow == "restore" else 5,
        "undo_to": "restored",
        "target": "/elsewhere",
        "to": "staging",
        "map": ["a_1=b_1"],
        "all": True,
        "parallel": 3,
        "task_retries": 9,
        "task_retry_interval": "2m",
        "operation_timeout": 12,
    }
    base = {} if workflow != "remove_backup" else {"snapshot_name": "one"}
    plain = read_parameters(workflow, base, now=0.0)
    for parameter in parameters_of(workflow):
        given_too = {} if parameter.name == "all" else base
        changed = read_parameters(workflow, {**given_too, parameter.name: samples[parameter.name]}, now=0.0)
        assert getattr(changed, parameter.field or parameter.name) != getattr(
            plain, parameter.field or parameter.name
        )
        assert parameter.name in changed.raw


def _reachable(start: InstanceId, edges: object) -> set[InstanceId]:
    seen: set[InstanceId] = set()
    stack = [start]
    while stack:
        instance = stack.pop()
        for other in edges[instance]:  # type: ignore[index]
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen


def test_every_operation_of_the_dsl_belongs_to_some_workflow() -> None:
    """But for a check of what is stored, which is asked before and between executions."""
    run = {name for workflow in WORKFLOWS.values() for name in workflow.interfaces}
    assert run | {RESTORE_VERIFY} == set(INTERFACES)
    assert RESTORE_VERIFY not in run
