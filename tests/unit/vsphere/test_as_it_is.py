"""What public documents and issue threads say of vSphere, as tests on a vCenter that behaves so.

None of it was seen on a real vCenter: each test names where it was read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import CannotFreezeError, RecoverableError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.model.topology import Implementation
from quiesce.providers.vsphere.inventory import Allocation, DiskBacking
from quiesce.testing.fake_vcenter import CAPACITY, FakeVCenter

Options = Callable[..., dict[str, Any]]


def _change(site: Any, **changes: Any) -> None:
    site.world.machines[site.machine] = replace(site.world.machines[site.machine], **changes)


def _change_disk(site: Any, **changes: Any) -> None:
    (disk,) = site.world.machines[site.machine].disks
    _change(site, disks=(replace(disk, **changes),))


def _gone(*_: object) -> None:
    raise RecoverableError("the lease is gone")


def _copies(site: Any, number: int, **changes: Any) -> list[Any]:
    """Make copies, one after the other, and return their artifacts."""
    return [
        site.backup(point=f"p{one}", execution=f"exec-{one}", **changes).artifact for one in range(number)
    ]


class TestChangedBlockTracking:
    """VMware's KB 2090639: changes of a disk that has grown are missed, until tracking is reset.

    Read in issue threads, too: vmware-archive/PowerCLI-Example-Scripts#38 asks for a reset for that reason.
    A change id is a UUID, a slash and a number (VMware's VDDK guide, "Changed Block Tracking").
    """

    def test_after_a_disk_has_grown_nothing_is_left_out(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        _change_disk(site, capacity_bytes=2 * CAPACITY)
        site.write("second")
        site.backup(point="two", execution="exec2")
        site.write("third")
        artifact = site.backup(point="three", execution="exec3").artifact
        site.perform(Operation.APPLY, full=True, point="three", execution="exec3", artifact=artifact)
        assert site.read() == "third"
        assert any("has changed its size" in line for _, line in site.context.lines)

    def test_what_is_known_of_it_outlives_the_copies_that_showed_it(self, site: Any) -> None:
        _change(site, change_tracking=True)
        first = site.backup(point="one").artifact
        _change_disk(site, capacity_bytes=2 * CAPACITY)
        site.backup(point="two", execution="exec2")
        site.perform(Operation.DELETE, full=True, point="one", artifact=first)
        site.write("third")
        artifact = site.backup(point="three", execution="exec3").artifact
        assert artifact["read_bytes"] > 0
        assert site.read() == "third"

    def test_after_a_reset_changes_are_believed_again(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.backup(point="one")
        _change_disk(site, capacity_bytes=2 * CAPACITY)
        site.backup(point="two", execution="exec2")
        site.world.resets += 1
        site.backup(point="three", execution="exec3")
        assert site.backup(point="four", execution="exec4").artifact["read_bytes"] == 0

    def test_a_missed_change_is_found_by_samples(self, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Broadcom's 317933: another fault of the same kind, without a disk that grows."""
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        monkeypatch.setattr("quiesce.testing.fake_vcenter.FakeVCenter.changed", lambda *_: ())
        site.write("second")
        artifact = site.backup(point="two", execution="exec2").artifact
        assert artifact["read_bytes"] > 0
        assert any("missed" in line for _, line in site.context.lines)
        site.perform(Operation.APPLY, full=True, point="two", execution="exec2", artifact=artifact)
        assert site.read() == "second"
        third = site.backup(point="three", execution="exec3").artifact
        assert third["read_bytes"] > 0  # once caught, it is not believed before it is reset

    def test_what_a_copy_has_found_out_outlives_it_though_it_fails(
        self, site: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        site.write("second")
        with monkeypatch.context() as missing:
            missing.setattr("quiesce.testing.fake_vcenter.FakeVCenter.changed", lambda *_: ())
            missing.setattr("quiesce.testing.fake_vcenter.FakeVCenter.export", _gone)
            with pytest.raises(RecoverableError):
                site.backup(point="two", execution="exec2")
        known = site.context.runtime_properties
        artifact = site.backup(point="two", execution="exec2", runtime_properties=known).artifact
        assert artifact["read_bytes"] > 0  # tracking was not asked again
        assert artifact["disks"][0]["doubted"]

    def test_whole_disks_are_read_every_so_often(self, site: Any, option: Options) -> None:
        _change(site, change_tracking=True)
        site.write("content")
        copies = _copies(site, 5, properties=option(full_read_every=3))
        assert [bool(one["read_bytes"]) for one in copies] == [True, False, False, True, False]

    def test_an_operator_may_do_without(self, site: Any, option: Options) -> None:
        _change(site, change_tracking=True)
        site.write("content")
        copies = _copies(site, 2, properties=option(change_tracking="never"))
        assert all(one["read_bytes"] for one in copies)


class TestQuiescing:
    """What was asked for is not what happened.

    Tools leave guests frozen when a snapshot fails or takes too long (vmware/open-vm-tools#27, #372, #650);
    with enableSyncDriver=false they say that they froze and do not (#7). The tree tells whether a snapshot is
    quiesced: Broadcom's API reference, VirtualMachineSnapshotTree.quiesced.
    """

    def test_the_snapshot_tells_and_not_the_request(self, site: Any) -> None:
        site.world.quiesces = False
        outcome = site.perform(Operation.SNAPSHOT)
        assert outcome.consistency is Consistency.CRASH
        assert "did not manage to" in outcome.note

    def test_a_guest_that_must_quiesce_and_did_not_fails_the_cut(self, site: Any, option: Options) -> None:
        site.world.quiesces = False
        with pytest.raises(CannotFreezeError):
            site.perform(Operation.SNAPSHOT, properties=option(quiesce="always"))

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_a_guest_that_stays_frozen_is_told(self, site: Any, full: bool) -> None:
        _change(site, heartbeat="green")
        site.world.stay_frozen = True
        if full:
            site.backup()
        else:
            site.perform(Operation.SNAPSHOT)
        assert any("may still be frozen" in line for _, line in site.context.lines)

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_a_guest_that_nobody_asked_to_quiesce_is_not_said_to_be_frozen(
        self, site: Any, option: Options, full: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may fall silent by itself, and then nobody reads it in vain while others are frozen."""
        _change(site, heartbeat="green")
        create = FakeVCenter.create_snapshot

        def create_and_fall_silent(self: FakeVCenter, *args: Any) -> str:
            made = create(self, *args)
            _change(site, heartbeat="red")
            return made

        monkeypatch.setattr(FakeVCenter, "create_snapshot", create_and_fall_silent)
        properties = option(quiesce="never")
        if full:
            site.backup(properties=properties)
        else:
            site.perform(Operation.SNAPSHOT, properties=properties)
        assert not any("frozen" in line for _, line in site.context.lines)

    def test_a_guest_that_was_silent_before_is_not(self, site: Any) -> None:
        _change(site, heartbeat="red")
        site.perform(Operation.SNAPSHOT)
        assert not any("may still be frozen" in line for _, line in site.context.lines)

    def test_a_hook_that_is_skipped_is_no_reason_not_to_quiesce(self, site: Any) -> None:
        node = replace(
            site.call(Operation.SNAPSHOT).node,
            operations={FS_PREPARE: Implementation(plugin="p", function="f")},
            properties={"skip_actions": [FS_PREPARE]},
        )
        assert site.perform(Operation.SNAPSHOT, node=node).consistency is Consistency.FILESYSTEM


class TestEncryption:
    """Disks with a ``keyId`` (VirtualDiskFlatVer2BackingInfo, vSphere API 6.5): files of ciphertext.

    "OVF Export is not supported for an encrypted virtual machine": vSphere Security 6.7, "Virtual Machine
    Encryption Interoperability". A machine may be encrypted between two copies while it is off.
    """

    def test_a_machine_that_was_encrypted_meanwhile_is_refused_before_the_cut(self, site: Any) -> None:
        _change(site, change_tracking=True)
        site.write("first")
        site.backup(point="one")
        _change_disk(site, encrypted=True)
        with pytest.raises(UnsupportedError, match="encrypted") as caught:
            site.perform(Operation.SNAPSHOT, full=True, point="two", execution="exec2")
        assert "vsphere_backup_to: clone" in caught.value.hint
        assert not site.world.cuts

    def test_snapshots_and_clones_of_it_are_made(self, site: Any, option: Options) -> None:
        _change_disk(site, encrypted=True)
        site.perform(Operation.SNAPSHOT, point="snapshot")
        site.backup(properties=option(backup_to="clone"))

    def test_doctor_knows_it(self, site: Any, option: Options) -> None:
        _change_disk(site, encrypted=True)
        assert not _finding(site, "encryption").passed
        assert _finding(site, "encryption", properties=option(backup_to="clone")).passed


class TestObjectStores:
    """vSAN and vVols keep a machine's folder as an object, which goes with its machine.

    vmware/vic#3787 and #3931 (a namespace for each machine on vSAN, removed with it), and vmware/govmomi#332
    (elsewhere a folder that is not empty stays).
    """

    @pytest.mark.parametrize("store", ["vsan", "VVOL"])
    @pytest.mark.parametrize("target", ["repository", "clone"])
    def test_a_restore_in_place_is_refused_before_anything(
        self, site: Any, option: Options, store: str, target: str
    ) -> None:
        site.write("before")
        properties = option(backup_to=target)
        artifact = site.backup(properties=properties).artifact
        site.write("after")
        before = site.objects()
        site.world.store = store
        with pytest.raises(UnsupportedError, match=store) as caught:
            site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
        assert "vsphere_restore_to" in caught.value.hint
        assert site.read() == "after"
        assert site.objects() == before

    def test_beside_and_anew_are_not(self, site: Any, option: Options) -> None:
        site.write("before")
        artifact = site.backup().artifact
        site.world.store = "vsan"
        outcome = site.perform(
            Operation.APPLY, full=True, artifact=artifact, properties=option(restore_to="web-copy")
        )
        beside = site.world.machines[outcome.result["machine"]]
        assert site.world.files[beside.disks[0].file].rstrip(b"\0") == b"before"

    def test_doctor_knows_it(self, site: Any) -> None:
        assert "can be restored in place" in _finding(site, "in-place").detail
        site.world.store = "vsan"
        assert "cannot be restored in place" in _finding(site, "in-place").detail


class TestRawDevices:
    """Virtual mode: "Snapshots are available"; physical mode: none (vSphere Storage, "RDM limitations")."""

    def test_a_mapping_in_virtual_mode_is_part_of_the_cut(self, site: Any) -> None:
        _change_disk(site, backing=DiskBacking.MAPPED)
        site.write("before")
        artifact = site.perform(Operation.SNAPSHOT).artifact
        assert artifact["left_out"] == []
        site.write("after")
        site.perform(Operation.APPLY, artifact=artifact)
        assert site.read() == "before"

    def test_a_device_is_never_exchanged_for_a_file(self, site: Any) -> None:
        _change_disk(site, backing=DiskBacking.MAPPED)
        artifact = site.backup().artifact
        before = site.objects()
        with pytest.raises(UnsupportedError, match="raw device") as caught:
            site.perform(Operation.APPLY, full=True, artifact=artifact)
        assert "vsphere_restore_to" in caught.value.hint
        assert site.objects() == before

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_a_shared_bus_is_refused_whatever_may_be_left_out(
        self, site: Any, option: Options, full: bool
    ) -> None:
        """SnapshotIncompatibleDeviceInVm; "VMware does not support snapshots of virtual machines configured
        for bus sharing" (vSphere Virtual Machine Administration, "Snapshot Limitations").
        """
        _change_disk(site, bus_shared=True)
        with pytest.raises(UnsupportedError, match="shares its bus"):
            site.perform(Operation.SNAPSHOT, full=full, properties=option(leave_out_disks=True))
        assert not site.world.cuts


def _finding(site: Any, check: str, **changes: Any) -> Any:
    call = site.call(Operation.SNAPSHOT, **changes)
    (found,) = (one for one in site.provider().doctor(call, site.context) if one.check == check)
    return found


class TestWhatAMachineIs:
    """What a built machine has of the saved one: ``VirtualMachineConfigSpec`` in vSphere's API reference.

    Custom attributes are set by name (``setCustomValue``); tags are not in that API at all.
    """

    def _describe(self, site: Any) -> None:
        hardware = replace(
            site.world.machines[site.machine].hardware,
            notes="the shop's database",
            memory=Allocation(reservation=512, limit=-1),
            others=("CD/DVD drive 1", "Virtual TPM"),
        )
        _change(site, hardware=hardware)
        site.world.defined |= {"owner"}
        site.world.attributes[site.machine] = {"owner": "blue", "gone": "x"}

    def _foreseen(self, site: Any, artifact: Any, **changes: Any) -> tuple[str, ...]:
        call = site.call(Operation.APPLY, full=True, artifact=artifact, **changes)
        lost: tuple[str, ...] = site.provider().inspect_target(call, site.context).lost
        return lost

    def test_one_that_was_gone_is_as_it_was_and_what_it_lacks_is_told(self, site: Any) -> None:
        self._describe(site)
        artifact = site.backup().artifact
        site.world.machines.clear()
        foreseen = self._foreseen(site, artifact)
        assert "CD/DVD drive 1, Virtual TPM" in foreseen
        note = site.perform(Operation.APPLY, full=True, artifact=artifact).note
        assert all(each in note for each in foreseen)
        assert "its attribute 'gone'" in note
        (again,) = site.world.machines.values()
        assert again.hardware.notes == "the shop's database"
        assert again.hardware.memory == Allocation(reservation=512, limit=-1)
        assert site.world.attributes[again.id] == {"owner": "blue"}

    def test_one_that_is_there_stays_what_it_is(self, site: Any) -> None:
        self._describe(site)
        assert self._foreseen(site, site.backup().artifact) == ()

    def test_a_second_one_is_promised_nothing(self, site: Any, option: Options) -> None:
        self._describe(site)
        artifact = site.backup().artifact
        properties = option(restore_to="web2")
        assert "its reservations" in self._foreseen(site, artifact, properties=properties)
        note = site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties).note
        assert "its reservations" in note

    def test_a_clone_keeps_its_devices(self, site: Any, option: Options) -> None:
        self._describe(site)
        artifact = site.backup(properties=option(backup_to="clone")).artifact
        site.world.machines.pop(site.machine)
        assert len(self._foreseen(site, artifact, properties=option(backup_to="clone"))) == 1
