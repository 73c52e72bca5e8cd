"""Killed at each step group on a real OpenStack: run again, it completes or rolls back; nothing leaks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, server_node, volume_node
from lab import Lab, until
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

ATTACHED = "cloudify.relationships.openstack.volume_attached_to_server"
FULL = ["-p", "snapshot_name=monday", "-p", "snapshot_incremental=false"]
SNAPSHOT = ["-p", "snapshot_name=monday"]


@pytest.fixture
def shop(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture(scope="module")
def web(lab: Lab) -> str:
    server = lab.boot("web")
    lab.attach(server, lab.volume("web-data"))
    return server


def described(lab: Lab, shop: CommandLine, web: str) -> None:
    lab.forget_points()
    shop.init({"web": server_node(web), "data": volume_node(lab.volumes_of(web)[0], (ATTACHED, "web"))})


def rest(lab: Lab, server: str) -> None:
    until(lambda: lab.cloud.compute.get_server(server).task_state is None, 120)


@pytest.mark.parametrize("mode", [SNAPSHOT, FULL], ids=["snapshot", "backup"])
@pytest.mark.parametrize(
    "words",
    [
        ("[web", ".fs_prepare] Task started"),
        ("[web", ".create] Task started"),
        ("[data", ".create] Task succeeded"),
        ("[web", ".fs_finalize] Task started"),
        ("[web", "Starting", "(copy)"),
        ("[web", "Done", "(copy)"),
    ],
    ids=["freeze", "cut", "one cut done", "thaw", "copy", "copy done"],
)
def test_a_killed_backup_is_continued_or_rolled_back(
    lab: Lab, web: str, shop: CommandLine, mode: list[str], words: tuple[str, ...]
) -> None:
    described(lab, shop, web)
    before = lab.objects()
    assert shop.killed_at(words, "backup", *mode)
    shop.settle()
    rest(lab, web)
    if shop.executions()[-1]["state"] == "completed":
        lab.write(f"server:{web}", "kept")
        shop.on("remove-backup", *mode)
        rest(lab, web)
    assert lab.objects() == before
    assert lab.server_status(web) == "ACTIVE"


@pytest.mark.parametrize("mode", [SNAPSHOT, FULL], ids=["snapshot", "backup"])
@pytest.mark.parametrize(
    "words",
    [("[web", ".apply] Task started"), ("[data", ".apply] Task started")],
    ids=["server", "volume"],
)
def test_a_killed_restore_is_completed(
    lab: Lab, web: str, shop: CommandLine, mode: list[str], words: tuple[str, ...]
) -> None:
    described(lab, shop, web)
    before = lab.objects()
    (data,) = lab.volumes_of(web)
    lab.write(f"server:{web}", "before")
    lab.scribble(data, 1)
    digest = lab.digest(data)
    shop.on("backup", *mode)
    lab.write(f"server:{web}", "after")
    lab.scribble(data, 2)
    assert shop.killed_at(words, "restore", *mode, after_s=2)
    shop.settle()
    if shop.executions()[-1]["state"] != "completed":
        shop.on("restore", *mode)
    assert lab.read(f"server:{web}") == "before"
    assert lab.digest(data) == digest
    assert lab.volumes_of(web) == [data]
    assert lab.server_status(web) == "ACTIVE"
    shop.on("remove-backup", *mode)
    assert lab.objects() == before


def test_a_killed_removal_is_completed(lab: Lab, web: str, shop: CommandLine) -> None:
    described(lab, shop, web)
    before = lab.objects()
    shop.on("backup", *FULL)
    assert shop.killed_at((".delete] Task started",), "remove-backup", *FULL)
    shop.settle()
    if shop.executions()[-1]["state"] != "completed":
        shop.on("remove-backup", *FULL)
    assert lab.objects() == before
