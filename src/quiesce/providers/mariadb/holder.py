"""Holds a server's commits in one session; when this process is killed, the server lets them go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    NotFrozenError,
    ProviderError,
    RecoverableError,
)
from quiesce.provider_kit.session_holder import main
from quiesce.providers.mariadb.client import IN_GALERA, MariaDBSession
from quiesce.providers.mariadb.options import MariaDBOptions

#: from the first on, statements that change tables' structure wait; from the last on, commits
_STAGES: Final = ("START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT")
#: a query that runs for so long would hold up the lock, and behind it everybody else
_LONG_S: Final = 1
_LONG_QUERIES: Final = (
    "SELECT COUNT(*) FROM information_schema.PROCESSLIST"
    " WHERE COMMAND = 'Query' AND TIME > %s AND ID <> CONNECTION_ID()"
)
#: has what was committed written to the disk
_FLUSH: Final = "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS"
_LOG_PLACES: Final = "SHOW GLOBAL STATUS WHERE VARIABLE_NAME IN ('Innodb_lsn_current', 'Innodb_lsn_flushed')"
_IN_GALERA: Final = "SHOW GLOBAL VARIABLES WHERE VARIABLE_NAME = 'wsrep_on' AND VALUE = 'ON'"
_PAUSE_S: Final = 0.05
#: the server ends a session that has been silent for so long; nothing else tells it that our machine is gone
_SILENCE_S: Final = 10


class HeldServer:
    """A server whose commits wait."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._patience_s: float = request["patience_s"]
        self._options = MariaDBOptions(**request["login"])
        self._session: MariaDBSession | None = None

    def freeze(self) -> Mapping[str, Any]:
        """Let what runs end, hold what comes, and have everything that was committed on the disk."""
        ends = time.monotonic() + self._patience_s
        session = self._session = MariaDBSession(self._options, timeout_s=self._patience_s + 1)
        try:
            session.rows("SET SESSION wait_timeout = %s", _SILENCE_S)
            if session.rows(_IN_GALERA):
                raise NonRecoverableError(f"it is not held up: {IN_GALERA}")
            ((version,),) = session.rows("SELECT VERSION()")
            if "MariaDB" in version:
                self._hold_by_stages(session, ends)
            else:
                self._hold_by_read_lock(session, ends)
            _flush(session, ends)
        except RecoverableError as error:
            self.thaw()
            raise CannotFreezeError(f"its commits could not be held in time: {error}") from error
        except BaseException:
            self.thaw()
            raise
        return {}

    def keep(self) -> None:
        """See that the session, and what it holds, is still there."""
        if self._session is None:
            raise NotFrozenError("the session has ended")
        self._session.rows("SELECT 1")

    def thaw(self) -> None:
        """End the session, and with it what it holds."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ProviderError):
                session.rows("UNLOCK TABLES")
            session.close()

    def _hold_by_stages(self, session: MariaDBSession, ends: float) -> None:
        for stage in _STAGES:
            _wait_no_longer_than(session, ends)
            session.rows(f"BACKUP STAGE {stage}")

    def _hold_by_read_lock(self, session: MariaDBSession, ends: float) -> None:
        """MySQL: a lock behind which everybody waits is asked for only when it can be had at once."""
        while session.rows(_LONG_QUERIES, _LONG_S) != [(0,)]:
            if time.monotonic() >= ends:
                raise CannotFreezeError("a query that runs for long would hold up everybody")
            time.sleep(_PAUSE_S)
        session.rows("SET SESSION lock_wait_timeout = 1")
        session.rows("FLUSH TABLES WITH READ LOCK")


def _flush(session: MariaDBSession, ends: float) -> None:
    """Return when InnoDB's log is on the disk up to now.

    Where innodb_flush_log_at_trx_commit is not 1, the server does so by itself, about once a second.
    """
    wanted = _places(session).get("Innodb_lsn_current", 0)
    session.rows(_FLUSH)
    while _places(session).get("Innodb_lsn_flushed", 0) < wanted:
        if time.monotonic() >= ends:
            raise CannotFreezeError("InnoDB does not write its log to the disk")
        time.sleep(_PAUSE_S)


def _places(session: MariaDBSession) -> dict[str, int]:
    return {name: int(value) for name, value in session.rows(_LOG_PLACES)}


def _wait_no_longer_than(session: MariaDBSession, ends: float) -> None:
    session.rows("SET SESSION lock_wait_timeout = %s", max(1, int(ends - time.monotonic())))


if __name__ == "__main__":
    main(HeldServer)
