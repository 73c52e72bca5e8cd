"""Makes the instances of a new deployment: ids, containment, scaling groups, connections."""

from __future__ import annotations

import graphlib
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from quiesce.blueprint.model import Blueprint
from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem
from quiesce.errors import BlueprintError
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.topology import CONTAINED_IN, Instance, Link, Node, Relationship, Topology

ALL_TO_ALL: Final = "all_to_all"
ALL_TO_ONE: Final = "all_to_one"
#: more instances, or more links between them, are refused
MAX_INSTANCES: Final = 50_000
MAX_LINKS: Final = 5_000_000

_CONNECTING: Final = frozenset({"cloudify.relationships.depends_on", "cloudify.relationships.connected_to"})
_ALPHABET: Final = string.ascii_lowercase + string.digits
_SUFFIX_LENGTH: Final = 6


def instantiate(blueprint: Blueprint, pick: Callable[[str], str]) -> Topology:
    """Return the topology of a new deployment of *blueprint*.

    *pick* chooses one character of a text at random, such as `random.choice`. A contained node has its
    count in each instance of what it is contained in, a member of a scaling group in each copy of it.

    Raises:
        InvalidBlueprintError: when a connection is impossible, or there would be too many instances.
    """
    maker = _CopyMaker(blueprint, pick)
    maker.make_all()
    links = _Linking(blueprint, maker)
    instances = {
        copy.id: Instance(id=copy.id, node=node, links=links.of(node, copy), groups=copy.groups)
        for node in blueprint.nodes
        for copy in maker.copies[node]
    }
    return with_instances(blueprint, instances)


