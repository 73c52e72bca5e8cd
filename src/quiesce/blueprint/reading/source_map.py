"""Plain values that remember where in which file they were written.

They are never changed after they were made: aliases of one anchor share them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

from quiesce.blueprint.reading.problems import NOWHERE, Position
from quiesce.model.ids import Json

#: a scalar, a `SourceMap`, a `SourceList`, or a plain value that the loader itself made
Value: TypeAlias = Any


class SourceMap(dict[Any, Value]):
    """A mapping and the positions of its keys and values."""

    __slots__ = ("key_positions", "position", "value_positions")

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.key_positions: dict[Hashable, Position] = {}
        self.value_positions: dict[Hashable, Position] = {}

    def put(self, key: Hashable, value: Value, key_position: Position, value_position: Position) -> None:
        """Set *key* and remember both positions; only while the map is being made."""
        self[key] = value
        self.key_positions[key] = key_position
        self.value_positions[key] = value_position

    def take(self, other: dict[Any, Value], key: Hashable, *, name: Hashable | None = None) -> None:
        """Set what *other* has under *key*, positions included, under *name* or the same key."""
        position = self.position
        key_position, value_position = position, position
        if isinstance(other, SourceMap):
            key_position = other.key_positions.get(key, position)
            value_position = other.value_positions.get(key, position)
        self.put(key if name is None else name, other[key], key_position, value_position)


class SourceList(list[Value]):
    """A list and the positions of its items."""

    __slots__ = ("item_positions", "position")

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.item_positions: list[Position] = []

    def put(self, value: Value, position: Position) -> None:
        """Append *value* and remember its position; only while the list is being made."""
        self.append(value)
        self.item_positions.append(position)


def empty_map(position: Position) -> SourceMap:
    """Return a map of nothing, as if written at *position*."""
    return SourceMap(position)


def key_position(container: Value, key: Hashable) -> Position:
    """Return where *key* is written in *container*, or where that is."""
    if isinstance(container, SourceMap):
        return container.key_positions.get(key, container.position)
    return value_position(container, key)


def value_position(container: Value, key: Hashable) -> Position:
    """Return where the value of *key* (or the item of that index) is written."""
    if isinstance(container, SourceMap):
        return container.value_positions.get(key, container.position)
    if isinstance(container, SourceList):
        return container.item_positions[key] if isinstance(key, int) else container.position
    return NOWHERE


def plain(value: Value) -> Json:
    """Return a copy of *value* as plain JSON values; keys become text as JSON writes them."""
    if isinstance(value, dict):
        return {_text(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def plain_map(value: dict[Any, Value]) -> dict[str, Json]:
    """Return a copy of a mapping as plain JSON values."""
    return {_text(key): plain(each) for key, each in value.items()}


def shown(value: Value) -> str:
    """Return *value* as an error message shows it: texts may be secrets, so only that it is one."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "null" if value is None else str(value)


def _text(key: Hashable) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
