"""A blueprint of what runs at a hypervisor: domains, their volumes and networks, and their ties."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE
from quiesce.provider_kit.discovery import CONNECTED_TO, CONTAINED_IN, BlueprintBuilder
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Hypervisor, HypervisorObject
from quiesce.providers.libvirt.domain.domain_xml import read_definition


@dataclass(frozen=True, slots=True, kw_only=True)
class _DiscoveredVolume:
    """A volume that domains may use."""

    node: str
    name: str
    pool: str


def blueprint_of(hypervisor: Hypervisor) -> dict[str, Json]:
    """Return the blueprint as plain data."""
    return _Discovery(hypervisor).blueprint()


class _Discovery:
    """One look at a hypervisor."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._builder = BlueprintBuilder()
        self._uri = self._builder.add_input("libvirt_uri", "string", hypervisor.uri)

    def blueprint(self) -> dict[str, Json]:
        """Return everything that is there."""
        networks = {n.name: self._builder.name("network", n.name) for n in self._hypervisor.networks()}
        pools = {pool.name: self._builder.name("pool", pool.name) for pool in self._hypervisor.pools()}
        volumes = self._volumes()
        for kind, nodes in (("Network", networks), ("Pool", pools)):
            for resource, node in nodes.items():
                self._add(kind, node, resource)
        used = self._add_domains(networks, volumes)
        for volume in (volume for path, volume in volumes.items() if path in used):
            links = [(CONTAINED_IN, pools[volume.pool])] if volume.pool in pools else []
            self._add("Volume", volume.node, volume.name, links, {"pool": volume.pool})
        return self._builder.blueprint()

    def _volumes(self) -> dict[str, _DiscoveredVolume]:
        """Return the volumes by their paths."""
        return {
            volume.path(): _DiscoveredVolume(
                node=self._builder.name("volume", volume.name), name=volume.name, pool=pool.name
            )
            for pool in self._hypervisor.pools()
            for volume in _volumes_of(pool)
        }

    def _add_domains(self, networks: Mapping[str, str], volumes: Mapping[str, _DiscoveredVolume]) -> set[str]:
        """Add the domains; return the paths of the volumes that they use."""
        used: set[str] = set()
        for domain in sorted(self._hypervisor.domains(), key=lambda found: found.name):
            text = domain.xml()
            tree = xml.read(text)
            paths = [path for path in _paths(tree) if path in volumes]
            used.update(paths)
            joined = [source.get("network", "") for source in tree.findall("devices/interface/source")]
            links = [
                *((CONNECTED_TO, volumes[path].node) for path in paths),
                *((CONNECTED_TO, networks[name]) for name in joined if name in networks),
            ]
            node = self._builder.name("domain", domain.name)
            self._add("Domain", node, domain.name, links, _domain_properties(text))
        return used

    def _add(
        self,
        kind: str,
        node: str,
        resource: str,
        links: Iterable[tuple[str, str]] = (),
        properties: Mapping[str, Json] | None = None,
    ) -> None:
        given: dict[str, Json] = {
            "libvirt_auth": self._uri,
            "use_external_resource": True,
            "resource_id": resource,
            **(properties or {}),
        }
        self._builder.add(node, f"quiesce.nodes.libvirt.{kind}", given, links)


def _domain_properties(definition: str) -> dict[str, Json]:
    """Return what has to be said about a domain: that no freeze is to be tried where no agent can be."""
    if read_definition(definition).has_agent_channel:
        return {}
    return {"skip_actions": [FS_PREPARE, FS_FINALIZE]}


def _volumes_of(pool: HypervisorObject) -> Iterable[HypervisorObject]:
    try:
        return pool.volumes() if pool.is_active() else ()
    except ProviderError:
        return ()


def _paths(tree: xml.Element) -> list[str]:
    sources = tree.findall("devices/disk/source")
    return [source.get("file") or source.get("dev") or "" for source in sources]
