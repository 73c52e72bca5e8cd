"""Full copies on the simulator: through real leases, real VMDK streams and changed block tracking."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.backups import BackupHome, BackupKey, Backups, Keyring
from quiesce.errors import DamagedArtifactError
from quiesce.model.operation import Operation
from quiesce.ports.providers import no_secret

pytestmark = pytest.mark.platform("vcenter")

lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))

GRAIN = 65536


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    lab.require()
    (tmp_path / "lab").mkdir()
    with lab.Lab(tmp_path / "lab", machines=1, task_delay="10ms") as simulator:
        site = lab.Site(simulator, tmp_path)
        yield site
        site.close()


def _track_changes(site: Any) -> None:
    from pyVmomi import vim

    spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
    site.simulator.run(site.simulator.machine(site.machine).ReconfigVM_Task(spec))


def _add_disk(site: Any) -> None:
    from pyVmomi import vim

    machine = site.simulator.machine(site.machine)
    (disk,) = [d for d in machine.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
    second = vim.vm.device.VirtualDisk(
        key=-1,
        controllerKey=disk.controllerKey,
        unitNumber=disk.unitNumber + 1,
        capacityInKB=2048,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName="", diskMode="persistent"),
    )
    change = vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=second)
    site.simulator.run(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def test_the_second_copy_reads_only_what_has_changed(site: Any) -> None:
    _track_changes(site)
    site.write("first")
    site.simulator.write(site.machine, "far", offset=50 * GRAIN)
    whole = site.backup(point="one").artifact
    site.write("second")
    changed = site.backup(point="two", execution="exec2").artifact
    assert whole["read_bytes"] > 0
    assert changed["read_bytes"] == GRAIN
    site.perform(Operation.DELETE, point="one", artifact=whole)
    site.write("third")
    site.simulator.write(site.machine, "gone", offset=50 * GRAIN)
    site.perform(Operation.APPLY, point="two", execution="exec2", artifact=changed)
    assert site.read() == "second"
    assert site.simulator.read(site.machine, offset=50 * GRAIN) == "far"


def test_tracking_that_was_reset_means_a_whole_read(site: Any) -> None:
    _track_changes(site)
    site.write("first")
    site.backup(point="one")
    site.simulator.http("POST", "/lab/cbt", f'{{"vm": "{site.machine}"}}'.encode())
    site.backup(point="two", execution="exec2")
    assert any("reset" in line for _, line in site.context.lines)


def test_older_snapshots_mean_a_whole_read(site: Any) -> None:
    _track_changes(site)
    site.backup(point="one")
    site.perform(Operation.SNAPSHOT, point="older", full=False)
    site.write("second")
    artifact = site.backup(point="two", execution="exec2").artifact
    assert any("older snapshots" in line for _, line in site.context.lines)
    site.write("third")
    site.perform(Operation.APPLY, point="two", execution="exec2", artifact=artifact)
    assert site.read() == "second"


def test_every_disk_is_saved_and_restored(site: Any) -> None:
    _add_disk(site)
    site.write("one")
    site.simulator.write(site.machine, "two", disk=1, offset=GRAIN)
    artifact = site.backup().artifact
    assert len(artifact["disks"]) == 2
    site.write("after")
    site.simulator.write(site.machine, "after", disk=1, offset=GRAIN)
    site.perform(Operation.APPLY, artifact=artifact)
    contents = {site.simulator.read(site.machine, disk=disk, offset=disk * GRAIN) for disk in (0, 1)}
    assert contents == {"one", "two"}
    assert site.simulator.power(site.machine) == "poweredOn"


def test_a_machine_that_was_destroyed_is_made_again(site: Any) -> None:
    site.write("before")
    artifact = site.backup().artifact
    machine = site.simulator.machine(site.machine)
    cards = _cards(machine)
    site.simulator.run(machine.PowerOffVM_Task())
    site.simulator.run(machine.Destroy_Task())
    found = {"resource_id": None, "server": {"name": site.name}, "use_external_resource": True}
    properties = {**site.call(Operation.APPLY).properties, **found}
    site.perform(Operation.APPLY, artifact=artifact, properties=properties)
    site.machine = site.context.runtime_properties["vsphere_server_id"]
    made = site.simulator.machine(site.machine)
    assert made.name == site.name
    assert site.read() == "before"
    assert site.simulator.power(site.machine) == "poweredOn"
    assert _cards(made) == cards
    assert not [one for one in made.config.extraConfig or () if one.key.startswith("quiesce.") and one.value]


def _describe(site: Any) -> None:
    """Give the machine notes, a reservation and a custom attribute."""
    from pyVmomi import vim

    machine = site.simulator.machine(site.machine)
    memory = vim.ResourceAllocationInfo(reservation=16, limit=-1)
    spec = vim.vm.ConfigSpec(annotation="the shop's database", memoryAllocation=memory)
    site.simulator.run(machine.ReconfigVM_Task(spec))
    fields = site.simulator.content.customFieldsManager
    fields.AddCustomFieldDef(name="owner", moType=vim.VirtualMachine)
    machine.SetCustomValue(key="owner", value="blue")


def test_a_machine_that_is_made_again_is_what_it_was_and_the_rest_is_told(site: Any) -> None:
    _describe(site)
    artifact = site.backup().artifact
    machine = site.simulator.machine(site.machine)
    site.simulator.run(machine.PowerOffVM_Task())
    site.simulator.run(machine.Destroy_Task())
    found = {"resource_id": None, "server": {"name": site.name}, "use_external_resource": True}
    properties = {**site.call(Operation.APPLY).properties, **found}
    note = site.perform(Operation.APPLY, artifact=artifact, properties=properties).note
    site.machine = site.context.runtime_properties["vsphere_server_id"]
    made = site.simulator.machine(site.machine)
    assert made.config.annotation == "the shop's database"
    assert made.config.memoryAllocation.reservation == 16
    assert [one.value for one in made.customValue] == ["blue"]
    assert "not kept: its tags" in note


@pytest.mark.parametrize("target", ["repository", "clone"])
def test_a_copy_is_restored_beside(site: Any, target: str) -> None:
    site.write("before")
    inputs = {"vsphere_backup_to": target}
    artifact = site.backup(inputs=inputs).artifact
    site.write("after")
    beside = {**inputs, "vsphere_restore_to": "copy-of-it"}
    outcome = site.perform(Operation.APPLY, artifact=artifact, inputs=beside)
    assert site.read() == "after"
    assert site.simulator.read(outcome.result["machine"]) == "before"
    assert site.simulator.power(outcome.result["machine"]) == "poweredOff"


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing (Debian: qemu-utils)")
def test_what_is_stored_is_a_disk_for_qemu_too(site: Any, tmp_path: Path) -> None:
    _track_changes(site)
    site.write("whole")
    site.backup(point="one")
    site.simulator.write(site.machine, "changed", offset=9 * GRAIN)
    site.backup(point="two", execution="exec2")
    for point, second in (("one", b""), ("two", b"changed")):
        stored = _stored_disk(site, point, tmp_path / f"{point}.vmdk")
        plain = tmp_path / f"{point}.raw"
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", stored, plain], check=True)
        data = plain.read_bytes()
        assert data[:5] == b"whole"
        assert data[9 * GRAIN : 9 * GRAIN + 7].rstrip(b"\0") == second


def _stored_disk(site: Any, point: str, path: Path) -> Path:
    """Write the only disk of a backup to *path*."""
    home = BackupHome(
        keyring=Keyring(site.directory / "keys"), secret=no_secret, drafts=site.directory / "drafts"
    )
    backups = Backups(str(site.directory / "backups"), home)
    call = site.call(Operation.COPY, point=point)
    manifest = backups.manifest(
        BackupKey(deployment=call.deployment, point=call.point, instance=call.instance)
    )
    (disk,) = (name for name in manifest.items if name.endswith(".vmdk"))
    with backups.open(manifest, disk) as stored, path.open("wb") as file:
        shutil.copyfileobj(stored, file)
    return path


def test_a_transfer_that_breaks_off_is_not_taken_for_whole(site: Any) -> None:
    site.write("before")
    site.simulator.inject(method="NFC", kind="lost")
    cut = site.perform(Operation.SNAPSHOT)
    with pytest.raises(DamagedArtifactError):
        site.perform(Operation.COPY, artifact=cut.artifact)
    artifact = site.perform(Operation.COPY, artifact=cut.artifact).artifact
    site.write("after")
    site.perform(Operation.APPLY, artifact=artifact)
    assert site.read() == "before"


def _cards(machine: Any) -> list[str]:
    from pyVmomi import vim

    return [
        d.macAddress
        for d in machine.config.hardware.device
        if isinstance(d, vim.vm.device.VirtualEthernetCard)
    ]
