"""Blueprints that users of Cloudify have, as they are, on a real OpenStack."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, blueprint_of
from lab import Lab, client_config
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
PLUGIN = CORPUS / "plugins/cloudify-openstack-plugin/plugin.yaml"
EXAMPLE = CORPUS / "blueprints/cloudify-openstack-plugin/examples/local/blueprint.yaml"
POINT = ["-p", "snapshot_name=monday"]


@pytest.fixture
def installed(lab: Lab) -> Iterator[str]:
    """What installing the official example leaves: a server, and network objects, known by their names."""
    neutron = lab.cloud.network
    network = neutron.create_network(name="old-network")
    subnet = neutron.create_subnet(network_id=network.id, name="old-subnet", cidr="10.0.0.0/16", ip_version=4)
    made = {
        neutron.delete_port: neutron.create_port(network_id=network.id, name="old-server-port"),
        neutron.delete_router: neutron.create_router(name="old-router"),
        neutron.delete_security_group: neutron.create_security_group(name="old-security_group"),
        neutron.delete_subnet: subnet,
        neutron.delete_network: network,
    }
    yield network.id
    for delete, thing in made.items():
        delete(thing)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="../shared holds no blueprint of Cloudify's for OpenStack")
def test_the_official_example_is_backed_up_and_restored_as_it_is(
    lab: Lab, installed: str, tmp_path: Path
) -> None:
    server = lab.boot("old-server")
    for file in (EXAMPLE, PLUGIN):
        shutil.copy(file, tmp_path)
    config = client_config()
    given = {key: config[key] for key in ("auth_url", "username", "password", "project_name", "region_name")}
    given |= {"external_network_id": installed, "image_id": "any", "flavor_id": "any", "name_prefix": "old-"}
    inputs = [word for key, value in given.items() for word in ("-i", f"{key}={value}")]
    shop = CommandLine(tmp_path)
    shop.run("init", str(tmp_path / EXAMPLE.name), "-b", "shop", *inputs)

    lab.write(f"server:{server}", "before")
    shop.on("backup", *POINT)
    lab.write(f"server:{server}", "after")
    lab.cloud.network.update_network(installed, mtu=9000)
    shown = shop.on("restore", *POINT)

    assert lab.read(f"server:{server}") == "before"
    assert "mtu is 9000, was 1500" in shown
    shop.on("remove-backup", *POINT)


def test_a_blueprint_of_version_2_is_backed_up_and_restored_as_it_is(lab: Lab, tmp_path: Path) -> None:
    server, volume = lab.boot("elder"), lab.volume("elder-data")
    config: dict[str, Any] = client_config()
    login = {key: config[key] for key in ("auth_url", "username", "password")}
    login |= {"tenant_name": config["project_name"], "region": config["region_name"]}
    nodes = {
        "machine": {
            "type": "cloudify.openstack.nodes.Server",
            "properties": {
                "openstack_config": login,
                "use_external_resource": True,
                "resource_id": "elder",
                "agent_config": {"install_method": "none"},
            },
        },
        "disk": {
            "type": "cloudify.openstack.nodes.Volume",
            "properties": {"openstack_config": login, "volume": {"name": "elder-data", "size": 1}},
        },
    }
    shop = CommandLine(tmp_path)
    shop.init_with(blueprint_of(nodes))
    lab.write(f"server:{server}", "before")
    lab.write(f"volume:{volume}", "before")
    shop.on("backup", *POINT)
    lab.write(f"server:{server}", "after")
    lab.write(f"volume:{volume}", "after")
    shop.on("restore", *POINT)
    assert lab.read(f"server:{server}") == "before"
    assert lab.read(f"volume:{volume}") == "before"
    shop.on("suspend")
    assert lab.server_status(server) == "SUSPENDED"
    shop.on("resume")
    assert lab.server_status(server) == "ACTIVE"
    shop.on("remove-backup", *POINT)
