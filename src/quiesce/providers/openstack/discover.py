"""A blueprint of what a project has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import CONNECTED_TO, CONTAINED_IN, BlueprintBuilder
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.ownership import owner_of


def discover(cloud: Cloud) -> Mapping[str, Json]:
    """Return a blueprint with every server, volume and network object of the project.

    Credentials are left to clouds.yaml and the environment: none are written into it.
    """
    project = _Project()
    for server in cloud.servers():
        project.add("Server", server.id, server.name)
    for volume in cloud.volumes():
        if owner_of(volume) is None:
            servers = (("Server", place.server_id) for place in volume.attachments)
            project.add("Volume", volume.id, volume.name, CONNECTED_TO, servers)
    _add_networks(cloud, project)
    return project.builder.blueprint()


class _Project:
    """The nodes so far; a relationship leads only to what is among them."""

    def __init__(self) -> None:
        self.builder = BlueprintBuilder()
        self.known: set[tuple[str, str]] = set()

    def add(
        self,
        sort: str,
        resource_id: str,
        name: str,
        relationship: str = "",
        targets: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Add a node for the resource *resource_id*, whose type ends in *sort*."""
        wish = name or f"{sort}_{resource_id[:8]}"
        links = [(relationship, self.builder.name(*target)) for target in targets if target in self.known]
        self.known.add((sort, resource_id))
        self.builder.add(
            self.builder.name(sort, resource_id, wish),
            f"quiesce.nodes.openstack.{sort}",
            {"resource_id": resource_id},
            links,
        )

    def add_raw(self, sort: str, raw: Mapping[str, Any]) -> None:
        """Add a network object, contained in its network if that is among the nodes."""
        network = ("Network", raw.get("network_id") or "")
        self.add(sort, raw["id"], raw.get("name") or "", CONTAINED_IN, (network,))


def _add_networks(cloud: Cloud, project: _Project) -> None:
    try:
        networks = cloud.network_objects("networks")
    except ProviderError:
        return
    for raw in networks:
        project.add_raw("Network", raw)
    for sort, collection in (
        ("Subnet", "subnets"),
        ("Router", "routers"),
        ("SecurityGroup", "security-groups"),
    ):
        for raw in cloud.network_objects(collection):
            project.add_raw(sort, raw)
    for raw in cloud.network_objects("ports"):
        if ("Server", raw.get("device_id")) in project.known:
            project.add_raw("Port", raw)
