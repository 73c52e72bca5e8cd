"""A blueprint of what runs at a hypervisor: domains, their volumes and networks, and their ties."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Hypervisor, Thing
from quiesce.providers.libvirt.definition import read_definition

_IMPORTS: Final[list[Json]] = ["cloudify/types/types.yaml", "plugin:quiesce"]
_CONNECTED: Final = "cloudify.relationships.connected_to"
_CONTAINED: Final = "cloudify.relationships.contained_in"


def blueprint_of(hypervisor: Hypervisor) -> dict[str, Json]:
    """Return the blueprint as plain data."""
    names = _Names()
    networks = {thing.name: names.of("network", thing.name) for thing in hypervisor.networks()}
    pools = {thing.name: names.of("pool", thing.name) for thing in hypervisor.pools()}
    volumes = _volumes(hypervisor, names)
    nodes: dict[str, Json] = {}
    for name, node in networks.items():
        nodes[node] = _node("Network", name)
    for name, node in pools.items():
        nodes[node] = _node("Pool", name)
    used = _add_domains(hypervisor, names, nodes, networks, volumes)
    for path, volume in volumes.items():
        if path in used:
            pool = volume["pool"]
            properties: dict[str, Json] = {"pool": pool}
            nodes[volume["node"]] = _node(
                "Volume", volume["name"], [(_CONTAINED, pools[pool])] if pool in pools else [], properties
            )
    return {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": _IMPORTS,
        "inputs": {"libvirt_uri": {"type": "string", "default": hypervisor.uri}},
        "node_templates": nodes,
    }


def _add_domains(
    hypervisor: Hypervisor,
    names: _Names,
    nodes: dict[str, Json],
    networks: dict[str, str],
    volumes: dict[str, dict[str, str]],
) -> set[str]:
    """Enter the domains; return the paths of the volumes that they use."""
    used: set[str] = set()
    for domain in sorted(hypervisor.domains(), key=lambda found: found.name):
        tree = xml.read(domain.xml())
        links: list[tuple[str, str]] = []
        for path in _paths(tree):
            if path in volumes:
                used.add(path)
                links.append((_CONNECTED, volumes[path]["node"]))
        for source in tree.findall("devices/interface/source"):
            network = source.get("network", "")
            if network in networks:
                links.append((_CONNECTED, networks[network]))
        properties = _properties(domain.xml())
        nodes[names.of("domain", domain.name)] = _node(
            "Domain", domain.name, list(dict.fromkeys(links)), properties
        )
    return used


def _properties(definition: str) -> dict[str, Json]:
    """Return what has to be said about a domain: that no freeze is to be tried where no agent can be."""
    if read_definition(definition).has_agent_channel:
        return {}
    return {"skip_actions": [FS_PREPARE, FS_FINALIZE]}


def _volumes(hypervisor: Hypervisor, names: _Names) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for pool in hypervisor.pools():
        for volume in _volumes_of(pool):
            path = volume.path()
            node = names.of("volume", volume.name)
            found[path] = {"node": node, "name": volume.name, "pool": pool.name}
    return found


def _volumes_of(pool: Thing) -> Iterable[Thing]:
    try:
        return pool.volumes() if pool.is_active() else ()
    except ProviderError:
        return ()


def _paths(tree: xml.Element) -> list[str]:
    sources = tree.findall("devices/disk/source")
    return [source.get("file") or source.get("dev") or "" for source in sources]


def _node(
    kind: str,
    resource: str,
    links: Iterable[tuple[str, str]] = (),
    properties: dict[str, Json] | None = None,
) -> dict[str, Json]:
    node: dict[str, Json] = {
        "type": f"quiesce.nodes.libvirt.{kind}",
        "properties": {
            "libvirt_auth": {"get_input": "libvirt_uri"},
            "use_external_resource": True,
            "resource_id": resource,
            **(properties or {}),
        },
    }
    relationships: list[Json] = [{"type": type_, "target": target} for type_, target in links]
    if relationships:
        node["relationships"] = relationships
    return node


class _Names:
    """Makes names of resources into names of nodes, each once."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}

    def of(self, kind: str, resource: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", resource).strip("_") or kind
        if (kind, resource) not in self._given:
            taken = set(self._given.values())
            wanted = [plain, f"{plain}_{kind}", *(f"{plain}_{kind}_{number}" for number in range(2, 10_000))]
            self._given[kind, resource] = next(name for name in wanted if name not in taken)
        return self._given[kind, resource]
