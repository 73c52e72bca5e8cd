"""The six workflows on the vCenter simulator, through the command line, with tasks that take time."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.platform("vcenter")


lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


@dataclass
class Shop:
    """A deployment of every machine of the simulator."""

    simulator: Any
    home: Path
    machines: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.machines = {name: one._moId for name, one in sorted(self.simulator.machines().items())}
        templates = {
            f"machine{number}": {
                "type": "cloudify.vsphere.nodes.Server",
                "properties": {
                    "connection_config": self.simulator.connection,
                    "use_external_resource": True,
                    "server": {"name": name},
                },
            }
            for number, name in enumerate(self.machines)
        }
        blueprint = {
            "tosca_definitions_version": "cloudify_dsl_1_3",
            "imports": ["https://cloudify.co/spec/cloudify/4.6/types.yaml", "plugin:cloudify-vsphere-plugin"],
            "node_templates": templates,
        }
        self.home.mkdir()
        (self.home / "blueprint.yaml").write_text(json.dumps(blueprint))
        self.run("init", str(self.home / "blueprint.yaml"), "-b", "shop")
        for moid in self.machines.values():
            self.simulator.tools_run(moid)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        environment = {**os.environ, "QUIESCE_HOME": str(self.home / "state")}
        command = [str(Path(sys.executable).parent / "quiesce"), *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str, expect: int | None = 0) -> str:
        """Run a command to its end and return what it printed."""
        with self.start(*arguments) as process:
            said, _ = process.communicate(timeout=240)
        assert expect is None or process.returncode == expect, said
        return said

    def write(self, text: str) -> None:
        for moid in self.machines.values():
            self.simulator.write(moid, text)

    def read(self) -> set[str]:
        return {self.simulator.read(moid) for moid in self.machines.values()}

    def power(self) -> set[str]:
        return {self.simulator.power(moid) for moid in self.machines.values()}

    def trees(self) -> list[Any]:
        return [self.simulator.tree(moid) for moid in self.machines.values()]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    lab.require()
    (tmp_path / "lab").mkdir()
    flags = ("-lease-timeout", "2s")
    with lab.Lab(tmp_path / "lab", machines=3, task_delay="150ms", flags=flags) as simulator:
        yield Shop(simulator, tmp_path / "home")


def test_suspend_and_resume(shop: Shop) -> None:
    shop.run("suspend", "shop")
    assert shop.power() == {"suspended"}
    shop.run("resume", "shop")
    assert shop.power() == {"poweredOn"}


def test_a_snapshot_is_made_restored_and_removed(shop: Shop) -> None:
    before = shop.simulator.objects()
    shop.write("before")
    shop.run("backup", "shop", "-p", "snapshot_name=one")
    assert "filesystem" in shop.run("backups", "list", "shop")
    shop.write("after")
    shop.run("restore", "shop", "-p", "snapshot_name=one", "-p", "safety_snapshot=false")
    assert shop.read() == {"before"}
    assert shop.power() == {"poweredOn"}
    shop.run("remove-backup", "shop", "-p", "snapshot_name=one")
    assert shop.simulator.objects() == before


@pytest.mark.parametrize("target", ["repository", "clone"])
def test_a_full_copy_is_made_verified_restored_and_removed(shop: Shop, target: str) -> None:
    before = shop.simulator.objects()
    shop.write("before")
    common = ["-p", f"vsphere_backup_to={target}"]
    name = ["-p", "snapshot_name=full"]
    shop.run("backup", "shop", *name, "-p", "snapshot_incremental=false", *common)
    assert shop.trees() == [[], [], []]
    shop.run("backups", "verify", "shop", "full")
    shop.write("after")
    shop.run("restore", "shop", *name, "-p", "safety_snapshot=false", *common)
    assert shop.read() == {"before"}
    assert shop.power() == {"poweredOn"}
    shop.run("remove-backup", "shop", *name, *common)
    assert shop.simulator.objects() == before


def test_a_restore_can_be_taken_back_by_its_safety_snapshot(shop: Shop) -> None:
    shop.write("before")
    shop.run("backup", "shop", "-p", "snapshot_name=full", "-p", "snapshot_incremental=false")
    shop.write("after")
    shop.run("restore", "shop", "-p", "snapshot_name=full")
    assert shop.read() == {"before"}
    listed = json.loads(shop.run("backups", "list", "shop", "--json"))
    safety = next(one["name"] for one in _points(listed) if one["name"].startswith("safety-"))
    shop.run("restore", "shop", "-p", f"snapshot_name={safety}", "-p", "safety_snapshot=false")
    assert shop.read() == {"after"}


def test_statistics_are_one_query_for_all(shop: Shop) -> None:
    shop.run("statistics", "shop")
    shop.simulator.forget_calls()
    shop.run("statistics", "shop")
    calls = shop.simulator.calls()
    assert calls["RetrievePropertiesEx"] <= 2 * len(shop.machines)


def test_the_doctor_tells_what_to_fix(shop: Shop) -> None:
    first, second, _ = shop.machines.values()
    shop.simulator.set(first, guest__toolsRunningStatus="guestToolsNotRunning")
    shop.simulator.set(second, runtime__consolidationNeeded=True)
    said = shop.run("doctor", "shop", expect=None)
    assert "VMware Tools do not run" in said
    assert "Consolidate" in said


def test_what_is_discovered_is_a_blueprint_that_works(shop: Shop, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(f"{lab.PASSWORD}\n")
    found = shop.run(
        "discover", "vsphere", f"127.0.0.1:{shop.simulator.port}",
        "-o", f"username={lab.USER}", "-o", f"password_file={password}",
        "-o", f"certificate_path={shop.simulator.certificate}",
    )  # fmt: skip
    assert lab.PASSWORD not in found
    for name in shop.machines:
        assert name in found


def test_a_disk_that_is_a_node_goes_with_its_machine(shop: Shop) -> None:
    blueprint = json.loads((shop.home / "blueprint.yaml").read_text())
    server = dict(blueprint["node_templates"].popitem()[1])
    disk = {
        "type": "cloudify.vsphere.nodes.Storage",
        "properties": {"storage": {"storage_size": 1}},
        "relationships": [{"target": "server", "type": "cloudify.vsphere.storage_connected_to_server"}],
    }
    blueprint["node_templates"] = {"server": server, "disk": disk}
    (shop.home / "disk.yaml").write_text(json.dumps(blueprint))
    shop.run("init", str(shop.home / "disk.yaml"), "-b", "disks")
    assert "saved with server" in shop.run("backup", "disks", "-p", "snapshot_name=one")
    alone = shop.run("backup", "disks", "-p", "snapshot_name=two", "--include-nodes", "disk", expect=None)
    assert "takes no part" in alone
    shop.run("restore", "disks", "-p", "snapshot_name=one", "-p", "safety_snapshot=false")
    shop.run("remove-backup", "disks", "-p", "snapshot_name=one")
    assert shop.trees() == [[], [], []]


def _points(listed: Any) -> list[dict[str, Any]]:
    points = listed if isinstance(listed, list) else next(v for v in listed.values() if isinstance(v, list))
    return list(points)


# -- the process dies --------------------------------------------------------------------------------------

BACKUP_STEPS = [
    ("CreateSnapshot_Task", 0),
    ("ExportSnapshot", 0),
    ("NFC", 0),
    ("HttpNfcLeaseComplete", 0),
    ("RemoveSnapshot_Task", 0),
]
RESTORE_STEPS = [
    ("ImportVApp", 0),
    ("NFC", 0),
    ("ReconfigVM_Task", 0),
    ("PowerOffVM_Task", 0),
    ("ReconfigVM_Task", 4),
    ("ReconfigVM_Task", 6),
    ("ReconfigVM_Task", 9),
    ("Destroy_Task", 0),
    ("PowerOnVM_Task", 0),
]


def _kill_at(shop: Shop, method: str, skip: int, *arguments: str) -> None:
    """Run a command and kill it while the simulator works on the call after *skip* others."""
    shop.simulator.forget_calls()
    if method.endswith("_Task"):
        shop.simulator.inject(method=method, kind="taskdelay", ms=1200, count=-1, skip=skip)
    with shop.start(*arguments) as process:
        while shop.simulator.calls().get(method, 0) <= skip:
            assert process.poll() is None, process.communicate()[0]
        process.kill()
    shop.simulator.heal()


@pytest.mark.parametrize(("method", "skip"), BACKUP_STEPS)
def test_a_backup_that_is_killed_leaves_nothing(shop: Shop, method: str, skip: int) -> None:
    before = shop.simulator.objects()
    shop.write("content")
    full = ["backup", "shop", "-p", "snapshot_name=full", "-p", "snapshot_incremental=false"]
    _kill_at(shop, method, skip, *full)
    shop.run("recover", expect=None)
    again = ["backup", "shop", "-p", "snapshot_name=again", "-p", "snapshot_incremental=false"]
    shop.run(*again)
    assert shop.trees() == [[], [], []]
    shop.write("later")
    shop.run("restore", "shop", "-p", "snapshot_name=again", "-p", "safety_snapshot=false")
    assert shop.read() == {"content"}
    shop.run("remove-backup", "shop", "-p", "all=true", expect=None)
    assert shop.simulator.objects() == before


@pytest.mark.parametrize(("method", "skip"), RESTORE_STEPS)
def test_a_restore_that_is_killed_can_be_repeated(shop: Shop, method: str, skip: int) -> None:
    shop.write("before")
    shop.run("backup", "shop", "-p", "snapshot_name=full", "-p", "snapshot_incremental=false")
    whole = shop.simulator.objects()
    shop.write("after")
    restore = ["restore", "shop", "-p", "snapshot_name=full", "-p", "safety_snapshot=false"]
    _kill_at(shop, method, skip, *restore)
    shop.run(*restore)
    assert shop.read() == {"before"}
    assert shop.power() == {"poweredOn"}
    assert shop.trees() == [[], [], []]
    assert shop.simulator.objects() == whole


def test_a_killed_snapshot_backup_leaves_the_trees_as_they_were(shop: Shop) -> None:
    shop.run("backup", "shop", "-p", "snapshot_name=kept")
    before = shop.trees()
    _kill_at(shop, "CreateSnapshot_Task", 0, "backup", "shop", "-p", "snapshot_name=dead")
    shop.run("recover", expect=None)
    shop.run("backup", "shop", "-p", "snapshot_name=new")
    shop.run("remove-backup", "shop", "-p", "snapshot_name=new")
    assert shop.trees() == before


def test_a_killed_removal_can_be_repeated(shop: Shop) -> None:
    shop.run("backup", "shop", "-p", "snapshot_name=one")
    shop.run("backup", "shop", "-p", "snapshot_name=two")
    remove = ["remove-backup", "shop", "-p", "snapshot_name=one"]
    _kill_at(shop, "RemoveSnapshot_Task", 1, *remove)
    shop.run(*remove, expect=None)
    assert all("two" in str(tree) and "one" not in str(tree) for tree in shop.trees())
