"""How our objects are named and marked, and which objects are ours.

Names are never unique in OpenStack. An object is ours when its metadata say so *and* its name is the one
that these metadata give; either alone proves nothing (images inherit the metadata of the image below them).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from quiesce.errors import ForeignObjectError
from quiesce.model.call import Call
from quiesce.providers.openstack.resources import Marked

T = TypeVar("T", bound=Marked)

DEPLOYMENT: Final = "quiesce:deployment"
INSTANCE: Final = "quiesce:instance"
EXECUTION: Final = "quiesce:execution"
POINT: Final = "quiesce:point"
KIND: Final = "quiesce:kind"
SOURCE: Final = "quiesce:source"
TYPE: Final = "quiesce:type"
#: of an incremental backup: the restore point that it needs
BUILDS_ON: Final = "quiesce:builds-on"

#: what our objects are made of; a scratch object lives only while something is put back
SERVER: Final = "server"
VOLUME: Final = "volume"
SCRATCH: Final = "scratch"
#: what Nova puts before an image's name for the snapshots of a server that boots from a volume
_NOVAS_PREFIX: Final = "snapshot for "


def object_name(kind: str, source: str, call: Call) -> str:
    """Return the name of what is made of *source* for the call's restore point."""
    return f"{kind}-{source}-{call.point}"


def mark_of(call: Call, kind: str, source: str) -> dict[str, str]:
    """Return the metadata that say whose object it is."""
    return {
        DEPLOYMENT: call.deployment,
        INSTANCE: call.instance,
        EXECUTION: call.execution,
        POINT: call.point or "",
        KIND: kind,
        SOURCE: source,
        TYPE: call.parameters.snapshot_type,
    }


def is_ours(found: Marked) -> bool:
    """Tell whether quiesce made *found*."""
    mark = found.metadata
    name = f"{mark.get(KIND)}-{mark.get(SOURCE)}-{mark.get(POINT)}"
    return found.name in (name, _NOVAS_PREFIX + name)


def foundations(found: Marked) -> tuple[str, ...]:
    """Return the restore points that *found* needs."""
    name = found.metadata.get(BUILDS_ON)
    return (name,) if name else ()


def claimed(objects: Iterable[T], name: str, call: Call) -> T | None:
    """Return what this step has already made under *name*, or None.

    Raises:
        ForeignObjectError: when an object of that name is somebody else's, or another execution's.
    """
    own = None
    for found in objects:
        if found.name != name:
            continue
        if not (is_ours(found) and _same_execution(found, call)):
            raise ForeignObjectError(f"{name} exists already ({found.id}) and was not made by this execution")
        if found.metadata.get(INSTANCE) == call.instance:
            own = own or found
    return own


def removable(objects: Iterable[T], call: Call) -> list[T]:
    """Return what DELETE may remove: all that quiesce made for this point of this instance.

    With `Call.undo`, only what this very execution made.
    """
    return [
        found
        for found in objects
        if is_ours(found)
        and found.metadata.get(DEPLOYMENT) == call.deployment
        and found.metadata.get(INSTANCE) == call.instance
        and found.metadata.get(POINT) == call.point
        and (not call.undo or found.metadata.get(EXECUTION) == call.execution)
    ]


def _same_execution(found: Marked, call: Call) -> bool:
    mark = found.metadata
    return mark.get(DEPLOYMENT) == call.deployment and mark.get(EXECUTION) == call.execution
