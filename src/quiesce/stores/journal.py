"""Journals in the database: write-ahead, one commit for everything that is going on side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from quiesce.errors import SupersededError
from quiesce.model.ids import ExecutionId
from quiesce.model.records import Record
from quiesce.stores.codec import decode_record, encode_record
from quiesce.stores.database import Database
from quiesce.stores.schema import executions, records


class SqlJournal:
    """One execution's journal, for the holder of fencing token *fence*."""

    def __init__(self, database: Database, execution: ExecutionId, fence: int) -> None:
        self._database = database
        self._execution = execution
        self._grow = (
            sa.update(executions)
            .where(executions.c.id == execution, executions.c.fence == fence)
            .values(length=executions.c.length + sa.bindparam("count"))
            .returning(executions.c.length)
        )
        self._insert = sa.insert(records)

    def append(self, records: Sequence[Record]) -> None:
        """Make *records* durable, together, before returning; see `quiesce.ports.Journal`."""
        bodies = [encode_record(record) for record in records]
        with self._database.write() as connection:
            length = connection.execute(self._grow, {"count": len(bodies)}).scalar()
            if length is None:
                raise SupersededError("another process has taken this execution over")
            first = length - len(bodies)
            connection.execute(
                self._insert,
                [
                    {"execution": self._execution, "position": first + n, "kind": kind, "body": body}
                    for n, (kind, body) in enumerate(bodies)
                ],
            )

    def read(self) -> Iterable[Record]:
        """Return every record, oldest first."""
        return [record for _, record in self.read_from(0)]

    def read_from(self, position: int) -> Sequence[tuple[int, Record]]:
        """Return the records from *position* on, each with its position."""
        query = (
            sa.select(records.c.position, records.c.kind, records.c.body)
            .where(records.c.execution == self._execution, records.c.position >= position)
            .order_by(records.c.position)
        )
        with self._database.read() as connection:
            return [(row.position, decode_record(row.kind, row.body)) for row in connection.execute(query)]
