"""Reads values out of mappings that a blueprint brings."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json


def text(given: Mapping[str, Json], name: str, default: str = "") -> str:
    """Return a string."""
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, (dict, list)):
        raise NonRecoverableError(f"terminal: {name} must be a string")
    return str(value)


def texts(given: Mapping[str, Json], name: str) -> tuple[str, ...]:
    """Return a list of strings; one string counts as a list of one."""
    value = given.get(name)
    if value is None or value == "":
        return ()
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list)) for item in items):
        raise NonRecoverableError(f"terminal: {name} must be a list of strings")
    return tuple(str(item) for item in items)


def number(given: Mapping[str, Json], name: str, default: float) -> float:
    """Return a number."""
    value = given.get(name)
    try:
        return default if value is None or value == "" else float(str(value))
    except ValueError:
        raise NonRecoverableError(f"terminal: {name} must be a number") from None


def flag(given: Mapping[str, Json], name: str) -> bool | None:
    """Return true, false, or None when it is not given."""
    value = given.get(name)
    if value is None or isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise NonRecoverableError(f"terminal: {name} must be true or false")
