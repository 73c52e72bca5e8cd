"""The exact groups and order of each workflow, on topologies made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quiesce.errors import PlanError, UnknownNameError, UsageError
from quiesce.model.former_state import FormerState, Side
from quiesce.model.ids import ExecutionId, InstanceId
from quiesce.model.operation import (
    BACKUP_PREPARE,
    FREEZE_RESUME,
    FREEZE_SUSPEND,
    FS_FINALIZE,
    FS_PREPARE,
    LIFECYCLE_RESUME,
    LIFECYCLE_SUSPEND,
    RESTORE_POWER_ON,
    RESTORE_START,
    RESTORE_STOP,
    SNAPSHOT_APPLY,
    SNAPSHOT_CREATE,
    SNAPSHOT_DELETE,
    STATISTICS,
    STATISTICS_ALIAS,
    Operation,
)
from quiesce.model.plan import Role
from quiesce.model.restore_point import PointState
from quiesce.model.topology import Topology
from quiesce.planning import WORKFLOWS, workflow_named

from .made import ACME, SCRIPT, comes_before, groups, node, planned, point, settled_by, topology


@pytest.fixture
def three_tiers() -> Topology:
    """``app`` and ``db``, each on a machine of its own; ``app`` uses ``db``."""
    return topology(
        [node("app"), node("db"), node("vm1", compute=True), node("vm2", compute=True)],
        {"app": ["vm1", "db"], "db": ["vm2"]},
    )


def test_suspend_runs_the_deprecated_operation_of_all_and_then_the_other(three_tiers: Topology) -> None:
    plan = planned("suspend", three_tiers)
    everyone = ["app", "db", "vm1", "vm2"]
    assert groups(plan) == [("suspend (deprecated)", everyone), ("suspend", everyone)]
    assert [step.interface for step in plan.steps] == [LIFECYCLE_SUSPEND] * 4 + [FREEZE_SUSPEND] * 4
    assert comes_before(plan, Operation.SUSPEND) == {("app", "vm1"), ("app", "db"), ("db", "vm2")}
    assert not plan.carry_on


def test_resume_runs_the_operation_of_all_and_then_the_deprecated_one(three_tiers: Topology) -> None:
    plan = planned("resume", three_tiers)
    assert [title for title, _ in groups(plan)] == ["resume", "resume (deprecated)"]
    assert [step.interface for step in plan.steps] == [FREEZE_RESUME] * 4 + [LIFECYCLE_RESUME] * 4
    assert comes_before(plan, Operation.RESUME) == {("vm1", "app"), ("db", "app"), ("vm2", "db")}


def test_backup_freezes_services_then_computes_cuts_and_thaws_in_reverse(three_tiers: Topology) -> None:
    plan = planned("backup", three_tiers)
    assert groups(plan) == [
        ("prepare", ["app", "db", "vm1", "vm2"]),
        ("freeze services", ["app", "db"]),
        ("freeze computes", ["vm1", "vm2"]),
        ("cut", ["app", "db", "vm1", "vm2"]),
        ("thaw computes", ["vm1", "vm2"]),
        ("thaw services", ["app", "db"]),
        ("remove incomplete cuts", ["app", "db", "vm1", "vm2"]),
    ]
    interfaces = dict.fromkeys(step.interface for step in plan.steps)
    assert list(interfaces) == [BACKUP_PREPARE, FS_PREPARE, SNAPSHOT_CREATE, FS_FINALIZE, SNAPSHOT_DELETE]
    assert comes_before(plan, Operation.FREEZE) == {("app", "db")}
    assert comes_before(plan, Operation.THAW) == {("db", "app")}
    assert comes_before(plan, Operation.SNAPSHOT) == set()


def test_restore_goes_through_its_groups(three_tiers: Topology) -> None:
    plan = planned("restore", three_tiers)
    assert groups(plan) == [
        ("stop", ["app", "db", "vm1", "vm2"]),
        ("freeze services", ["app", "db"]),
        ("freeze computes", ["vm1", "vm2"]),
        ("apply", ["app", "db", "vm1", "vm2"]),
        ("power on", ["app", "db", "vm1", "vm2"]),
        ("thaw computes", ["vm1", "vm2"]),
        ("thaw services", ["app", "db"]),
        ("start", ["app", "db", "vm1", "vm2"]),
        ("probe", ["app", "db", "vm1", "vm2"]),
        ("keep the undo", ["app", "db", "vm1", "vm2"]),
    ]
    dependents_last = {("vm1", "app"), ("db", "app"), ("vm2", "db")}
    assert comes_before(plan, Operation.STOP) == {(dependent, on) for on, dependent in dependents_last}
    for operation in (Operation.APPLY, Operation.START, Operation.PROBE):
        assert comes_before(plan, operation) == dependents_last


def test_a_start_is_owed_from_the_moment_its_stop_begins(three_tiers: Topology) -> None:
    plan = planned("restore", three_tiers)
    starts = {step.of: step for step in plan.steps if step.interface == RESTORE_START}
    stops = [step for step in plan.steps if step.operation is Operation.STOP]
    assert {start.role for start in starts.values()} == {Role.SETTLE}
    assert {stop.id: stop.instance for stop in stops} == {of: s.instance for of, s in starts.items()}


def test_what_an_apply_switches_off_is_owed_its_power_since_that_began() -> None:
    """Also where the blueprint stops and starts what runs in the machine by scripts of its own."""
    (kind,) = ACME.kinds
    operations = kind.capabilities.operations - {Operation.STOP}
    capabilities = replace(
        kind.capabilities, operations=operations, beside="restore_as", beside_snapshots=True
    )
    acme = replace(ACME, kinds=(replace(kind, capabilities=capabilities),))
    for own in ((), (RESTORE_STOP, RESTORE_START)):
        where = topology([node("vm", operations=own, kind="acme.Machine")])
        plan = planned("restore", where, descriptions=[acme, SCRIPT])
        (power_on,) = (step for step in plan.steps if step.interface == RESTORE_POWER_ON)
        assert (power_on.of, power_on.role, power_on.provider) == ("vm_1.apply", Role.SETTLE, "acme")
        assert power_on.of in plan.indebting
    other = topology([node("vm", operations=(), kind="acme.Machine", properties={"restore_as": "vm2"})])
    beside = planned("restore", other, descriptions=[acme, SCRIPT])
    assert any(step.beside for step in beside.steps)
    assert not any(step.interface == RESTORE_POWER_ON for step in beside.steps)


def test_what_could_not_be_started_again_is_not_stopped() -> None:
    where = topology([node("db", operations=[SNAPSHOT_APPLY, RESTORE_STOP])])
    with pytest.raises(PlanError, match=r"db has quiesce\.interfaces\.restore\.stop but no"):
        planned("restore", where)


def test_a_blueprint_without_the_new_interfaces_keeps_the_order_of_calls(three_tiers: Topology) -> None:
    old = [
        replace(each, operations={n: i for n, i in each.operations.items() if ".restore." not in n})
        for each in three_tiers.nodes.values()
    ]
    plan = planned("restore", replace(three_tiers, nodes={each.id: each for each in old}))
    assert [title for title, _ in groups(plan)] == [
        "freeze services",
        "freeze computes",
        "apply",
        "thaw computes",
        "thaw services",
    ]


def test_an_operation_that_needs_a_property_is_only_where_that_is_set() -> None:
    needs = {Operation.STOP: frozenset({"start"}), Operation.START: frozenset({"start"})}
    (kind,) = ACME.kinds
    acme = replace(ACME, kinds=(replace(kind, capabilities=replace(kind.capabilities, needs=needs)),))
    for properties, expected in (({}, False), ({"start": "run"}, True), ({"start": ""}, False)):
        machine = replace(node("vm", operations=(), kind="acme.Machine"), properties=properties)
        titles = dict(groups(planned("restore", topology([machine]), descriptions=[acme])))
        assert ("stop" in titles, "start" in titles) == (expected, expected)


def test_an_undo_freezes_exchanges_and_thaws_what_is_kept(three_tiers: Topology) -> None:
    former = {InstanceId(f"{name}_1"): kept() for name in ("app", "db", "vm1")}
    plan = planned("undo_restore", three_tiers, former=former)
    assert groups(plan) == [
        ("stop", ["app", "db", "vm1", "vm2"]),
        ("freeze services", ["app", "db"]),
        ("freeze computes", ["vm1", "vm2"]),
        ("exchange with what is kept", ["app", "db", "vm1"]),
        ("thaw computes", ["vm1", "vm2"]),
        ("thaw services", ["app", "db"]),
        ("start", ["app", "db", "vm1", "vm2"]),
        ("probe", ["app", "db", "vm1", "vm2"]),
    ]
    assert comes_before(plan, Operation.REVERT) == {("vm1", "app"), ("db", "app")}


def test_without_anything_kept_there_is_no_undo(three_tiers: Topology) -> None:
    with pytest.raises(PlanError, match="undone"):
        planned("undo_restore", three_tiers, former={})


def test_extracting_touches_nothing_and_names_what_it_cannot_do(three_tiers: Topology) -> None:
    assert groups(planned("extract", three_tiers)) == [("extract", ["app", "db", "vm1", "vm2"])]
    unable = topology([node("disk", operations=(SNAPSHOT_CREATE, SNAPSHOT_APPLY)), node("tree")])
    with pytest.raises(PlanError, match="disk_1"):
        planned("extract", unable)


def kept() -> FormerState:
    return FormerState(
        execution=ExecutionId("restore-1"),
        point=None,
        replaced_at=1.0,
        succeeded=True,
        kept=Side.FORMER,
        place="beside",
    )


def test_restore_leaves_alone_what_is_only_half_there(three_tiers: Topology) -> None:
    whole = point(three_tiers.instances)
    artifacts = tuple(
        replace(artifact, state=PointState.INCOMPLETE) if artifact.instance.startswith("vm") else artifact
        for artifact in whole.artifacts
    )
    partial = replace(whole, state=PointState.PARTIAL, artifacts=artifacts)
    plan = planned("restore", three_tiers, points=[partial])
    assert ("apply", ["app", "db"]) in groups(plan)
    assert [warning for warning in plan.warnings if "incomplete" in warning and "vm1" in warning]


def test_restore_tells_what_comes_back_without_its_rights() -> None:
    """Unless the node allows it; nothing is said of what holds nothing of the kind."""
    nodes = [node("a"), node("b", properties={"allow_privileged": True}), node("c")]
    where = topology(nodes)
    held = point(where.instances)
    content = [{"privileged": 2}, {"privileged": 2}, {"privileged": 0}]
    artifacts = [replace(each, content=facts) for each, facts in zip(held.artifacts, content, strict=True)]
    plan = planned("restore", where, points=[replace(held, artifacts=tuple(artifacts))])
    (warning,) = plan.warnings
    assert "a_1: 2 entries" in warning
    assert "allow_privileged" in warning


def test_restore_takes_a_safety_cut_within_the_freeze_when_asked(three_tiers: Topology) -> None:
    titles = [title for title, _ in groups(planned("restore", three_tiers, safety_snapshot=True))]
    assert titles == [
        "stop",
        "freeze services",
        "freeze computes",
        "safety cut",
        "apply",
        "power on",
        "thaw computes",
        "thaw services",
        "start",
        "probe",
        "keep the undo",
        "remove the unused safety cut",
    ]


def test_a_safety_cut_is_taken_by_itself_where_it_is_cheap() -> None:
    machine = topology([node("disk", operations=(), kind="acme.Disk")])
    assert "safety cut" in dict(groups(planned("restore", machine)))
    assert "safety cut" not in dict(groups(planned("restore", machine, safety_snapshot=False)))


def test_a_restored_instance_owes_a_thaw_even_if_it_was_not_frozen() -> None:
    where = topology([node("vm", operations=[SNAPSHOT_APPLY, FS_FINALIZE])])
    plan = planned("restore", where)
    (apply,) = (step for step in plan.steps if step.operation is Operation.APPLY)
    assert settled_by(plan)[apply.id].operation is Operation.THAW


def test_remove_backup_deletes_and_disturbs_nothing(three_tiers: Topology) -> None:
    plan = planned("remove_backup", three_tiers)
    assert groups(plan) == [("delete one", ["app", "db", "vm1", "vm2"])]
    assert {step.operation for step in plan.steps} == {Operation.DELETE}
    assert {step.role for step in plan.steps} == {Role.MAIN}
    assert plan.carry_on


def test_remove_backup_of_all_begins_with_the_newest(three_tiers: Topology) -> None:
    everyone = tuple(three_tiers.instances)
    points = [point(everyone, "old", 1.0), point(everyone, "new", 3.0), point(everyone[:1], "mid", 2.0)]
    plan = planned("remove_backup", three_tiers, points=points, all=True)
    assert [title for title, _ in groups(plan)] == ["delete new", "delete mid", "delete old"]


def test_remove_backup_of_chosen_instances_leaves_the_others(three_tiers: Topology) -> None:
    plan = planned("remove_backup", three_tiers, include_nodes="db")
    assert groups(plan) == [("delete one", ["db"])]


def test_statistics_measures_all_in_no_order_and_knows_both_spellings() -> None:
    where = topology(
        [
            node("old", operations=[STATISTICS]),
            node("new", operations=[STATISTICS_ALIAS]),
            node("both", operations=[STATISTICS, STATISTICS_ALIAS]),
            node("none", operations=[]),
        ],
        {"old": ["new"]},
    )
    plan = planned("statistics", where)
    assert groups(plan) == [("measure", ["old", "both"]), ("measure (other spelling)", ["new"])]
    assert all(step.after == () for step in plan.steps)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_node_without_operations_is_passed_over(workflow: str, three_tiers: Topology) -> None:
    with_idle = topology([*three_tiers.nodes.values(), node("idle", operations=[])])
    held = [point(three_tiers.instances)] if workflow_named(workflow).takes_points else None
    assert "idle_1" not in {step.instance for step in planned(workflow, with_idle, held).steps}


def test_order_looks_through_instances_that_do_not_take_part() -> None:
    where = topology(
        [node("app"), node("glue", operations=[]), node("vm", compute=True)],
        {"app": ["glue"], "glue": ["vm"]},
    )
    assert comes_before(planned("suspend", where), Operation.SUSPEND) == {("app", "vm")}


@pytest.mark.parametrize("incremental", [True, False])
def test_a_copy_follows_the_thaw_where_the_provider_copies(incremental: bool) -> None:
    where = topology([node("vm", compute=True, operations=(), kind="acme.Machine")])
    titles = [title for title, _ in groups(planned("backup", where, snapshot_incremental=incremental))]
    expected = ["prepare", "freeze computes", "cut", "thaw computes", "copy", "remove incomplete cuts"]
    expected.append("remove what was prepared")
    assert titles == [title for title in expected if title != "copy" or not incremental]


def test_what_a_provider_has_prepared_is_removed_when_no_cut_comes_of_it() -> None:
    """What a blueprint's own operation leaves is not known, so its removal is not asked for that."""
    where = topology([node("vm", operations=(), kind="acme.Machine"), node("db")])
    plan = planned("backup", where)
    removals = {step.id: step.of for step in plan.steps if step.id.endswith(".prepare.undo")}
    assert removals == {"vm_1.delete.prepare.undo": "vm_1.prepare"}
    assert {s.instance for s in plan.steps if s.operation is Operation.PREPARE} == {"vm_1", "db_1"}


