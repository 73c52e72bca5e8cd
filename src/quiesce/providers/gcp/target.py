"""Which resource of Compute Engine a node instance stands for."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.ids import Json
from quiesce.model.topology import Node
from quiesce.providers.gcp.account import Account, account_of
from quiesce.providers.gcp.names import LONGEST
from quiesce.providers.gcp.references import Reference, last_part, parse

#: runtime property: the disk that this node stands for since a restore replaced the first one
CURRENT_DISK: Final = "quiesce_disk"

INSTANCE_TYPES: Final = frozenset(
    {"quiesce.nodes.gcp.Instance", "cloudify.gcp.nodes.Instance", "cloudify.nodes.gcp.Instance"}
)
DISK_TYPES: Final = frozenset(
    {"quiesce.nodes.gcp.Disk", "cloudify.gcp.nodes.Volume", "cloudify.nodes.gcp.Volume"}
)
SNAPSHOT_TYPES: Final = frozenset({"cloudify.gcp.nodes.Snapshot", "cloudify.nodes.gcp.Snapshot"})


class Noun(enum.Enum):
    """What kind of resource a node stands for."""

    MACHINE = "instances"
    DISK = "disks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The resource of one call, and the account that reaches it."""

    account: Account
    reference: Reference
    noun: Noun


def target_of(call: Call, account: Account) -> Target:
    """Return what *call* is about.

    Raises:
        NonRecoverableError: when the node does not say enough, or what it says is not legal.
    """
    if SNAPSHOT_TYPES.intersection(call.node.type_hierarchy):
        return Target(account=account, reference=_named_disk(call, account), noun=Noun.DISK)
    noun = _noun(call.node)
    described = _Described(
        instance=call.instance, properties=call.properties, runtime=call.runtime_properties
    )
    return Target(account=account, reference=_reference(described, account, noun), noun=noun)


def _named_disk(call: Call, account: Account) -> Reference:
    """Return the disk that a node for snapshots names; without a name, the one that it depends on."""
    name = str(call.inputs.get("disk_name") or call.properties.get("disk_name") or "")
    for related in call.related:
        if DISK_TYPES.intersection(related.node.type_hierarchy) and not related.dependent:
            described = _described(related)
            if name in ("", described.first("name"), legal_name(related.instance)):
                return _reference(described, account, Noun.DISK)
    named = _Described(instance=call.instance, properties={**call.properties, "name": name}, runtime={})
    return _reference(named, account, Noun.DISK)


def disks_with_own_nodes(call: Call, account: Account) -> frozenset[Reference]:
    """Return the disks near *call*'s machine that other nodes of the deployment stand for."""
    return frozenset(
        _reference(
            _described(related), account_of(related.properties) if _config(related) else account, Noun.DISK
        )
        for related in call.related
        if DISK_TYPES.intersection(related.node.type_hierarchy)
    )


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


def _noun(node: Node) -> Noun:
    return Noun.MACHINE if INSTANCE_TYPES.intersection(node.type_hierarchy) else Noun.DISK


def _reference(described: _Described, account: Account, noun: Noun) -> Reference:
    current = described.runtime.get(CURRENT_DISK)
    if noun is Noun.DISK and isinstance(current, str) and current:
        return parse(current)
    named = described.first("resource_id", "selfLink", "name", "gcp_disk")
    if "/" in named:
        return parse(named)
    project = account.project
    if not project:
        raise NonRecoverableError(
            f"no project is known for {described.instance}", hint="Set gcp_config.project."
        )
    return Reference(
        project=project,
        scope=_scope(described, account, noun),
        collection=noun.value,
        name=named or legal_name(described.instance),
    )


def _scope(described: _Described, account: Account, noun: Noun) -> str:
    region = described.first("region")
    zone = described.first("zone")
    if noun is Noun.DISK and region and not zone:
        return f"regions/{last_part(region)}"
    zone = zone or account.zone
    if zone:
        return f"zones/{last_part(zone)}"
    if noun is Noun.DISK and account.region:
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
