"""Base copies that are made before the window but for their end, which is the cut."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from quiesce.model.ids import ExecutionId
from quiesce.provider_kit.commands import NamedJob, RunningProgram, Said
from quiesce.providers.mariadb.client import MariaDBFacts
from quiesce.providers.mariadb.passage import Passage

#: how long a copy may take for its end when nobody waits for the cut any more, in seconds
_END_S: Final = 30.0

Key = tuple[str, ExecutionId]


class WaitingCopy:
    """What mariadb-backup has copied; it reads the server's log on until it is ended."""

    def __init__(
        self, facts: MariaDBFacts, program: RunningProgram, passage: Passage, mark: Callable[[], None]
    ) -> None:
        """*mark* notes that the copy is whole."""
        self.facts = facts
        self._program = program
        self._passage = passage
        self._mark = mark

    @property
    def waits(self) -> bool:
        """Whether all is copied but what its end adds, and the end waits."""
        return self._passage.relay.keeps_back

    @property
    def is_made(self) -> bool:
        """Whether it waits, or mariadb-backup has ended."""
        return self.waits or self._program.has_ended()

    def end(self, job: NamedJob) -> Said:
        """Have it end: it holds what was acknowledged until now. Return how mariadb-backup has ended."""
        try:
            self._passage.relay.let_through()
            said = self._program.wait(job)
            if said.status == 0:
                self._mark()
            return said
        finally:
            self.drop()

    def keep(self) -> None:
        """Have it end, because nobody cuts by it: it becomes a base copy like any other."""
        self._passage.relay.let_through()
        try:
            if self._program.has_ended(_END_S) and self._program.said().status == 0:
                self._mark()
        finally:
            self.drop()

    def drop(self) -> None:
        """Kill mariadb-backup if it has not ended; the server lets go of what it holds."""
        self._program.close()
        self._passage.close()


class WaitingCopies:
    """Those of a process, each kept from PREPARE to the cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Key, WaitingCopy] = {}

    def add(self, key: Key, copy: WaitingCopy) -> None:
        """Keep *copy* until it is taken."""
        with self._lock:
            self._copies[key] = copy

    def has(self, key: Key) -> bool:
        """Tell whether there is that copy."""
        with self._lock:
            return key in self._copies

    def take(self, key: Key) -> WaitingCopy | None:
        """Return that copy, and keep it no longer; None when there is none."""
        with self._lock:
            return self._copies.pop(key, None)

    def close(self) -> None:
        """Have all of them end."""
        for key in list(self._copies):
            if (copy := self.take(key)) is not None:
                copy.keep()
