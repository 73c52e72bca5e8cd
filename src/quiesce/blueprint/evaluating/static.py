"""Evaluates what needs no live deployment: inputs, properties, texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quiesce.blueprint.evaluating.evaluator import UNKNOWN, Answer, Evaluator, Scope, ScopedValue
from quiesce.blueprint.evaluating.pure_functions import walk
from quiesce.blueprint.reading.functions import ROLES, function_of, holds_function
from quiesce.blueprint.reading.problems import FunctionError, Position, Problems
from quiesce.blueprint.reading.source_map import SourceMap, Value, value_position


class StaticAnswers:
    """Answers ``get_input`` and ``get_property``; everything else stays as written."""

    def __init__(self, inputs: Mapping[str, Value], properties: Mapping[str, SourceMap]) -> None:
        self._inputs = inputs
        self._properties = properties
        #: the inputs that were asked for
        self.asked: set[str] = set()

    def answer(self, function: str, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        """Return what *function* gives, or UNKNOWN."""
        if holds_function(arguments):
            return UNKNOWN
        if function == "get_input":
            return self._input(arguments, evaluator)
        return self._property(arguments, scope, evaluator) if function == "get_property" else UNKNOWN

    def _input(self, arguments: Value, evaluator: Evaluator) -> Answer:
        name, *path = arguments if isinstance(arguments, list) else [arguments]
        if name not in self._inputs:
            raise FunctionError(f"get_input asks for {name!r}, which is no input")
        self.asked.add(name)
        return _within(self._inputs[name], path, f"the input {name!r}", Scope(), evaluator)

    def _property(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *path = arguments
        node = scope.who(name) if name in ROLES else name
        if node is None or node not in self._properties:
            raise FunctionError(f"get_property asks for {name!r}, which does not exist here")
        itself = Scope(itself=node)
        value = _within(self._properties[node], path, f"node {node!r}", itself, evaluator)
        return UNKNOWN if value is UNKNOWN else ScopedValue(value, node)


def _within(root: Value, path: list[Value], described: str, scope: Scope, evaluator: Evaluator) -> Answer:
    """Return what lies at *path*, evaluating the functions on the way; UNKNOWN behind one that cannot be."""
    value = root
    for step in path:
        if function_of(value) is not None:
            value = evaluator.value(value, scope)
        if function_of(value) is not None:
            return UNKNOWN
        value = walk(value, [step], described)
    return value


class StaticEvaluation:
    """Evaluates the parts of one blueprint, noting what cannot be."""

    def __init__(self, answers: StaticAnswers, problems: Problems) -> None:
        self._evaluator = Evaluator(answers)
        self._problems = problems

    def mapping(self, values: Mapping[Any, Value], scope: Scope) -> dict[Any, Value]:
        """Return *values* evaluated; the mapping itself is never taken for a function."""
        return {key: self.value(value, scope, value_position(values, key)) for key, value in values.items()}

    def value(self, value: Value, scope: Scope, position: Position) -> Value:
        """Return *value* evaluated, or as it is after noting why it cannot be."""
        try:
            return self._evaluator.value(value, scope)
        except FunctionError as error:
            self._problems.add(error.position or position, str(error))
            return value

    def arguments(self, value: Value, position: Position) -> Value:
        """Return *value* with only the functions inside it evaluated."""
        try:
            return self._evaluator.children(value, Scope())
        except FunctionError as error:
            self._problems.add(error.position or position, str(error))
            return value
