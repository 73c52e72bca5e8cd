"""Names, labels and descriptions of what quiesce makes: legal, and telling whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quiesce.model.call import Call
from quiesce.provider_kit.ownership import NameRule, Owner, OwnerKey, digest, point_of

#: the longest name and the longest label value that Compute Engine takes
LONGEST: Final = 63
NAMES: Final = NameRule(longest=LONGEST, illegal="[^a-z0-9]", lower_case=True, letter="q", always_digest=True)
LABEL_VALUES: Final = NameRule(longest=LONGEST, illegal="[^a-z0-9_-]", lower_case=True)

#: what a labelled object is: a backup, a snapshot, or something that a restore made
ROLE: Final = "quiesce"
RESTORED: Final = "restored"
#: of a restore point in its deployment, for listing everything of it with one request
POINT: Final = "quiesce-point"
_OWNER: Final = "quiesce-owner"
_EXECUTION: Final = "quiesce-execution"
_DEVICE: Final = "quiesce-device"


def copy_name(call: Call, device: str) -> str:
    """Return the name of the copy of one disk; of a machine as a whole when *device* is ``machine``."""
    return NAMES.name(call.instance, point_of(call), device, call.deployment)


def restored_name(call: Call, *what: str) -> str:
    """Return the name of something that a restore makes."""
    return NAMES.name(call.instance, point_of(call), *what, call.deployment, call.execution)


def labels(call: Call, role: str, device: str = "") -> dict[str, str]:
    """Return the labels to make an object with."""
    key = Owner.of(call).key
    made = {ROLE: role, POINT: point_label(call), _OWNER: key.point, _EXECUTION: key.execution}
    return made | ({_DEVICE: LABEL_VALUES.name(device)} if device else {})


def of_others(found: Mapping[str, str]) -> dict[str, str]:
    """Return those labels of an object that are not quiesce's."""
    ours = (ROLE, POINT, _OWNER, _EXECUTION, _DEVICE)
    return {name: value for name, value in found.items() if name not in ours}


def point_label(call: Call) -> str:
    """Return the label `POINT` of everything that belongs to the call's restore point."""
    return digest(call.deployment, point_of(call))


def owner_of(found: Mapping[str, str]) -> OwnerKey | None:
    """Return who made an object, by its labels; None when it was not quiesce."""
    if ROLE not in found:
        return None
    return OwnerKey(point=found.get(_OWNER, ""), execution=found.get(_EXECUTION, ""))


def description(call: Call) -> str:
    """Return what people read about an object."""
    return (
        f"quiesce: {call.point} of {call.instance} in {call.deployment}, made by {call.execution}, "
        f"type {call.parameters.snapshot_type}, rotation {call.parameters.snapshot_rotation}"
    )
