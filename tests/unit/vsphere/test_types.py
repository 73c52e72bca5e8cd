"""A second opinion: what the provider reads and asks for, against the API's own description in pyVmomi.

The stand-ins were written by the provider's authors; these types were not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is missing: pip install quiesce[vsphere]")

from pyVmomi import VmomiSupport, vim

from quiesce.errors import NonRecoverableError, ProviderError
from quiesce.providers.vsphere.errors import of_fault
from quiesce.providers.vsphere.session import reading

#: every call that changes something, or that may take long, by the API's names
CALLS = {
    vim.VirtualMachine: (
        "CloneVM_Task",
        "CreateSnapshotEx_Task",
        "CreateSnapshot_Task",
        "Destroy_Task",
        "PowerOffVM_Task",
        "PowerOnVM_Task",
        "QueryChangedDiskAreas",
        "ReconfigVM_Task",
        "Rename_Task",
        "SetCustomValue",
        "SuspendVM_Task",
    ),
    vim.vm.Snapshot: ("ExportSnapshot", "RemoveSnapshot_Task", "RevertToSnapshot_Task"),
    vim.ResourcePool: ("ImportVApp",),
    vim.Task: ("CancelTask",),
}
METHODS = [(kind, name) for kind, names in CALLS.items() for name in names]
FAULTS = sorted({fault for kind, name in METHODS for fault in getattr(kind, name).info.faults})
#: what an operator has to look at in vSphere, for nothing can be said about it here
ONLY_NAMED = {
    "vim.fault.CustomizationFault",
    "vim.fault.FileFault",
    "vim.fault.InvalidDatastore",
    "vim.fault.InvalidFolder",
    "vim.fault.InvalidName",
    "vim.fault.MigrationFault",
    "vim.fault.OutOfBounds",
    "vim.fault.VimFault",
    "vim.fault.VmConfigFault",
    "vim.fault.VmWwnConflict",
}
SEEN_BY_THE_PROVIDER = (*reading.MACHINE, *reading.FIGURES, *reading.ATTRIBUTES)


def _declared(path: str) -> tuple[Any, bool]:
    """Return the declared type of a property of a machine, and whether it may be missing."""
    kind, optional = vim.VirtualMachine, False
    for name in path.split("."):
        info = kind._GetPropertyInfo(name)
        optional = optional or bool(info.flags & VmomiSupport.F_OPTIONAL)
        kind = info.type
    return kind, optional


@pytest.mark.parametrize("path", SEEN_BY_THE_PROVIDER)
def test_every_property_that_is_read_is_declared(path: str) -> None:
    assert _declared(path)[0] is not None


def _values() -> dict[str, Any]:
    """Return a machine's properties, each of its declared type."""
    device = vim.vm.device.VirtualDisk(
        key=2000,
        controllerKey=1000,
        unitNumber=0,
        capacityInKB=1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="[store] web/web.vmdk", diskMode="persistent"
        ),
    )
    hardware = vim.vm.VirtualHardware(numCPU=1, memoryMB=64, device=[device])
    tree = vim.vm.SnapshotTree(
        snapshot=vim.vm.Snapshot("snapshot-1", None),
        name="s",
        description="",
        state="poweredOn",
        quiesced=True,
    )
    return {
        "name": "web",
        "parent": vim.Folder("group-1", None),
        "resourcePool": vim.ResourcePool("resgroup-1", None),
        "recentTask": [],
        "snapshot": vim.vm.SnapshotInfo(rootSnapshotList=[tree]),
        "runtime.powerState": "poweredOn",
        "runtime.connectionState": "connected",
        "runtime.consolidationNeeded": False,
        "config.instanceUuid": "u",
        "config.template": False,
        "config.changeTrackingEnabled": True,
        "config.guestId": "g",
        "config.firmware": "bios",
        "config.version": "vmx-13",
        "config.extraConfig": [],
        "config.annotation": "notes",
        "config.bootOptions": vim.vm.BootOptions(efiSecureBootEnabled=True),
        "config.cpuAllocation": vim.ResourceAllocationInfo(reservation=100, limit=-1),
        "config.cpuHotAddEnabled": True,
        "config.memoryAllocation": vim.ResourceAllocationInfo(reservation=64, limit=-1),
        "config.memoryHotAddEnabled": False,
        "availableField": [vim.CustomFieldsManager.FieldDef(key=1, name="owner", type=str)],
        "customValue": [vim.CustomFieldsManager.StringValue(key=1, value="blue")],
        "config.hardware": hardware,
        "guest.toolsRunningStatus": "guestToolsRunning",
        "guest.toolsVersionStatus2": "guestToolsCurrent",
        "guestHeartbeatStatus": "green",
        "summary.quickStats": vim.vm.Summary.QuickStats(overallCpuUsage=1),
        "summary.storage": vim.vm.Summary.StorageSummary(committed=1, uncommitted=1, unshared=1),
    }


def test_the_example_has_everything_of_its_declared_type() -> None:
    values = _values()
    assert set(values) == set(SEEN_BY_THE_PROVIDER)
    for path, value in values.items():
        kind, _ = _declared(path)
        if not isinstance(value, str | bool | list):
            assert isinstance(value, kind), path


@pytest.mark.parametrize("path", [path for path in SEEN_BY_THE_PROVIDER if _declared(path)[1]])
def test_what_may_be_missing_may_be_missing(path: str) -> None:
    """A value that was not set is not in the answer; nor is one that this login may not read."""
    values = {name: value for name, value in _values().items() if name != path}
    assert reading.machine_of("vm-1", values, busy=False).name == "web"
    assert reading.figures_of(values)["power"] == "on"
    assert reading.attributes_of(values) in ({}, {"owner": "blue"})


def test_only_the_power_state_is_needed() -> None:
    """Whoever may read nothing of a machine is told so; `runtime` is never missing otherwise."""
    values = {name: value for name, value in _values().items() if name == "runtime.powerState"}
    assert reading.machine_of("vm-1", values, busy=False).reachable is False
    with pytest.raises(NonRecoverableError, match="cannot be read"):
        reading.machine_of("vm-1", {}, busy=False)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_that_a_call_may_have_says_what_to_do(name: str) -> None:
    error = of_fault(VmomiSupport.GetVmodlType(name)(), "do it")
    assert isinstance(error, ProviderError)
    unknown = "tasks and events" in error.hint
    assert unknown == (name in ONLY_NAMED)


def test_every_call_of_the_client_is_looked_at() -> None:
    source = Path(reading.__file__).parents[1] / "client.py"
    called = set(
        re.findall(r"\.(\w+_Task|ExportSnapshot|ImportVApp|QueryChangedDiskAreas)\b", source.read_text())
    )
    assert called <= {name for names in CALLS.values() for name in names}


def test_a_table_of_what_the_simulator_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Faults that a call may have, and that nothing in the simulator raises by itself: only by injection."""
    sources = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "labs" / "vcenter").glob("*.go")
    )
    rows = []
    for kind, name in METHODS:
        faults = [fault.rpartition(".")[2] for fault in getattr(kind, name).info.faults]
        raised = [fault for fault in faults if re.search(rf"types\.{fault}\b", sources)]
        rows.append((f"{kind.__name__}.{name}", raised, sorted(set(faults) - set(raised))))
    with capsys.disabled():
        print("\ncall | raised by the simulator itself | only by injection")
        for row in rows:
            print(" | ".join([row[0], ", ".join(row[1]) or "-", ", ".join(row[2]) or "-"]))
    assert any(raised for _, raised, _ in rows)
