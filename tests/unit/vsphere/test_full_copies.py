"""Full copies: complete, incremental in what is read, restored in place, anew or beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.repository_objects import packs, spoil

from quiesce.errors import DamagedArtifactError, ForeignObjectError, ResourceNotFoundError, UnsupportedError
from quiesce.model.operation import Operation
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.inventory import Hardware, PowerState
from quiesce.testing.fake_vcenter import FakeVCenter

Options = Callable[..., dict[str, Any]]
TARGETS = pytest.mark.parametrize("target", ["repository", "clone"])


def _change(site: Any, **changes: Any) -> None:
    site.world.machines[site.machine] = replace(site.world.machines[site.machine], **changes)


class Shrinking(FakeVCenter):
    """Cannot read files in parts."""

    def read(self, disk: Any, area: Any) -> bytes:
        raise UnsupportedError("no parts")


class Vanishing(FakeVCenter):
    """Still lists a machine of each name that a task of a process that died has destroyed meanwhile."""

    def machines_named(self, name: str, deadline: Any) -> tuple[str, ...]:
        return ("vm-gone", *super().machines_named(name, deadline))


@TARGETS
def test_machines_that_a_dead_process_has_just_destroyed_are_passed_over(
    site: Any, option: Options, target: str
) -> None:
    center = Vanishing(site.world)
    properties = option(backup_to=target)
    site.write("before")
    artifact = site.backup(center, properties=properties).artifact
    site.write("after")
    site.perform(Operation.APPLY, center, full=True, artifact=artifact, properties=properties)
    assert site.read() == "before"
    site.perform(Operation.DELETE, center, full=True, artifact=artifact, properties=properties)
    assert [one.name for one in site.world.machines.values()] == ["web"]


@TARGETS
def test_the_temporary_snapshot_never_stays(site: Any, option: Options, target: str) -> None:
    site.backup(properties=option(backup_to=target))
    assert not site.world.cuts


@TARGETS
def test_a_copy_outlives_its_machine(site: Any, option: Options, target: str) -> None:
    properties = option(backup_to=target)
    site.write("before")
    artifact = site.backup(properties=properties).artifact
    _destroy(site)
    outcome = site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
    made = site.context.runtime_properties["vsphere_server_id"]
    site.machine = made
    assert site.world.machines[made].name == "web"
    assert site.world.machines[made].power is PowerState.ON
    assert site.world.machines[made].marks == {}
    assert site.read() == "before"
    assert "made again" in outcome.note


@TARGETS
def test_a_copy_can_be_restored_beside(site: Any, option: Options, target: str) -> None:
    site.write("before")
    artifact = site.backup(properties=option(backup_to=target)).artifact
    site.write("after")
    properties = option(backup_to=target, restore_to="web-copy")
    for _ in range(2):
        outcome = site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
        assert site.read() == "after"
        beside = site.world.machines[outcome.result["machine"]]
        assert beside.name == "web-copy"
        assert beside.power is PowerState.OFF
        assert site.world.files[beside.disks[0].file].rstrip(b"\0") == b"before"
    assert [one.name for one in site.world.machines.values()].count("web-copy") == 1


def test_restoring_beside_never_replaces_another_machine(site: Any, option: Options) -> None:
    artifact = site.backup().artifact
    site.world.add("other")
    with pytest.raises(ForeignObjectError):
        site.perform(Operation.APPLY, full=True, artifact=artifact, properties=option(restore_to="other"))


@TARGETS
def test_a_restore_in_place_leaves_no_helper_behind(site: Any, option: Options, target: str) -> None:
    properties = option(backup_to=target)
    site.write("before")
    artifact = site.backup(properties=properties).artifact
    before = site.objects()
    site.write("after")
    site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
    assert site.read() == "before"
    assert site.objects() == before


def test_disks_that_snapshots_need_are_kept_and_named(site: Any) -> None:
    site.write("before")
    artifact = site.backup().artifact
    site.write("after")
    snapshot = site.perform(Operation.SNAPSHOT, point="safety").artifact
    old = site.disk
    outcome = site.perform(Operation.APPLY, full=True, artifact=artifact)
    assert site.read() == "before"
    assert old in outcome.note
    site.perform(Operation.APPLY, point="safety", artifact=snapshot)
    assert site.read() == "after"


def test_a_machine_that_lost_its_controller_is_not_touched(site: Any) -> None:
    artifact = site.backup().artifact
    before = site.objects()
    site.write("after")
    _change(site, hardware=Hardware())
    with pytest.raises(UnsupportedError, match="controller 1000"):
        site.perform(Operation.APPLY, full=True, artifact=artifact)
    assert site.read() == "after"
    assert site.objects() == before


def test_a_damaged_copy_is_refused_before_anything_is_touched(site: Any) -> None:
    artifact = site.backup().artifact
    site.write("after")
    spoil(packs(site.directory))
    with pytest.raises(DamagedArtifactError):
        site.perform(Operation.APPLY, full=True, artifact=artifact)
    assert site.read() == "after"
    assert site.world.machines[site.machine].power is PowerState.ON
    assert not site.provider().verify(site.call(Operation.APPLY, full=True), site.context).passed


class Swapping(FakeVCenter):
    """Has somebody change what is in the repository, after it was checked."""

    def __init__(self, site: Any) -> None:
        super().__init__(site.world)
        self._directory = site.directory

    def build(self, *arguments: Any) -> str:
        spoil(packs(self._directory))
        return super().build(*arguments)


def test_a_copy_that_is_changed_after_it_was_checked_is_put_nowhere(site: Any) -> None:
    site.write("before")
    artifact = site.backup().artifact
    site.write("after")
    with pytest.raises(DamagedArtifactError):
        site.perform(Operation.APPLY, Swapping(site), full=True, artifact=artifact)
    assert site.read() == "after"
    assert [one.name for one in site.world.machines.values()] == ["web"]


def test_a_clone_that_was_switched_on_is_refused(site: Any, option: Options) -> None:
    properties = option(backup_to="clone")
    artifact = site.backup(properties=properties).artifact
    clone = str(artifact["clone"])
    site.world.machines[clone] = replace(site.world.machines[clone], power=PowerState.ON)
    with pytest.raises(DamagedArtifactError, match="switched on"):
        site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)


@TARGETS
def test_a_good_copy_is_verified(site: Any, option: Options, target: str) -> None:
    properties = option(backup_to=target)
    artifact = site.backup(properties=properties).artifact
    call = site.call(Operation.APPLY, full=True, artifact=artifact, properties=properties)
    assert site.provider().verify(call, site.context).passed


def test_a_cut_that_somebody_removed_cannot_be_copied(site: Any) -> None:
    cut = site.perform(Operation.SNAPSHOT, full=True)
    site.world.cuts.clear()
    _change(site, snapshots=(), current=None)
    with pytest.raises(ResourceNotFoundError, match="is gone"):
        site.perform(Operation.COPY, full=True, artifact=cut.artifact)


class TestWithChangedBlockTracking:
    """The second copy reads only what has changed, and is as complete as the first."""

    def test_only_what_has_changed_is_read(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        whole = site.backup(point="one").artifact
        unchanged = site.backup(point="two", execution="exec2").artifact
        site.write("second")
        changed = site.backup(point="three", execution="exec3").artifact
        assert whole["read_bytes"] > 0
        assert unchanged["read_bytes"] == 0
        assert changed["read_bytes"] == 65536

    def test_copies_are_removed_in_any_order(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        first = site.backup(point="one").artifact
        site.write("second")
        second = site.backup(point="two", execution="exec2").artifact
        site.perform(Operation.DELETE, full=True, point="one", artifact=first)
        site.write("third")
        site.perform(Operation.APPLY, full=True, point="two", execution="exec2", artifact=second)
        assert site.read() == "second"

    def test_a_damaged_base_is_not_built_on(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        spoil(packs(site.directory))
        second = site.backup(point="two", execution="exec2").artifact
        assert second["read_bytes"] > 0
        site.write("after")
        site.perform(Operation.APPLY, full=True, point="two", execution="exec2", artifact=second)
        assert site.read() == "first"

    def test_a_disk_that_cannot_be_read_in_parts_is_read_whole(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.backup(point="one")
        site.write("second")
        artifact = site.backup(Shrinking(site.world), point="two", execution="exec2").artifact
        assert artifact["read_bytes"] > 0
        assert any("read whole" in line for _, line in site.context.lines)

    def test_tracking_that_was_reset_means_a_whole_read(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        site.world.versions.clear()
        artifact = site.backup(point="two", execution="exec2").artifact
        assert artifact["read_bytes"] > 0
        assert any("reset" in line for _, line in site.context.lines)


def _destroy(site: Any) -> None:
    center = FakeVCenter(site.world)
    center.power_off(site.machine, Deadline(site.context))
    center.destroy(site.machine, Deadline(site.context))
