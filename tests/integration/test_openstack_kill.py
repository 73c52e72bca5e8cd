"""Killed at each step group on a real OpenStack: run again, it completes or rolls back; nothing leaks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, Hooks, server_node, volume_node
from lab import Lab, until
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

BRIEF = pytest.mark.brief
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


def described(lab: Lab, shop: CommandLine, web: str) -> Hooks:
    """Describe a server with a freeze of its own, and its volume."""
    lab.forget_points()
    hooks = Hooks(shop.home)
    data = volume_node(lab.volumes_of(web)[0], (ATTACHED, "web"))
    shop.init({"web": hooks.on(server_node(web)), "data": data})
    return hooks


def rest(lab: Lab, server: str) -> None:
    until(lambda: lab.cloud.compute.get_server(server).task_state is None, 120)


def nothing_leaked(lab: Lab, before: frozenset[str]) -> None:
    """Insist that the project holds what it held before; print both lists, which are the proof."""
    after = lab.objects()
    for title, objects in (("before", before), ("after", after)):
        print(f"{title}:", *sorted(objects), sep="\n  ")
    assert after == before


BACKUP_POINTS = {
    "freeze": ("[web", ".fs_prepare] Task started"),
    "cut": ("[web", ".create] Task started"),
    "one-cut-done": ("[data", ".create] Task succeeded"),
    "thaw": ("[web", ".fs_finalize] Task started"),
    "copy": ("[web", "Starting", "(copy)"),
    "copy-done": ("[web", "Done", "(copy)"),
}
RESTORE_POINTS = {
    "server": ("[web", ".apply] Task started"),
    "volume": ("[data", ".apply] Task started"),
}


def cases(points: dict[str, tuple[str, ...]], brief: set[str]) -> list[Any]:
    """Return every point with both modes; those of *brief* are run by every CI."""
    return [
        pytest.param(mode, words, id=f"{point}-{name}", marks=BRIEF if f"{point}-{name}" in brief else ())
        for point, words in points.items()
        for name, mode in (("snapshot", SNAPSHOT), ("backup", FULL))
    ]


@pytest.mark.parametrize(("mode", "words"), cases(BACKUP_POINTS, {"one-cut-done-snapshot", "copy-backup"}))
def test_a_killed_backup_is_continued_or_rolled_back(
    lab: Lab, web: str, shop: CommandLine, mode: list[str], words: tuple[str, ...]
) -> None:
    hooks = described(lab, shop, web)
    before = lab.objects()
    assert shop.killed_at(words, "backup", *mode)
    shop.settle()
    rest(lab, web)
    assert hooks.notes()[-1:] in ([], ["go on"])
    print("the execution ended as", shop.executions()[-1]["state"])
    if shop.executions()[-1]["state"] == "completed":
        lab.write(f"server:{web}", "kept")
        shop.on("remove-backup", *mode)
        rest(lab, web)
    nothing_leaked(lab, before)
    assert lab.server_status(web) == "ACTIVE"


@pytest.mark.parametrize(("mode", "words"), cases(RESTORE_POINTS, set()))
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
    nothing_leaked(lab, before)


def test_a_restore_given_up_after_a_kill_leaves_nothing_when_done_again(lab: Lab, shop: CommandLine) -> None:
    """Of a server on a volume, whose root comes back by way of a scratch volume and a scratch image."""
    lab.forget_points()
    server = lab.boot_from_volume("database")
    (root,) = lab.volumes_of(server)
    shop.init({"web": server_node(server)})
    before = lab.objects()
    lab.write(f"volume:{root}", "before")
    shop.on("backup", *SNAPSHOT)
    lab.write(f"volume:{root}", "after")
    assert shop.killed_at(("[web", ".apply] Task started"), "restore", *SNAPSHOT, after_s=6)
    until(lambda: any(" scratch-" in found for found in lab.objects()))
    shop.attempt_plain("executions", "cancel", str(shop.executions()[-1]["id"]))
    shop.on("restore", *SNAPSHOT)
    assert lab.read(f"volume:{root}") == "before"
    assert lab.server_status(server) == "ACTIVE"
    shop.on("remove-backup", *SNAPSHOT)
    nothing_leaked(lab, before)


def test_a_killed_removal_is_completed(lab: Lab, web: str, shop: CommandLine) -> None:
    described(lab, shop, web)
    before = lab.objects()
    shop.on("backup", *FULL)
    assert shop.killed_at((".delete] Task started",), "remove-backup", *FULL)
    shop.settle()
    if shop.executions()[-1]["state"] != "completed":
        shop.on("remove-backup", *FULL)
    nothing_leaked(lab, before)
