"""Blueprints of libvirt domains, from the first word to a restored guest, through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import CommandLine, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

SHARED = Path(__file__).resolve().parents[3] / "shared"
PLUGIN = SHARED / "corpus/plugins/cloudify-libvirt-plugin/plugin.yaml"
FULL = ("-p", "snapshot_incremental=false")


@pytest.fixture(scope="module")
def guest(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    guest = make_guest("blueprint")
    guest.boot()
    guest.wait_for_writer(5)
    return guest


@pytest.mark.skipif(not PLUGIN.exists(), reason="../shared holds no plugin of Cloudify's for libvirt")
def test_an_official_blueprint_works_as_it_is_and_freezes(guest: lab.Guest, tmp_path: Path) -> None:
    machine: dict[str, Any] = {
        "type": "cloudify.libvirt.domain",
        "properties": {"libvirt_auth": guest.uri, "params": {"name": guest.name}},
    }
    blueprint = {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", PLUGIN.name],
        "node_templates": {"vm": machine},
    }
    shutil.copy(PLUGIN, tmp_path)
    quiesce = CommandLine(tmp_path, blueprint)
    for options in ((), FULL):
        guest.wait_for_agent()
        guest.shell("echo before >/data/token; sync")
        since = guest.written()
        quiesce.run("backup", "shop", "-p", "snapshot_name=one", "-p", "min_consistency=filesystem", *options)
        assert max(guest.stalls_ms(since)) > 0
        guest.shell("echo after >/data/token; sync")
        quiesce.run("restore", "shop", "-p", "snapshot_name=one", "-p", "safety_snapshot=false", *options)
        guest.wait_for_agent()
        assert guest.shell("cat /data/token").strip() == "before"
        quiesce.run("remove-backup", "shop", "-p", "snapshot_name=one", *options)
    quiesce.run("suspend", "shop")
    assert guest.domain.state()[0] == 3
    quiesce.run("resume", "shop")
    assert guest.domain.state()[0] == 1
    assert "cpu_percent" in quiesce.run("statistics", "shop", "--json")


def test_what_runs_is_written_as_a_blueprint_that_backs_it_up(
    guest: lab.Guest,
    tmp_path: Path,
    libvirt_lab: str,  # noqa: F811
) -> None:
    connection = guest.connection
    pool = connection.storagePoolDefineXML(
        f"<pool type='dir'><name>my disks</name><target><path>{guest.disk().parent}</path></target></pool>", 0
    )
    pool.create(0)
    network = connection.networkDefineXML("<network><name>inside</name></network>")
    try:
        (tmp_path / "empty").mkdir()
        bare = CommandLine(tmp_path / "empty", _EMPTY)
        content = yaml.safe_load(bare.run("discover", "libvirt", libvirt_lab))
        nodes = content["node_templates"]
        assert nodes["inside"]["type"] == "quiesce.nodes.libvirt.Network"
        assert nodes["my_disks"]["type"] == "quiesce.nodes.libvirt.Pool"
        targets = {link["target"] for link in nodes["blueprint"]["relationships"]}
        volumes = [name for name in targets if nodes[name]["type"] == "quiesce.nodes.libvirt.Volume"]
        assert len(volumes) == 1
        quiesce = CommandLine(
            tmp_path, content | {"node_templates": {n: nodes[n] for n in _kept(nodes, volumes)}}
        )
        quiesce.run("backup", "shop", "-p", "snapshot_name=one", *FULL)
        verified = quiesce.run("backups", "verify", "shop", "one")
        assert verified.count("good") == 3  # the volume is a disk of the domain
        assert "one is proven" in verified
        assert "FAIL" not in quiesce.run("doctor", "shop")
        quiesce.run("remove-backup", "shop", "-p", "snapshot_name=one", *FULL)
        assert quiesce.stored() == []
    finally:
        pool.destroy()
        pool.undefine()
        network.undefine()


_EMPTY: dict[str, Any] = {
    "tosca_definitions_version": "cloudify_dsl_1_3",
    "imports": ["cloudify/types/types.yaml"],
    "node_templates": {"nothing": {"type": "cloudify.nodes.Root"}},
}


def _kept(nodes: dict[str, Any], volumes: list[str]) -> list[str]:
    """Return the nodes of this test; other domains of the lab are none of its business."""
    return ["blueprint", "inside", "my_disks", *volumes]
