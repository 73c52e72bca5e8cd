"""Node types and relationship types, with what they inherit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.blueprint.checking.interfaces import InterfaceReader, Interfaces, inherited
from quiesce.blueprint.checking.properties import DataTypes, Schema
from quiesce.blueprint.reading.problems import NOWHERE, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, empty_map, key_position, value_position

NODE: Final = "node type"
RELATIONSHIP: Final = "relationship type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A node type or a relationship type, complete with what it inherits."""

    name: str
    #: from the root type to this
    hierarchy: tuple[str, ...]
    properties: Schema = field(default_factory=dict)
    #: of a node type
    interfaces: Interfaces = field(default_factory=dict)
    #: of a relationship type
    source_interfaces: Interfaces = field(default_factory=dict)
    target_interfaces: Interfaces = field(default_factory=dict)


def read_types(
    section: Value, kind: str, data_types: DataTypes, reader: InterfaceReader, problems: Problems
) -> Mapping[str, Type]:
    """Return every type of *section*; unknown parents and cycles are added to *problems*."""
    content = section if isinstance(section, SourceMap) else empty_map(NOWHERE)
    reading = _Reading(content, kind, data_types, reader, problems)
    for name in content:
        reading.type(name)
    return reading.known


@dataclass(slots=True)
class _Reading:
    section: SourceMap
    kind: str
    data_types: DataTypes
    reader: InterfaceReader
    problems: Problems
    known: dict[str, Type] = field(default_factory=dict)

    def type(self, name: str) -> Type:
        """Return the type *name*, after all those that it derives from."""
        for each in reversed(self._line(name)):
            if each not in self.known:
                self.known[each] = self._derived(each)
        return self.known[name]

    def _line(self, name: str) -> list[str]:
        """Return *name* and what it derives from, up to the first that is known, or where it goes wrong."""
        line = [name]
        while line[-1] not in self.known:
            content = self.section[line[-1]] or {}
            parent = content.get("derived_from")
            if not parent:
                break
            position = value_position(content, "derived_from")
            if parent in line:
                cycle = " -> ".join((*line[line.index(parent) :], parent))
                self.problems.add(position, f"the {self.kind} {parent!r} derives from itself: {cycle}")
                break
            if parent not in self.section:
                what = f"the {self.kind} {line[-1]!r} derives from {parent!r}, which is unknown"
                self.problems.add(position, what, suggestion(parent, self.section))
                break
            line.append(parent)
        return line

    def _derived(self, name: str) -> Type:
        content = self.section[name] or {}
        own = Type(
            name=name,
            hierarchy=(name,),
            properties=self.data_types.properties(content.get("properties"), f"{self.kind} {name!r}"),
            interfaces=self.reader.of_type(content.get("interfaces")),
            source_interfaces=self.reader.of_type(content.get("source_interfaces")),
            target_interfaces=self.reader.of_type(content.get("target_interfaces")),
        )
        parent = self.known.get(content.get("derived_from") or "")
        return own if parent is None else _inheriting(parent, own, self.data_types.merged)


def _inheriting(parent: Type, own: Type, merged: Callable[[Schema, Schema], Schema]) -> Type:
    return Type(
        name=own.name,
        hierarchy=(*parent.hierarchy, own.name),
        properties=merged(parent.properties, own.properties),
        interfaces=inherited(parent.interfaces, own.interfaces),
        source_interfaces=inherited(parent.source_interfaces, own.source_interfaces),
        target_interfaces=inherited(parent.target_interfaces, own.target_interfaces),
    )


def known_type(
    types: Mapping[str, Type], content: SourceMap, kind: str, subject: str, problems: Problems
) -> Type | None:
    """Return the type that *content* names; None after noting that there is none such."""
    name = content.get("type")
    if isinstance(name, str) and name in types:
        return types[name]
    if name is not None:
        what = f"{subject}: there is no {kind} {name!r}"
        problems.add(value_position(content, "type"), what, suggestion(name, types))
    else:
        problems.add(key_position(content, "type"), f"{subject} has no type")
    return None
