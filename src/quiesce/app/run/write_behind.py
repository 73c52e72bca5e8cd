"""A journal for whoever must not wait for the disk: it is written behind what happens, in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from typing import Final

from quiesce.errors import QuiesceError, StoreError, SupersededError
from quiesce.model.ids import ExecutionId
from quiesce.model.records import Record
from quiesce.ports import Executions, Journal

#: pause before the database is asked again, in seconds
_PAUSE_S: Final = 0.2


class WriteBehindJournal:
    """Answers the port `Journal`, but for its promise: a record is durable only when `close` has returned.

    A thread takes the execution over and writes what is appended. Whoever holds the database's lock (a
    stopped engine, say) delays that, and nothing else.
    """

    def __init__(self, executions: Executions, execution: ExecutionId, first: Sequence[Record] = ()) -> None:
        """*first* is read, and written, before anything that is appended."""
        self._executions = executions
        self._execution = execution
        self._first = list(first)
        self._waiting: queue.SimpleQueue[Sequence[Record] | None] = queue.SimpleQueue()
        self._error: QuiesceError | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._write, name="quiesce-journal", daemon=True)
        self._thread.start()

    def append(self, records: Sequence[Record]) -> None:
        """Have *records* written; waits for nothing."""
        self._waiting.put(tuple(records))

    def read(self) -> Iterable[Record]:
        """Return every record that is durable, and those that come first here."""
        return [*self._executions.journal(self._execution).read(), *self._first]

    def close(self, patience_s: float) -> None:
        """Return when everything is durable.

        Raises:
            StoreError: when it is not after *patience_s*.
            SupersededError: when another process has taken over since.
        """
        self._waiting.put(None)
        self._thread.join(patience_s)
        self._given_up.set()
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise StoreError("the database is locked: the thaw is not written down yet")

    def _write(self) -> None:
        journal: Journal | None = None
        records: Sequence[Record] | None = self._first
        while records is not None:
            journal = self._written(journal, records)
            if journal is None:
                return
            records = self._waiting.get()

    def _written(self, journal: Journal | None, records: Sequence[Record]) -> Journal | None:
        """Write *records*, trying again until nobody waits for it any more; None: it cannot be done."""
        while True:
            try:
                journal = journal or self._executions.take_over(self._execution)
                if records:
                    journal.append(records)
            except StoreError as error:
                self._error = error
            except SupersededError as error:
                self._error = error
                return None
            else:
                self._error = None
                return journal
            if self._given_up.wait(_PAUSE_S):
                return None
