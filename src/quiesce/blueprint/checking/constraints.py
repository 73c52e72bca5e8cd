"""The constraints that an input's value must meet."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from quiesce.blueprint.checking.patterns import MATCH_S, PatternTimeoutError, matches
from quiesce.blueprint.reading.functions import function_of
from quiesce.blueprint.reading.primitive_types import OBJECT_TYPES, is_pattern
from quiesce.blueprint.reading.problems import Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import Value, key_position, value_position
from quiesce.blueprint.reading.versions import V1_5, DslVersion

_MESSAGE: Final = "error_message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One condition on a value."""

    name: str
    argument: Value
    #: what the blueprint's author says about a violation
    message: str = ""

    def violation(self, value: Value) -> str | None:
        """Return in which way *value* violates this, or None when it does not."""
        test = _TESTS.get(self.name)
        if test is None:
            return None
        try:
            return None if test(value, self.argument) else self._words()
        except TypeError:
            return f"cannot be compared by {self.name!r}"
        except PatternTimeoutError:
            return f"could not be matched within {MATCH_S:g} s; simplify the {self.name}: {self.argument}"

    def _words(self) -> str:
        return f"is not valid: {self.message}" if self.message else f"violates {self.name}: {self.argument}"


def _is_scalar(argument: Value) -> bool:
    return isinstance(argument, (int, float)) and not isinstance(argument, bool)


def _is_range(argument: Value) -> bool:
    return isinstance(argument, list) and len(argument) == 2 and all(map(_is_scalar, argument))


def _is_regex(argument: Value) -> bool:
    return isinstance(argument, str) and is_pattern(argument)


def _is_list(argument: Value) -> bool:
    return isinstance(argument, list)


def _is_text(argument: Value) -> bool:
    return isinstance(argument, str)


def _is_mapping(argument: Value) -> bool:
    return isinstance(argument, dict)


def _matches(value: Value, pattern: str) -> bool:
    if not isinstance(value, str):
        raise TypeError
    return matches(pattern, value)


#: what the argument of each constraint must be
_ARGUMENTS: Final[Mapping[str, Callable[[Value], bool]]] = {
    "equal": _is_scalar,
    "greater_than": _is_scalar,
    "greater_or_equal": _is_scalar,
    "less_than": _is_scalar,
    "less_or_equal": _is_scalar,
    "in_range": _is_range,
    "valid_values": _is_list,
    "length": _is_scalar,
    "min_length": _is_scalar,
    "max_length": _is_scalar,
    "pattern": _is_regex,
    "filter_id": _is_text,
    "labels": _is_list,
    "tenants": _is_list,
    "name_pattern": _is_mapping,
    "deployment_id": _is_text,
}
#: those that can be tested here; the others ask a Cloudify Manager what it holds
_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "equal": operator.eq,
    "greater_than": operator.gt,
    "greater_or_equal": operator.ge,
    "less_than": operator.lt,
    "less_or_equal": operator.le,
    "in_range": lambda value, bounds: bounds[0] <= value <= bounds[1],
    "valid_values": lambda value, values: value in values,
    "length": lambda value, length: len(value) == length,
    "min_length": lambda value, length: len(value) >= length,
    "max_length": lambda value, length: len(value) <= length,
    "pattern": _matches,
}


def read_constraints(section: Value, version: DslVersion, problems: Problems) -> tuple[Constraint, ...]:
    """Return the constraints of one input."""
    found = []
    for index, item in enumerate(section if isinstance(section, list) else ()):
        position = value_position(section, index)
        constraint = _read(item, position, version, problems) if isinstance(item, dict) else None
        if constraint is not None:
            found.append(constraint)
    return tuple(found)


def _read(
    item: dict[Any, Value], position: Position, version: DslVersion, problems: Problems
) -> Constraint | None:
    names = [name for name in item if name != _MESSAGE]
    if len(item) > 1 and version < V1_5:
        problems.warn(
            position,
            f"several entries in one constraint needs {V1_5}",
            "write one constraint per list item",
        )
    if not names:
        problems.add(position, "the constraint is empty", suggestion("", _ARGUMENTS))
        return None
    name = names[0]
    if name not in _ARGUMENTS:
        problems.add(
            key_position(item, name), f"there is no constraint {name!r}", suggestion(name, _ARGUMENTS)
        )
        return None
    argument = item[name]
    if function_of(argument) is None and not _ARGUMENTS[name](argument):
        problems.add(
            value_position(item, name), f"the constraint {name!r} cannot have the argument {argument!r}"
        )
        return None
    return Constraint(name=name, argument=argument, message=str(item.get(_MESSAGE) or ""))


def applies(constraint: Constraint, kind: str | None) -> bool:
    """Tell whether *constraint* can be tested here on a value of type *kind*."""
    asks_manager = kind in OBJECT_TYPES and constraint.name == "valid_values"
    return constraint.name in _TESTS and not asks_manager
