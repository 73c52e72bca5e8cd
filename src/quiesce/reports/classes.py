"""Why a restore point has the class that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.model.consistency import Consistency
from quiesce.model.restore_point import Artifact, RestorePoint

#: of a part that does not say more
_USUAL: Final = {
    Consistency.NONE: "nothing says that its parts belong together",
    Consistency.CRASH: "it is as after a power cut at that instant",
    Consistency.FILESYSTEM: "its file systems were frozen; no application in it was asked",
    Consistency.APPLICATION: "what writes to it was held, or can be recovered to the cut",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartClass:
    """One part's class, and why it is no higher."""

    instance: str
    label: str
    why: str
    #: whether the restore point has its class because of this part
    decides: bool


def class_reasons(point: RestorePoint) -> Sequence[PartClass]:
    """Return why each part has its class, those that decide first."""
    parts = sorted(point.artifacts, key=lambda part: (part.consistency, part.instance))
    return [
        PartClass(
            instance=part.instance,
            label=part.consistency.label,
            why=_why(part),
            decides=part.consistency is point.consistency,
        )
        for part in parts
    ]


def class_text(point: RestorePoint) -> str:
    """Return in one sentence why *point* has its class."""
    deciding = [part for part in class_reasons(point) if part.decides]
    if not deciding:
        return f"{point.consistency.label}: something that belongs to it is missing"
    if point.consistency is Consistency.APPLICATION:
        return f"application: {_USUAL[Consistency.APPLICATION]}, everywhere"
    first, *others = deciding
    more = f" (and {len(others)} more)" if others else ""
    return f"{point.consistency.label}, because of {first.instance}{more}: {first.why}"


def _why(part: Artifact) -> str:
    usual = _USUAL[part.consistency]
    return f"{usual} ({part.note})" if part.note else usual
