"""Values as an operator writes them where a name is given one: on the command line, and in a form."""

from __future__ import annotations

import json

from quiesce.model.ids import Json


def read_value(text: str) -> Json:
    """Return what *text* says where a name is given a value: JSON means what it says, all else is text."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def write_value(value: Json) -> str:
    """Return the text that `read_value` reads as *value*."""
    return value if isinstance(value, str) and read_value(value) == value else json.dumps(value)
