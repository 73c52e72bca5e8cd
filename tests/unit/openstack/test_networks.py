"""Definitions of networks: saved, compared, applied when asked."""

from __future__ import annotations

from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands

from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.providers.openstack.client import Service

APPLY = {"parameters": Parameters(apply_network=True)}


def network(cloud: FakeOpenStack, collection: str, **fields: Any) -> str:
    cloud.network.setdefault(collection, {})["n1"] = {"id": "n1", **fields}
    return "n1"


def test_a_difference_is_shown_and_left_unless_asked_for(cloud: FakeOpenStack, hands: Hands) -> None:
    network_id = network(cloud, "networks", name="lan", mtu=1500, status="ACTIVE")
    artifact = hands.do(Operation.SNAPSHOT, network_id, "Network").artifact
    cloud.network["networks"]["n1"]["mtu"] = 9000
    note = hands.do(Operation.APPLY, network_id, "Network", artifact=artifact).note
    assert "mtu is 9000, was 1500" in note
    assert "mtu is 9000, was 1500" in hands.said
    assert cloud.network["networks"]["n1"]["mtu"] == 9000


def test_a_difference_is_applied_when_asked_for(cloud: FakeOpenStack, hands: Hands) -> None:
    network_id = network(cloud, "networks", name="lan", mtu=1500)
    artifact = hands.do(Operation.SNAPSHOT, network_id, "Network").artifact
    cloud.network["networks"]["n1"].update(mtu=9000, name="other")
    hands.do(Operation.APPLY, network_id, "Network", artifact=artifact, **APPLY)
    assert cloud.network["networks"]["n1"] == {"id": "n1", "name": "lan", "mtu": 1500}


def test_what_has_not_changed_is_not_touched(cloud: FakeOpenStack, hands: Hands) -> None:
    """Neutron gives lists in any order."""
    routes = [{"destination": f"10.{n}.0.0/16", "nexthop": "10.0.0.1"} for n in (1, 2)]
    network_id = network(cloud, "subnets", name="s", host_routes=routes, cidr="10.0.0.0/24")
    artifact = hands.do(Operation.SNAPSHOT, network_id, "Subnet").artifact
    cloud.network["subnets"]["n1"]["host_routes"].reverse()
    assert (
        hands.do(Operation.APPLY, network_id, "Subnet", artifact=artifact, **APPLY).note == "it is as it was"
    )
    assert not any(line.startswith("PUT") for line in cloud.log)


