"""Property schemas: types, defaults, and how a value is completed from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from quiesce.blueprint.reading.functions import function_of
from quiesce.blueprint.reading.primitive_types import KNOWN_TYPES, OBJECT_TYPES, matches_type
from quiesce.blueprint.reading.problems import (
    NOWHERE,
    InvalidBlueprintError,
    Position,
    Problem,
    Problems,
    suggestion,
)
from quiesce.blueprint.reading.source_map import (
    SourceMap,
    Value,
    empty_map,
    key_position,
    shown,
    value_position,
)
from quiesce.blueprint.reading.versions import V1_4, V1_5, DslVersion

MISSING: Final[Any] = object()
#: how many mappings the schemas of one blueprint may complete
MAX_COMPLETED: Final = 200_000
_EXTERNAL: Final = "use_external_resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One declared property or input."""

    type: str | None = None
    #: completed from the type; MISSING when there is none
    default: Value = MISSING
    #: the default as it was written
    written: Value = None
    required: bool = True
    position: Position = NOWHERE


Schema: TypeAlias = Mapping[str, Property]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSubject:
    """Whose value is checked, for messages."""

    #: ``node 'web'``
    name: str
    path: tuple[str, ...] = ()
    #: whether a value that a required property lacks is a problem
    complete: bool = True

    def at(self, key: str) -> ValueSubject:
        """Return the same for a property within."""
        return replace(self, path=(*self.path, key))

    def __str__(self) -> str:
        return f"{self.name}, property {'.'.join(self.path)!r}" if self.path else self.name


