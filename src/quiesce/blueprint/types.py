"""Node types and relationship types, with what they inherit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.blueprint.interfaces import InterfaceReader, Interfaces, inherited
from quiesce.blueprint.marked import MarkedMap, Value, empty_map, key_mark, value_mark
from quiesce.blueprint.problems import NOWHERE, Problems, suggestion
from quiesce.blueprint.properties import DataTypes, Schema

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
    """Return every type of *section*; unknown parents and circles are added to *problems*."""
    content = section if isinstance(section, MarkedMap) else empty_map(NOWHERE)
    reading = _Reading(content, kind, data_types, reader, problems)
    for name in content:
        reading.type(name)
    return reading.known


@dataclass(slots=True)
class _Reading:
    section: MarkedMap
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
            mark = value_mark(content, "derived_from")
            if parent in line:
                circle = " -> ".join((*line[line.index(parent) :], parent))
                self.problems.add(mark, f"the {self.kind} {parent!r} derives from itself: {circle}")
                break
            if parent not in self.section:
                what = f"the {self.kind} {line[-1]!r} derives from {parent!r}, which is unknown"
                self.problems.add(mark, what, suggestion(parent, self.section))
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
    types: Mapping[str, Type], content: MarkedMap, kind: str, subject: str, problems: Problems
) -> Type | None:
    """Return the type that *content* names; None after noting that there is none such."""
    name = content.get("type")
    if isinstance(name, str) and name in types:
        return types[name]
    if name is not None:
        what = f"{subject}: there is no {kind} {name!r}"
        problems.add(value_mark(content, "type"), what, suggestion(name, types))
    else:
        problems.add(key_mark(content, "type"), f"{subject} has no type")
    return None
