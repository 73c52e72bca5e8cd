"""What is said to vCenter in the SDK's own types, and read from them. Needs pyvmomi, but no vCenter."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.errors import RecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.inventory import Allocation, Hardware, NetworkCard
from quiesce.providers.vsphere.vcenter import BuildRequest
from quiesce.testing import RecordingContext

pytest.importorskip("pyVmomi", reason="pyvmomi is missing: pip install quiesce[vsphere]")


class Restarted:
    """The session of a vCenter that has restarted: it has forgotten every task."""

    def __init__(self, *, leaves: bool) -> None:
        self._leaves = leaves
        self._told = False

    def bind(self, kind: Any, moid: str) -> Any:
        return kind(moid, None)

    def read(self, what: str, action: Callable[[Any], Any], *_: Any, **__: Any) -> Any:
        return self if what == "wait for tasks" else None

    def change(self, what: str, action: Callable[[Any], Any], *_: Any, **__: Any) -> Any:
        return action(self)

    # -- a property collector --------------------------------------------------------------------------

    def CreateFilter(self, spec: Any, _: bool) -> Any:  # noqa: N802  the API's name
        self._task = spec.objectSet[0].obj
        return SimpleNamespace(_moId="filter", DestroyPropertyFilter=lambda: None)

    def WaitForUpdatesEx(self, version: str, options: Any) -> Any:  # noqa: N802  the API's name
        if self._told:
            return None
        self._told = True
        gone = SimpleNamespace(obj=self._task, kind="leave", changeSet=[])
        part = SimpleNamespace(
            objectSet=[gone] if self._leaves else [], missingSet=[] if self._leaves else [gone]
        )
        return SimpleNamespace(version="1", filterSet=[part])


@pytest.mark.parametrize("leaves", [False, True], ids=["was-missing", "went"])
def test_a_task_that_vcenter_has_forgotten_may_be_asked_for_again(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for until the operation's time is over."""
    from quiesce.providers.vsphere.session import tasks

    monkeypatch.setattr(tasks, "read_objects", lambda *_: {})
    session: Any = Restarted(leaves=leaves)
    waiting = tasks.VCenterTasks(session)
    with pytest.raises(RecoverableError, match="what became of its task"):
        waiting.result(
            SimpleNamespace(_moId="task-1"), "snapshot vm-1", Deadline(RecordingContext(timeout_s=5))
        )


@pytest.mark.parametrize(
    ("recorded", "asked"), [("assigned", "assigned"), ("manual", "manual"), (None, "manual")]
)
def test_a_card_keeps_who_has_chosen_its_address(recorded: str | None, asked: str) -> None:
    """An address out of vCenter's own ranges is refused, when it comes as a manual one."""
    from quiesce.providers.vsphere.session import specs

    card = NetworkCard(kind="VirtualVmxnet3", mac="00:50:56:8a:00:01", address_type=recorded, network="net")
    hardware = Hardware(cards=(card,))
    request = BuildRequest(name="web", marks={}, hardware=hardware, folder_id="f", pool="p", connected=True)
    (change,) = specs.build_of(request, "store").deviceChange
    assert (change.device.addressType, change.device.macAddress) == (asked, "00:50:56:8a:00:01")


@pytest.mark.parametrize("connected", [True, False])
def test_a_machine_is_asked_for_as_it_was(connected: bool) -> None:
    """A second machine beside the saved one is promised nothing of what that one has."""
    from quiesce.providers.vsphere.session import specs

    hardware = Hardware(
        notes="ours",
        cores_per_socket=2,
        cpu=Allocation(reservation=500, limit=-1, level="custom", shares=3000),
        cpu_hot_add=True,
        secure_boot=True,
    )
    request = BuildRequest(
        name="web", marks={}, hardware=hardware, folder_id="f", pool="p", connected=connected
    )
    spec = specs.build_of(request, "store")
    assert (spec.annotation, spec.numCoresPerSocket, spec.cpuHotAddEnabled) == ("ours", 2, True)
    assert spec.bootOptions.efiSecureBootEnabled
    assert (spec.cpuAllocation is not None) is connected
    if connected:
        assert (spec.cpuAllocation.reservation, spec.cpuAllocation.shares.shares) == (500, 3000)


@pytest.mark.parametrize(
    ("mode", "backing"), [("virtualMode", "mapped"), ("physicalMode", "device"), (None, "device")]
)
def test_a_raw_device_is_known_by_its_mapping(mode: str | None, backing: str) -> None:
    """VirtualDiskRawDiskMappingVer1BackingInfo.compatibilityMode, which is optional."""
    from pyVmomi import vim

    kind = vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo
    (disk,) = _disks_on(kind(fileName="[store] web/map.vmdk", compatibilityMode=mode, diskMode="persistent"))
    assert disk.backing == backing
    assert not disk.independent


def test_an_encrypted_disk_has_a_key() -> None:
    """VirtualDiskFlatVer2BackingInfo.keyId, from vSphere API 6.5 on."""
    from pyVmomi import vim

    kind = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
    key = vim.encryption.CryptoKeyId(keyId="a key")
    (plain,) = _disks_on(kind(fileName="[store] web/web.vmdk", diskMode="persistent"))
    (encrypted,) = _disks_on(kind(fileName="[store] web/web.vmdk", diskMode="persistent", keyId=key))
    assert (plain.encrypted, encrypted.encrypted) == (False, True)


@pytest.mark.parametrize(("bus", "writers"), [("physicalSharing", False), ("noSharing", True)])
def test_a_bus_is_shared_or_a_disk_is(bus: str, writers: bool) -> None:
    from pyVmomi import vim

    kind = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
    backing = kind(fileName="[store] web/web.vmdk", diskMode="persistent")
    if writers:
        backing.sharing = "sharingMultiWriter"
    (disk,) = _disks_on(backing, bus=bus)
    assert (disk.bus_shared, disk.shared) == (bus != "noSharing", writers)


def _disks_on(backing: Any, *, bus: str = "noSharing") -> Any:
    from pyVmomi import vim

    from quiesce.providers.vsphere.session import reading

    controller = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus=bus)
    disk = vim.vm.device.VirtualDisk(
        key=2000, controllerKey=1000, unitNumber=0, capacityInKB=1024, backing=backing
    )
    return list(reading.disks_of(vim.vm.VirtualHardware(device=[controller, disk])))
