"""Power cuts: a simulated death of the process at a chosen touch of the outside world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quiesce.model.call import Call
from quiesce.model.outcome import Outcome
from quiesce.model.records import Record
from quiesce.ports import Context, Journal, Provider


class PowerCut(BaseException):
    """The process is dead from here on. A BaseException: nothing of ours may catch it."""


class Fuse:
    """Blows at the touch number *ticks* (the first is 0); None never blows."""

    def __init__(self, ticks: int | None) -> None:
        self._left = ticks
        self.touches = 0
        self.blown = False

    def burn(self) -> None:
        """Count one touch.

        Raises:
            PowerCut: at the chosen one, and at every later one: the dead do nothing.
        """
        self.touches += 1
        if self._left is None:
            return
        if self.blown or self._left == 0:
            self.blown = True
            raise PowerCut
        self._left -= 1


class FusedJournal:
    """A journal whose every write is touched before and after it happens."""

    def __init__(self, journal: Journal, fuse: Fuse) -> None:
        self._journal = journal
        self._fuse = fuse

    def append(self, records: Sequence[Record]) -> None:
        """Write, with a chance to die before and after."""
        self._fuse.burn()
        self._journal.append(records)
        self._fuse.burn()

    def read(self) -> Iterable[Record]:
        """Read; reading changes nothing, so dying here is dying before the next write."""
        return self._journal.read()


class FusedProvider:
    """A provider whose every operation is touched before and after its effect."""

    def __init__(self, provider: Provider, fuse: Fuse) -> None:
        self._provider = provider
        self._fuse = fuse

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform, with a chance to die before and after."""
        self._fuse.burn()
        outcome = self._provider.perform(call, context)
        self._fuse.burn()
        return outcome

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Ask."""
        return self._provider.is_frozen(call, context)

    def close(self) -> None:
        """Close."""
        self._provider.close()
