"""Node templates: what each node is, before its functions are evaluated."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.blueprint.checking.interfaces import Implementations, InterfaceReader, Interfaces
from quiesce.blueprint.checking.properties import DataTypes, ValueSubject
from quiesce.blueprint.checking.scaling import InstanceCount, read_count
from quiesce.blueprint.checking.types import NODE, RELATIONSHIP, Type, known_type
from quiesce.blueprint.reading.problems import NOWHERE, Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, empty_map, key_position, value_position
from quiesce.model.topology import CONTAINED_IN, Implementation

_AFTER_OPERATION: Final = "cloudify.relationships.depends_on_lifecycle_operation"
_LIFECYCLE: Final = "cloudify.interfaces.lifecycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationshipTemplate:
    """A relationship as written, completed from its type."""

    target: str
    type: Type
    properties: SourceMap
    source_operations: Mapping[str, Implementation] = field(default_factory=dict)
    target_operations: Mapping[str, Implementation] = field(default_factory=dict)
    position: Position = NOWHERE

    @property
    def is_contained(self) -> bool:
        """Tell whether the source lives inside the target."""
        return CONTAINED_IN in self.type.hierarchy


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTemplate:
    """A node as written, completed from its type."""

    id: str
    type: Type
    properties: SourceMap
    operations: Mapping[str, Implementation] = field(default_factory=dict)
    relationships: tuple[RelationshipTemplate, ...] = ()
    count: InstanceCount
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Everything that node templates may refer to."""

    node_types: Mapping[str, Type]
    relationship_types: Mapping[str, Type]
    data_types: DataTypes
    interfaces: InterfaceReader
    implementations: Implementations


def read_nodes(section: Value, vocabulary: Vocabulary, problems: Problems) -> dict[str, NodeTemplate]:
    """Return every node template that can be understood; the rest is added to *problems*."""
    content = section if isinstance(section, SourceMap) else empty_map(NOWHERE)
    reading = _Reading(content, vocabulary, problems)
    nodes = {name: reading.node(name) for name in content}
    found = {name: node for name, node in nodes.items() if node is not None}
    _check_cycles(found, problems)
    return found


def containers(nodes: Mapping[str, NodeTemplate]) -> dict[str, str]:
    """Return what each contained node is contained in."""
    return {
        node.id: relationship.target
        for node in nodes.values()
        for relationship in node.relationships
        if relationship.is_contained
    }


@dataclass(frozen=True, slots=True)
class _Reading:
    section: SourceMap
    vocabulary: Vocabulary
    problems: Problems

    def node(self, name: str) -> NodeTemplate | None:
        """Return the node *name*, or None when it has no type that is known."""
        position = key_position(self.section, name)
        content = self.section[name] if isinstance(self.section[name], SourceMap) else empty_map(position)
        subject = f"node {name!r}"
        kind = known_type(self.vocabulary.node_types, content, NODE, subject, self.problems)
        if kind is None:
            return None
        given = content.get("properties") or empty_map(position)
        return NodeTemplate(
            id=name,
            type=kind,
            properties=self.vocabulary.data_types.filled(
                given, kind.properties, ValueSubject(name=subject), position
            ),
            operations=self._operations(kind.interfaces, content.get("interfaces"), subject),
            relationships=self._relationships(name, content.get("relationships")),
            count=self._count(content, subject, position),
            position=position,
        )

    def _operations(self, base: Interfaces, section: Value, subject: str) -> dict[str, Implementation]:
        own = self.vocabulary.interfaces.of_template(section)
        merged = self.vocabulary.interfaces.merged(base, own, subject)
        found: dict[str, Implementation] = {}
        for interface, operations in merged.items():
            for operation, declared in operations.items():
                name = f"{interface}.{operation}"
                about = f"{subject}, operation {name!r}"
                implementation = self.vocabulary.implementations.implementation(declared, about)
                if implementation is not None:
                    found[name] = implementation
        return found

    def _count(self, content: SourceMap, subject: str, position: Position) -> InstanceCount:
        deploy = (content.get("instances") or {}).get("deploy")
        capabilities = content.get("capabilities")
        if deploy is None:
            scalable = (capabilities or {}).get("scalable") or {}
            return read_count(scalable.get("properties"), subject, position, self.problems)
        where = value_position(content["instances"], "deploy")
        if capabilities is not None:
            what = f"{subject} has both 'instances' and 'capabilities'"
            self.problems.add(key_position(content, "instances"), what, "keep 'capabilities: scalable'")
        if deploy < 0:
            self.problems.add(where, f"{subject} cannot have {deploy} instances")
        return InstanceCount(default=deploy, position=where)

    def _relationships(self, node: str, section: Value) -> tuple[RelationshipTemplate, ...]:
        found = []
        for index, item in enumerate(section or ()):
            position = value_position(section, index)
            if isinstance(item, SourceMap):
                relationship = self._relationship(node, item, position)
                if relationship is not None:
                    found.append(relationship)
        contained = [each for each in found if each.is_contained]
        if len(contained) > 1:
            targets = ", ".join(repr(each.target) for each in contained)
            what = f"node {node!r} is contained in several nodes: {targets}"
            self.problems.add(contained[1].position, what, "a node is contained in one at most")
        return tuple(found)

    def _relationship(self, node: str, content: SourceMap, position: Position) -> RelationshipTemplate | None:
        subject = f"relationship of node {node!r} to {content.get('target')!r}"
        kind = known_type(self.vocabulary.relationship_types, content, RELATIONSHIP, subject, self.problems)
        target = self._target(node, content)
        if target is None or kind is None:
            return None
        given = content.get("properties") or empty_map(position)
        about = ValueSubject(name=subject)
        self._check_order(kind, given, target, subject)
        return RelationshipTemplate(
            target=target,
            type=kind,
            properties=self.vocabulary.data_types.filled(given, kind.properties, about, position),
            source_operations=self._operations(
                kind.source_interfaces, content.get("source_interfaces"), subject
            ),
            target_operations=self._operations(
                kind.target_interfaces, content.get("target_interfaces"), subject
            ),
            position=position,
        )

    def _target(self, node: str, content: SourceMap) -> str | None:
        position = value_position(content, "target")
        target = content.get("target")
        if target not in self.section:
            what = f"node {node!r} has a relationship to {target!r}, which is no node"
            self.problems.add(position, what, suggestion(target, self.section))
            return None
        if target == node:
            self.problems.add(position, f"node {node!r} has a relationship to itself")
            return None
        return str(target)

    def _check_order(self, kind: Type, given: Mapping[str, Value], target: str, subject: str) -> None:
        """Note a wait for an operation that the target does not define."""
        if kind.name != _AFTER_OPERATION:
            return
        wanted = given.get("operation")
        interfaces = (self.section[target] or {}).get("interfaces") or {}
        defined = interfaces.get(_LIFECYCLE) or {}
        if not wanted or wanted not in defined:
            position = value_position(given, "operation")
            what = f"{subject} waits for the operation {wanted!r}, which node {target!r} does not define"
            self.problems.add(position, what, suggestion(wanted, defined, listed="it defines"))


def _check_cycles(nodes: Mapping[str, NodeTemplate], problems: Problems) -> None:
    order = graphlib.TopologicalSorter(
        {
            node.id: [each.target for each in node.relationships if each.target in nodes]
            for node in nodes.values()
        }
    )
    try:
        order.prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]
        shown = " -> ".join(reversed(cycle))
        what = f"the relationships of node {cycle[0]!r} lead back to it: {shown}"
        problems.add(nodes[cycle[0]].position, what, "remove one of them")
