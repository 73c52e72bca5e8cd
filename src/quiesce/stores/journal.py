"""Journals in the database: write-ahead, one commit for everything that is going on side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from quiesce.errors import SupersededError
from quiesce.model.ids import ExecutionId
from quiesce.model.records import Record
from quiesce.stores.codec import decode_records, encode_records
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
        body = encode_records(records)
        with self._database.write() as connection:
            length = connection.execute(self._grow, {"count": len(records)}).scalar()
            if length is None:
                raise SupersededError("another process has taken this execution over")
            row = {"execution": self._execution, "position": length - len(records), "body": body}
            connection.execute(self._insert, row)

    def read(self) -> Iterable[Record]:
        """Return every record, oldest first."""
        return [record for _, record in self.read_from(0)]

    def read_from(self, position: int) -> Sequence[tuple[int, Record]]:
        """Return the records from *position* on, each with its position."""
        own = records.c.execution == self._execution
        last = sa.select(sa.func.max(records.c.position)).where(own, records.c.position <= position)
        query = (
            sa.select(records.c.position, records.c.body)
            .where(own, records.c.position >= sa.func.coalesce(last.scalar_subquery(), 0))
            .order_by(records.c.position)
        )
        with self._database.read() as connection:
            found = [
                numbered
                for row in connection.execute(query)
                for numbered in enumerate(decode_records(row.body), start=row.position)
            ]
        return [(number, record) for number, record in found if number >= position]
