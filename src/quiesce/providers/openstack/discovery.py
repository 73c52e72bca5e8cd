"""A blueprint of what a project has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.providers.openstack import naming
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.resources import Named, Volume

_CONNECTED: Final = "cloudify.relationships.connected_to"
_CONTAINED: Final = "cloudify.relationships.contained_in"


def discovered(cloud: Cloud) -> Mapping[str, Json]:
    """Return a blueprint with every server, volume and network object of the project.

    Credentials are left to clouds.yaml and the environment: none are written into it.
    """
    templates = _Templates()
    servers = {server.id: templates.name("server", server) for server in cloud.servers()}
    for server in cloud.servers():
        templates.add(servers[server.id], "Server", server.id)
    for volume in cloud.volumes():
        if not naming.is_ours(volume):
            templates.add(templates.name("volume", volume), "Volume", volume.id, _attached(volume, servers))
    _add_networks(cloud, templates, servers)
    return {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
        "node_templates": templates.found,
    }


class _Templates:
    """Node templates with names that are legal and not taken."""

    def __init__(self) -> None:
        self.found: dict[str, Json] = {}
        self._taken: set[str] = set()

    def name(self, sort: str, thing: Named) -> str:
        """Return a template name for *thing*, made of its own name."""
        plain = re.sub(r"[^a-z0-9]+", "_", thing.name.lower()).strip("_") or thing.id[:8]
        name = f"{sort}_{plain}"
        if name in self._taken:
            name = f"{name}_{thing.id[:8]}"
        self._taken.add(name)
        return name

    def add(self, name: str, sort: str, resource_id: str, relationships: Iterable[Json] = ()) -> None:
        """Add one node template."""
        template: dict[str, Json] = {
            "type": f"quiesce.nodes.openstack.{sort}",
            "properties": {"resource_id": resource_id},
        }
        links = list(relationships)
        if links:
            template["relationships"] = links
        self.found[name] = template


class _Raw:
    """A network object as something with a name."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.id: str = raw["id"]
        self.name: str = raw.get("name") or ""


def _attached(volume: Volume, servers: Mapping[str, str]) -> Iterable[Json]:
    for place in volume.attachments:
        if place.server_id in servers:
            yield {"type": _CONNECTED, "target": servers[place.server_id]}


def _add_networks(cloud: Cloud, templates: _Templates, servers: Mapping[str, str]) -> None:
    try:
        networks = cloud.network_objects("networks")
    except ProviderError:
        return
    known = {raw["id"]: templates.name("network", _Raw(raw)) for raw in networks}
    for raw in networks:
        templates.add(known[raw["id"]], "Network", raw["id"])
    for raw in cloud.network_objects("subnets"):
        templates.add(templates.name("subnet", _Raw(raw)), "Subnet", raw["id"], _in_network(raw, known))
    for raw in cloud.network_objects("routers"):
        templates.add(templates.name("router", _Raw(raw)), "Router", raw["id"])
    for raw in cloud.network_objects("security-groups"):
        templates.add(templates.name("group", _Raw(raw)), "SecurityGroup", raw["id"])
    for raw in cloud.network_objects("ports"):
        if raw.get("device_id") in servers:
            templates.add(templates.name("port", _Raw(raw)), "Port", raw["id"], _in_network(raw, known))


def _in_network(raw: Mapping[str, Any], known: Mapping[str, str]) -> Iterable[Json]:
    if raw.get("network_id") in known:
        yield {"type": _CONTAINED, "target": known[raw["network_id"]]}
