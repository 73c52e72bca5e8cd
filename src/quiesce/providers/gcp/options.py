"""What an operator may ask for beyond the workflow: operation inputs, parameters or node properties."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import FS_PREPARE


class CopyAs(enum.StrEnum):
    """What a copy of a machine consists of."""

    #: snapshots of its disks when that makes one cut, else a machine image
    AUTO = "auto"
    DISKS = "disks"
    MACHINE_IMAGE = "machine_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices for one call; the first of input, parameter and node property counts."""

    copy_as: CopyAs = CopyAs.AUTO
    #: ask the guest to flush as part of the cut
    guest_flush: bool = False
    #: where backups are stored; empty: the service chooses the nearest multi-region
    storage_locations: tuple[str, ...] = ()
    #: None: nobody said, and a machine with Local SSD is not stopped or suspended
    discard_local_ssd: bool | None = None
    #: restore next to the original instead of into it
    beside: bool = False
    #: keep the disks that a restore replaces
    keep_replaced: bool = True
    #: when a restore point is removed: also remove the disks that its restores replaced
    drop_replaced: bool = False
    #: whether the blueprint freezes this very node around the cut
    frozen_by_hook: bool = False


def options_of(call: Call) -> Options:
    """Return the choices that apply to *call*.

    Raises:
        NonRecoverableError: when one has a value that means nothing.
    """
    hooks = call.node.operations.keys() - call.node.skip_actions
    return Options(
        copy_as=_copy_as(_given(call, "copy_as")),
        guest_flush=_flag(call, "guest_flush") or False,
        storage_locations=_locations(_given(call, "storage_locations")),
        discard_local_ssd=_flag(call, "discard_local_ssd"),
        beside=_flag(call, "restore_beside") or False,
        keep_replaced=_flag(call, "keep_replaced") is not False,
        drop_replaced=_flag(call, "drop_replaced") or False,
        frozen_by_hook=FS_PREPARE in hooks,
    )


def _given(call: Call, name: str) -> Json:
    for source in (call.inputs, call.parameters.raw, call.properties):
        if source.get(name) not in (None, ""):
            return source[name]
    return None


def _flag(call: Call, name: str) -> bool | None:
    value = _given(call, name)
    if value is None or isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "false": False, "no": False}
    if str(value).lower() not in words:
        raise NonRecoverableError(f"{name} must be true or false, not {value!r}")
    return words[str(value).lower()]


def _copy_as(value: Json) -> CopyAs:
    if value is None:
        return CopyAs.AUTO
    if value not in list(CopyAs):
        raise NonRecoverableError(f"copy_as must be one of {', '.join(CopyAs)}, not {value!r}")
    return CopyAs(str(value))


def _locations(value: Json) -> tuple[str, ...]:
    places = value if isinstance(value, list) else [value] if value else []
    return tuple(str(place) for place in places)
