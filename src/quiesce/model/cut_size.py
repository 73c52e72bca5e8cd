"""How much a cut has to take while things are frozen, and how long it lasts."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSize:
    """What a cut within the frozen window grows with."""

    #: files, directories and whatever else has a name
    entries: int = 0
    #: what is copied; not what the file system can share
    copied_bytes: int = 0
    #: entries that are copied beforehand: within the window they are looked at only, to find what has changed
    compared: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasted:
    """How long an operation took the last time."""

    #: of what was broken off: at least so long
    seconds: float
    finished: bool = True
    #: how much it had to take then; None: that is not known, or it does not grow with anything
    size: CutSize | None = None


class Basis(enum.StrEnum):
    """What an estimate rests on."""

    #: it was done here before, and had about as much to take
    MEASURED = "measured"
    #: it was tried here, and broken off
    TRIED = "tried"
    #: nothing alike was done here: on the safe side
    GUESSED = "guessed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEstimate:
    """How long a cut will keep things frozen, as far as can be known before."""

    size: CutSize
    seconds: float
    basis: Basis
