"""Rules of security groups: compared by what they allow, and put back one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from quiesce.errors import UnsupportedError
from quiesce.model.ids import Json
from quiesce.providers.openstack.cloud import Cloud

_COLLECTION: Final = "security-group-rules"
#: whom a rule speaks of; it speaks of everybody where none is given
_REMOTES: Final = frozenset({"remote_ip_prefix", "remote_group_id", "remote_address_group_id"})
RULE_FIELDS: Final = _REMOTES | {"direction", "ethertype", "protocol", "port_range_min", "port_range_max"}
#: what the names of all remotes begin with, those that are newer than this code too
_REMOTE_PREFIX: Final = "remote_"


def rule_of(raw: Mapping[str, Any]) -> Mapping[str, Json]:
    """Return what the rule that Neutron describes as *raw* allows; what is not given is left out."""
    return {
        name: raw[name]
        for name in sorted(raw)
        if raw[name] is not None and (name in RULE_FIELDS or name.startswith(_REMOTE_PREFIX))
    }


def refuse_unknown_remotes(rules: Sequence[Mapping[str, Json]]) -> None:
    """Refuse rules that would allow more when they are made anew by this code.

    Raises:
        UnsupportedError: naming what it does not know.
    """
    for rule in rules:
        unknown = sorted(name for name in rule if name.startswith(_REMOTE_PREFIX) and name not in _REMOTES)
        if unknown:
            raise UnsupportedError(
                f"a rule speaks of {unknown[0]} {rule[unknown[0]]}, which quiesce does not know",
                hint="Make this rule by hand, or restore without apply_network.",
            )


def change_rules(cloud: Cloud, group_id: str, saved: Sequence[Mapping[str, Json]]) -> None:
    """Make the rules of a group what was *saved*: first the missing ones, then away with the others.

    Raises:
        UnsupportedError: before anything is changed, when a rule cannot be made as it was.
    """
    current = cloud.network_objects(_COLLECTION, security_group_id=group_id)
    there = [rule_of(raw) for raw in current]
    missing = [rule for rule in saved if rule not in there]
    refuse_unknown_remotes(missing)
    for rule in missing:
        cloud.create_network_object(_COLLECTION, {**rule, "security_group_id": group_id})
    for raw in current:
        if rule_of(raw) not in saved:
            cloud.delete_network_object(_COLLECTION, raw["id"])
