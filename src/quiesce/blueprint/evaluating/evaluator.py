"""Evaluates intrinsic functions: the part that is the same before and while a deployment lives.

A function is a mapping of one entry such as ``{get_input: name}``, optionally with a ``type``. Functions
within its arguments come first; a result that is a function again is evaluated in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from quiesce.blueprint.evaluating.pure_functions import PURE_FUNCTIONS
from quiesce.blueprint.reading.functions import (
    SELF,
    SOURCE,
    TARGET,
    FunctionCall,
    function_of,
    holds_function,
)
from quiesce.blueprint.reading.primitive_types import matches_type
from quiesce.blueprint.reading.problems import FunctionError
from quiesce.blueprint.reading.source_map import (
    SourceList,
    SourceMap,
    Value,
    key_position,
    shown,
    value_position,
)

#: how long a chain of functions may be that leads from one to the next
MAX_CHAIN: Final = 50
#: how many values the functions of one blueprint may give
MAX_VALUES: Final = 200_000


class _Unknown:
    """The answer of a function that cannot be evaluated yet."""


#: how many names the arguments of a function begin with, where it is not one
_NAMES: Final[Mapping[str, int]] = {"get_capability": 2, "get_sys": 2}

UNKNOWN: Final = _Unknown()
Answer: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who SELF, SOURCE and TARGET are: instances in a live deployment, nodes before that."""

    itself: str | None = None
    source: str | None = None
    target: str | None = None

    def who(self, role: str) -> str | None:
        """Return whom *role* means here."""
        return {SELF: self.itself, SOURCE: self.source, TARGET: self.target}[role]


class Answers(Protocol):
    """Answers the functions that ask about inputs, nodes, secrets and the like."""

    def answer(self, function: str, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        """Return the value and the scope it is to be read in, or UNKNOWN.

        Raises:
            FunctionError: when there can be no value.
        """
        ...


class Evaluator:
    """Evaluates values with the help of one `Answers`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._chain = 0
        self._given = 0

    def value(self, value: Value, scope: Scope) -> Value:
        """Return *value* with every function evaluated that can be."""
        if self._chain:
            self._count()
        value = self.children(value, scope)
        call = function_of(value)
        if call is None:
            return value
        try:
            return self._call(value, call, scope)
        except FunctionError as error:
            if error.position is None and isinstance(value, SourceMap) and value.position.file:
                error.position = value.position
            raise

    def children(self, value: Value, scope: Scope) -> Value:
        """Return *value* with the functions inside it evaluated, but not *value* itself."""
        if isinstance(value, dict):
            return self._mapping(value, scope)
        if isinstance(value, list):
            return self._list(value, scope)
        return value

    def _mapping(self, value: dict[Any, Value], scope: Scope) -> dict[Any, Value]:
        result = (
            SourceMap(value.position)
            if isinstance(value, SourceMap)
            else SourceMap(value_position(value, None))
        )
        for key, each in value.items():
            result.put(key, self.value(each, scope), key_position(value, key), value_position(value, key))
        return result

    def _list(self, value: list[Value], scope: Scope) -> list[Value]:
        result = SourceList(value_position(value, None))
        for index, item in enumerate(value):
            result.put(self.value(item, scope), value_position(value, index))
        return result

    def _call(self, value: Value, call: FunctionCall, scope: Scope) -> Value:
        pure = PURE_FUNCTIONS.get(call.function)
        if pure is None:
            _check_names(call)
            answer = self._answers.answer(call.function, call.arguments, scope, self)
        else:
            answer = UNKNOWN if holds_function(call.arguments) else pure(call.arguments)
        if answer is UNKNOWN:
            return value
        if isinstance(answer, ScopedValue):
            answer, scope = answer.value, replace(scope, itself=answer.itself)
        # a property that is defined as itself stays as written
        return value if answer == value else self._follow(answer, scope, call)

    def _count(self) -> None:
        self._given += 1
        if self._given > MAX_VALUES:
            raise FunctionError(f"the functions give more than {MAX_VALUES} values")

    def _follow(self, answer: Value, scope: Scope, call: FunctionCall) -> Value:
        if self._chain >= MAX_CHAIN:
            raise FunctionError(f"{call.function} refers to itself without end")
        self._chain += 1
        try:
            result = self.value(answer, scope)
        finally:
            self._chain -= 1
        if call.function == "get_input" and not matches_type(result, call.type or ""):
            what = f"{call.function} must give a value of type {call.type!r}, not {shown(result)}"
            raise FunctionError(what)
        return result


def _check_names(call: FunctionCall) -> None:
    """Refuse arguments that other functions have given, and that do not begin with the names they should.

    Raises:
        FunctionError: when a name is missing, or is a list or a mapping.
    """
    wanted = _NAMES.get(call.function, 1)
    given = call.arguments if isinstance(call.arguments, list) else [call.arguments]
    names = given[:wanted]
    wrong = [each for each in names if isinstance(each, (dict, list)) and not holds_function(each)]
    if len(names) < wanted and not holds_function(names):
        raise FunctionError(f"{call.function} takes {wanted} or more values, not {len(names)}")
    if wrong:
        raise FunctionError(f"{call.function} takes a name, not {shown(wrong[0])}")


@dataclass(frozen=True, slots=True)
class ScopedValue:
    """A value that was written for another node: SELF within it is *itself*."""

    value: Value
    itself: str | None
