"""A journal in memory, for tests: durable as long as the object is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quiesce.errors import SupersededError
from quiesce.model.records import Record


class MemoryRecords:
    """The records of one execution, and who may write them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.fence = 0

    def take_over(self) -> MemoryJournal:
        """Return the journal for writing; an earlier one's writes are refused from now on."""
        self.fence += 1
        return MemoryJournal(self, self.fence)


class MemoryJournal:
    """Answers the port `Journal`."""

    def __init__(self, kept: MemoryRecords, fence: int) -> None:
        self._kept = kept
        self._fence = fence

    def append(self, records: Sequence[Record]) -> None:
        """Keep *records*."""
        if self._fence != self._kept.fence:
            raise SupersededError("another process has taken this execution over")
        self._kept.records.extend(records)

    def read(self) -> Iterable[Record]:
        """Return every record, oldest first."""
        return list(self._kept.records)