def test_what_cannot_be_changed_back_is_an_error_before_anything_is_changed(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    network_id = network(cloud, "subnets", name="s", cidr="10.0.0.0/24")
    artifact = hands.do(Operation.SNAPSHOT, network_id, "Subnet").artifact
    cloud.network["subnets"]["n1"].update(cidr="10.9.0.0/24", name="other")
    with pytest.raises(UnsupportedError, match="cidr"):
        hands.do(Operation.APPLY, network_id, "Subnet", artifact=artifact, **APPLY)
    assert cloud.network["subnets"]["n1"]["name"] == "other"


def rule(port: int, number: str) -> dict[str, Any]:
    return {
        "id": number,
        "security_group_id": "n1",
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": "tcp",
        "port_range_min": port,
        "port_range_max": port,
        "remote_ip_prefix": None,
        "remote_group_id": None,
    }


def test_a_security_groups_rules_are_put_back_one_by_one(cloud: FakeOpenStack, hands: Hands) -> None:
    group = network(cloud, "security-groups", name="web", security_group_rules=[rule(22, "a"), rule(80, "b")])
    artifact = hands.do(Operation.SNAPSHOT, group, "SecurityGroup").artifact
    cloud.network["security-groups"]["n1"]["security_group_rules"] = [rule(22, "a"), rule(23, "c")]
    cloud.network["security-group-rules"] = {"a": rule(22, "a"), "c": rule(23, "c")}
    hands.do(Operation.APPLY, group, "SecurityGroup", artifact=artifact, **APPLY)
    ports = sorted(r["port_range_min"] for r in cloud.network["security-group-rules"].values())
    assert ports == [22, 80]
    assert "a" in cloud.network["security-group-rules"]


def group_of(cloud: FakeOpenStack, hands: Hands, saved: dict[str, Any], now: dict[str, Any]) -> Any:
    """Return what was saved of a group with one rule, which is another rule now."""
    group = network(cloud, "security-groups", name="web", security_group_rules=[saved])
    artifact = hands.do(Operation.SNAPSHOT, group, "SecurityGroup").artifact
    cloud.network["security-groups"]["n1"]["security_group_rules"] = [now]
    cloud.network["security-group-rules"] = {now["id"]: now}
    return artifact


def test_a_rule_from_an_address_group_is_not_put_back_as_one_from_anywhere(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    narrow = rule(22, "a") | {"remote_address_group_id": "staff"}
    artifact = group_of(cloud, hands, narrow, rule(22, "b"))
    hands.do(Operation.APPLY, "n1", "SecurityGroup", artifact=artifact, **APPLY)
    (left,) = cloud.network["security-group-rules"].values()
    assert left["remote_address_group_id"] == "staff"


def test_a_rule_from_something_newer_than_this_code_is_not_made_without_it(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    narrow = rule(22, "a") | {"remote_planet_id": "mars"}
    artifact = group_of(cloud, hands, narrow, rule(23, "b"))
    with pytest.raises(UnsupportedError, match="remote_planet_id mars"):
        hands.do(Operation.APPLY, "n1", "SecurityGroup", artifact=artifact, **APPLY)
    assert not any(line.startswith(("PUT", "POST", "DELETE")) for line in cloud.log)


def test_a_rule_that_cannot_be_made_leaves_the_others_alone(cloud: FakeOpenStack, hands: Hands) -> None:
    artifact = group_of(cloud, hands, rule(22, "a"), rule(23, "b"))
    cloud.fail("POST /security-group-rules", 404, "Security group web-servers does not exist")
    with pytest.raises(ResourceNotFoundError):
        hands.do(Operation.APPLY, "n1", "SecurityGroup", artifact=artifact, **APPLY)
    assert set(cloud.network["security-group-rules"]) == {"b"}


def test_a_route_comes_back_after_the_subnet_that_it_goes_by_and_goes_before_it(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    """Neutron refuses a route whose next hop nothing reaches, and keeps an interface that a route uses."""
    route = {"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}
    cloud.network["subnets"] = {"s1": {"id": "s1", "cidr": "10.1.0.0/24"}}
    cloud.network["routers"] = {"r1": {"id": "r1", "name": "way", "routes": []}}
    bare = hands.do(Operation.SNAPSHOT, "r1", "Router").artifact
    hands.client.request(Service.NETWORK, "PUT", "/routers/r1/add_router_interface", body={"subnet_id": "s1"})
    cloud.network["routers"]["r1"]["routes"] = [route]
    routed = hands.do(Operation.SNAPSHOT, "r1", "Router").artifact
    hands.do(Operation.APPLY, "r1", "Router", artifact=bare, **APPLY)
    assert (cloud.network["routers"]["r1"]["routes"], cloud.network["ports"]) == ([], {})
    hands.do(Operation.APPLY, "r1", "Router", artifact=routed, **APPLY)
    assert cloud.network["routers"]["r1"]["routes"] == [route]
    assert len(cloud.network["ports"]) == 1


def test_nothing_of_a_definition_is_left_on_the_cloud(cloud: FakeOpenStack, hands: Hands) -> None:
    network_id = network(cloud, "ports", name="p", fixed_ips=[])
    artifact = hands.do(Operation.SNAPSHOT, network_id, "Port").artifact
    before = dict(cloud.network)
    hands.do(Operation.DELETE, network_id, "Port", artifact=artifact)
    assert cloud.network == before


def test_an_object_that_is_not_there_is_named(hands: Hands) -> None:
    with pytest.raises(ResourceNotFoundError, match="exactly one is needed"):
        hands.do(Operation.SNAPSHOT, "nothing", "Router")


def test_a_network_of_version_2_is_found_by_its_name(cloud: FakeOpenStack, hands: Hands) -> None:
    network(cloud, "networks", name="lan", mtu=1500)
    outcome = hands.do(
        Operation.SNAPSHOT, "", "cloudify.openstack.nodes.Network", properties={"network": {"name": "lan"}}
    )
    assert outcome.artifact is not None
    assert outcome.artifact["id"] == "n1"
