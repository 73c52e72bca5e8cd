"""Definitions of network objects through the command line, against the lab's stand-in for Neutron."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, network_node
from lab import Lab, lab_directory
from lab_fixtures import NEEDS_LAB

pytestmark = [*NEEDS_LAB, pytest.mark.brief]

POINT = ["-p", "snapshot_name=monday"]


@dataclass
class Office:
    """One network of everything."""

    lab: Lab
    network: str
    subnet: str
    port: str
    router: str
    group: str

    def change(self) -> None:
        """Do what an absent-minded administrator does."""
        neutron = self.lab.cloud.network
        neutron.update_network(self.network, name="changed", mtu=9000)
        neutron.update_subnet(self.subnet, dns_nameservers=["192.0.2.9"])
        neutron.update_port(self.port, is_admin_state_up=False)
        neutron.update_router(self.router, routes=[{"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}])
        neutron.remove_interface_from_router(self.router, subnet_id=self.subnet)
        for rule in neutron.security_group_rules(security_group_id=self.group):
            if rule.port_range_min == 22:
                neutron.delete_security_group_rule(rule.id)
        self.rule(23)

    def rule(self, port: int) -> None:
        """Let a TCP port in."""
        self.lab.cloud.network.create_security_group_rule(
            security_group_id=self.group, protocol="tcp", port_range_min=port, port_range_max=port
        )

    def definition(self) -> dict[str, Any]:
        """Return what Neutron says of everything, ids of rules and interfaces left out."""
        neutron = self.lab.cloud.network
        network, subnet = neutron.get_network(self.network), neutron.get_subnet(self.subnet)
        router = neutron.get_router(self.router)
        rules = neutron.security_group_rules(security_group_id=self.group)
        return {
            "network": (network.name, network.mtu),
            "subnet": (subnet.cidr, subnet.dns_nameservers),
            "port": neutron.get_port(self.port).is_admin_state_up,
            "router": router.routes,
            "interfaces": [
                ip["subnet_id"] for port in neutron.ports(device_id=self.router) for ip in port.fixed_ips
            ],
            "rules": sorted(str((rule.direction, rule.ether_type, rule.port_range_min)) for rule in rules),
        }


@pytest.fixture
def office() -> Iterator[Office]:
    directory = lab_directory()
    assert directory is not None
    lab = Lab(directory)
    neutron = lab.cloud.network
    network = neutron.create_network(name="office").id
    subnet = neutron.create_subnet(
        network_id=network, cidr="10.1.0.0/24", ip_version=4, dns_nameservers=["192.0.2.1", "192.0.2.2"]
    ).id
    port = neutron.create_port(network_id=network, name="door").id
    router = neutron.create_router(name="way").id
    neutron.add_interface_to_router(router, subnet_id=subnet)
    group = neutron.create_security_group(name="guards").id
    made = Office(lab, network, subnet, port, router, group)
    made.rule(22)
    made.rule(443)
    yield made
    for interface in list(neutron.ports(device_id=router)):
        neutron.delete_port(interface)
    neutron.delete_security_group(group)
    neutron.delete_router(router)
    neutron.delete_port(port)
    neutron.delete_subnet(subnet)
    neutron.delete_network(network)


@pytest.fixture
def shop(tmp_path: Path, office: Office) -> CommandLine:
    shop = CommandLine(tmp_path)
    shop.init(
        {
            "network": network_node("Network", office.network),
            "subnet": network_node("Subnet", office.subnet),
            "port": network_node("Port", office.port),
            "router": network_node("Router", office.router),
            "group": network_node("SecurityGroup", office.group),
        }
    )
    return shop


def test_differences_are_shown_and_nothing_is_changed_unless_asked_for(
    office: Office, shop: CommandLine
) -> None:
    shop.on("backup", *POINT)
    office.change()
    changed = office.definition()
    shown = shop.on("restore", *POINT)
    for words in (
        "mtu is 9000, was 1500",
        "name is 'changed', was 'office'",
        "dns_nameservers is ['192.0.2.9'], was ['192.0.2.1', '192.0.2.2']",
        "admin_state_up is False, was True",
        "routes is [{'destination': '10.9.0.0/16'",
        "subnets is []",
        "rules is [",
    ):
        assert words in shown
    assert office.definition() == changed


def test_a_definition_comes_back_when_asked_for(office: Office, shop: CommandLine) -> None:
    before = office.definition()
    shop.on("backup", *POINT)
    office.change()
    assert office.definition() != before
    shop.on("restore", *POINT, "-p", "apply_network=true")
    assert office.definition() == before
    shop.on("remove-backup", *POINT)
    assert office.definition() == before


def test_doctor_looks_at_networks(shop: CommandLine) -> None:
    assert "networks seen" in shop.run("doctor", "shop")
