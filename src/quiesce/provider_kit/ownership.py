"""Whose an object on a platform is: names, marks, and what may be removed.

quiesce touches what it made and nothing else. What it makes carries a mark; a name alone proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import BackupName, ExecutionId

_DIGEST: Final = 10
_FIELDS: Final = ("deployment", "instance", "point", "execution")
_MADE_BY: Final = "made by quiesce "


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who made an object: an execution, for one instance's part of a restore point."""

    deployment: str
    instance: str
    point: str
    execution: str

    @classmethod
    def of(cls, call: Call) -> Owner:
        """Return the owner of what *call* makes.

        Raises:
            NonRecoverableError: when the call is about no restore point.
        """
        return cls(
            deployment=call.deployment,
            instance=call.instance,
            point=point_of(call),
            execution=call.execution,
        )

    @property
    def key(self) -> OwnerKey:
        """The same in two short words, for marks that have little room."""
        return OwnerKey(
            point=digest(self.deployment, self.instance, self.point),
            execution=digest(self.deployment, self.execution),
        )

    def as_text(self, **more: str) -> str:
        """Return it, and *more*, as a description, where an object has nothing else to carry a mark."""
        return _MADE_BY + json.dumps(self.as_mark("") | more, sort_keys=True)

    def as_mark(self, prefix: str) -> dict[str, str]:
        """Return it as metadata: ``<prefix>deployment`` and so on."""
        return {f"{prefix}{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def read(cls, prefix: str, metadata: Mapping[str, object]) -> Owner | None:
        """Return the owner that `as_mark` wrote into *metadata*; None when it is not all there."""
        found = {name: metadata.get(f"{prefix}{name}") for name in _FIELDS}
        if not all(isinstance(value, str) for value in found.values()):
            return None
        return cls(**{name: str(value) for name, value in found.items()})


def read_text(description: str) -> dict[str, object]:
    """Return what `Owner.as_text` wrote, for `Owner.read`; nothing when it is another's description."""
    if not description.startswith(_MADE_BY):
        return {}
    try:
        found = json.loads(description[len(_MADE_BY) :])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerKey:
    """An `Owner` in two digests: enough to compare, too little to read."""

    point: str
    execution: str


def point_of(call: Call) -> BackupName:
    """Return the restore point that *call* is about.

    Raises:
        NonRecoverableError: when it names none.
    """
    if call.point is None:
        raise NonRecoverableError(f"{call.operation} of {call.instance} needs the name of a restore point")
    return call.point


def made_for(call: Call, found: Owner | OwnerKey | None) -> bool:
    """Tell whether quiesce made *found* for the call's instance and restore point, in any execution."""
    key = _key(found)
    return key is not None and key.point == Owner.of(call).key.point


def made_by(call: Call, found: Owner | OwnerKey | None) -> bool:
    """Tell whether the call's very execution made *found*, for its instance and restore point."""
    return _key(found) == Owner.of(call).key


def is_removable(call: Call, found: Owner | OwnerKey | None) -> bool:
    """Tell whether *call* may remove *found*: with `Call.undo` only what its own execution made."""
    return made_by(call, found) if call.undo else made_for(call, found)


def claim(call: Call, found: Owner | OwnerKey | None, what: str) -> None:
    """Return when *call*'s own execution made *found*, which an earlier attempt may have.

    Raises:
        ForeignObjectError: when somebody else, or another execution, made it. It was not touched.
    """
    if made_by(call, found):
        return
    if isinstance(found, Owner):
        maker = f"execution {found.execution} of {found.deployment}"
    else:
        maker = "another execution" if found is not None else "somebody else"
    raise ForeignObjectError(f"{what} exists already and was made by {maker}")


def _key(found: Owner | OwnerKey | None) -> OwnerKey | None:
    return found.key if isinstance(found, Owner) else found


def maker_of(call: Call) -> ExecutionId | None:
    """Return whose objects a removal is limited to; None: it may be any execution's."""
    return call.execution if call.undo else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """What a platform takes as a name."""

    longest: int
    #: a regular expression for one character that is not allowed; None: all are
    illegal: str | None = None
    lower_case: bool = False
    #: put before a name that does not begin with a letter, where it must; empty: it need not
    letter: str = ""
    #: give every name a digest, where names must differ as their parts do
    always_digest: bool = False

    def name(self, *parts: str, suffix: str = "") -> str:
        """Return a name that reads as *parts*; always the same one for the same parts.

        What had to be changed or cut gets a digest of the parts, so that two names stay different.
        """
        plain = "-".join(parts) + suffix
        legal = plain.lower() if self.lower_case else plain
        if self.illegal is not None:
            legal = re.sub(f"(?:{self.illegal})+", "-", legal).strip("-")
        if self.letter and not legal[:1].isalpha():
            legal = f"{self.letter}-{legal}"
        if legal == plain and len(legal) <= self.longest and not self.always_digest:
            return legal
        return f"{legal[: self.longest - _DIGEST - 1].rstrip('-')}-{digest(*parts, suffix)}"


def digest(*parts: str) -> str:
    """Return a short digest that tells ``("a-b", "c")`` from ``("a", "b-c")``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGEST]
