"""Which resource of Compute Engine a node instance stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.capabilities import Kind
from quiesce.model.ids import Json
from quiesce.providers.gcp import DISK, MACHINE, SNAPSHOT
from quiesce.providers.gcp.account import Account, account_of
from quiesce.providers.gcp.ownership import LONGEST
from quiesce.providers.gcp.references import DISKS, MACHINES, Reference, last_part, parse

#: runtime property: the disk that this node stands for since a restore replaced the first one
CURRENT_DISK: Final = "quiesce_disk"


def target_of(kind: Kind, call: Call, account: Account) -> Reference:
    """Return the machine or disk that *call* is about.

    Raises:
        NonRecoverableError: when the node does not say enough, or what it says is not legal.
    """
    if kind is SNAPSHOT:
        return _named_disk(call, account)
    described = _Described(
        instance=call.instance, properties=call.properties, runtime=call.runtime_properties
    )
    return _reference(described, account, MACHINES) if kind is MACHINE else _disk(described, account)


def disks_with_own_nodes(call: Call, account: Account) -> frozenset[Reference]:
    """Return the disks near *call*'s machine that other nodes of the deployment stand for."""
    return frozenset(
        _disk(_described(related), account_of(related.properties) if _config(related) else account)
        for related in call.related
        if DISK.types.intersection(related.node.type_hierarchy)
    )


def _named_disk(call: Call, account: Account) -> Reference:
    """Return the disk that a node for snapshots names; without a name, the one that it depends on."""
    name = str(call.inputs.get("disk_name") or call.properties.get("disk_name") or "")
    for related in call.related:
        if DISK.types.intersection(related.node.type_hierarchy) and not related.dependent:
            described = _described(related)
            if name in ("", described.first("name"), legal_name(related.instance)):
                return _disk(described, account)
    named = _Described(instance=call.instance, properties={**call.properties, "name": name}, runtime={})
    return _disk(named, account)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What a node instance says about its resource."""

    instance: str
    properties: Mapping[str, Json]
    runtime: Mapping[str, Json]

    def first(self, *keys: str) -> str:
        """Return the first text among runtime properties, then node properties."""
        for source in (self.runtime, self.properties):
            for key in keys:
                value = source.get(key)
                if isinstance(value, dict):
                    value = value.get("source") or value.get("selfLink")
                if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                    return str(value)
        return ""


def _described(related: Related) -> _Described:
    return _Described(
        instance=related.instance, properties=related.properties, runtime=related.runtime_properties
    )


def _config(related: Related) -> bool:
    return bool(related.properties.get("gcp_config") or related.properties.get("client_config"))


def _disk(described: _Described, account: Account) -> Reference:
    current = described.runtime.get(CURRENT_DISK)
    if isinstance(current, str) and current:
        return parse(current)
    return _reference(described, account, DISKS)


def _reference(described: _Described, account: Account, collection: str) -> Reference:
    named = described.first("resource_id", "selfLink", "name", "gcp_disk")
    if "/" in named:
        return parse(named)
    if not account.project:
        raise NonRecoverableError(
            f"no project is known for {described.instance}", hint="Set gcp_config.project."
        )
    return Reference(
        project=account.project,
        scope=_scope(described, account, collection),
        collection=collection,
        name=named or legal_name(described.instance),
    )


def _scope(described: _Described, account: Account, collection: str) -> str:
    region, zone = described.first("region"), described.first("zone")
    if collection == DISKS and region and not zone:
        return f"regions/{last_part(region)}"
    zone = zone or account.zone
    if zone:
        return f"zones/{last_part(zone)}"
    if collection == DISKS and account.region:
        return f"regions/{account.region}"
    raise NonRecoverableError(
        f"no zone is known for {described.instance}",
        hint="Set the node's zone, gcp_config.zone, or a full URL as resource_id.",
    )


def legal_name(instance: str) -> str:
    """Return the name that the official plugin gives a resource whose node has none."""
    name = re.sub(r"[^a-z0-9-]", "", instance.lower().replace("_", "-"))
    name = name if name[:1].isalpha() else f"a{name}"
    return (name if len(name) <= LONGEST else name[: LONGEST - 6] + name[-6:]).rstrip("-")
