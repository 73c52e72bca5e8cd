"""Which values are secrets by what their keys are called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_CALLED_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|private_?key|api_?key|access_?key|key_content|certificate_data",
    re.IGNORECASE,
)
#: what such a name may end in when it names the secret, and is none
_NAMES_ONE: Final = re.compile(r"(name|file|path|id|url|uri)$", re.IGNORECASE)


def called_secret(value: Any) -> Iterator[str]:
    """Give every text below a key that says that it is a secret; a text may be an object in JSON."""
    if isinstance(value, str):
        yield from called_secret(_in_json(value))
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if _CALLED_SECRET.search(str(key)) and not _NAMES_ONE.search(str(key)):
            yield from texts_in(item)
        else:
            yield from called_secret(item)
    for item in value if isinstance(value, list | tuple) else ():
        yield from called_secret(item)


def texts_in(value: Any) -> Iterator[str]:
    """Give every text in *value*."""
    if isinstance(value, str):
        yield value
        yield from called_secret(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def _in_json(text: str) -> Any:
    """Return the object that a text is in JSON, such as the file of a service account's key."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
