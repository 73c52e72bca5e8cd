"""How our objects are named and marked, and which objects are ours.

Names are never unique in OpenStack. An object is ours when its metadata say so *and* its name is the one
that these metadata give; either alone proves nothing (images inherit the metadata of the image below them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from quiesce.errors import UnsupportedError
from quiesce.model.call import Call
from quiesce.model.ids import InstanceId
from quiesce.provider_kit.ownership import (
    NameRule,
    Owner,
    claim,
    digest,
    is_removable,
    made_by,
    point_of,
    read_text,
)
from quiesce.providers.openstack.resources import MarkedResource

T = TypeVar("T", bound=MarkedResource)

#: what our metadata begin with
PREFIX: Final = "quiesce:"
KIND: Final = f"{PREFIX}kind"
SOURCE: Final = f"{PREFIX}source"
TYPE: Final = f"{PREFIX}type"
#: of an incremental backup: the restore point that it needs
BUILDS_ON: Final = f"{PREFIX}builds-on"

#: what our objects are made of; a scratch object lives only while something is put back
SERVER: Final = "server"
VOLUME: Final = "volume"
SCRATCH: Final = "scratch"
#: a group of volumes, each with a node of its own: its snapshot belongs to all of them
GROUP: Final = "group"
#: on a part of a group's snapshot: the instance that needs it, and so the whole; one such item for each
_HELD: Final = f"{PREFIX}held-by-"
#: what Nova puts before an image's name for the snapshots of a server that boots from a volume
_NOVAS_PREFIX: Final = "snapshot for "
_NAMES: Final = NameRule(longest=255 - len(_NOVAS_PREFIX))
_LONGEST_DESCRIPTION: Final = 255


def object_name(kind: str, source: str, call: Call) -> str:
    """Return the name of what is made of *source* for the call's restore point."""
    return _NAMES.name(kind, source, point_of(call))


def mark_of(call: Call, kind: str, source: str) -> dict[str, str]:
    """Return the metadata that say whose object it is."""
    mark = {KIND: kind, SOURCE: source, TYPE: call.parameters.snapshot_type}
    return Owner.of(call).as_mark(PREFIX) | mark


def description_of(call: Call, kind: str, source: str) -> str:
    """Return the same mark as a description, for what can have no metadata.

    Raises:
        UnsupportedError: when it has no room there.
    """
    text = Owner.of(call).as_text(kind=kind, source=source)
    if len(text) > _LONGEST_DESCRIPTION:
        raise UnsupportedError(f"the names of {call.instance} and its restore point are too long to mark it")
    return text


def mark_in(description: str) -> dict[str, str]:
    """Return as metadata what `description_of` wrote; nothing when quiesce did not."""
    return {f"{PREFIX}{key}": str(value) for key, value in read_text(description).items()}


def owner_of(found: MarkedResource) -> Owner | None:
    """Return for whom quiesce made *found*; None when it is not ours."""
    owner = Owner.read(PREFIX, found.metadata)
    if owner is None:
        return None
    name = _NAMES.name(found.metadata.get(KIND, ""), found.metadata.get(SOURCE, ""), owner.point)
    return owner if found.name in (name, _NOVAS_PREFIX + name) else None


def for_all(call: Call) -> Call:
    """Return *call* as it is for what belongs to no instance of its execution alone."""
    return replace(call, instance=InstanceId(""))


def group_description(call: Call, group: str) -> str:
    """Return the mark of what is made for every instance with a volume in *group*.

    Raises:
        UnsupportedError: when a description has no room for it.
    """
    return description_of(for_all(call), GROUP, group)


def made_for_group(call: Call, found: MarkedResource) -> bool:
    """Tell whether *found* was made of a group for the call's point; with `Call.undo`, by its execution."""
    if found.metadata.get(KIND) != GROUP:
        return False
    return is_removable(for_all(call), owner_of(found))


def hold_of(call: Call) -> str:
    """Return the key of the item that says that the call's instance needs a part of a group's snapshot."""
    return f"{_HELD}{digest(call.instance)}"


def is_held(found: MarkedResource) -> bool:
    """Tell whether an instance needs *found*, a part of a group's snapshot."""
    return any(key.startswith(_HELD) for key in found.metadata)


def of_others(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what of an object's metadata is not quiesce's."""
    return {key: value for key, value in metadata.items() if not key.startswith(PREFIX)}


def claimed(objects: Iterable[T], name: str, call: Call) -> T | None:
    """Return what this step has already made under *name*, or None.

    Raises:
        ForeignObjectError: when an object of that name is somebody else's, or another execution's.
    """
    own = None
    for found in objects:
        owner = owner_of(found)
        if found.name == name and not _is_another_steps(owner, call):
            claim(call, owner, f"{name} ({found.id})")
            own = own or found
    return own


def own_scratch(objects: Iterable[T], source: str, call: Call) -> T | None:
    """Return what this execution has already made to put *source* back, or None."""
    name = object_name(SCRATCH, source, call)
    return next((found for found in objects if found.name == name and made_by(call, owner_of(found))), None)


def removable(objects: Iterable[T], call: Call) -> list[T]:
    """Return what DELETE may remove: all that quiesce made for this point of this instance.

    With `Call.undo`, only what this very execution made.
    """
    return [found for found in objects if is_removable(call, owner_of(found))]


def left_over(objects: Iterable[T], source: str, call: Call) -> list[T]:
    """Return what earlier executions of this deployment made to put *source* back, and never removed."""
    return [
        found
        for found in objects
        if (found.metadata.get(KIND), found.metadata.get(SOURCE)) == (SCRATCH, source)
        and (owner := owner_of(found)) is not None
        and owner.deployment == call.deployment
        and owner.execution != call.execution
    ]


def _is_another_steps(owner: Owner | None, call: Call) -> bool:
    """Tell whether this execution made it for another instance (which stands for the same resource)."""
    return (
        owner is not None
        and (owner.deployment, owner.execution) == (call.deployment, call.execution)
        and owner.instance != call.instance
    )
