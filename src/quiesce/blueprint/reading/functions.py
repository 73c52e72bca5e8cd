"""What is written as an intrinsic function: ``{get_input: name}``, optionally with a ``type``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quiesce.blueprint.reading.source_map import Value

SELF: Final = "SELF"
SOURCE: Final = "SOURCE"
TARGET: Final = "TARGET"
ROLES: Final = frozenset({SELF, SOURCE, TARGET})

#: functions of their arguments alone
PURE: Final = frozenset(
    {"concat", "merge", "string_find", "string_replace", "string_split", "string_lower", "string_upper"}
)
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
FUNCTIONS: Final = PURE | STATIC | LIVE


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function and its arguments, as written."""

    function: str
    arguments: Value
    #: the type that the result must have
    type: str | None = None


def function_of(value: Value) -> FunctionCall | None:
    """Return the call that *value* means, or None when it is plain data."""
    if not isinstance(value, dict) or not 0 < len(value) < 3:
        return None
    names = [key for key in value if key != "type"]
    if not names or not all(isinstance(name, str) and name in FUNCTIONS for name in names):
        return None
    wanted = value.get("type")
    return FunctionCall(names[-1], value[names[-1]], wanted if isinstance(wanted, str) else None)


def holds_function(value: Value) -> bool:
    """Tell whether *value*, or anything in it, is a function."""
    if isinstance(value, dict):
        return function_of(value) is not None or any(map(holds_function, value.values()))
    return isinstance(value, list) and any(map(holds_function, value))
