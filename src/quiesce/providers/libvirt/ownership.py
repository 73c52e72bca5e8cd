"""What quiesce calls what it makes, and how it knows it again."""

from __future__ import annotations

import json
from typing import Final

from quiesce.provider_kit.ownership import NameRule, Owner, OwnerKey

#: leaves room for what stands around it in a file's name
_NAMES: Final = NameRule(longest=128, illegal=r"[/\x00-\x1f]")
_SAYS: Final = "quiesce "


def object_name(owner: Owner) -> str:
    """Return the name of a snapshot or checkpoint: ``<instance id>-<restore point>``."""
    return _NAMES.name(owner.instance, owner.point)


def description_of(owner: Owner) -> str:
    """Return what a snapshot or checkpoint of *owner* says about itself."""
    return _SAYS + json.dumps(owner.as_mark(""))


def owner_in(description: str) -> Owner | None:
    """Return the owner that `description_of` wrote; None when it is not ours."""
    if not description.startswith(_SAYS):
        return None
    try:
        found = json.loads(description.removeprefix(_SAYS))
    except (ValueError, RecursionError):
        return None
    return Owner.read("", found) if isinstance(found, dict) else None


def tag_of(owner: Owner) -> str:
    """Return the tag of a snapshot inside a volume, which can say nothing but its name."""
    key = owner.key
    return f"{object_name(owner)}@{key.point}.{key.execution}"


def key_in(tag: str) -> OwnerKey | None:
    """Return the owner's key that `tag_of` wrote; None when there is none."""
    point, _, execution = tag.rpartition("@")[2].partition(".")
    return OwnerKey(point=point, execution=execution) if "@" in tag and execution else None
