"""One call with what its server needs."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

from quiesce.model.ids import ExecutionId
from quiesce.provider_kit.servers import ServerJob
from quiesce.providers.postgresql.client import ServerSession, reached_by
from quiesce.providers.postgresql.options import PostgreSQLOptions


class HeldSessions:
    """The sessions that make servers keep their log, from a base copy until its cut is complete.

    They are sessions of this process: when it dies, however it dies, no server keeps anything for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, ExecutionId], ServerSession] = {}

    def keep(self, key: tuple[str, ExecutionId], session: ServerSession) -> None:
        """Keep *session* open; the one that was there before is ended."""
        self.end(key)
        with self._lock:
            self._sessions[key] = session

    def living(self, key: tuple[str, ExecutionId]) -> ServerSession | None:
        """Return that session; None when it is not there any more."""
        with self._lock:
            session = self._sessions.get(key)
        return session if session is not None and session.is_alive() else None

    def end(self, key: tuple[str, ExecutionId]) -> None:
        """End it; it is fine when there is none."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.close()

    def end_all(self) -> None:
        """End all of them."""
        for key in list(self._sessions):
            self.end(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLJob(ServerJob[PostgreSQLOptions]):
    """A call and what its node says about its server."""

    provider: ClassVar[str] = "postgresql"
    as_owner: ClassVar[str] = "quiesce.providers.postgresql.as_owner"

    held: HeldSessions

    @property
    def session_key(self) -> tuple[str, ExecutionId]:
        """What tells the session of one instance in one execution from all others."""
        return f"{self.call.deployment}/{self.call.instance}", self.call.execution

    @property
    def slot(self) -> str:
        """The name under which the server keeps its log for one instance in one execution."""
        return f"quiesce_{hashlib.sha256('/'.join(self.session_key).encode()).hexdigest()[:32]}"

    def session(self) -> ServerSession:
        """Log in, for as long as the call may last."""
        return ServerSession(self.options, timeout_s=self.context.remaining_s())

    @contextmanager
    def reached(self) -> Iterator[Self]:
        """Give the same call with a server that programs reach from here."""
        with reached_by(self.options, patience_s=self.context.remaining_s()) as options:
            yield dataclasses.replace(self, options=options)
