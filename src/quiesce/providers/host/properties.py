"""What a node says about the thing it stands for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json

_LONGEST_KEY = 150


def key_of(call: Call) -> str:
    """Return a file name for the state of the call's instance, different for each."""
    name = f"{quote(call.deployment, safe='')}+{quote(call.instance, safe='')}"
    if len(name) <= _LONGEST_KEY:
        return name
    return f"{name[:_LONGEST_KEY]}+{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def value_of(call: Call, name: str) -> Json:
    """Return the node's property, else the runtime property of that name, or None.

    Inputs do not count: every workflow parameter is among them, and none may say which path is replaced.
    """
    for source in (call.properties, call.runtime_properties):
        if source.get(name) not in (None, ""):
            return source[name]
    return None


def text_of(call: Call, name: str) -> str | None:
    """Return a property that is a text, or None when the node does not have it."""
    value = value_of(call, name)
    return None if value is None else str(value)


def path_of(call: Call) -> Path:
    """Return the node's ``path``.

    Raises:
        NonRecoverableError: when it has none, or a relative one.
    """
    text = text_of(call, "path")
    if text is None:
        raise NonRecoverableError(
            f"{call.instance} does not say which path it stands for", hint="Set its property 'path'."
        )
    return absolute(text, f"the path of {call.instance}")


def absolute(text: str, what: str) -> Path:
    """Return *text* as an absolute path without ``..``.

    Raises:
        NonRecoverableError: when it is not one.
    """
    path = Path(text).expanduser()
    if not path.is_absolute() or ".." in path.parts or "\0" in text:
        raise NonRecoverableError(f"{what} must be absolute, without '..': {text!r}")
    return path
