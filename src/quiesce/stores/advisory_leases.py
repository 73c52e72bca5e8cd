"""Leases as session advisory locks of PostgreSQL: for as many machines as share the database.

The server gives a lease back when its holder's session ends: at once when the process dies, and after
`_LOST_S` when the machine or the network is gone. No clock is involved. The session bears the execution's
name, for whoever is refused. Whoever has lost the lease without knowing is stopped by the fencing token.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Final

import sqlalchemy as sa

from quiesce.errors import BusyError
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.stores.database import Database

#: after so many seconds without any answer of the holder's machine the server gives its lease back
_LOST_S: Final = 15
#: what a session that holds a lease is called: a prefix, and the execution
_SESSION: Final = "quiesce "
_HOLDER: Final = sa.text(
    "SELECT s.application_name FROM pg_locks l JOIN pg_stat_activity s ON s.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
)
#: the session may wait for as long as an execution runs, and is missed soon when its machine is gone;
#: what this server does not have, or does not let us set, stays as it is
_SESSION_SETTINGS: Final = {
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": str(_LOST_S // 3),
    "tcp_keepalives_interval": str(_LOST_S // 3),
    "tcp_keepalives_count": "2",
}


class AdvisoryLeases:
    """Answers the port `Leases` in the database of everybody who shares it; *kind* tells two sorts apart."""

    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        self._kind = kind
        # a session for each lease, none of them kept for later, and no transaction that stays open
        self._engine = sa.create_engine(
            database.engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )

    def acquire(self, deployment: DeploymentName, execution: ExecutionId) -> AdvisoryLease:
        """Take the lease for *execution*, or fail at once."""
        with self._database.errors(), contextlib.ExitStack() as opened:
            connection = opened.enter_context(self._engine.connect())
            _name_session(connection, execution)
            key = self._key(connection, deployment)
            if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(key))).scalar():
                holder = _holder(connection, key)
                raise BusyError(
                    f"execution {holder or 'of another process'} runs on {deployment}",
                    hint=f"Wait for it, or cancel it: quiesce executions cancel {holder or 'ID'}",
                )
            opened.pop_all()
        return AdvisoryLease(connection)

    def holder(self, deployment: DeploymentName) -> ExecutionId | None:
        """Return the execution whose living process holds the lease."""
        with self._database.errors(), self._engine.connect() as connection:
            name = _holder(connection, self._key(connection, deployment))
        return None if name is None else ExecutionId(name)

    def _key(self, connection: sa.Connection, deployment: DeploymentName) -> int:
        """Return the lock's number: another one in each schema, because databases are shared."""
        schema = connection.execute(sa.select(sa.func.current_schema())).scalar()
        name = f"quiesce/{schema}/{self._kind}/{deployment}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


class AdvisoryLease:
    """A held lease."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        """Release it; more than once does no harm."""
        with contextlib.suppress(sa.exc.DBAPIError):  # a session that is gone holds nothing
            if not self._connection.closed:
                self._connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
        self._connection.close()


def _name_session(connection: sa.Connection, execution: ExecutionId) -> None:
    settings = {"application_name": f"{_SESSION}{execution}", **_SESSION_SETTINGS}
    query = sa.text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")
    for name, value in settings.items():
        connection.execute(query, {"name": name, "value": value})


def _holder(connection: sa.Connection, key: int) -> str | None:
    """Return what the session that holds *key* is called; "" when it does not say."""
    name: str | None = connection.execute(_HOLDER, {"key": key}).scalar()
    if name is None:
        return None
    return name.removeprefix(_SESSION) if name.startswith(_SESSION) else ""
