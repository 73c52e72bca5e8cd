"""Networks, subnets, ports, routers and security groups: their definition is saved, compared, applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from quiesce.errors import NonRecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.locating import ids_of, names_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """One sort of network object."""

    collection: str
    #: where plugins of version 2 keep its settings
    section: str
    #: what can be changed afterwards
    changeable: frozenset[str]
    #: what belongs to its definition, but cannot be changed afterwards
    fixed: frozenset[str] = frozenset()


SORTS: Final = {
    "Network": Sort(
        collection="networks",
        section="network",
        changeable=frozenset(
            {"name", "description", "admin_state_up", "mtu", "port_security_enabled", "shared"}
        ),
        fixed=frozenset({"router:external"}),
    ),
    "Subnet": Sort(
        collection="subnets",
        section="subnet",
        changeable=frozenset(
            {
                "name",
                "description",
                "enable_dhcp",
                "gateway_ip",
                "dns_nameservers",
                "allocation_pools",
                "host_routes",
            }
        ),
        fixed=frozenset({"cidr", "ip_version", "network_id"}),
    ),
    "Port": Sort(
        collection="ports",
        section="port",
        changeable=frozenset(
            {
                "name",
                "description",
                "admin_state_up",
                "fixed_ips",
                "security_groups",
                "allowed_address_pairs",
                "port_security_enabled",
            }
        ),
        fixed=frozenset({"mac_address", "network_id", "device_id"}),
    ),
    "Router": Sort(
        collection="routers",
        section="router",
        changeable=frozenset({"name", "description", "admin_state_up", "external_gateway_info", "routes"}),
    ),
    "SecurityGroup": Sort(
        collection="security-groups",
        section="security_group",
        changeable=frozenset({"name", "description", "stateful"}),
    ),
}

_RULE: Final = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field that is not what it was."""

    field: str
    saved: Json
    current: Json

    def __str__(self) -> str:
        return f"{self.field} is {self.current!r}, was {self.saved!r}"