def test_keep_partial_plans_no_removal(three_tiers: Topology) -> None:
    plan = planned("backup", three_tiers, keep_partial=True)
    assert {step.role for step in plan.steps} == {Role.MAIN, Role.SETTLE}


def test_a_freeze_that_is_only_offered_is_left_out_of_restore() -> None:
    where = topology([node("vm", compute=True, operations=(), kind="acme.Machine")])
    assert "freeze computes" in dict(groups(planned("backup", where)))
    restore = dict(groups(planned("restore", where)))
    assert "freeze computes" not in restore


def test_what_is_stopped_is_frozen_only_where_the_blueprint_brings_the_freeze() -> None:
    ours = node("vm", compute=True, operations=(), kind="acme.Machine")
    theirs = node("db", kind="acme.Machine")
    (kind,) = ACME.kinds
    eager = replace(kind.capabilities, freeze_for_apply=True)
    acme = replace(ACME, kinds=(replace(kind, capabilities=eager),))
    plan = planned("restore", topology([ours, theirs]), descriptions=[SCRIPT, acme])
    for operation in (Operation.FREEZE, Operation.THAW):
        assert {step.instance for step in plan.steps if step.operation is operation} == {"db_1"}


def test_what_a_blueprint_brings_wins_over_what_is_offered() -> None:
    machine = node("vm", compute=True, operations=[FS_PREPARE], kind="acme.Machine")
    plan = planned("backup", topology([machine]))
    freeze, *others = (s for s in plan.steps if s.operation in (Operation.FREEZE, Operation.THAW))
    assert (freeze.provider, freeze.declared) == ("script", True)
    assert others == [], "a thaw of another kind than the freeze is never put beside it"
    assert any("no thaw is planned" in warning for warning in plan.warnings)


