"""Plain values that remember where in which file they were written.

They are never changed after they were made: aliases of one anchor share them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

from quiesce.blueprint.problems import NOWHERE, Mark
from quiesce.model.ids import Json

#: a scalar, a `MarkedMap`, a `MarkedList`, or a plain value that the loader itself made
Value: TypeAlias = Any


class MarkedMap(dict[Any, Value]):
    """A mapping and the places of its keys and values."""

    __slots__ = ("key_marks", "mark", "value_marks")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.key_marks: dict[Hashable, Mark] = {}
        self.value_marks: dict[Hashable, Mark] = {}

    def put(self, key: Hashable, value: Value, key_mark: Mark, value_mark: Mark) -> None:
        """Set *key* and remember both places; only while the map is being made."""
        self[key] = value
        self.key_marks[key] = key_mark
        self.value_marks[key] = value_mark

    def take(self, other: dict[Any, Value], key: Hashable, *, name: Hashable | None = None) -> None:
        """Set what *other* has under *key*, places included, under *name* or the same key."""
        mark = self.mark
        key_mark, value_mark = mark, mark
        if isinstance(other, MarkedMap):
            key_mark = other.key_marks.get(key, mark)
            value_mark = other.value_marks.get(key, mark)
        self.put(key if name is None else name, other[key], key_mark, value_mark)


class MarkedList(list[Value]):
    """A list and the places of its items."""

    __slots__ = ("item_marks", "mark")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.item_marks: list[Mark] = []

    def put(self, value: Value, mark: Mark) -> None:
        """Append *value* and remember its place; only while the list is being made."""
        self.append(value)
        self.item_marks.append(mark)


def empty_map(mark: Mark) -> MarkedMap:
    """Return a map of nothing, as if written at *mark*."""
    return MarkedMap(mark)


def key_mark(container: Value, key: Hashable) -> Mark:
    """Return where *key* is written in *container*, or where that is."""
    if isinstance(container, MarkedMap):
        return container.key_marks.get(key, container.mark)
    return value_mark(container, key)


def value_mark(container: Value, key: Hashable) -> Mark:
    """Return where the value of *key* (or the item of that index) is written."""
    if isinstance(container, MarkedMap):
        return container.value_marks.get(key, container.mark)
    if isinstance(container, MarkedList):
        return container.item_marks[key] if isinstance(key, int) else container.mark
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
    return "a text" if isinstance(value, str) else "null" if value is None else str(value)


def _text(key: Hashable) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