class DataTypes:
    """The data types of a blueprint, completed when first asked for."""

    def __init__(self, section: Value, version: DslVersion, problems: Problems) -> None:
        self._section: SourceMap = section if isinstance(section, SourceMap) else empty_map(NOWHERE)
        self._version = version
        self._problems = problems
        self._known: dict[str, Schema] = {}
        self._underway: list[str] = []
        self._completed = 0

    def reporting_to(self, problems: Problems) -> DataTypes:
        """Return the same data types, which add what is wrong with values to *problems* instead."""
        other = DataTypes(self._section, self._version, problems)
        other._known = self._known
        return other

    def check_all(self) -> None:
        """Complete every data type, so that problems show even in those that nobody uses."""
        for name in self._section:
            if name in KNOWN_TYPES:
                position = key_position(self._section, name)
                self._problems.add(position, f"{name!r} is a type of the DSL itself", "choose another name")
            self.schema(name)

    def __contains__(self, name: str) -> bool:
        return name in self._section

    def schema(self, name: str) -> Schema:
        """Return the properties of the data type *name*; none after noting a cycle."""
        if name not in self._known:
            if name in self._underway:
                cycle = " -> ".join((*self._underway[self._underway.index(name) :], name))
                position = key_position(self._section, name)
                self._problems.add(
                    position, f"the data type {name!r} contains or derives from itself: {cycle}"
                )
                return {}
            self._underway.append(name)
            self._known[name] = self._worked_out(name)
            self._underway.pop()
        return self._known[name]

    def _worked_out(self, name: str) -> Schema:
        content = self._section[name] or {}
        own = self.properties(content.get("properties"), f"data type {name!r}")
        parent = content.get("derived_from")
        if parent is None:
            return own
        if parent not in self._section:
            position = value_position(content, "derived_from")
            remedy = suggestion(parent, self._section)
            self._problems.add(
                position, f"the data type {name!r} derives from {parent!r}, which is unknown", remedy
            )
            return own
        return self.merged(self.schema(parent), own)

    def properties(self, section: Value, subject: str) -> Schema:
        """Return the properties that *section* declares, defaults completed."""
        if not isinstance(section, SourceMap):
            return {}
        return {name: self._property(section, name, subject) for name in section}

    def _property(self, section: SourceMap, name: str, subject: str) -> Property:
        content = (
            section[name] if isinstance(section[name], SourceMap) else empty_map(key_position(section, name))
        )
        kind = self.checked_type(content, "type")
        written = content.get("default")
        position = value_position(content, "default") if "default" in content else key_position(section, name)
        default: Value = None if "default" in content else MISSING
        if written is not None or (kind is not None and kind not in KNOWN_TYPES):
            value = written if written is not None else empty_map(position)
            about = ValueSubject(name=f"default of {subject}", path=(name,), complete=False)
            default = self.conform(value, kind, about, position)
        required = content.get("required")
        return Property(
            type=kind,
            default=default,
            written=written,
            required=True if required is None else bool(required),
            position=key_position(section, name),
        )

    def checked_type(self, content: SourceMap, key: str) -> str | None:
        """Return the type that *content* names under *key*; None after noting that there is none such."""
        kind = content.get(key)
        if not isinstance(kind, str) or not kind:
            return None
        position = value_position(content, key)
        if kind in OBJECT_TYPES:
            since = V1_5 if kind == "operation_name" else V1_4
            if self._version < since:
                self._problems.warn(
                    position, f"the type {kind!r} needs {since}, this blueprint has {self._version}"
                )
            return kind
        if kind in KNOWN_TYPES or kind in self._section:
            return kind
        self._problems.add(
            position, f"there is no type {kind!r}", suggestion(kind, KNOWN_TYPES | set(self._section))
        )
        return None

    def merged(self, inherited: Schema, own: Schema) -> Schema:
        """Return the properties of a type that inherits some and declares its *own*."""
        result = dict(own)
        for name, base in inherited.items():
            mine = own.get(name)
            if mine is None:
                result[name] = base
            elif self._completes(mine, base):
                written = mine.written if mine.written is not None else empty_map(mine.position)
                about = ValueSubject(name="default", path=(name,), complete=False)
                default = self.conform(written, mine.type, about, mine.position, inherited=base.default)
                if default:
                    result[name] = replace(mine, default=default)
        return result

    def _completes(self, mine: Property, base: Property) -> bool:
        """Tell whether the inherited default fills what the own one leaves open."""
        same = mine.type is not None and mine.type == base.type and mine.type not in KNOWN_TYPES
        return same and base.default is not MISSING and base.default is not None

    def conform(
        self,
        value: Value,
        kind: str | None,
        subject: ValueSubject,
        position: Position,
        *,
        inherited: Value = None,
    ) -> Value:
        """Return *value* completed by the defaults of its type, or as it is after noting a problem."""
        if kind is None or function_of(value) is not None:
            return value
        if kind in KNOWN_TYPES:
            if not matches_type(value, kind):
                self._problems.add(position, f"{subject} must be of type {kind!r}, not {shown(value)}")
            return value
        if not isinstance(value, dict):
            self._problems.add(
                position, f"{subject} must be a mapping, as its type is {kind!r}, not {shown(value)}"
            )
            return value
        schema = self.schema(kind)
        defaults = defaults_of(schema)
        if isinstance(inherited, dict):
            defaults.update(inherited)
        return self.filled(value, schema, subject, position, defaults=defaults)

    def filled(
        self,
        given: Value,
        schema: Schema,
        subject: ValueSubject,
        position: Position,
        *,
        defaults: Mapping[str, Value] | None = None,
    ) -> SourceMap:
        """Return the values that *schema* asks for, from *given* or else from the defaults."""
        self._count(position)
        defaults = defaults_of(schema) if defaults is None else defaults
        self._refuse_undeclared(given, schema, subject)
        external = given.get(_EXTERNAL, defaults.get(_EXTERNAL))
        if function_of(external) is not None:
            what = f"{subject}: {_EXTERNAL!r} must be true or false, not a function"
            self._problems.add(value_position(given, _EXTERNAL), what)
        result = SourceMap(position)
        for name, declared in schema.items():
            if name in given:
                where, value = value_position(given, name), given[name]
            elif name in defaults:
                where, value = position, defaults[name]
            else:
                if declared.required and subject.complete and not external:
                    self._problems.add(
                        position, f"{subject.name} lacks the property {'.'.join((*subject.path, name))!r}"
                    )
                continue
            value = self.conform(value, declared.type, subject.at(name), where, inherited=defaults.get(name))
            result.put(name, value, where, where)
        return result

    def _count(self, position: Position) -> None:
        self._completed += 1
        if self._completed > MAX_COMPLETED:
            what = f"data types within data types make more than {MAX_COMPLETED} mappings"
            raise InvalidBlueprintError([Problem(position=position, what=what)])

    def _refuse_undeclared(self, given: Iterable[Value], schema: Schema, subject: ValueSubject) -> None:
        for key in given:
            if key not in schema:
                name = ".".join((*subject.path, str(key)))
                remedy = suggestion(key, schema, listed="declared are")
                self._problems.add(
                    key_position(given, key), f"{subject.name} has no property {name!r}", remedy
                )


def defaults_of(schema: Schema) -> dict[str, Value]:
    """Return the defaults that *schema* has."""
    return {name: each.default for name, each in schema.items() if each.default is not MISSING}
