"""The intrinsic functions of their arguments alone: texts joined and split, mappings merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from quiesce.blueprint.reading.problems import FunctionError
from quiesce.blueprint.reading.source_map import Value, shown

#: how long a text may be that functions make
MAX_TEXT: Final = 1_000_000


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


def _text(result: str) -> str:
    if len(result) > MAX_TEXT:
        raise FunctionError(f"the functions make a string of more than {MAX_TEXT} characters")
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
            raise FunctionError(f"{name} takes strings, not {shown(value)}")
    return list(values)


def _index(name: str, value: Value) -> int:
    if not isinstance(value, int):
        raise FunctionError(f"{name} takes an integer as its last value, not {shown(value)}")
    return value


#: functions of their arguments alone
PURE_FUNCTIONS: Final[Mapping[str, Callable[[Value], Value]]] = {
    "concat": _concat,
    "merge": _merge,
    "string_find": _find,
    "string_replace": _replace,
    "string_split": _split,
    "string_lower": _case(str.lower, "string_lower"),
    "string_upper": _case(str.upper, "string_upper"),
}
