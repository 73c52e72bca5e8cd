"""What a value may look like, as data, and the check of a value against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from quiesce.blueprint.marked import Value, key_mark, shown, value_mark
from quiesce.blueprint.problems import Mark, Problems, suggestion
from quiesce.blueprint.versions import V1_0, DslVersion

_KIND_NAMES = {
    str: "a text",
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
    """A list whose items have one shape."""

    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from names to values of one shape."""

    entry: Shape


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

    def value(self, value: Value, shape: Shape, mark: Mark, name: str) -> None:
        """Add every way in which *value*, called *name*, differs from *shape*; nothing is always fine."""
        if value is None:
            return
        if isinstance(shape, Leaf):
            self._leaf(value, shape, mark, name)
        elif isinstance(shape, TextOr):
            if not isinstance(value, str):
                self.value(value, shape.other, mark, name)
        elif isinstance(shape, ListOf):
            self._list(value, shape, mark, name)
        elif isinstance(value, dict):
            self._mapping(value, shape, mark, name)
        else:
            self._wrong_kind(value, (dict,), mark, name)

    def _leaf(self, value: Value, shape: Leaf, mark: Mark, name: str) -> None:
        is_boolean = isinstance(value, bool)
        if not isinstance(value, shape.kinds) or (is_boolean and bool not in shape.kinds):
            self._wrong_kind(value, shape.kinds, mark, name)

    def _wrong_kind(self, value: Value, kinds: tuple[type, ...], mark: Mark, name: str) -> None:
        wanted = " or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in kinds))
        self.problems.add(mark, f"{name!r} must be {wanted}, not {shown(value)}")

    def _list(self, value: Value, shape: ListOf, mark: Mark, name: str) -> None:
        if not isinstance(value, list):
            self._wrong_kind(value, (list,), mark, name)
            return
        for index, item in enumerate(value):
            self.value(item, shape.item, value_mark(value, index), f"{name}[{index}]")

    def _mapping(self, value: dict[Value, Value], shape: MapOf | Record, mark: Mark, name: str) -> None:
        for key in value:
            if not isinstance(key, str):
                self.problems.add(
                    key_mark(value, key), f"the name {key!r} must be a text", "put it into quotes"
                )
        if isinstance(shape, Record):
            self._record(value, shape, mark, name)
            return
        for key, each in value.items():
            self.value(each, shape.entry, value_mark(value, key), str(key))

    def _record(self, value: dict[Value, Value], shape: Record, mark: Mark, name: str) -> None:
        for key, wanted in shape.fields.items():
            if wanted.required and value.get(key) is None:
                self.problems.add(mark, f"{name!r} lacks {key!r}")
        for key, each in value.items():
            wanted_field = shape.fields.get(key)
            if wanted_field is None:
                remedy = suggestion(key, shape.fields, listed="it may have")
                self.problems.add(key_mark(value, key), f"{name!r} cannot have {key!r}", remedy)
                continue
            if wanted_field.since > self.version and each is not None:
                what = f"{key!r} came with {wanted_field.since}, this blueprint has {self.version}"
                self.problems.warn(key_mark(value, key), what)
            self.value(each, wanted_field.shape, value_mark(value, key), str(key))
