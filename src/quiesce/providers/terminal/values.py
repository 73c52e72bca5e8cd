"""Reads values out of mappings that a blueprint brings; what a device's own words mean stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.model.words import WrongValueError

T = TypeVar("T")


def value(given: Mapping[str, Json], name: str, read: Callable[[Json], T], default: T) -> T:
    """Return what *read* makes of a value; *default* when it is not given or empty.

    Raises:
        NonRecoverableError: when it is not what the name takes; never shown: it may be secret.
    """
    found = given.get(name)
    if found is None or found == "":
        return default
    try:
        return read(found)
    except WrongValueError as error:
        raise NonRecoverableError(f"terminal: {name} must be {error.right}") from None


def text(given: Mapping[str, Json], name: str, default: str = "") -> str:
    """Return text of any length and any characters: a key, a password, a line to type."""
    return value(given, name, _any_text, default)


def texts(given: Mapping[str, Json], name: str) -> tuple[str, ...]:
    """Return a list of texts; one text counts as a list of one, whatever is in it."""
    return value(given, name, _any_texts, ())


def _any_text(found: Json) -> str:
    if isinstance(found, dict | list):
        raise WrongValueError(found, "text")
    return str(found)


def _any_texts(found: Json) -> tuple[str, ...]:
    try:
        return tuple(map(_any_text, found if isinstance(found, list) else [found]))
    except WrongValueError:
        raise WrongValueError(found, "a list of texts") from None
