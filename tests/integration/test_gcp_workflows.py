"""The six workflows on the Compute Engine stand-in, through the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Estate, serve
from fakegce.command_line import ARCHIVE, STORE, WEB, CommandLine


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[Cloud, str]]:
    server, running, url = serve(op_seconds=0.01)
    yield running, url
    server.shutdown()
    server.server_close()


@pytest.fixture
def shell(cloud: tuple[Cloud, str], tmp_path: Path) -> Iterator[CommandLine]:
    running, url = cloud
    running.reset()
    made = CommandLine(tmp_path, url, Estate(running))
    made.build()
    made.run("init", str(tmp_path / "blueprint.yaml"), "-b", "shop")
    yield made
    assert made.estate.off_schema() == []
    assert not made.frozen.exists()


def test_backup_restore_and_removal_bring_everything_back(shell: CommandLine) -> None:
    """Snapshots and backups of machines and disks are restored, and removed without a trace."""
    before = shell.estate.objects()
    shell.write_all("good")
    shell.estate.write(ARCHIVE, "good")
    shell.run("backup", "shop", "-p", "snapshot_name=full", "-p", "snapshot_incremental=false")
    shell.run("backup", "shop", "-p", "snapshot_name=quick")
    points = {point["name"]: point for point in shell.json("backups", "list", "shop")["restore_points"]}
    assert {name: point["consistency"] for name, point in points.items()} == {
        "full": "crash",
        "quick": "crash",
    }
    for name in ("full", "quick"):
        shell.write_all("bad")
        shell.run("restore", "shop", "-p", f"snapshot_name={name}")
        assert shell.read_all() == ("good", "good")
        shown = shell.run("executions", "show", shell.json("executions", "list")["executions"][-1]["id"])
        assert shown.count("is RUNNING; nothing in it was asked") == 2
        assert shell.estate.find(WEB)["status"] == shell.estate.find(STORE)["status"] == "RUNNING"
    for name in ("quick", "full"):
        custom = ("-p", "drop_replaced=true")
        shell.run("remove-backup", "shop", "-p", f"snapshot_name={name}", *custom)
    assert shell.estate.copies() == frozenset()
    assert len(shell.estate.objects()) == len(before)


def test_a_frozen_node_is_worth_more_than_one_that_is_not(shell: CommandLine) -> None:
    """The blueprint's own hook around the cut counts; a machine without one keeps its class."""
    shell.run("backup", "shop", "-p", "snapshot_name=one", "-p", "include_nodes=web")
    (point,) = shell.json("backups", "list", "shop")["restore_points"]
    assert point["consistency"] == "filesystem"


def test_suspend_resume_and_statistics(shell: CommandLine) -> None:
    """Machines are suspended and resumed together; figures come from the API."""
    shell.run("suspend", "shop")
    assert {shell.estate.find(vm)["status"] for vm in (WEB, STORE)} == {"SUSPENDED"}
    shell.run("resume", "shop")
    assert {shell.estate.find(vm)["status"] for vm in (WEB, STORE)} == {"RUNNING"}
    assert "memory_bytes" in shell.run("statistics", "shop", "--json")


def test_doctor_and_discover_tell_what_there_is(shell: CommandLine, cloud: tuple[Cloud, str]) -> None:
    """Missing rights are named; a discovered blueprint can be deployed and backed up."""
    running, url = cloud
    shell.run("doctor", "shop")
    running.denied.add("compute.instances.suspend")
    assert "compute.instances.suspend" in shell.run("doctor", "shop", status=None)
    running.denied.clear()
    found = shell.run("discover", "gcp", "lab-project", "-o", f"api_endpoint={url}")
    assert set(yaml.safe_load(found)["node_templates"]) == {"web", "store", "archive"}
    (shell.home / "found.yaml").write_text(found)
    shell.run("init", str(shell.home / "found.yaml"), "-b", "found")
    shell.run("backup", "found", "-p", "snapshot_name=one")
    assert len(shell.estate.copies()) == 3


CORPUS = (
    Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "blueprints" / "cloudify-gcp-plugin"
)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the blueprint corpus is missing")
def test_a_blueprint_of_the_official_plugin_works_as_it_is(cloud: tuple[Cloud, str], tmp_path: Path) -> None:
    """A machine, its boot disk and a snapshot node: backed up, restored and removed."""
    running, url = cloud
    running.reset()
    estate = Estate(running)
    text = (CORPUS / "blueprints" / "attach-disk.yaml").read_text()
    where = f"auth: {{ get_secret: gcp_credentials }}\n    project: lab-project\n    api_endpoint: '{url}'"
    (tmp_path / "official.yaml").write_text(text.replace("auth: { get_secret: gcp_credentials }", where))
    shell = CommandLine(tmp_path, url, estate)
    shell.environment["QUIESCE_SECRET_GCP_CREDENTIALS"] = '{"type": "service_account", "private_key": "hush"}'
    inputs = [f"-i{name}" for name in ("zone=us-central1-a", "region=us-central1", "prefix=x")]
    shell.run("init", str(tmp_path / "official.yaml"), "-b", "shop", *inputs)
    (disk,) = (
        entry["id"].replace("_", "-")
        for entry in shell.json("deployments", "list")["deployments"][0]["topology"]["instances"].values()
        if entry["node"] == "boot_disk"
    )
    machine = estate.machine("we-really-require-name-question", [estate.disk(disk)])
    before = estate.objects()
    estate.write_all(machine, "good")
    printed = shell.run("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    assert len(estate.copies()) == 2  # the disk's own, and the one that the blueprint's snapshot node makes
    estate.write_all(machine, "bad")
    printed += shell.run("restore", "shop", "-p", "snapshot_name=one")
    assert estate.read_all(machine) == "good"
    printed += shell.run("backup", "shop", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false")
    newer = {
        item["sourceDisk"]
        for (kind, _, name), item in running.items.items()
        if kind == "snapshots" and "-two-" in name
    }
    assert {link.split("/v1/")[1] for link in newer} == set(estate.attached(machine).values())
    custom = ("-p", "drop_replaced=true")
    for name in ("one", "two"):
        printed += shell.run("remove-backup", "shop", "-p", f"snapshot_name={name}", *custom)
    assert estate.copies() == frozenset()
    assert len(estate.objects()) == len(before)
    assert "hush" not in printed
    assert estate.off_schema() == []