class Networks:
    """Works on one network object of a connection, for one call."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._cloud = connection.cloud
        self._call = call
        self._context = context
        self._sort = sort_of(call)

    def save(self) -> Outcome:
        """Return the definition as it is now."""
        raw = self._find()
        return Outcome(artifact={"collection": self._sort.collection, **self._definition(raw)})

    def apply(self) -> Outcome:
        """Report how the object differs from what was saved; change it back only when that is asked for."""
        saved = _saved(self._call)
        raw = self._find()
        differences = self._differences(saved, self._definition(raw))
        for difference in differences:
            self._context.log(Level.WARNING, f"{self._sort.section} {raw['id']}: {difference}")
        if not differences:
            return Outcome(note="it is as it was")
        if not self._call.parameters.apply_network:
            text = "; ".join(str(difference) for difference in differences)
            return Outcome(note=f"left as it is (apply_network was not asked for): {text}")
        self._change(raw["id"], saved, differences)
        return NOTHING

    def delete(self) -> Outcome:
        """Nothing is kept on the cloud."""
        return NOTHING

    def _find(self) -> dict[str, Any]:
        properties, runtime = self._call.properties, self._call.runtime_properties
        for object_id in ids_of(properties, runtime):
            found = self._cloud.network_object(self._sort.collection, object_id)
            if found is not None:
                return found
        names = [*ids_of(properties, runtime), *names_of(properties, runtime, self._sort.section)]
        found_by_name = [
            found for name in names for found in self._cloud.network_objects(self._sort.collection, name=name)
        ]
        if len(found_by_name) != 1:
            raise ResourceNotFoundError(
                f"{self._call.instance}: {len(found_by_name)} {self._sort.collection} found for "
                f"{', '.join(names) or 'no name'}; exactly one is needed",
                hint="Give its id as 'resource_id'.",
            )
        return found_by_name[0]

    def _definition(self, raw: Mapping[str, Any]) -> dict[str, Json]:
        fields = {
            key: _plain(raw[key]) for key in sorted(self._sort.changeable | self._sort.fixed) if key in raw
        }
        definition: dict[str, Json] = {"id": raw["id"], "fields": fields}
        if self._sort.collection == "security-groups":
            definition["rules"] = _rules_of(raw)
        if self._sort.collection == "routers":
            definition["subnets"] = self._subnets_of(raw["id"])
        return definition

    def _subnets_of(self, router_id: str) -> list[Json]:
        ports = self._cloud.network_objects("ports", device_id=router_id)
        inside = [port for port in ports if port.get("device_owner") == "network:router_interface"]
        return sorted(ip["subnet_id"] for port in inside for ip in port.get("fixed_ips") or ())

    def _differences(self, saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[Difference]:
        found = [
            Difference(field=key, saved=value, current=current["fields"].get(key))
            for key, value in saved["fields"].items()
            if current["fields"].get(key) != value
        ]
        return found + [
            Difference(field=key, saved=saved[key], current=current.get(key))
            for key in ("rules", "subnets")
            if key in saved and saved[key] != current.get(key)
        ]

    def _change(self, object_id: str, saved: Mapping[str, Any], differences: list[Difference]) -> None:
        names = {difference.field for difference in differences}
        fixed = sorted(names & self._sort.fixed)
        if fixed:
            raise UnsupportedError(
                f"{self._sort.section} {object_id}: {', '.join(fixed)} cannot be changed back",
                hint="Make the object anew, or restore without apply_network.",
            )
        fields = {key: saved["fields"][key] for key in sorted(names & self._sort.changeable)}
        if fields:
            self._cloud.update_network_object(self._sort.collection, object_id, fields)
        if "rules" in names:
            self._change_rules(object_id, saved["rules"])
        if "subnets" in names:
            self._change_subnets(object_id, saved["subnets"])

    def _change_rules(self, group_id: str, saved: list[dict[str, Json]]) -> None:
        current = self._cloud.network_objects("security-group-rules", security_group_id=group_id)
        for rule in current:
            if _rule(rule) not in saved:
                self._cloud.delete_network_object("security-group-rules", rule["id"])
        there = [_rule(rule) for rule in current]
        for rule in saved:
            if rule not in there:
                given = {key: value for key, value in rule.items() if value is not None}
                self._cloud.create_network_object(
                    "security-group-rules", {**given, "security_group_id": group_id}
                )

    def _change_subnets(self, router_id: str, saved: list[str]) -> None:
        current = self._subnets_of(router_id)
        for subnet_id in current:
            if subnet_id not in saved:
                self._cloud.change_router(router_id, "remove_router_interface", str(subnet_id))
        for subnet_id in saved:
            if subnet_id not in current:
                self._cloud.change_router(router_id, "add_router_interface", subnet_id)


def sort_of(call: Call) -> Sort:
    """Return which sort of network object the call's node is.

    Raises:
        NonRecoverableError: when it is none.
    """
    for type_ in reversed(call.node.type_hierarchy):
        sort = SORTS.get(type_.rsplit(".", 1)[-1])
        if sort is not None and ".openstack." in f".{type_}":
            return sort
    raise NonRecoverableError(f"{call.node.type} is not a network object of OpenStack")


def _saved(call: Call) -> Mapping[str, Any]:
    if call.artifact is None or "fields" not in call.artifact:
        raise NonRecoverableError(f"nothing is known of what {call.point} holds for {call.instance}")
    return call.artifact


def _rules_of(raw: Mapping[str, Any]) -> list[Json]:
    return sorted((_rule(rule) for rule in raw.get("security_group_rules") or ()), key=str)


def _rule(raw: Mapping[str, Any]) -> dict[str, Json]:
    return {key: raw.get(key) for key in _RULE}


def _plain(value: Any) -> Json:
    """Return *value* with lists in a stable order: Neutron gives them in any."""
    if isinstance(value, list):
        order: Callable[[Json], str] = str
        return sorted((_plain(item) for item in value), key=order)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    return value if isinstance(value, str | int | float | bool) else None
