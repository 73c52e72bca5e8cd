"""What a storage holds: objects by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

ObjectName = NewType("ObjectName", str)

#: what an object's name consists of, so that it is a path on every file system and a key in every store
OBJECT_NAME_RULE = "1 to 8 parts separated by '/', each 1 to 128 of A-Z a-z 0-9 . _ -, first no . _ -"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,7}}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StoredObject:
    """One object, as its storage describes it."""

    name: ObjectName
    size_bytes: int
    #: when it was put last, in seconds since the epoch by the *storage's* clock, which may differ from ours
    modified: float


def is_object_name(text: str) -> bool:
    """Tell whether *text* may be an object's name; whatever else lies in a storage is not ours."""
    return _NAME.fullmatch(text) is not None


def object_name(text: str) -> ObjectName:
    """Return *text* as an object's name.

    Raises:
        ValueError: when it is none. Names are made by us, so this is a bug.
    """
    if not is_object_name(text):
        raise ValueError(f"{text!r} is not an object's name: it must be {OBJECT_NAME_RULE}")
    return ObjectName(text)


def lies_below(name: str, folder: str) -> bool:
    """Tell whether *name* lies below *folder*; everything lies below the empty one."""
    return not folder or name.startswith(f"{folder}/")
