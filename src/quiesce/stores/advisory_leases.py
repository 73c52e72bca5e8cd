"""Leases as session advisory locks of PostgreSQL: for as many machines as share the database.

The server gives a lease back when its holder's session ends: at once when the process dies, and after
`_LOST_S` when the machine or the network is gone. No clock is involved. The session bears the execution's
name, for whoever is refused. A session that the server has ended, because it restarts, is replaced by the
holder; whoever has lost the lease meanwhile is stopped by the fencing token.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from quiesce.errors import BusyError
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.stores.database import Database, server_engine
from quiesce.stores.leases import busy

#: how often a holder looks whether its session lives, in seconds
LOOK_S: Final = 1.0
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
        self._engine = server_engine(database.engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")

    def acquire(self, deployment: DeploymentName, execution: ExecutionId) -> AdvisoryLease:
        """Take the lease for *execution*, or fail at once."""
        with self._database.errors():
            return AdvisoryLease(lambda: self._session(deployment, execution))

    def holder(self, deployment: DeploymentName) -> ExecutionId | None:
        """Return under which name a living process holds the lease."""
        with self._database.errors(), self._engine.connect() as connection:
            name = _holder(connection, self._key(connection, deployment))
        return None if name is None else ExecutionId(name)

    def _session(self, deployment: DeploymentName, execution: ExecutionId) -> sa.Connection:
        """Return a new session that holds the lock."""
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(self._engine.connect())
            _name_session(connection, execution)
            key = self._key(connection, deployment)
            if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(key))).scalar():
                raise busy(deployment, _holder(connection, key) or "")
            opened.pop_all()
        return connection

    def _key(self, connection: sa.Connection, deployment: DeploymentName) -> int:
        """Return the lock's number: another one in each schema, because databases are shared."""
        schema = connection.execute(sa.select(sa.func.current_schema())).scalar()
        name = f"quiesce/{schema}/{self._kind}/{deployment}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


class AdvisoryLease:
    """A held lease. Its session belongs to one thread, which replaces it when it is gone."""

    def __init__(self, session: Callable[[], sa.Connection]) -> None:
        """Take it by *session*, which opens one that holds the lock."""
        self._session = session
        self._connection = session()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="quiesce-lease", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Release it; more than once does no harm."""
        self._over.set()
        self._keeper.join()

    def _keep(self) -> None:
        while not self._over.wait(LOOK_S):
            if not self._ask(sa.select(sa.literal(1))):
                self._connection.close()
                with contextlib.suppress(sa.exc.DBAPIError, BusyError):  # it is tried again
                    self._connection = self._session()
        self._ask(sa.select(sa.func.pg_advisory_unlock_all()))
        self._connection.close()

    def _ask(self, query: sa.Select[tuple[int]]) -> bool:
        """Tell whether the session lives; one that is gone holds nothing."""
        try:
            if not self._connection.closed:
                self._connection.execute(query)
        except sa.exc.DBAPIError:
            return False
        return not self._connection.closed


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
