"""Whole deployments on real Nova, Cinder and Glance, through the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, Hooks, server_node, volume_node
from lab import Lab, client_config
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

ATTACHED = "cloudify.relationships.openstack.volume_attached_to_server"
BRIEF = pytest.mark.brief


@pytest.fixture
def shop(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def points(name: str, incremental: str) -> list[str]:
    return ["-p", f"snapshot_name={name}", "-p", f"snapshot_incremental={incremental}"]


@pytest.fixture(scope="module")
def web(lab: Lab) -> str:
    """A server that boots from an image, with a data volume."""
    server = lab.boot("web")
    lab.attach(server, lab.volume("web-data"))
    return server


@pytest.fixture(scope="module")
def database(lab: Lab) -> str:
    """A server that boots from a volume, with a data volume."""
    server = lab.boot_from_volume("database")
    lab.attach(server, lab.volume("database-data"))
    return server


@pytest.mark.parametrize(
    ("incremental", "own_node"),
    [
        pytest.param("true", False, id="snapshot"),
        pytest.param("false", False, id="backup"),
        pytest.param("true", True, id="snapshot-own-node"),
        pytest.param("false", True, id="backup-own-node", marks=BRIEF),
    ],
)
def test_a_server_that_boots_from_an_image_is_back_with_its_data_volume(
    lab: Lab, web: str, shop: CommandLine, incremental: str, own_node: bool
) -> None:
    (data,) = lab.volumes_of(web)
    nodes = {"web": server_node(web)} | ({"data": volume_node(data, (ATTACHED, "web"))} if own_node else {})
    shop.init(nodes)
    before = lab.objects()
    lab.write(f"server:{web}", "before")
    lab.scribble(data, 1)
    digest = lab.digest(data)

    shop.on("backup", *points("monday", incremental))
    lab.write(f"server:{web}", "after")
    lab.scribble(data, 2)
    assert lab.digest(data) != digest

    shop.on("restore", *points("monday", incremental))
    assert lab.read(f"server:{web}") == "before"
    assert lab.digest(data) == digest
    assert lab.volumes_of(web) == [data]
    assert lab.server_status(web) == "ACTIVE"

    shop.on("remove-backup", *points("monday", incremental))
    assert lab.objects() == before


@pytest.mark.parametrize(
    "incremental",
    [pytest.param("true", id="snapshot", marks=BRIEF), pytest.param("false", id="backup")],
)
def test_a_server_that_boots_from_a_volume_is_back_with_its_data_volume(
    lab: Lab, database: str, shop: CommandLine, incremental: str
) -> None:
    root, data = lab.volumes_of(database)
    shop.init({"database": server_node(database)})
    before = lab.objects()
    lab.write(f"volume:{root}", "before")
    lab.scribble(data, 3)
    digest = lab.digest(data)

    shop.on("backup", *points("monday", incremental))
    lab.write(f"volume:{root}", "after")
    lab.scribble(data, 4)

    shop.on("restore", *points("monday", incremental))
    assert lab.read(f"volume:{root}") == "before"
    assert lab.digest(data) == digest
    assert lab.server_status(database) == "ACTIVE"

    shop.on("remove-backup", *points("monday", incremental))
    assert lab.objects() == before


@BRIEF
def test_nova_freezes_a_server_on_volumes_and_the_restore_point_says_so(
    lab: Lab, database: str, shop: CommandLine
) -> None:
    """Its image requires the freeze, so a snapshot without one would have been an error."""
    shop.init({"database": server_node(database)})
    shop.on("backup", *points("frozen", "true"))
    assert [point["consistency"] for point in shop.backups()] == ["filesystem"]
    console = lab.cloud.compute.get_server_console_output(database)["output"]
    assert "filesystem freeze" in console
    shop.on("remove-backup", *points("frozen", "true"))


def test_a_server_on_an_image_with_a_volume_is_honestly_worth_nothing(
    lab: Lab, web: str, shop: CommandLine
) -> None:
    """Its disks are cut at two moments, and Nova would go on without a freeze and tell nobody."""
    shop.init({"web": server_node(web)})
    shop.on("backup", *points("plain", "true"))
    assert [point["consistency"] for point in shop.backups()] == ["none"]
    shop.on("remove-backup", *points("plain", "true"))


@BRIEF
def test_a_hook_is_worth_nothing_after_novas_own_thaw(
    lab: Lab, web: str, shop: CommandLine, tmp_path: Path
) -> None:
    """The image says that there is an agent: Nova thaws the guest before the volume is cut."""
    hooks = Hooks(tmp_path)
    shop.init({"web": hooks.on(server_node(web))})
    shop.on("backup", *points("hooked", "true"))
    (point,) = shop.backups()
    assert point["consistency"] == "crash"
    assert "ended the freeze of fs_prepare" in point["artifacts"][0]["note"]
    assert hooks.notes() == ["pause", "go on"]
    shop.on("remove-backup", *points("hooked", "true"))


@BRIEF
def test_removing_one_backup_leaves_the_volumes_other_backups(lab: Lab, shop: CommandLine) -> None:
    """The old plugin removes every backup of the volume: it matches by name *or* by volume."""
    volume = lab.volume("many-backups")
    shop.init({"data": volume_node(volume)})
    for name in ("one", "two", "three"):
        shop.on("backup", *points(name, "false"))
    shop.on("remove-backup", *points("two", "false"))
    backups = list(lab.cloud.block_storage.backups())
    names = {backup.name for backup in backups if backup.volume_id == volume}
    assert names == {f"volume-{volume}-one", f"volume-{volume}-three"}
    old_way = [b.name for b in backups if b.name == f"volume-{volume}-two" or b.volume_id == volume]
    assert len(old_way) == 2  # what would be gone now
    for name in ("one", "three"):
        shop.on("remove-backup", *points(name, "false"))
    assert not [b for b in lab.cloud.block_storage.backups() if b.volume_id == volume]


def test_an_incremental_backup_builds_on_ours_and_both_come_back(lab: Lab, shop: CommandLine) -> None:
    volume = lab.volume("increments")
    shop.init({"data": volume_node(volume)})
    digests = {}
    more = ["-p", "incremental_backup=true"]
    for number, (name, options) in enumerate({"full": [], "more": more}.items()):
        lab.scribble(volume, 7 + number)
        digests[name] = lab.digest(volume)
        shop.on("backup", *points(name, "false"), *options)
    backups = {b.name: b.is_incremental for b in lab.cloud.block_storage.backups() if b.volume_id == volume}
    assert backups == {f"volume-{volume}-full": False, f"volume-{volume}-more": True}
    lab.scribble(volume, 9)
    for name in ("more", "full"):
        shop.on("restore", *points(name, "false"))
        assert lab.digest(volume) == digests[name]
    refused = shop.attempt("remove-backup", *points("full", "false"))
    assert refused.status != 0
    assert "incremental backups build on" in refused.text
    for name in ("more", "full"):
        shop.on("remove-backup", *points(name, "false"))
    assert not [b for b in lab.cloud.block_storage.backups() if b.volume_id == volume]


@BRIEF
def test_a_rotation_is_honoured_and_seen_to_be_when_the_backup_returns(
    lab: Lab, web: str, shop: CommandLine
) -> None:
    shop.init({"web": server_node(web)})
    keep = ["-p", "snapshot_type=daily", "-p", "snapshot_rotation=2"]
    for number in range(3):
        shop.on("backup", *points(f"day-{number}", "false"), *keep)
        images = lab.cloud.image.images(owner=lab.cloud.current_project_id)
        mine = sorted(image.name for image in images if image.name.startswith(f"server-{web}-day"))
        assert mine == [f"server-{web}-day-{n}" for n in range(max(0, number - 1), number + 1)]
    for number in range(3):
        shop.on("remove-backup", *points(f"day-{number}", "false"))


@BRIEF
@pytest.mark.parametrize("rotation", ["0", "-1"])
def test_a_rotation_that_keeps_nothing_is_refused_and_nothing_is_made(
    lab: Lab, web: str, shop: CommandLine, rotation: str
) -> None:
    shop.init({"web": server_node(web)})
    before = lab.objects()
    with pytest.raises(AssertionError, match="snapshot_rotation"):
        shop.on("backup", *points("none", "false"), "-p", f"snapshot_rotation={rotation}")
    assert lab.objects() == before


def test_an_older_snapshot_comes_back_in_a_new_volume_when_asked(lab: Lab, shop: CommandLine) -> None:
    server = lab.boot("swap")
    volume = lab.volume("swapped")
    lab.attach(server, volume)
    shop.init({"data": volume_node(volume)})
    lab.scribble(volume, 5)
    digest = lab.digest(volume)
    shop.on("backup", *points("old", "true"))
    lab.scribble(volume, 6)
    shop.on("backup", *points("new", "true"))
    refused = shop.on("restore", *points("old", "true"), status=6)
    assert "newer ones exist" in refused
    shop.on("restore", *points("old", "true"), "-p", "swap_volume=true")
    (taken,) = lab.volumes_of(server)
    assert taken != volume
    assert lab.digest(taken) == digest
    assert lab.volume_status(volume) == "available"


def test_a_suspended_deployment_says_so_and_goes_on(lab: Lab, web: str, shop: CommandLine) -> None:
    shop.init({"web": server_node(web)})
    shop.on("suspend")
    assert lab.server_status(web) == "SUSPENDED"
    shop.on("resume")
    assert lab.server_status(web) == "ACTIVE"


@BRIEF
def test_statistics_work_without_admin_rights(lab: Lab, web: str, shop: CommandLine) -> None:
    shop.init({"web": server_node(web), "data": volume_node(lab.volumes_of(web)[0])})
    answer = shop.on("statistics", "--json")
    assert '"memory_bytes": 134217728' in answer
    assert '"size_bytes": 1073741824' in answer


@BRIEF
def test_a_blueprint_may_name_a_cloud_of_clouds_yaml(
    lab: Lab, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = client_config()
    region = config.pop("region_name")
    clouds = {"clouds": {"lab": {"auth": config, "region_name": region}}}
    (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    node = server_node(web)
    node["properties"]["client_config"] = {"kwargs": {"cloud": "lab"}}
    named = CommandLine(tmp_path, "named")
    named.init({"web": node})
    assert '"status": "ACTIVE"' in named.on("statistics", "--json")


@BRIEF
def test_administrators_get_the_hypervisors_figures_as_well(lab: Lab, web: str, shop: CommandLine) -> None:
    node = server_node(web)
    node["properties"]["client_config"] = client_config("admin")
    shop.init({"web": node})
    answer = shop.on("statistics", "--json")
    assert '"state": "running"' in answer
    assert '"disk_read_bytes"' in answer


@BRIEF
def test_doctor_says_what_a_server_lacks(lab: Lab, web: str, database: str, shop: CommandLine) -> None:
    shop.init({"web": server_node(web), "database": server_node(database)})
    answer = shop.run("doctor", "shop", status=5)
    assert "Nova never tells" in answer
    assert "Nova refuses to snapshot without a freeze" in answer


def test_what_runs_is_discovered_as_a_blueprint_that_can_be_used(
    lab: Lab, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("OS_AUTH_URL", "http://127.0.0.1:25000/v3"),
        ("OS_USERNAME", "demo"),
        ("OS_PASSWORD", "demo"),
        ("OS_PROJECT_NAME", "demo"),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_PROJECT_DOMAIN_NAME", "Default"),
    ):
        monkeypatch.setenv(name, value)
    found = CommandLine(tmp_path, "found")
    blueprint = found.run("discover", "openstack")
    assert web in blueprint
    (tmp_path / "found.yaml").write_text(blueprint)
    found.run("init", str(tmp_path / "found.yaml"), "-b", "found")
    found.run("backup", "found", *points("once", "true"), "--include-nodes", "server_web")
    assert lab.read  # the lab is still there
    found.run("remove-backup", "found", *points("once", "true"), "--include-nodes", "server_web")
