"""How many instances nodes and groups have, and which nodes scale together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from quiesce.blueprint.reading.functions import function_of
from quiesce.blueprint.reading.problems import NOWHERE, Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, key_position, value_position

POLICY: Final = "cloudify.policies.scaling"
UNBOUNDED: Final = -1
_DEFAULTS: Final[Mapping[str, int]] = {"default_instances": 1, "min_instances": 0, "max_instances": UNBOUNDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceCount:
    """How many instances a new deployment gets; a function until it is evaluated."""

    default: Value = 1
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredGroup:
    """Nodes and groups that scale together."""

    name: str
    members: tuple[str, ...]
    count: InstanceCount


def read_count(properties: Value, subject: str, position: Position, problems: Problems) -> InstanceCount:
    """Return the count that scaling *properties* ask for; one when they say nothing."""
    if not isinstance(properties, SourceMap):
        return InstanceCount(position=position)
    numbers = {name: _number(properties, name, problems) for name in _DEFAULTS}
    least, most, default = (numbers[f"{name}_instances"] for name in ("min", "max", "default"))
    where = value_position(properties, "default_instances")
    for lower, upper, what in (
        (least, default, "default_instances is less than min_instances"),
        (least, most, "max_instances is less than min_instances"),
        (default, most, "default_instances is more than max_instances"),
    ):
        bounded = upper is not most or upper != UNBOUNDED
        if isinstance(lower, int) and isinstance(upper, int) and bounded and lower > upper:
            problems.add(where, f"{subject}: {what}")
    return InstanceCount(default=default, position=where)


def _number(properties: SourceMap, name: str, problems: Problems) -> Value:
    value = properties.get(name)
    position = value_position(properties, name)
    if value is None:
        return _DEFAULTS[name]
    if name == "max_instances" and value in ("UNBOUNDED", UNBOUNDED):
        return UNBOUNDED
    least = 1 if name == "max_instances" else 0
    if isinstance(value, dict):
        if function_of(value) is None:
            problems.add(position, f"{name!r} must be a number or an intrinsic function")
    elif not isinstance(value, int):
        problems.add(position, f"{name!r} must be a number or 'UNBOUNDED', not {value!r}")
        return None
    elif value < least:
        problems.add(position, f"{name!r} must be {least} or more, not {value}")
    return value


def read_groups(
    blueprint: SourceMap, nodes: Mapping[str, Any], containers: Mapping[str, str], problems: Problems
) -> dict[str, DeclaredGroup]:
    """Return the groups that scaling policies apply to.

    *containers* says what each node is contained in. A node that is in a group together with what it is
    contained in scales with that, and is left out of the group.
    """
    section = blueprint.get("groups") or {}
    members = {name: _members(section, name, nodes, problems) for name in section}
    groups = _with_policies(blueprint.get("policies") or {}, members, problems)
    nesting = _Nesting(groups, containers)
    if _nested_well(groups, section, nesting, problems):
        _check_shared_containers(section, nesting, problems)
        _leave_out_contained(groups, nesting)
    return {
        name: DeclaredGroup(name=name, members=tuple(each.members), count=each.count)
        for name, each in groups.items()
    }


def _members(
    section: Mapping[str, Value], name: str, nodes: Mapping[str, Any], problems: Problems
) -> list[str]:
    content = section[name] or {}
    if name in nodes:
        problems.add(
            key_position(section, name), f"a node and a group are both called {name!r}", "rename one of them"
        )
    listed = content.get("members") or []
    if not listed:
        problems.add(key_position(section, name), f"the group {name!r} has no members")
    for index, member in enumerate(listed):
        if member not in nodes and member not in section:
            what = f"the group {name!r} has the member {member!r}, which is neither a node nor a group"
            problems.add(value_position(listed, index), what, suggestion(member, [*nodes, *section]))
    return list(dict.fromkeys(listed))


@dataclass(slots=True)
class _Scaled:
    members: list[str]
    count: InstanceCount


def _with_policies(
    policies: Mapping[str, Value], members: Mapping[str, list[str]], problems: Problems
) -> dict[str, _Scaled]:
    groups: dict[str, _Scaled] = {}
    for name in policies:
        content = policies[name] or {}
        if content.get("type") != POLICY:
            what = f"the policy {name!r} has the type {content.get('type')!r}"
            problems.add(value_position(content, "type"), what, f"only {POLICY!r} is known")
            continue
        count = read_count(
            content.get("properties"), f"policy {name!r}", key_position(policies, name), problems
        )
        targets = content.get("targets") or []
        if not targets:
            problems.add(key_position(policies, name), f"the policy {name!r} has no targets")
        for index, target in enumerate(targets):
            if target in members:
                groups[target] = _Scaled(list(members[target]), count)
            else:
                what = f"the policy {name!r} has the target {target!r}, which is no group"
                problems.add(value_position(targets, index), what, suggestion(target, members))
    return groups


@dataclass(slots=True)
class _Nesting:
    """Which group a node or group belongs to, and what nodes are contained in."""

    groups: dict[str, _Scaled]
    containers: Mapping[str, str]
    parents: dict[str, str] = field(default_factory=dict)

    def groups_of(self, member: str) -> Iterator[str]:
        """Yield the groups around *member*, innermost first."""
        while member in self.parents:
            member = self.parents[member]
            yield member

    def containers_of(self, node: str) -> Iterator[str]:
        """Yield what *node* is contained in, nearest first."""
        seen = {node}
        while node in self.containers and self.containers[node] not in seen:
            node = self.containers[node]
            seen.add(node)
            yield node


def _nested_well(groups: dict[str, _Scaled], section: Value, nesting: _Nesting, problems: Problems) -> bool:
    """Tell whether every member is in one group and no group in itself."""
    fine = True
    for name, group in groups.items():
        for member in group.members:
            first = nesting.parents.setdefault(member, name)
            if first != name:
                what = f"{member!r} is a member of two scaling groups, {first!r} and {name!r}"
                problems.add(key_position(section, name), what, "let it be a member of one")
                fine = False
    for name in groups:
        seen: dict[str, None] = {}
        for outer in nesting.groups_of(name):
            if outer in seen:
                break
            seen[outer] = None
            if outer == name:
                cycle = " -> ".join((name, *seen))
                problems.add(
                    key_position(section, name), f"the group {name!r} is a member of itself: {cycle}"
                )
                fine = False
    return fine


def _check_shared_containers(section: Value, nesting: _Nesting, problems: Problems) -> None:
    """Note nodes that share a group though they are contained in different things."""
    for name in nesting.groups:
        nodes = sorted(_nodes_within(nesting, name))
        around = {node: (node, *nesting.containers_of(node)) for node in nodes}
        roots = {node: around[node][-1] for node in nodes if len(around[node]) > 1}
        free = [node for node in nodes if node not in roots]
        together = set(_nodes_within(nesting, [name, *nesting.groups_of(name)][-1]))
        distinct = set(roots.values())
        outside = [node for node in free if node not in distinct]
        if (len(distinct) > 1 and not distinct <= together) or (distinct - together and outside):
            what = (
                f"the nodes of group {name!r} are contained in different nodes: {', '.join(sorted(distinct))}"
            )
            problems.add(key_position(section, name), what, "group nodes that are contained in the same node")


def _nodes_within(nesting: _Nesting, name: str) -> Iterator[str]:
    waiting = [name]
    while waiting:
        for member in nesting.groups[waiting.pop()].members:
            if member in nesting.groups:
                waiting.append(member)
            else:
                yield member


def _leave_out_contained(groups: dict[str, _Scaled], nesting: _Nesting) -> None:
    for member in list(nesting.parents):
        if member in groups:
            continue
        mine = list(nesting.groups_of(member))
        for container in nesting.containers_of(member):
            theirs = set(nesting.groups_of(container))
            shared = [name for name in mine if name in theirs]
            if not shared:
                continue
            nearest = shared[0]
            index = mine.index(nearest)
            leaving = member if index == 0 else mine[index - 1]
            if leaving in groups[nearest].members:
                groups[nearest].members.remove(leaving)
