"""Groups of volumes on real Cinder: their snapshots are made, used, and removed as a whole.

The lab's storage promises no one instant (Cinder snapshots the volumes one by one), so what is seen here is
the API, and that nothing is left behind; `group_snapshots: always` stands for an operator who knows better.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, Hooks, server_node, volume_node
from lab import Lab, until
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

ALWAYS = ["-p", "group_snapshots=always"]


@contextmanager
def together(lab: Lab, volumes: list[str]) -> Iterator[None]:
    """Make *volumes* a group."""
    types = Lab(lab.directory, "admin").cloud.block_storage
    made = types.create_group_type(name=f"together-{volumes[0][:8]}")
    storage = lab.cloud.block_storage
    stored_as = storage.get_volume(volumes[0]).volume_type
    group = storage.create_group(group_type=made.id, volume_types=[stored_as], name="together")
    until(lambda: storage.get_group(group.id).status == "available")
    _change(lab, group.id, "add_volumes", volumes)
    until(lambda: storage.get_group(group.id).status == "available")
    yield
    _change(lab, group.id, "remove_volumes", volumes)
    until(lambda: storage.get_group(group.id).status == "available")
    storage.delete_group(group.id)
    until(lambda: group.id not in {each.id for each in storage.groups()})
    types.delete_group_type(made.id)


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[str]:
    """A server that boots from a volume, with a data volume; both are a group."""
    server = lab.boot_from_volume("database")
    lab.attach(server, lab.volume("database-data"))
    with together(lab, lab.volumes_of(server)):
        yield server


@pytest.fixture(scope="module")
def disks(lab: Lab) -> Iterator[list[str]]:
    """Three volumes that are a group, for nodes of their own."""
    made = [lab.volume(name) for name in ("wal", "data", "index")]
    with together(lab, made):
        yield made


def _change(lab: Lab, group: str, verb: str, volumes: list[str]) -> None:
    body = {"group": {verb: ",".join(volumes)}}
    answer = lab.cloud.block_storage.put(f"/groups/{group}", json=body, microversion="3.13")
    assert answer.status_code == 202, answer.text


SORTS = pytest.mark.parametrize("incremental", ["true", "false"], ids=["snapshot", "backup"])


@SORTS
def test_a_group_is_cut_restored_and_removed_as_a_whole(
    lab: Lab, database: str, tmp_path: Path, incremental: str
) -> None:
    shop, storage = CommandLine(tmp_path), lab.cloud.block_storage
    root, data = lab.volumes_of(database)
    shop.init({"database": Hooks(tmp_path).on(server_node(database))})
    before = lab.objects()
    lab.write(f"volume:{root}", "before")
    lab.scribble(data, 3)
    digest = lab.digest(data)

    point = ["-p", "snapshot_name=monday", "-p", f"snapshot_incremental={incremental}"]
    shop.on("backup", *point, *ALWAYS)
    (made,) = shop.backups()
    assert "at one instant" in made["artifacts"][0]["note"]
    assert len(list(storage.group_snapshots())) == (incremental == "true")
    lab.write(f"volume:{root}", "after")
    lab.scribble(data, 4)

    shop.on("restore", *point)
    assert lab.read(f"volume:{root}") == "before"
    assert lab.digest(data) == digest
    assert lab.server_status(database) == "ACTIVE"

    shop.on("remove-backup", *point)
    assert lab.objects() == before
    assert not list(storage.group_snapshots())


@SORTS
def test_volumes_with_nodes_of_their_own_share_one(
    lab: Lab, disks: list[str], tmp_path: Path, incremental: str
) -> None:
    shop, storage = CommandLine(tmp_path), lab.cloud.block_storage
    shop.init({f"disk{number}": volume_node(volume) for number, volume in enumerate(disks)})
    before = lab.objects()
    for number, volume in enumerate(disks):
        lab.scribble(volume, number)
    digests = [lab.digest(volume) for volume in disks]

    point = ["-p", "snapshot_name=monday", "-p", f"snapshot_incremental={incremental}"]
    shop.on("backup", *point, *ALWAYS)
    (made,) = shop.backups()
    assert all("at one instant with 2 more" in part["note"] for part in made["artifacts"])
    assert len(list(storage.group_snapshots())) == (incremental == "true")
    for volume in disks:
        lab.scribble(volume, 9)

    shop.on("restore", *point, "-p", "safety_snapshot=false")
    assert [lab.digest(volume) for volume in disks] == digests

    if incremental == "true":
        shop.on("remove-backup", *point, "-p", 'include_nodes=["disk0"]')
        assert len(list(storage.group_snapshots())) == 1
    shop.on("remove-backup", *point)
    assert lab.objects() == before
    assert not list(storage.group_snapshots())


@pytest.mark.parametrize("after_s", [0.0, 0.6, 1.5])
def test_nothing_is_left_of_a_cut_in_which_quiesce_was_killed(
    lab: Lab, disks: list[str], tmp_path: Path, after_s: float
) -> None:
    shop, storage = CommandLine(tmp_path), lab.cloud.block_storage
    shop.init({f"disk{number}": volume_node(volume) for number, volume in enumerate(disks)})
    before = lab.objects()
    point = ["-p", "snapshot_name=monday", "-p", "snapshot_incremental=true"]
    shop.killed_at(["disk0", "snapshot.create"], "backup", *point, *ALWAYS, after_s=after_s)
    shop.settle()
    for made in shop.backups():
        shop.on("remove-backup", "-p", f"snapshot_name={made['name']}")
    assert not list(storage.group_snapshots())
    assert lab.objects() == before