def with_instances(blueprint: Blueprint, instances: Mapping[InstanceId, Instance]) -> Topology:
    """Return the topology of a deployment of *blueprint* whose instances are there already.

    Raises:
        BlueprintError: when an instance belongs to a node that the blueprint does not have.
    """
    for instance in instances.values():
        if instance.node not in blueprint.nodes:
            raise BlueprintError(f"instance {instance.id} is of node {instance.node!r}, which is not there")
    return Topology(
        nodes=blueprint.nodes,
        instances=instances,
        inputs=blueprint.values,
        capabilities=blueprint.capabilities,
        outputs=blueprint.outputs,
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy of a node or of a group."""

    id: InstanceId
    #: the copies around it, of nodes and groups, innermost first
    around: tuple[_Copy, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(slots=True)
class _CopyMaker:
    """Makes copies of nodes and groups, from the outermost inwards."""

    blueprint: Blueprint
    pick: Callable[[str], str]
    copies: dict[str, list[_Copy]] = field(default_factory=dict)
    made: int = 0

    def make_all(self) -> None:
        """Make every copy."""
        outer = _outer(self.blueprint)
        counts = {name: node.instances for name, node in self.blueprint.nodes.items()} | {
            name: group.instances for name, group in self.blueprint.groups.items()
        }
        order = graphlib.TopologicalSorter(
            {name: {outer[name]} if name in outer else set() for name in counts}
        )
        for name in order.static_order():
            parents = self.copies[outer[name]] if name in outer else [None]
            self.copies[name] = self._copies(name, counts[name], parents)

    def _copies(self, name: str, count: int, parents: Sequence[_Copy | None]) -> list[_Copy]:
        self.made += count * len(parents)
        if self.made > MAX_INSTANCES:
            raise _impossible(
                self.blueprint, f"the deployment would have more than {MAX_INSTANCES} instances"
            )
        taken: set[str] = set()
        is_group = name in self.blueprint.groups
        return [
            self._copy(name, parent, taken, is_group=is_group) for parent in parents for _ in range(count)
        ]

    def _copy(self, name: str, parent: _Copy | None, taken: set[str], *, is_group: bool) -> _Copy:
        unique = self._id(name)
        while unique in taken:
            unique = self._id(name)
        taken.add(unique)
        around = () if parent is None else (parent, *parent.around)
        groups = () if parent is None else parent.groups
        return _Copy(InstanceId(unique), around, (unique, *groups) if is_group else groups)

    def _id(self, name: str) -> str:
        return f"{name}_{''.join([self.pick(_ALPHABET) for _ in range(_SUFFIX_LENGTH)])}"


def _outer(blueprint: Blueprint) -> dict[str, str]:
    """Return what each node and group is directly in: a group before a node."""
    containers = {
        str(name): str(each.target) for name, node in blueprint.nodes.items() if (each := _container(node))
    }
    groups = {member: name for name, group in blueprint.groups.items() for member in group.members}
    outer: dict[str, str] = {}
    outer.update(containers)
    outer.update(groups)
    for member, container in containers.items():
        if member in groups:
            outer[_outermost(groups, member)] = container
    return outer


def _outermost(groups: Mapping[str, str], member: str) -> str:
    while member in groups:
        member = groups[member]
    return member


def _container(node: Node) -> Relationship | None:
    return next((each for each in node.relationships if CONTAINED_IN in each.type_hierarchy), None)


class _Linking:
    """Finds what each copy is linked to."""

    def __init__(self, blueprint: Blueprint, maker: _CopyMaker) -> None:
        self._blueprint = blueprint
        self._copies = maker.copies
        self._outer = _outer(blueprint)
        self._made = 0
        self._finders = {name: list(self._relationships(node)) for name, node in blueprint.nodes.items()}

    def of(self, node: NodeId, copy: _Copy) -> tuple[Link, ...]:
        """Return the links of one copy of *node*, in the order of its relationships."""
        links = tuple(link for find in self._finders[node] for link in find(copy))
        self._made += len(links)
        if self._made > MAX_LINKS:
            raise _impossible(self._blueprint, f"the deployment would have more than {MAX_LINKS} links")
        return links

    def _relationships(self, node: Node) -> Iterator[Callable[[_Copy], Sequence[Link]]]:
        for relationship in node.relationships:
            if CONTAINED_IN in relationship.type_hierarchy:
                yield self._contained(relationship)
            elif _CONNECTING.isdisjoint(relationship.type_hierarchy):
                what = f"node {node.id!r} has the relationship {relationship.type!r}"
                raise _impossible(self._blueprint, what, "derive it from cloudify.relationships.depends_on")
            else:
                yield self._connected(node, relationship)

    def _contained(self, relationship: Relationship) -> Callable[[_Copy], Sequence[Link]]:
        prefix = f"{relationship.target}_"
        targets = {copy.id for copy in self._copies[relationship.target]}

        def find(copy: _Copy) -> Sequence[Link]:
            near = (outer.id for outer in copy.around if outer.id.startswith(prefix) and outer.id in targets)
            return [Link(target=next(near), type=relationship.type, contained=True)]

        return find

    def _connected(self, node: Node, relationship: Relationship) -> Callable[[_Copy], Sequence[Link]]:
        kind = relationship.properties.get("connection_type", ALL_TO_ALL)
        group = self._shared_group(node.id, relationship.target)
        targets = self._copies[relationship.target]
        if kind not in (ALL_TO_ALL, ALL_TO_ONE):
            what = f"node {node.id!r} is connected to {relationship.target!r} with connection_type {kind!r}"
            raise _impossible(self._blueprint, what, f"it is {ALL_TO_ALL!r} or {ALL_TO_ONE!r}")
        if kind == ALL_TO_ONE and targets and self._copies[node.id]:
            if group is not None:
                what = f"{ALL_TO_ONE!r} cannot connect {node.id!r} to {relationship.target!r} in {group!r}"
                raise _impossible(self._blueprint, what, f"use {ALL_TO_ALL!r} within a group")
            targets = [min(targets, key=lambda copy: copy.id)]
        return _finder(_links(targets, relationship), _by_group(targets, group, relationship), group)

    def _shared_group(self, source: str, target: str) -> str | None:
        """Return the innermost group that two nodes are both in."""
        theirs = set(self._groups_of(target))
        return next((group for group in self._groups_of(source) if group in theirs), None)

    def _groups_of(self, name: str) -> Iterator[str]:
        while name in self._outer:
            name = self._outer[name]
            if name in self._blueprint.groups:
                yield name


def _links(targets: Sequence[_Copy], relationship: Relationship) -> tuple[Link, ...]:
    return tuple(Link(target=copy.id, type=relationship.type) for copy in targets)


def _by_group(
    targets: Sequence[_Copy], group: str | None, relationship: Relationship
) -> Mapping[str, tuple[Link, ...]]:
    """Return the links to the targets in each copy of *group*."""
    found: dict[str, list[_Copy]] = {}
    for copy in targets if group is not None else ():
        found.setdefault(_group_copy(copy, group), []).append(copy)
    return {name: _links(copies, relationship) for name, copies in found.items()}


def _group_copy(copy: _Copy, group: str | None) -> str:
    return next((name for name in copy.groups if name.rpartition("_")[0] == group), "")


def _finder(
    everyone: tuple[Link, ...], by_group: Mapping[str, tuple[Link, ...]], group: str | None
) -> Callable[[_Copy], Sequence[Link]]:
    if group is None:
        return lambda copy: everyone  # noqa: ARG005  the same for every copy
    return lambda copy: by_group.get(_group_copy(copy, group), ())


def _impossible(blueprint: Blueprint, what: str, remedy: str = "") -> InvalidBlueprintError:
    return InvalidBlueprintError([Problem(position=Position(blueprint.path), what=what, remedy=remedy)])
