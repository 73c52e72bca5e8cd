"""What a cut is worth, what it refuses, and what it leaves out visibly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import CannotFreezeError, NonRecoverableError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.model.topology import Implementation
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.inventory import DiskBacking, PowerState
from quiesce.providers.vsphere.vcenter import SnapshotRequest
from quiesce.testing.fake_vcenter import FakeVCenter

Options = Callable[..., dict[str, Any]]


class Unwilling(FakeVCenter):
    """Its guests do not manage to quiesce."""

    def create_snapshot(self, machine: str, request: SnapshotRequest, deadline: Deadline) -> str:
        if request.quiesce:
            raise CannotFreezeError("FilesystemQuiesceFault")
        return super().create_snapshot(machine, request, deadline)


def _change(site: Any, **changes: Any) -> None:
    site.world.machines[site.machine] = replace(site.world.machines[site.machine], **changes)


def _change_disk(site: Any, **changes: Any) -> None:
    (disk,) = site.world.machines[site.machine].disks
    _change(site, disks=(replace(disk, **changes),))


def test_where_tools_run_the_cut_is_worth_file_systems(site: Any) -> None:
    outcome = site.perform(Operation.SNAPSHOT)
    assert outcome.consistency is Consistency.FILESYSTEM
    assert outcome.note == ""


def test_without_tools_the_cut_is_worth_a_crash_and_says_why(site: Any) -> None:
    _change(site, tools_running=False)
    outcome = site.perform(Operation.SNAPSHOT)
    assert outcome.consistency is Consistency.CRASH
    assert "VMware Tools" in outcome.note


def test_a_machine_that_is_off_needs_no_tools(site: Any) -> None:
    _change(site, tools_running=False, power=PowerState.OFF)
    assert site.perform(Operation.SNAPSHOT).consistency is None


def test_a_suspended_machine_is_worth_a_crash(site: Any) -> None:
    _change(site, power=PowerState.SUSPENDED)
    outcome = site.perform(Operation.SNAPSHOT)
    assert outcome.consistency is Consistency.CRASH
    assert "suspended" in outcome.note


def test_a_guest_that_does_not_quiesce_is_cut_all_the_same_and_says_so(site: Any) -> None:
    outcome = site.perform(Operation.SNAPSHOT, Unwilling(site.world))
    assert outcome.consistency is Consistency.CRASH
    assert "did not" in outcome.note
    assert any("did not quiesce" in line for _, line in site.context.lines)


def test_a_guest_that_must_quiesce_and_does_not_fails_the_cut(site: Any, option: Options) -> None:
    with pytest.raises(CannotFreezeError):
        site.perform(Operation.SNAPSHOT, Unwilling(site.world), properties=option(quiesce="always"))
    assert not site.world.cuts


def test_without_tools_a_guest_that_must_quiesce_fails_the_cut(site: Any, option: Options) -> None:
    _change(site, tools_running=False)
    with pytest.raises(CannotFreezeError):
        site.perform(Operation.SNAPSHOT, properties=option(quiesce="always"))
    assert not site.world.cuts


def test_a_guest_that_the_blueprint_freezes_itself_is_not_frozen_twice(site: Any) -> None:
    call = site.call(Operation.SNAPSHOT)
    frozen = replace(call.node, operations={FS_PREPARE: Implementation(plugin="p", function="f")})
    outcome = site.perform(Operation.SNAPSHOT, node=frozen)
    assert outcome.consistency is None
    (cut,) = site.world.cuts.values()
    assert not cut.snapshot.quiesced


def test_with_memory_a_restored_machine_goes_on_running(site: Any, option: Options) -> None:
    properties = option(snapshot_memory=True)
    artifact = site.perform(Operation.SNAPSHOT, properties=properties).artifact
    (cut,) = site.world.cuts.values()
    assert cut.power is PowerState.ON
    site.perform(Operation.APPLY, properties=properties, artifact=artifact)
    assert site.world.machines[site.machine].power is PowerState.ON


@pytest.mark.parametrize("power", [PowerState.ON, PowerState.OFF])
def test_a_restored_machine_is_powered_as_at_the_cut(site: Any, power: PowerState) -> None:
    _change(site, power=power)
    artifact = site.perform(Operation.SNAPSHOT).artifact
    _change(site, power=PowerState.OFF if power is PowerState.ON else PowerState.ON)
    site.perform(Operation.APPLY, artifact=artifact)
    assert site.world.machines[site.machine].power is power


def test_a_restored_machine_is_left_off_when_asked(site: Any, option: Options) -> None:
    artifact = site.perform(Operation.SNAPSHOT).artifact
    site.perform(Operation.APPLY, artifact=artifact, properties=option(power_after="off"))
    assert site.world.machines[site.machine].power is PowerState.OFF


@pytest.mark.parametrize(
    "change",
    [{"independent": True}, {"shared": True}, {"backing": DiskBacking.DEVICE}],
    ids=["independent", "shared", "raw-device"],
)
@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_disks_that_no_snapshot_holds_are_refused(site: Any, change: dict[str, Any], full: bool) -> None:
    _change_disk(site, **change)
    with pytest.raises(UnsupportedError, match="Hard disk 1"):
        site.perform(Operation.SNAPSHOT, full=full)
    assert not site.world.cuts


def test_disks_that_no_snapshot_holds_are_left_out_visibly_when_accepted(site: Any, option: Options) -> None:
    _change_disk(site, independent=True)
    outcome = site.perform(Operation.SNAPSHOT, properties=option(leave_out_disks=True))
    assert "left out: Hard disk 1" in outcome.note
    assert outcome.artifact["left_out"] == ["Hard disk 1"]


def test_a_machine_whose_host_is_gone_is_refused(site: Any) -> None:
    _change(site, reachable=False)
    with pytest.raises(UnsupportedError, match="not reachable"):
        site.perform(Operation.SNAPSHOT)


def test_removing_one_snapshot_keeps_its_children(site: Any) -> None:
    first = site.perform(Operation.SNAPSHOT, point="one").artifact
    site.perform(Operation.SNAPSHOT, point="two")
    site.perform(Operation.DELETE, point="one", artifact=first)
    (left,) = site.world.machines[site.machine].snapshots
    assert left.name == "server_ab12-two"
    assert left.parent is None


def test_disks_that_need_consolidation_are_reported(site: Any) -> None:
    artifact = site.perform(Operation.SNAPSHOT).artifact
    _change(site, consolidation_needed=True)
    assert "Consolidate" in site.perform(Operation.DELETE, artifact=artifact).note


def test_removing_the_snapshot_of_a_machine_that_is_gone_is_fine(site: Any) -> None:
    artifact = site.perform(Operation.SNAPSHOT).artifact
    del site.world.machines[site.machine]
    site.perform(Operation.DELETE, artifact=artifact)


def test_freezing_by_itself_is_refused_with_a_way_out(site: Any) -> None:
    with pytest.raises(UnsupportedError) as caught:
        site.perform(Operation.FREEZE)
    assert "script of your own" in caught.value.hint


def test_suspending_a_machine_that_is_off_leaves_it_off(site: Any) -> None:
    _change(site, power=PowerState.OFF)
    assert "switched off" in site.perform(Operation.SUSPEND).note
    assert "left so" in site.perform(Operation.RESUME).note
    assert site.world.machines[site.machine].power is PowerState.OFF


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quiesce", "perhaps"),
        ("snapshot_memory", "perhaps"),
        ("quiesce_timeout_min", 300),
        ("backup_to", "tape"),
        ("folder", 7),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(site: Any, option: Options, name: str, value: Any) -> None:
    with pytest.raises(NonRecoverableError, match=f"{name} of server_ab12"):
        site.perform(Operation.SNAPSHOT, properties=option(**{name: value}))


def test_a_parameter_counts_more_than_a_property(site: Any, option: Options) -> None:
    inputs = {"vsphere_quiesce": "never"}
    outcome = site.perform(Operation.SNAPSHOT, properties=option(quiesce="always"), inputs=inputs)
    assert "vsphere_quiesce is never" in outcome.note
