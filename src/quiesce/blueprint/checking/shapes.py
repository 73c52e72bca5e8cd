"""What a value may look like, as data, and the check of a value against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from quiesce.blueprint.reading.problems import Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import Value, key_position, shown, value_position
from quiesce.blueprint.reading.versions import V1_0, DslVersion

_KIND_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of one of the kinds, looked into no further."""

    kinds: tuple[type, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list whose items have one shape; none of them is null."""

    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from names to values of one shape."""

    entry: Shape
    #: whether a value may not be null
    filled: bool = False


@dataclass(frozen=True, slots=True)
class TextOr:
    """A text, or a value of another shape."""

    other: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a `Record`."""

    shape: Shape
    required: bool = False
    #: the version of the DSL that brought it
    since: DslVersion = V1_0


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys."""

    fields: Mapping[str, Field] = field(default_factory=dict)


Shape: TypeAlias = Leaf | ListOf | MapOf | TextOr | Record

ANYTHING = Leaf((str, int, float, bool, list, dict))
TEXT = Leaf((str,))
INTEGER = Leaf((int,))
NUMBER = Leaf((int, float))
BOOLEAN = Leaf((bool,))
MAPPING = Leaf((dict,))
LIST = Leaf((list,))


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one blueprint."""

    version: DslVersion
    problems: Problems

    def value(self, value: Value, shape: Shape, position: Position, name: str) -> None:
        """Add every way in which *value*, called *name*, differs from *shape*; nothing is always fine."""
        if value is None:
            return
        if isinstance(shape, Leaf):
            self._leaf(value, shape, position, name)
        elif isinstance(shape, TextOr):
            if not isinstance(value, str):
                self.value(value, shape.other, position, name)
        elif isinstance(shape, ListOf):
            self._list(value, shape, position, name)
        elif isinstance(value, dict):
            self._mapping(value, shape, position, name)
        else:
            self._wrong_kind(value, (dict,), position, name)

    def _leaf(self, value: Value, shape: Leaf, position: Position, name: str) -> None:
        is_boolean = isinstance(value, bool)
        if not isinstance(value, shape.kinds) or (is_boolean and bool not in shape.kinds):
            self._wrong_kind(value, shape.kinds, position, name)

    def _wrong_kind(self, value: Value, kinds: tuple[type, ...], position: Position, name: str) -> None:
        wanted = " or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in kinds))
        self.problems.add(position, f"{name!r} must be {wanted}, not {shown(value)}")

    def _list(self, value: Value, shape: ListOf, position: Position, name: str) -> None:
        if not isinstance(value, list):
            self._wrong_kind(value, (list,), position, name)
            return
        for index, item in enumerate(value):
            self._filled(item, shape.item, value_position(value, index), f"{name}[{index}]")

    def _mapping(
        self, value: dict[Value, Value], shape: MapOf | Record, position: Position, name: str
    ) -> None:
        for key in value:
            if not isinstance(key, str):
                self.problems.add(key_position(value, key), f"the name {key!r} must be a string", "quote it")
        if isinstance(shape, Record):
            self._record(value, shape, position, name)
            return
        check = self._filled if shape.filled else self.value
        for key, each in value.items():
            check(each, shape.entry, value_position(value, key), str(key))

    def _filled(self, value: Value, shape: Shape, position: Position, name: str) -> None:
        if value is None:
            self.problems.add(position, f"{name!r} must not be empty")
        self.value(value, shape, position, name)

    def _record(self, value: dict[Value, Value], shape: Record, position: Position, name: str) -> None:
        for key, wanted in shape.fields.items():
            if wanted.required and value.get(key) is None:
                self.problems.add(position, f"{name!r} lacks {key!r}")
        for key, each in value.items():
            wanted_field = shape.fields.get(key)
            if wanted_field is None:
                remedy = suggestion(key, shape.fields, listed="it may have")
                self.problems.add(key_position(value, key), f"{name!r} cannot have {key!r}", remedy)
                continue
            if wanted_field.since > self.version and each is not None:
                what = f"{key!r} needs {wanted_field.since}, this blueprint has {self.version}"
                self.problems.warn(key_position(value, key), what)
            self.value(each, wanted_field.shape, value_position(value, key), str(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenValue:
    """A value that its shape leaves open, so that a function may stand for it."""

    #: the keys that lead to it
    path: tuple[str, ...]
    value: Value
    position: Position


def open_values(
    value: Value, shape: Shape, position: Position, path: tuple[str, ...] = ()
) -> Iterator[OpenValue]:
    """Yield everything within *value* that *shape* leaves open; entries of open mappings one by one."""
    if isinstance(shape, Leaf):
        if shape.kinds in ((dict,), (list,)):
            yield from _entries(value, ANYTHING, path)
        elif {dict, list} & set(shape.kinds):
            yield OpenValue(path=path, value=value, position=position)
    elif isinstance(shape, TextOr):
        yield from open_values(value, shape.other, position, path)
    elif isinstance(shape, Record):
        for key in value if isinstance(value, dict) else ():
            if key in shape.fields:
                inner = shape.fields[key].shape
                yield from open_values(value[key], inner, value_position(value, key), (*path, key))
    else:
        yield from _entries(value, shape.item if isinstance(shape, ListOf) else shape.entry, path)


def _entries(value: Value, shape: Shape, path: tuple[str, ...]) -> Iterator[OpenValue]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from open_values(value[key], shape, value_position(value, key), (*path, str(key)))
