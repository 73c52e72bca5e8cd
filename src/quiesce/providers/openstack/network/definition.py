"""What defines each sort of network object, as it is kept in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.network.rules import rule_of
from quiesce.providers.openstack.parsing import understood


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSort:
    """One sort of network object."""

    collection: str
    #: where plugins of version 2 keep its settings
    section: str
    #: what can be changed afterwards
    changeable: frozenset[str]
    #: what belongs to its definition, but cannot be changed afterwards
    fixed: frozenset[str] = frozenset()


_COMMON: Final = frozenset({"name", "description"})
#: lists whose order means something: a guest asks the first name server first
_ORDERED: Final = frozenset({"dns_nameservers"})
#: by the names of the description's kinds
SORTS: Final = {
    "network": NetworkSort(
        collection="networks",
        section="network",
        changeable=_COMMON | {"admin_state_up", "mtu", "port_security_enabled", "shared"},
        fixed=frozenset({"router:external"}),
    ),
    "subnet": NetworkSort(
        collection="subnets",
        section="subnet",
        changeable=_COMMON
        | {"enable_dhcp", "gateway_ip", "dns_nameservers", "allocation_pools", "host_routes"},
        fixed=frozenset({"cidr", "ip_version", "network_id"}),
    ),
    "port": NetworkSort(
        collection="ports",
        section="port",
        changeable=_COMMON
        | {
            "admin_state_up",
            "fixed_ips",
            "security_groups",
            "allowed_address_pairs",
            "port_security_enabled",
        },
        fixed=frozenset({"mac_address", "network_id", "device_id"}),
    ),
    "router": NetworkSort(
        collection="routers",
        section="router",
        changeable=_COMMON | {"admin_state_up", "external_gateway_info", "routes"},
    ),
    "security group": NetworkSort(
        collection="security-groups", section="security_group", changeable=_COMMON | {"stateful"}
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDefinition:
    """The definition of one object, as an artifact keeps it."""

    collection: str
    id: str
    fields: Mapping[str, Json]
    #: of a security group
    rules: Sequence[Mapping[str, Json]] | None = None
    #: of a router: the subnets that it connects
    subnets: Sequence[str] | None = None

    def differences(self, current: NetworkDefinition) -> Iterator[FieldDifference]:
        """Return every field of this that is something else now."""
        for name, value in self.fields.items():
            if current.fields.get(name) != value:
                yield FieldDifference(field=name, saved=value, current=current.fields.get(name))
        for name in ("rules", "subnets"):
            saved, now = getattr(self, name), getattr(current, name)
            if saved is not None and saved != now:
                yield FieldDifference(field=name, saved=saved, current=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """One field that is not what it was."""

    field: str
    saved: Json
    current: Json

    def __str__(self) -> str:
        return f"{self.field} is {self.current!r}, was {self.saved!r}"


@understood("a network object")
def definition_of(cloud: Cloud, sort: NetworkSort, raw: Mapping[str, Any]) -> NetworkDefinition:
    """Return the definition of the object that Neutron describes as *raw*."""
    names = sorted((sort.changeable | sort.fixed) & raw.keys())
    is_group, is_router = sort.collection == "security-groups", sort.collection == "routers"
    return NetworkDefinition(
        collection=sort.collection,
        id=raw["id"],
        fields={name: raw[name] if name in _ORDERED else _plain(raw[name]) for name in names},
        rules=_rules_of(raw) if is_group else None,
        subnets=subnets_of(cloud, raw["id"]) if is_router else None,
    )


@understood("a router's ports")
def subnets_of(cloud: Cloud, router_id: str) -> list[str]:
    """Return the subnets that a router connects."""
    ports = cloud.network_objects("ports", device_id=router_id)
    inside = [port for port in ports if port.get("device_owner") == "network:router_interface"]
    return sorted(ip["subnet_id"] for port in inside for ip in port.get("fixed_ips") or ())


def _rules_of(group: Mapping[str, Any]) -> list[Mapping[str, Json]]:
    return sorted((rule_of(raw) for raw in group.get("security_group_rules") or ()), key=str)


def _plain(value: Any) -> Json:
    """Return *value* with lists in a stable order: Neutron gives them in any."""
    if isinstance(value, list):
        order: Callable[[Json], str] = str
        return sorted((_plain(item) for item in value), key=order)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    return value if isinstance(value, str | int | float | bool) else None
