"""The types that the DSL itself has, and whether a value is of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quiesce.blueprint.reading.source_map import Value

PRIMITIVE_TYPES: Final = frozenset(
    {"string", "integer", "float", "boolean", "list", "dict", "regex", "textarea"}
)
#: types whose values are names of things on a Cloudify Manager
OBJECT_TYPES: Final = frozenset(
    {
        "blueprint_id",
        "deployment_id",
        "capability_value",
        "scaling_group",
        "node_id",
        "node_type",
        "node_instance",
        "secret_key",
        "operation_name",
    }
)
KNOWN_TYPES: Final = PRIMITIVE_TYPES | OBJECT_TYPES


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
