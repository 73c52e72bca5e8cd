"""Reads YAML into values with positions: safe tags only, no duplicate keys, bounded size and depth.

Works on the parser's events, so that nothing is built before it was counted.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem, Problems
from quiesce.blueprint.reading.source_map import SourceList, SourceMap, Value

#: a file larger than this is refused unread
MAX_BYTES: Final = 8 * 1024 * 1024
#: how deep mappings and lists may be nested
MAX_DEPTH: Final = 100
#: how many values a file may stand for once its aliases are followed
MAX_VALUES: Final = 1_000_000

#: how long a number may be written
MAX_NUMBER: Final = 1_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX: Final = "tag:yaml.org,2002:"
_TEXT: Final = _PREFIX + "str"
_MERGE: Final = _PREFIX + "merge"
_SCALARS: Final = frozenset(_PREFIX + name for name in ("null", "bool", "int", "float", "timestamp"))
_TEXTS: Final = frozenset((_TEXT, _PREFIX + "value"))
_COLLECTIONS: Final = frozenset((None, "!", _PREFIX + "map", _PREFIX + "seq"))


def parse_yaml(data: bytes, file: str) -> Value:
    """Return what *data* says; an empty text is an empty map.

    Raises:
        InvalidBlueprintError: naming line and column of whatever cannot be read.
    """
    if len(data) > MAX_BYTES:
        raise too_large(file)
    loader = _LOADER(data)
    try:
        return _Reading(loader, file).document()
    except yaml.YAMLError as error:
        raise InvalidBlueprintError([_syntax_problem(error, file)]) from error
    finally:
        loader.dispose()


def too_large(file: str) -> InvalidBlueprintError:
    """Return the error for a file of more than `MAX_BYTES`."""
    what = f"the file has more than {MAX_BYTES // 1024**2} MiB, which are the most that is read"
    return InvalidBlueprintError([Problem(position=Position(file), what=what)])


@dataclass(slots=True)
class _ListFrame:
    """A list that is being read."""

    value: SourceList
    anchor: str | None
    weight: int = 1


@dataclass(slots=True)
class _MapFrame:
    """A mapping that is being read."""

    value: SourceMap
    anchor: str | None
    weight: int = 1
    #: the key whose value comes next, where it is, and whether it is ``<<``
    key: tuple[Hashable, Position, bool] | None = None
    merged: list[tuple[Value, Position]] = field(default_factory=list)


class _Reading:
    def __init__(self, loader: Any, file: str) -> None:
        self.loader = loader
        self.file = file
        self.problems = Problems()
        self.frames: list[_ListFrame | _MapFrame] = []
        self.anchors: dict[str, tuple[Value, int]] = {}
        self.root: Value = None

    def document(self) -> Value:
        """Return the single document of the stream."""
        self.root = SourceMap(Position(self.file, 1, 1))
        documents = 0
        while self.loader.check_event():
            event = self.loader.get_event()
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise self._refused(
                    self._position(event), "a second document begins here", "write one document per file"
                )
            self._take(event)
        self.problems.stop_if_any()
        return self.root

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            value, is_merge = self._scalar(event)
            self._add(value, event, weight=1 + len(event.value) // 100, is_merge=is_merge)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(event)

    def _position(self, event: Any) -> Position:
        start = event.start_mark
        return Position(self.file, start.line + 1, start.column + 1)

    def _refused(self, position: Position, what: str, remedy: str = "") -> InvalidBlueprintError:
        return InvalidBlueprintError([Problem(position=position, what=what, remedy=remedy)])

    def _scalar(self, event: Any) -> tuple[Value, bool]:
        tag, text = event.tag, event.value
        if tag is None or tag == "!":
            if not event.implicit[0] or tag == "!":
                return text, False
            tag = self.loader.resolve(yaml.ScalarNode, text, event.implicit)
        if tag in _TEXTS:
            return text, False
        if tag == _MERGE:
            return text, True
        if tag not in _SCALARS:
            raise self._refused(
                self._position(event), f"the tag {tag!r} is not allowed", "only plain YAML values are read"
            )
        return self._typed(event, tag), False

    def _typed(self, event: Any, tag: str) -> Value:
        if len(event.value) > MAX_NUMBER:
            what = f"a number of {len(event.value)} characters"
            raise self._refused(self._position(event), what, "quote it if it is a string")
        try:
            value = self.loader.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, OverflowError, IndexError, KeyError) as error:
            kind = tag.removeprefix(_PREFIX)
            raise self._refused(
                self._position(event), f"{event.value!r} is not a valid {kind}: {error}"
            ) from error
        return str(value) if tag.endswith("timestamp") else value

    def _alias(self, event: Any) -> None:
        known = self.anchors.get(event.anchor)
        if known is None:
            inside = any(frame.anchor == event.anchor for frame in self.frames)
            what = "contains itself" if inside else "is not defined before this line"
            raise self._refused(self._position(event), f"the anchor {event.anchor!r} {what}")
        value, weight = known
        self._add(value, event, weight=weight, is_merge=False, anchor=None)

    def _open(self, event: Any) -> None:
        position = self._position(event)
        if len(self.frames) >= MAX_DEPTH:
            raise self._refused(position, f"values are nested more than {MAX_DEPTH} deep")
        if event.tag not in _COLLECTIONS:
            raise self._refused(
                position, f"the tag {event.tag!r} is not allowed", "only plain YAML values are read"
            )
        if isinstance(event, yaml.MappingStartEvent):
            self.frames.append(_MapFrame(SourceMap(position), event.anchor))
        else:
            self.frames.append(_ListFrame(SourceList(position), event.anchor))

    def _close(self, event: Any) -> None:
        frame = self.frames.pop()
        if isinstance(frame, _MapFrame) and frame.merged:
            self._merge(frame)
        self._add(frame.value, event, weight=frame.weight, is_merge=False, anchor=frame.anchor)

    def _add(self, value: Value, event: Any, *, weight: int, is_merge: bool, anchor: str | None = "") -> None:
        """Put a finished value where it belongs, and remember it under its anchor."""
        anchor = event.anchor if anchor == "" else anchor
        if anchor:
            self.anchors[anchor] = (value, weight)
        position = value.position if isinstance(value, (SourceMap, SourceList)) else self._position(event)
        if isinstance(event, yaml.AliasEvent):
            position = self._position(event)
        if not self.frames:
            self.root = value
            return
        frame = self.frames[-1]
        frame.weight += weight
        if frame.weight > MAX_VALUES:
            raise self._refused(position, f"aliases make this file stand for more than {MAX_VALUES} values")
        self._put(frame, value, position, is_merge=is_merge)

    def _put(
        self, frame: _ListFrame | _MapFrame, value: Value, position: Position, *, is_merge: bool
    ) -> None:
        if isinstance(frame, _ListFrame):
            frame.value.put(value, position)
        elif frame.key is None:
            self._key(frame, value, position, is_merge=is_merge)
        else:
            self._entry(frame, frame.key, value, position)

    def _key(self, frame: _MapFrame, key: Value, position: Position, *, is_merge: bool) -> None:
        if isinstance(key, (dict, list)):
            remedy = "quote text that begins with { or ["
            raise self._refused(position, "a key cannot be a mapping or a list", remedy)
        if not is_merge and key in frame.value:
            first = frame.value.key_positions[key].line
            self.problems.add(
                position, f"the key {key!r} was already given in line {first}", "keep one of them"
            )
        frame.key = (key, position, is_merge)

    def _entry(
        self, frame: _MapFrame, key: tuple[Hashable, Position, bool], value: Value, position: Position
    ) -> None:
        name, name_position, is_merge = key
        if is_merge:
            frame.merged.append((value, position))
        elif name not in frame.value:
            frame.value.put(name, value, name_position, position)
        frame.key = None

    def _merge(self, frame: _MapFrame) -> None:
        """Put what ``<<`` names first; own keys win, then later ``<<``, then earlier list items."""
        own = frame.value
        result = SourceMap(own.position)
        for value, position in frame.merged:
            sources = list(reversed(value)) if isinstance(value, list) else [value]
            for source in sources:
                if not isinstance(source, SourceMap):
                    raise self._refused(position, "'<<' takes a mapping or a list of mappings")
                for key in source:
                    result.take(source, key)
        for key in own:
            result.take(own, key)
        frame.value = result


def _syntax_problem(error: yaml.YAMLError, file: str) -> Problem:
    place = getattr(error, "problem_mark", None)
    position = Position(file, place.line + 1, place.column + 1) if place else Position(file, 1, 1)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    return Problem(
        position=position, what=f"this is not valid YAML: {what}" + (f" ({context})" if context else "")
    )
