"""What documents and issue threads say of vSphere, through the SDK's types, on a simulator that does so.

`tests/unit/vsphere/test_as_it_is.py` names the sources.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.errors import CannotFreezeError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation

pytestmark = pytest.mark.platform("vcenter")

lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    lab.require()
    (tmp_path / "lab").mkdir()
    with lab.Lab(tmp_path / "lab", machines=1, task_delay="10ms") as simulator:
        site = lab.Site(simulator, tmp_path)
        yield site
        simulator.hardware(site.machine)
        site.close()


def _properties(site: Any, **options: Any) -> dict[str, Any]:
    return {"connection_config": site.simulator.connection, "resource_id": site.machine, **options}


def test_a_shared_bus_is_refused_before_the_platform_does(site: Any) -> None:
    from pyVmomi import vim

    site.simulator.hardware(site.machine, shared_bus="physicalSharing")
    with pytest.raises(vim.fault.SnapshotIncompatibleDeviceInVm):
        site.simulator.run(site.simulator.machine(site.machine).CreateSnapshot_Task("s", "", False, False))
    with pytest.raises(UnsupportedError, match="shares its bus"):
        site.perform(Operation.SNAPSHOT, properties=_properties(site, leave_out_disks=True))


def test_an_encrypted_machine_is_not_copied_into_a_repository(site: Any) -> None:
    site.simulator.hardware(site.machine, key_id="a key")
    with pytest.raises(UnsupportedError, match="encrypted"):
        site.perform(Operation.SNAPSHOT)
    site.perform(Operation.SNAPSHOT, full=False)


def test_a_restore_in_place_would_lose_the_disks_on_an_object_store(site: Any) -> None:
    site.write("before")
    artifact = site.backup().artifact
    site.write("after")
    site.simulator.hardware(site.machine, store="vsan")
    with pytest.raises(UnsupportedError, match="vsan"):
        site.perform(Operation.APPLY, artifact=artifact)
    assert site.read() == "after"


@pytest.mark.parametrize(
    "said",
    [
        # both for one error, as hosts give it: in words, and as the key of a message without words
        "An error occurred while saving the snapshot: Failed to quiesce the virtual machine.",
        "An error occurred while taking a snapshot: msg.snapshot.error-QUIESCINGERROR",
    ],
)
def test_a_guest_that_does_not_quiesce_may_be_told_as_any_fault(site: Any, said: str) -> None:
    """Broadcom's articles on quiesced snapshots, one of them 301541 (KB 1018194)."""
    site.simulator.tools_run(site.machine)
    failing = {"method": "CreateSnapshot_Task", "kind": "task", "fault": "GenericVmConfigFault"}
    site.simulator.inject(**failing, message=said)
    assert site.perform(Operation.SNAPSHOT, full=False).consistency is Consistency.CRASH
    site.simulator.inject(**failing, message=said)
    with pytest.raises(CannotFreezeError):
        site.perform(
            Operation.SNAPSHOT, full=False, point="two", properties=_properties(site, quiesce="always")
        )


def test_a_long_silence_ends_no_export(tmp_path: Path) -> None:
    """Over zeros a host sends nothing for minutes: ansible/ansible#74101, community.vmware#947.

    Without a word from its client a lease ends (HttpNfcLeaseInfo.leaseTimeout).
    """
    lab.require()
    (tmp_path / "lab").mkdir()
    flags = ("-lease-timeout", "3s")
    with lab.Lab(tmp_path / "lab", machines=1, task_delay="10ms", flags=flags) as simulator:
        site = lab.Site(simulator, tmp_path)
        site.write("before")
        simulator.inject(method="NFC", kind="delay", ms=8000)
        artifact = site.backup().artifact
        site.write("after")
        site.perform(Operation.APPLY, artifact=artifact)
        assert site.read() == "before"
        site.close()


def test_without_tools_a_snapshot_is_not_quiesced_whatever_was_asked(site: Any) -> None:
    """VirtualMachineSnapshotTree.quiesced tells what happened."""
    task = site.simulator.machine(site.machine).CreateSnapshot_Task("mine", "", False, True)
    site.simulator.run(task)
    (tree,) = site.simulator.machine(site.machine).snapshot.rootSnapshotList
    assert not tree.quiesced