def test_an_implementation_that_nobody_answers_for_is_named_unless_it_is_skipped() -> None:
    where = topology([node("vm")])
    with pytest.raises(PlanError, match=r"vm: cloudify\.interfaces\.snapshot\.create is 'script_runner"):
        planned("backup", where, descriptions=[ACME])
    skipping = topology([node("vm", properties={"skip_actions": [LIFECYCLE_SUSPEND, FREEZE_SUSPEND]})])
    assert planned("suspend", skipping, descriptions=[ACME]).steps == ()


def test_nothing_to_cut_is_an_error() -> None:
    with pytest.raises(PlanError, match="nothing can be backed up"):
        planned("backup", topology([node("vm", operations=[FS_PREPARE, FS_FINALIZE])]))


def test_nothing_to_apply_is_an_error_that_says_what_there_is(three_tiers: Topology) -> None:
    with pytest.raises(PlanError, match="it holds: db_1"):
        planned("restore", three_tiers, points=[point([*three_tiers.instances][1:2])], include_nodes="app")


def test_an_unknown_workflow_lists_those_there_are(three_tiers: Topology) -> None:
    with pytest.raises(UnknownNameError, match=r"there is: backup, .*remove_backup, restore"):
        planned("bakcup", three_tiers)


def test_selections_are_combined(three_tiers: Topology) -> None:
    chosen = planned(
        "suspend", three_tiers, include_types="made.Node", exclude_types="cloudify.nodes.Compute"
    )
    assert {step.node for step in chosen.steps} == {"app", "db"}
    with pytest.raises(PlanError, match="no instance takes part"):
        planned("suspend", three_tiers, include_nodes="app", exclude_nodes="app")


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("include_instances", "app_2"),
        ("include_nodes", "ap"),
        ("exclude_nodes", "ap"),
        ("include_types", "made.Nod"),
        ("exclude_types", "made.Nod"),
    ],
)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_an_unknown_name_is_an_error_before_anything_runs(
    workflow: str, parameter: str, name: str, three_tiers: Topology
) -> None:
    with pytest.raises(UnknownNameError, match=f"there is no node.* '{name}'"):
        planned(workflow, three_tiers, **{parameter: [name]})


def test_remove_backup_wants_a_name_or_all_and_not_both(three_tiers: Topology) -> None:
    with pytest.raises(UsageError, match="a snapshot_name, or all=true, and not both"):
        planned("remove_backup", three_tiers, all=True, snapshot_name="one")
