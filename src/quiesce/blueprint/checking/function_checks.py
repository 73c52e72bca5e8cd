"""Checks intrinsic functions before any is evaluated: their arguments, and what they refer to."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.blueprint.reading.functions import ROLES, SELF, SOURCE, TARGET, FunctionCall, function_of
from quiesce.blueprint.reading.problems import Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, value_position
from quiesce.blueprint.reading.versions import V1_1, V1_3, DslVersion

_SYSTEM: Final[Mapping[str, tuple[str, ...]]] = {
    "tenant": ("name",),
    "deployment": ("id", "name", "blueprint", "owner"),
}
_CONSUMERS: Final = ("ids", "names", "count")
_SINCE: Final = {"concat": V1_1, "merge": V1_3}


class FunctionContext(enum.Enum):
    """Where functions stand, which decides whom they may call SELF, SOURCE and TARGET."""

    NODE = "a node"
    RELATIONSHIP = "a relationship"
    #: what is used elsewhere, and means there what it would mean if it were written there
    ANY = "anything"
    ELSEWHERE = "outputs, capabilities and the like"


_ROLES_OF: Final[Mapping[FunctionContext, frozenset[str]]] = {
    FunctionContext.NODE: frozenset({SELF}),
    FunctionContext.RELATIONSHIP: frozenset({SOURCE, TARGET}),
    FunctionContext.ANY: ROLES,
    FunctionContext.ELSEWHERE: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCheck:
    """The check of one blueprint's functions."""

    version: DslVersion
    inputs: Collection[str]
    nodes: Collection[str]
    problems: Problems

    def entries(self, values: Mapping[str, Value], context: FunctionContext) -> None:
        """Check each of *values*; a mapping of names is no function, whatever the names are."""
        for name in values:
            self.check(values[name], context, value_position(values, name))

    def check(self, value: Value, context: FunctionContext, position: Position) -> None:
        """Add what is wrong with any function in *value*."""
        if isinstance(value, dict):
            call = function_of(value)
            if call is not None:
                self._call(call, context, value.position if isinstance(value, SourceMap) else position)
            for key in value:
                self.check(value[key], context, value_position(value, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.check(item, context, value_position(value, index))

    def _call(self, call: FunctionCall, context: FunctionContext, position: Position) -> None:
        wanted = _WANTED.get(call.function)
        if wanted is not None and not wanted.fits(call.arguments):
            self.problems.add(position, f"{call.function} takes {wanted.words}, not {call.arguments!r}")
        elif self.version < _SINCE.get(call.function, self.version):
            self.problems.add(
                position,
                f"{call.function} needs {_SINCE[call.function]}, this blueprint has {self.version}",
            )
        elif call.function == "get_input":
            self._input(call.arguments, position)
        elif call.function in _OF_NODES:
            self._node(call, context, position)
        elif call.function == "get_sys":
            self._system(call.arguments, position)

    def _input(self, arguments: Value, position: Position) -> None:
        name = arguments[0] if isinstance(arguments, list) else arguments
        if isinstance(name, str) and name not in self.inputs:
            remedy = suggestion(name, self.inputs, listed="inputs are")
            self.problems.add(position, f"get_input asks for {name!r}, which is no input", remedy)

    def _node(self, call: FunctionCall, context: FunctionContext, position: Position) -> None:
        name = call.arguments[0]
        if not isinstance(name, str):
            return
        if name in ROLES:
            if name not in _ROLES_OF[context]:
                self.problems.add(position, f"{call.function} cannot use {name} in {context.value}")
        elif name not in self.nodes:
            remedy = suggestion(name, [*self.nodes, *_ROLES_OF[context]], listed="nodes are")
            self.problems.add(position, f"{call.function} asks for {name!r}, which is no node", remedy)

    def _system(self, arguments: Value, position: Position) -> None:
        entity, name = arguments[0], arguments[1]
        if not isinstance(entity, str):
            return
        known = _SYSTEM.get(entity)
        if known is None:
            self.problems.add(position, f"get_sys has no {entity!r}", suggestion(entity, _SYSTEM))
        elif isinstance(name, str) and name not in known:
            self.problems.add(position, f"get_sys has no {name!r} of {entity!r}", suggestion(name, known))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the arguments of a function must be."""

    words: str
    fits: Callable[[Value], bool]


def _is_step(value: Value) -> bool:
    return function_of(value) is not None or isinstance(value, (str, int))


def _is_path(value: Value, at_least: int = 2) -> bool:
    return isinstance(value, list) and len(value) >= at_least and all(map(_is_step, value))


def _is_name(value: Value) -> bool:
    return isinstance(value, str) or function_of(value) is not None


def _is_attributes(value: Value) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 1
        and _is_step(value[0])
        and all(_is_path(each, 1) if isinstance(each, list) else _is_step(each) for each in value[1:])
    )


def _is_group_path(value: Value) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(_is_step(each) or (index == 1 and isinstance(each, list)) for index, each in enumerate(value))
    )


def _is_label(value: Value) -> bool:
    if not isinstance(value, list):
        return _is_name(value)
    return len(value) == 2 and _is_name(value[0]) and (isinstance(value[1], int) or str(value[1]).isdigit())


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and len(value) == 1)


def _are_texts(value: Value, at_least: int, at_most: int, texts: int) -> bool:
    return isinstance(value, list) and at_least <= len(value) <= at_most and all(map(_is_name, value[:texts]))


def _is_integer(value: Value) -> bool:
    return value is None or isinstance(value, int) or function_of(value) is not None


_A_NODE_PATH: Final = "a list of a node and a path within it"
_OF_NODES: Final = frozenset({"get_property", "get_attribute", "get_attributes_list", "get_attributes_dict"})
_WANTED: Final[Mapping[str, _Wanted]] = {
    "get_input": _Wanted(
        "a name, or a list of a name and a path", lambda value: _is_name(value) or _is_path(value, 1)
    ),
    "get_property": _Wanted(_A_NODE_PATH, _is_path),
    "get_attribute": _Wanted(_A_NODE_PATH, _is_path),
    "get_attributes_list": _Wanted(_A_NODE_PATH, _is_path),
    "get_attributes_dict": _Wanted("a list of a node and attributes", _is_attributes),
    "get_secret": _Wanted(
        "a name, or a list of a name and a path",
        lambda value: _is_name(value) or (isinstance(value, list) and len(value) > 1),
    ),
    "get_capability": _Wanted("a list of a deployment, a capability and a path", _is_path),
    "get_environment_capability": _Wanted(
        "a name, or a list of a name and a path", lambda value: isinstance(value, str) or _is_path(value)
    ),
    "get_group_capability": _Wanted("a list of a group, a capability and a path", _is_group_path),
    "get_label": _Wanted("a key, or a list of a key and an index", _is_label),
    "get_sys": _Wanted("a list of an entity and a property", _is_path),
    "get_consumers": _Wanted(f"one of {', '.join(_CONSUMERS)}", lambda value: value in _CONSUMERS),
    "concat": _Wanted("a list", lambda value: isinstance(value, list)),
    "merge": _Wanted(
        "a list of mappings",
        lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value),
    ),
    "string_find": _Wanted("a list of two strings", lambda value: _are_texts(value, 2, 2, 2)),
    "string_replace": _Wanted(
        "a list of three strings and an optional count",
        lambda value: _are_texts(value, 3, 4, 3) and (len(value) < 4 or _is_integer(value[3])),
    ),
    "string_split": _Wanted(
        "a list of two strings and an optional index",
        lambda value: _are_texts(value, 2, 3, 2) and (len(value) < 3 or _is_integer(value[2])),
    ),
    "string_lower": _Wanted("a string", _is_text),
    "string_upper": _Wanted("a string", _is_text),
}
