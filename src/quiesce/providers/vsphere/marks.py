"""How quiesce names and marks what it makes on the platform, so that it never touches anything else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import ForeignObjectError
from quiesce.model.call import Call

_PREFIX: Final = "made by quiesce "
#: settings in the configuration of machines that we made
MARK: Final = "quiesce.mark"
STATE: Final = "quiesce.state"
REPLACED: Final = "quiesce.replaced"

#: the longest name that vSphere takes for snapshots and machines
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Who made an object, and for which restore point."""

    deployment: str
    instance: str
    point: str
    execution: str

    @classmethod
    def of(cls, call: Call) -> Mark:
        """Return the mark for what *call* makes."""
        return cls(
            deployment=call.deployment,
            instance=call.instance,
            point=str(call.point),
            execution=call.execution,
        )

    @classmethod
    def read(cls, text: str) -> Mark | None:
        """Return the mark that *text* carries; None when quiesce did not write it."""
        if not text.startswith(_PREFIX):
            return None
        try:
            data = json.loads(text[len(_PREFIX) :])
            return cls(**{name: str(data[name]) for name in cls.__slots__})
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return _PREFIX + json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True)

    def same_point(self, other: Mark | None) -> bool:
        """Tell whether both are of one instance's restore point, whichever execution made them."""
        if other is None:
            return False
        return (self.deployment, self.instance, self.point) == (other.deployment, other.instance, other.point)


def claim(call: Call, text: str, what: str) -> None:
    """Return when the object marked with *text* was made by this very execution.

    Raises:
        ForeignObjectError: when somebody else, or another execution, made it.
    """
    mine, found = Mark.of(call), Mark.read(text)
    if found == mine:
        return
    maker = f"execution {found.execution} of {found.deployment}" if found else "somebody else"
    raise ForeignObjectError(f"{what} exists already and was made by {maker}")


def removable(call: Call, text: str) -> bool:
    """Tell whether *call* may remove the object marked with *text*."""
    mine, found = Mark.of(call), Mark.read(text)
    return found == mine if call.undo else mine.same_point(found)


def marks_of(call: Call, **more: str) -> Mapping[str, str]:
    """Return the settings that mark a machine made for *call*."""
    return {MARK: str(Mark.of(call)), **more}


def object_name(call: Call, suffix: str = "") -> str:
    """Return the name of what *call* makes: always the same for one instance and restore point."""
    name = f"{call.instance}-{call.point}{suffix}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: _LONGEST - 13]}-{digest}"
