"""A second opinion: what the provider reads and its stand-in says, against the SDK's own description.

The cloud in memory was written by the provider's authors; openstacksdk's resources were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from openstack.block_storage.v3.backup import Backup
from openstack.block_storage.v3.group import Group
from openstack.block_storage.v3.group_snapshot import GroupSnapshot
from openstack.block_storage.v3.group_type import GroupType
from openstack.block_storage.v3.snapshot import Snapshot
from openstack.block_storage.v3.volume import Volume
from openstack.compute.v2.server import Server
from openstack.image.v2.image import Image
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.security_group_rule import SecurityGroupRule
from openstack.network.v2.subnet import Subnet

from quiesce.providers.openstack import parsing
from quiesce.providers.openstack.network.definition import SORTS
from quiesce.providers.openstack.network.rules import RULE_FIELDS

RESOURCES: dict[str, tuple[Any, Callable[[Mapping[str, Any]], Any]]] = {
    "servers": (Server, parsing.server),
    "volumes": (Volume, parsing.volume),
    "snapshots": (Snapshot, parsing.snapshot),
    "group_snapshots": (GroupSnapshot, parsing.group_snapshot),
    "backups": (Backup, parsing.backup),
    "images": (Image, parsing.image),
}
#: what Nova writes into the properties of the images that it makes
ONLY_IN_THE_SERVICES = {"images": {"block_device_mapping", "image_type", "backup_type"}}
NETWORK = {
    "networks": Network,
    "ports": Port,
    "routers": Router,
    "security-groups": SecurityGroup,
    "subnets": Subnet,
}


class Noted(dict[str, Any]):
    """An answer that notes what is read of it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def declared(resource: Any) -> set[str]:
    """Return the names by which a service sends the fields of a resource."""
    return {*resource._body_mapping(), "id", "name"}


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return what the stand-in says of everything that it can hold."""
    cloud = FakeOpenStack()
    server = cloud.boot(volumes=2, agent=True)
    volume = cloud.attached(server)[0]
    cloud.plant_snapshot("s", volume)
    cloud.plant_backup("b", volume)
    cloud.group(cloud.attached(server))
    whole = {"group_id": cloud.volumes[volume]["group_id"], "name": "g", "description": "d"}
    cloud._group_snapshot(whole)
    for kind in RESOURCES:
        yield from ((kind, found) for found in getattr(cloud, kind).values())


@pytest.mark.parametrize("kind", RESOURCES)
def test_what_is_read_is_declared(kind: str) -> None:
    resource, parse = RESOURCES[kind]
    seen = Noted({"id": "x"})
    parse(seen)
    assert seen.read - ONLY_IN_THE_SERVICES.get(kind, set()) <= declared(resource)


@pytest.mark.parametrize("collection", NETWORK)
def test_what_is_saved_of_a_network_is_declared(collection: str) -> None:
    sort = next(sort for sort in SORTS.values() if sort.collection == collection)
    assert sort.changeable | sort.fixed <= declared(NETWORK[collection])


def test_what_is_saved_of_a_rule_is_declared() -> None:
    assert set(RULE_FIELDS) <= declared(SecurityGroupRule)


def test_what_is_asked_of_groups_is_declared() -> None:
    assert "group_type" in declared(Group)
    assert "group_specs" in declared(GroupType)


def test_the_stand_in_says_nothing_that_no_service_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, resource by resource, what the stand-in leaves out."""
    said: dict[str, set[str]] = {kind: set() for kind in RESOURCES}
    for kind, found in examples():
        said[kind] |= found.keys()
    with capsys.disabled():
        print("\nresource | said by the stand-in | left out")
        for kind, (resource, _) in RESOURCES.items():
            left = sorted(declared(resource) - said[kind])
            print(" | ".join([kind, ", ".join(sorted(said[kind])), ", ".join(left)]))
    for kind, (resource, _) in RESOURCES.items():
        strange = said[kind] - declared(resource) - ONLY_IN_THE_SERVICES.get(kind, set())
        assert strange == set(), kind
