"""How far a copy can be trusted."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Consistency(enum.IntEnum):
    """Consistency classes, weakest first, so that they compare."""

    #: no promise at all: parts may contradict each other
    NONE = 0
    #: as after a power cut at one instant
    CRASH = 1
    #: file systems were frozen and flushed
    FILESYSTEM = 2
    #: the application itself was quiesced
    APPLICATION = 3

    @property
    def label(self) -> str:
        """The word for people and for JSON: ``application``."""
        return self.name.lower()


def weakest(parts: Iterable[Consistency]) -> Consistency:
    """A restore point is as consistent as its least consistent part."""
    return min(parts, default=Consistency.NONE)
