"""Policies within groups: the old way to have a monitoring event start a workflow.

Nothing here acts on them; they are checked so that a mistake in them is reported like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.blueprint.checking.properties import DataTypes, ValueSubject
from quiesce.blueprint.reading.problems import NOWHERE, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, empty_map, key_position, value_position


def check_group_policies(blueprint: SourceMap, data_types: DataTypes, problems: Problems) -> None:
    """Add what is wrong with the policies, and their triggers, of any group."""
    check = _Check(
        types=_section(blueprint, "policy_types"),
        triggers=_section(blueprint, "policy_triggers"),
        data_types=data_types,
        problems=problems,
    )
    groups = _section(blueprint, "groups")
    for group in groups:
        policies = _section(groups[group], "policies")
        for name in policies:
            check.policy(policies, name, group)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    types: SourceMap
    triggers: SourceMap
    data_types: DataTypes
    problems: Problems

    def policy(self, section: SourceMap, name: str, group: str) -> None:
        """Check one policy of *group* and its triggers."""
        subject = f"policy {name!r} of group {group!r}"
        self._use(section, name, subject, self.types, "properties")
        triggers = _section(section[name], "triggers")
        for trigger in triggers:
            self._use(triggers, trigger, f"trigger {trigger!r} of {subject}", self.triggers, "parameters")

    def _use(self, section: SourceMap, name: str, subject: str, known: SourceMap, values: str) -> None:
        """Check that what is used is known and given the values that it asks for."""
        content = (
            section[name] if isinstance(section[name], SourceMap) else empty_map(key_position(section, name))
        )
        kind = content.get("type")
        if kind not in known:
            what = f"{subject} has the type {kind!r}, which is unknown"
            self.problems.add(value_position(content, "type"), what, suggestion(kind, known))
            return
        schema = self.data_types.properties(_section(known[kind], values), f"type {kind!r}")
        given = _section(content, values)
        self.data_types.filled(given, schema, ValueSubject(name=subject), key_position(section, name))


def _section(content: Value, name: str) -> SourceMap:
    section = content.get(name) if isinstance(content, SourceMap) else None
    return section if isinstance(section, SourceMap) else empty_map(NOWHERE)
