"""Evaluates intrinsic functions: the part that is the same before and while a deployment lives.

A function is a mapping of one entry such as ``{get_input: name}``, optionally with a ``type``. Functions
within its arguments come first; a result that is a function again is evaluated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from quiesce.blueprint.marked import MarkedList, MarkedMap, Value, key_mark, shown, value_mark
from quiesce.blueprint.problems import FunctionError

#: how long a chain of functions may be that leads from one to the next
MAX_CHAIN: Final = 50
#: how many values the functions of one blueprint may give
MAX_VALUES: Final = 200_000
#: how long a text may be that functions make
MAX_TEXT: Final = 1_000_000

SELF: Final = "SELF"
SOURCE: Final = "SOURCE"
TARGET: Final = "TARGET"


class _Unknown:
    """The answer of a function that cannot be evaluated yet."""


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
            if error.mark is None and isinstance(value, MarkedMap) and value.mark.file:
                error.mark = value.mark
            raise

    def children(self, value: Value, scope: Scope) -> Value:
        """Return *value* with the functions inside it evaluated, but not *value* itself."""
        if isinstance(value, dict):
            return self._mapping(value, scope)
        if isinstance(value, list):
            return self._list(value, scope)
        return value

    def _mapping(self, value: dict[Any, Value], scope: Scope) -> dict[Any, Value]:
        result = MarkedMap(value.mark) if isinstance(value, MarkedMap) else MarkedMap(value_mark(value, None))
        for key, each in value.items():
            result.put(key, self.value(each, scope), key_mark(value, key), value_mark(value, key))
        return result

    def _list(self, value: list[Value], scope: Scope) -> list[Value]:
        result = MarkedList(value_mark(value, None))
        for index, item in enumerate(value):
            result.put(self.value(item, scope), value_mark(value, index))
        return result

    def _call(self, value: Value, call: Call, scope: Scope) -> Value:
        pure = PURE.get(call.function)
        if pure is None:
            answer = self._answers.answer(call.function, call.arguments, scope, self)
        else:
            answer = UNKNOWN if holds_function(call.arguments) else pure(call.arguments)
        if answer is UNKNOWN:
            return value
        if isinstance(answer, Elsewhere):
            answer, scope = answer.value, replace(scope, itself=answer.itself)
        # a property that is defined as itself stays as written
        return value if answer == value else self._follow(answer, scope, call)

    def _count(self) -> None:
        self._given += 1
        if self._given > MAX_VALUES:
            raise FunctionError(f"the functions give more than {MAX_VALUES} values")

    def _follow(self, answer: Value, scope: Scope, call: Call) -> Value:
        if self._chain >= MAX_CHAIN:
            raise FunctionError(f"{call.function} leads from one function to the next without end")
        self._chain += 1
        try:
            result = self.value(answer, scope)
        finally:
            self._chain -= 1
        if call.function == "get_input" and not matches_type(result, call.type or ""):
            what = f"{call.function} must give a value of type {call.type!r}, not {shown(result)}"
            raise FunctionError(what)
        return result


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A value that was written for another node: SELF within it is *itself*."""

    value: Value
    itself: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments, as written."""

    function: str
    arguments: Value
    #: the type that the result must have
    type: str | None = None


def function_of(value: Value) -> Call | None:
    """Return the call that *value* means, or None when it is plain data."""
    if not isinstance(value, dict) or not 0 < len(value) < 3:
        return None
    names = [key for key in value if key != "type"]
    if not names or not all(isinstance(name, str) and name in FUNCTIONS for name in names):
        return None
    wanted = value.get("type")
    return Call(names[-1], value[names[-1]], wanted if isinstance(wanted, str) else None)


def holds_function(value: Value) -> bool:
    """Tell whether *value*, or anything in it, is a function."""
    if isinstance(value, dict):
        return function_of(value) is not None or any(map(holds_function, value.values()))
    return isinstance(value, list) and any(map(holds_function, value))


def walk(root: Value, path: Sequence[Value], described: str) -> Value:
    """Return what lies at *path* within *root*.

    Raises:
        FunctionError: when there is nothing.
    """
    value = root
    for step in path:
        try:
            value = value[step] if isinstance(value, dict) else _item(value, step)
        except (LookupError, TypeError) as error:
            raise FunctionError(f"{described} has nothing at {path_text(path)}: no {step!r}") from error
    return value


def path_text(path: Sequence[Value]) -> str:
    """Return a path as people read it: ``a.b[0]``."""
    first, *rest = path
    return str(first) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def _item(value: Value, step: Value) -> Value:
    if isinstance(value, list) and isinstance(step, int):
        return value[step]
    raise LookupError(step)


def matches_type(value: Value, name: str) -> bool:
    """Tell whether *value* is of the primitive type *name*; any value is a string."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds: Mapping[str, bool] = {
        "integer": number and isinstance(value, int),
        "float": number,
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
        "dict": isinstance(value, dict),
        "regex": isinstance(value, str) and is_pattern(value),
    }
    return kinds.get(name, True)


