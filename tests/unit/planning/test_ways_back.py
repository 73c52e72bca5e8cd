"""Before a restore it is said of whom there is no way back, and what goes beside replaces nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId, Json
from quiesce.model.operation import SNAPSHOT_APPLY, SNAPSHOT_CREATE, SNAPSHOT_DELETE, Operation
from quiesce.model.plan import Plan
from quiesce.providers import gcp, host, libvirt, openstack, vsphere

from .made import SCRIPT, node, planned, point, topology

DESCRIPTIONS = [each.DESCRIPTION for each in (gcp, host, libvirt, openstack, vsphere)] + [SCRIPT]
MACHINES = {
    "libvirt": "quiesce.nodes.libvirt.Domain",
    "openstack": "quiesce.nodes.openstack.Server",
    "vsphere": "quiesce.nodes.vsphere.Server",
    "gcp": "quiesce.nodes.gcp.Instance",
}
LOST = "there is no way back from this restore"


def restored(
    kind: str, properties: dict[str, Json] | None = None, *, full: bool = True, **given: Json
) -> Plan:
    where = topology([node("vm", kind=kind, operations=(), properties=properties)])
    held = replace(point([InstanceId("vm_1")]), full=full)
    return planned("restore", where, [held], DESCRIPTIONS, **given)


def lost(plan: Plan) -> list[str]:
    return [warning for warning in plan.warnings if LOST in warning]


@pytest.mark.parametrize("platform", ["openstack", "gcp"])
def test_a_machine_without_undo_and_without_safety_point_is_named(platform: str) -> None:
    """Neither the plan's warnings nor the restore's events said a word."""
    (warning,) = lost(restored(MACHINES[platform]))
    assert warning.startswith("vm_1: ")
    assert "safety_snapshot=true takes one" in warning
    assert lost(restored(MACHINES[platform], safety_snapshot=True)) == []


@pytest.mark.parametrize("platform", ["libvirt", "vsphere"])
def test_a_machine_with_a_safety_point_is_named_only_when_that_is_declined(platform: str) -> None:
    assert lost(restored(MACHINES[platform])) == []
    assert len(lost(restored(MACHINES[platform], safety_snapshot=False))) == 1


def test_what_an_undo_brings_back_is_not_named_unless_it_is_declined() -> None:
    assert lost(restored(host.DIRECTORY)) == []
    assert len(lost(restored(host.DIRECTORY, keep_undo="0"))) == 1


def test_what_cannot_be_saved_first_is_said_so() -> None:
    where = topology([node("vm", operations=(SNAPSHOT_APPLY,))])
    (warning,) = lost(planned("restore", where, [point([InstanceId("vm_1")])], DESCRIPTIONS))
    assert "none can be taken" in warning


@pytest.mark.parametrize(
    ("platform", "option", "value"),
    [("libvirt", "restore_as", "vm2"), ("vsphere", "restore_to", "vm2"), ("gcp", "restore_beside", True)],
)
def test_what_goes_beside_needs_no_way_back(platform: str, option: str, value: Json) -> None:
    declined = {"safety_snapshot": False}
    assert lost(restored(MACHINES[platform], {option: value}, **declined)) == []
    assert lost(restored(MACHINES[platform], **{f"{platform}_{option}": value}, **declined)) == []


@pytest.mark.parametrize(("platform", "option"), [("libvirt", "restore_as"), ("vsphere", "restore_to")])
def test_a_snapshot_is_never_put_in_place_where_another_machine_was_asked_for(
    platform: str, option: str
) -> None:
    """The option was passed over, no safety point was taken because of it, and the machine was replaced."""
    with pytest.raises(PlanError, match=f"vm_1 can go back to only in its own place; {option} asks"):
        restored(MACHINES[platform], {option: "vm2"}, full=False)
    assert lost(restored(MACHINES["gcp"], {"restore_beside": True}, full=False)) == []


@pytest.mark.parametrize("platform", MACHINES)
def test_a_restored_machine_is_probed_and_one_that_is_not_restored_is_not(platform: str) -> None:
    """What the restore point does not hold may not even be there."""
    where = topology([node(name, kind=MACHINES[platform], operations=()) for name in ("vm", "other")])
    plan = planned("restore", where, [point([InstanceId("vm_1")])], DESCRIPTIONS)
    assert [s.instance for s in plan.steps if s.operation is Operation.PROBE] == ["vm_1"]
    assert {s.point for s in plan.steps if s.operation is Operation.PROBE} == {"one"}


@pytest.mark.parametrize("platform", MACHINES)
def test_a_machine_that_scripts_put_back_is_not_asked_by_its_platform(platform: str) -> None:
    """That would need credentials and an SDK that the blueprint never needed."""
    vm = node("vm", kind=MACHINES[platform], operations=(SNAPSHOT_CREATE, SNAPSHOT_APPLY, SNAPSHOT_DELETE))
    plan = planned("restore", topology([vm]), None, DESCRIPTIONS)
    assert [step for step in plan.steps if step.operation is Operation.PROBE] == []
