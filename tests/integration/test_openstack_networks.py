"""Definitions of network objects through the command line, on Neutron's own API.

Its database, its checks, its quotas and its policies are the real ones; nothing is ever plugged in (no agent
runs). Everything is done as a user without an administrator's rights, who is given what only an administrator
makes: a network to the outside, a quota.
"""

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
    staff: str

    def change(self) -> None:
        """Do what an absent-minded administrator does."""
        neutron = self.lab.cloud.network
        neutron.update_network(self.network, name="changed", mtu=1400)
        neutron.update_subnet(self.subnet, dns_nameservers=["192.0.2.9"])
        neutron.update_port(self.port, is_admin_state_up=False)
        neutron.update_router(self.router, routes=[])
        neutron.remove_interface_from_router(self.router, subnet_id=self.subnet)
        for rule in neutron.security_group_rules(security_group_id=self.group):
            if rule.port_range_min in (22, 5432):
                neutron.delete_security_group_rule(rule.id)
        self.rule(23)

    def rule(self, port: int, **remote: str) -> None:
        """Let a TCP port in."""
        self.lab.cloud.network.create_security_group_rule(
            security_group_id=self.group,
            direction="ingress",
            protocol="tcp",
            port_range_min=port,
            port_range_max=port,
            **remote,
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
            "rules": sorted(
                str((rule.direction, rule.ether_type, rule.port_range_min, rule.remote_address_group_id))
                for rule in rules
            ),
        }


@pytest.fixture
def office() -> Iterator[Office]:
    directory = lab_directory()
    assert directory is not None
    lab = Lab(directory)
    neutron = lab.cloud.network
    network = neutron.create_network(name="office").id
    subnet = neutron.create_subnet(
        network_id=network, cidr="10.1.0.0/24", ip_version=4, dns_nameservers=["192.0.2.2", "192.0.2.1"]
    ).id
    port = neutron.create_port(network_id=network, name="door").id
    router = neutron.create_router(name="way").id
    neutron.add_interface_to_router(router, subnet_id=subnet)
    neutron.update_router(router, routes=[{"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}])
    group = neutron.create_security_group(name="guards").id
    staff = neutron.create_address_group(name="staff", addresses=["192.0.2.0/24"]).id
    made = Office(lab, network, subnet, port, router, group, staff)
    made.rule(22)
    made.rule(443)
    made.rule(5432, remote_address_group_id=staff)
    yield made
    neutron.update_router(router, routes=[], external_gateway_info=None)
    for interface in neutron.ports(device_id=router):
        neutron.remove_interface_from_router(router, port_id=interface.id)
    neutron.delete_security_group(group)
    neutron.delete_address_group(staff)
    neutron.delete_router(router)
    neutron.delete_port(port)
    neutron.delete_subnet(subnet)
    neutron.delete_network(network)


@pytest.fixture
def administrator(office: Office) -> Any:
    return Lab(office.lab.directory, "admin").cloud.network


@pytest.fixture
def outside(office: Office, administrator: Any) -> Iterator[str]:
    """A network that routers reach the outside by; everybody's to use, an administrator's to make."""
    network = administrator.create_network(name="outside", is_router_external=True).id
    administrator.create_subnet(
        network_id=network, cidr="203.0.113.0/24", ip_version=4, is_dhcp_enabled=False
    )
    yield network
    office.lab.cloud.network.update_router(office.router, external_gateway_info=None)
    administrator.delete_network(network)


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
        "mtu is 1400, was 1450",
        "name is 'changed', was 'office'",
        "dns_nameservers is ['192.0.2.9'], was ['192.0.2.2', '192.0.2.1']",
        "admin_state_up is False, was True",
        "routes is [], was [{'destination': '10.9.0.0/16'",
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


def test_a_route_comes_back_after_the_subnet_that_it_goes_by(office: Office, shop: CommandLine) -> None:
    """Neutron refuses a route whose next hop nothing reaches, and keeps an interface that a route uses."""
    neutron, point = office.lab.cloud.network, ["-p", "snapshot_name=bare"]
    routed = office.definition()
    shop.on("backup", *POINT)
    neutron.update_router(office.router, routes=[])
    neutron.remove_interface_from_router(office.router, subnet_id=office.subnet)
    bare = office.definition()
    shop.on("backup", *point)
    shop.on("restore", *POINT, "-p", "apply_network=true")
    assert office.definition() == routed
    shop.on("restore", *point, "-p", "apply_network=true")
    assert office.definition() == bare


def test_a_user_gets_the_way_outside_back_and_is_told_of_its_addresses(
    office: Office, shop: CommandLine, outside: str
) -> None:
    """Neutron's policies let administrators alone choose the addresses of a gateway."""
    neutron = office.lab.cloud.network
    neutron.update_router(office.router, external_gateway_info={"network_id": outside})
    shop.on("backup", *POINT)
    neutron.update_router(office.router, external_gateway_info=None)
    said = shop.on("restore", *POINT, "-p", "apply_network=true")
    assert neutron.get_router(office.router).external_gateway_info["network_id"] == outside
    assert "may not set external_fixed_ips" in said
    shop.on("restore", *POINT, "-p", "apply_network=true")


def test_a_quota_that_is_used_up_is_told_at_once_and_every_other_rule_stays(
    office: Office, shop: CommandLine, administrator: Any
) -> None:
    """Neutron says OverQuota with 409, the status of what passes by itself."""
    shop.on("backup", *POINT)
    office.change()
    changed = office.definition()["rules"]
    project = office.lab.cloud.current_project_id
    used = administrator.get_quota(project, details=True).security_group_rules["used"]
    administrator.update_quota(project, security_group_rules=used)
    try:
        ended = shop.attempt("restore", *POINT, "-p", "apply_network=true")
    finally:
        administrator.delete_quota(project)
    assert ended.status != 0
    assert "quota-exceeded" in ended.text
    assert office.definition()["rules"] == changed


def test_doctor_looks_at_networks(shop: CommandLine) -> None:
    assert "networks seen" in shop.run("doctor", "shop")