def is_pattern(text: str) -> bool:
    """Tell whether *text* is a regular expression."""
    import re

    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _text(result: str) -> str:
    if len(result) > MAX_TEXT:
        raise FunctionError(f"the functions make a text of more than {MAX_TEXT} characters")
    return result


def _concat(arguments: Value) -> Value:
    return _text("".join(str(each) for each in _arguments("concat", arguments, at_least=0)))


def _merge(arguments: Value) -> Value:
    result: dict[Any, Value] = {}
    for each in _arguments("merge", arguments, at_least=0):
        if not isinstance(each, dict):
            raise FunctionError(f"merge takes mappings, not {shown(each)}")
        result.update(each)
    return result


def _find(arguments: Value) -> Value:
    haystack, needle = _texts("string_find", _arguments("string_find", arguments, at_least=2, at_most=2))
    return haystack.find(needle)


def _replace(arguments: Value) -> Value:
    found = _arguments("string_replace", arguments, at_least=3, at_most=4)
    text, old, new = _texts("string_replace", found[:3])
    count = found[3] if len(found) > 3 and found[3] is not None else -1
    return _text(text.replace(old, new, _index("string_replace", count)))


def _split(arguments: Value) -> Value:
    found = _arguments("string_split", arguments, at_least=2, at_most=3)
    text, separator = _texts("string_split", found[:2])
    if not separator:
        raise FunctionError("string_split needs a separator that is not empty")
    parts = text.split(separator)
    if len(found) < 3 or found[2] is None:
        return parts
    index = _index("string_split", found[2])
    return walk(parts, [index], "the parts of the text") if index >= 0 else parts[max(index, -len(parts))]


def _case(change: Callable[[str], str], name: str) -> Callable[[Value], Value]:
    def apply(argument: Value) -> Value:
        [text] = _texts(name, [argument])
        return change(text)

    return apply


def _arguments(name: str, arguments: Value, *, at_least: int, at_most: int | None = None) -> Sequence[Value]:
    count = len(arguments) if isinstance(arguments, list) else -1
    if count < at_least or (at_most is not None and count > at_most):
        wanted = f"{at_least} to {at_most}" if at_most else f"{at_least} or more"
        raise FunctionError(f"{name} takes a list of {wanted} values, not {shown(arguments)}")
    result: Sequence[Value] = arguments
    return result


def _texts(name: str, values: Sequence[Value]) -> Sequence[str]:
    for value in values:
        if not isinstance(value, str):
            raise FunctionError(f"{name} takes texts, not {shown(value)}")
    return list(values)


def _index(name: str, value: Value) -> int:
    if not isinstance(value, int):
        raise FunctionError(f"{name} takes an integer as its last value, not {shown(value)}")
    return value


#: functions of their arguments alone
PURE: Final[Mapping[str, Callable[[Value], Value]]] = {
    "concat": _concat,
    "merge": _merge,
    "string_find": _find,
    "string_replace": _replace,
    "string_split": _split,
    "string_lower": _case(str.lower, "string_lower"),
    "string_upper": _case(str.upper, "string_upper"),
}
#: functions that are answered as soon as the inputs are known
STATIC: Final = frozenset({"get_input", "get_property"})
#: functions that only a live deployment answers
LIVE: Final = frozenset(
    {
        "get_attribute",
        "get_attributes_list",
        "get_attributes_dict",
        "get_secret",
        "get_capability",
        "get_environment_capability",
        "get_group_capability",
        "get_label",
        "get_sys",
        "get_consumers",
    }
)
FUNCTIONS: Final = frozenset(PURE) | STATIC | LIVE
