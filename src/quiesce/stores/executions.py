"""Executions in the database."""

from __future__ import annotations

import builtins
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from quiesce.errors import DamagedPlanError, UnknownNameError
from quiesce.model.cut_size import CutSize, Lasted
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan
from quiesce.stores.codec import decode, encode, encode_plain
from quiesce.stores.database import Database
from quiesce.stores.journal import SqlJournal
from quiesce.stores.plans import pack_plan, unpack_plan
from quiesce.stores.schema import durations, executions, records

#: no execution has this fencing token, so a journal with it can only be read
_READ_ONLY = -1


class SqlExecutions:
    """Answers the port `Executions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, execution: Execution, plan: Plan) -> None:
        """Keep a new execution."""
        last = sa.select(sa.func.coalesce(sa.func.max(executions.c.sequence), 0)).scalar_subquery()
        row = _columns(execution) | {"id": execution.id, "plan": pack_plan(plan), "fence": 0, "length": 0}
        with self._database.write() as connection:
            connection.execute(sa.insert(executions).values({**row, "sequence": last + 1}))

    def get(self, execution: str) -> Execution:
        """Return an execution."""
        body = self._column(executions.c.body, execution)
        if body is None:
            known = [other.id for other in self.list()][-20:]
            raise UnknownNameError("execution", execution, known)
        return decode(Execution, body)

    def list(self, deployment: DeploymentName | None = None) -> Sequence[Execution]:
        """Return executions, oldest first."""
        where = [] if deployment is None else [executions.c.deployment == deployment]
        return self._select(*where)

    def open_ones(self, deployment: DeploymentName | None = None) -> Sequence[Execution]:
        """Return those that have not ended, or that still owe a thaw."""
        is_open = sa.or_(executions.c.state == ExecutionState.RUNNING.value, executions.c.owes)
        where = [] if deployment is None else [executions.c.deployment == deployment]
        return self._select(is_open, *where)

    def plan(self, execution: ExecutionId) -> Plan:
        """Return the plan that the execution was begun with."""
        data = self._column(executions.c.plan, execution)
        if data is None:
            raise UnknownNameError("execution", execution, ())
        try:
            return unpack_plan(data)
        except Exception as error:
            raise DamagedPlanError(f"the plan of {execution} cannot be read: {error}") from error

    def remove(self, ids: Sequence[ExecutionId]) -> None:
        """Forget executions with all that was kept of them; one that runs or owes something stays."""
        over = sa.and_(executions.c.state != ExecutionState.RUNNING.value, ~executions.c.owes)
        with self._database.write() as connection:
            for one in ids:
                query = sa.delete(executions).where(executions.c.id == one, over)
                if connection.execute(query).rowcount:
                    connection.execute(sa.delete(records).where(records.c.execution == one))

    def take_over(self, execution: ExecutionId) -> SqlJournal:
        """Return the journal for writing; an earlier holder's token is refused from now on."""
        query = (
            sa.update(executions)
            .where(executions.c.id == execution)
            .values(fence=executions.c.fence + 1)
            .returning(executions.c.fence)
        )
        with self._database.write() as connection:
            fence = connection.execute(query).scalar_one()
        return SqlJournal(self._database, execution, fence)

    def journal(self, execution: ExecutionId) -> SqlJournal:
        """Return the journal for reading only."""
        return SqlJournal(self._database, execution, _READ_ONLY)

    def update(self, execution: Execution) -> None:
        """Replace what is kept of the execution itself."""
        query = sa.update(executions).where(executions.c.id == execution.id).values(_columns(execution))
        with self._database.write() as connection:
            connection.execute(query)

    def ask_cancel(self, execution: ExecutionId, reason: str) -> None:
        """Request that the execution be cancelled."""
        query = sa.update(executions).where(executions.c.id == execution).values(cancel_asked=reason)
        with self._database.write() as connection:
            connection.execute(query)

    def cancel_asked(self, execution: ExecutionId) -> str | None:
        """Return why it is to be cancelled; None: it is not."""
        reason: str | None = self._column(executions.c.cancel_asked, execution)
        return reason

    def keep_durations(
        self, deployment: DeploymentName, lasted: Mapping[tuple[InstanceId, Operation], Lasted]
    ) -> None:
        """Remember how long operations lasted."""
        if not lasted:
            return
        own = durations.c.deployment == deployment
        with self._database.write() as connection:
            before = connection.execute(sa.delete(durations).where(own).returning(durations.c.body)).scalar()
            kept = {**_durations(before), **lasted}
            row = {"deployment": deployment, "body": _packed(kept)}
            connection.execute(sa.insert(durations).values(row))

    def durations(self, deployment: DeploymentName) -> Mapping[tuple[InstanceId, Operation], Lasted]:
        """Return how long each operation lasted the last time."""
        query = sa.select(durations.c.body).where(durations.c.deployment == deployment)
        with self._database.read() as connection:
            return _durations(connection.execute(query).scalar())

    def _select(self, *where: sa.ColumnElement[bool]) -> builtins.list[Execution]:
        query = sa.select(executions.c.body).where(*where).order_by(executions.c.sequence)
        with self._database.read() as connection:
            return [decode(Execution, body) for body in connection.execute(query).scalars()]

    def _column(self, column: sa.Column[Any], execution: str) -> Any:
        with self._database.read() as connection:
            return connection.execute(sa.select(column).where(executions.c.id == execution)).scalar()


def _packed(durations: Mapping[tuple[InstanceId, Operation], Lasted]) -> bytes:
    rows = [_row(*each) for each in durations.items()]
    return zlib.compress(encode_plain(rows).encode(), level=1)


def _row(key: tuple[InstanceId, Operation], lasted: Lasted) -> tuple[Json, ...]:
    size = lasted.size
    sizes = () if size is None else (size.entries, size.copied_bytes, size.compared)
    return (*key, lasted.seconds, lasted.finished, *sizes)


def _durations(body: bytes | None) -> dict[tuple[InstanceId, Operation], Lasted]:
    rows: Sequence[tuple[Any, ...]] = () if body is None else json.loads(zlib.decompress(body))
    return {
        (instance, Operation(operation)): Lasted(
            seconds=seconds,
            finished=finished,
            size=_size(*sizes) if sizes else None,
        )
        for instance, operation, seconds, finished, *sizes in rows
    }


def _size(entries: int, copied_bytes: int, compared: int) -> CutSize:
    return CutSize(entries=entries, copied_bytes=copied_bytes, compared=compared)


def _columns(execution: Execution) -> dict[str, object]:
    return {
        "deployment": execution.deployment,
        "workflow": execution.workflow,
        "created_at": execution.created_at,
        "state": execution.state.value,
        "owes": execution.owes,
        "body": encode(execution),
    }
