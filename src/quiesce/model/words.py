"""The words in which values are written: on the command line, in blueprints, in inputs of operations.

One set of words for parameters of workflows and options of providers. Every reader takes what a command line
(text), YAML or JSON (typed values) can give, and refuses everything else.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from quiesce.model.ids import Json

E = TypeVar("E", bound=enum.Enum)

_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False}
_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_TEXT: Final = 4096
_LONGEST_SHOWN: Final = 60


class WrongValueError(ValueError):
    """A value is not what its name takes; *right* says what would be, for a sentence."""

    def __init__(self, value: Json, right: str) -> None:
        super().__init__(f"{shown(value)} is not {right}")
        self.right = right


def shown(value: Json) -> str:
    """Return *value* as an error message shows it: never long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def read_flag(value: Json) -> bool:
    """Return true or false; ``yes`` and ``no`` say the same."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise WrongValueError(value, "true or false")


def says_no(value: Json) -> bool:
    """Tell whether *value* is one of the words for false."""
    return value is False or (isinstance(value, str) and _WORDS.get(value.lower()) is False)


def read_text(value: Json) -> str:
    """Return printable text that is not empty."""
    if not isinstance(value, str):
        raise WrongValueError(value, """text; quote what JSON would take for something else: '"true"'""")
    if not value or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise WrongValueError(value, f"1 to {_LONGEST_TEXT} printable characters")
    return value


def read_absolute_path(value: Json) -> str:
    """Return a path from the root, without ``..``."""
    text = read_text(value) if isinstance(value, str) else ""
    if not text.startswith("/") or ".." in text.split("/"):
        raise WrongValueError(value, "an absolute path without '..'")
    return text


def read_unit(value: Json) -> str:
    """Return the name of a unit of systemd."""
    text = read_text(value)
    if re.fullmatch(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*", text) is None:
        raise WrongValueError(value, "the name of a unit, such as postgresql@15-main.service")
    return text


def whole_number(least: int, most: int | None = None) -> Callable[[Json], int]:
    """Return a reader of whole numbers from *least* to *most*."""
    right = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(value: Json) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise WrongValueError(value, right)
        if number < least or (most is not None and number > most):
            raise WrongValueError(value, right)
        return number

    return read


def read_seconds(value: Json) -> float:
    """Return a duration in seconds: a number, or one with ms, s, m or h behind it."""
    match = None if isinstance(value, bool) else re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", str(value))
    if match is None or match[2] not in _UNITS:
        raise WrongValueError(value, "seconds, or a number with ms, s, m or h, such as 30 or 1.5m")
    return float(match[1]) * _UNITS[match[2]]


def read_positive_seconds(value: Json) -> float:
    """Return a duration in seconds that is more than nothing."""
    seconds = read_seconds(value)
    if seconds <= 0:
        raise WrongValueError(value, "more than 0 seconds")
    return seconds


def read_names(value: Json) -> tuple[str, ...]:
    """Return names: a list of them, or text with commas between."""
    names: list[Json] | None = None
    if isinstance(value, str):
        names = [part.strip() for part in value.split(",")]
    elif isinstance(value, list):
        names = value
    if names is None or not all(isinstance(name, str) and name for name in names):
        raise WrongValueError(value, "a list of names")
    return tuple(str(name) for name in names)


def read_mapping(value: Json) -> Mapping[str, Json]:
    """Return a mapping of names to values."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WrongValueError(value, "a mapping")
    return value


def one_of(choices: type[E]) -> Callable[[Json], E]:
    """Return a reader of the members of *choices*, by their values."""
    by_word = {str(choice.value): choice for choice in choices}

    def read(value: Json) -> E:
        if isinstance(value, choices):
            return value
        if not isinstance(value, str) or value not in by_word:
            raise WrongValueError(value, "one of " + ", ".join(by_word))
        return by_word[value]

    return read
