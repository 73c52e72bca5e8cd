"""One call with what its server needs."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from quiesce.archives import Archives, Keyring
from quiesce.errors import NonRecoverableError
from quiesce.isolation.reaper import Reaper
from quiesce.model.ids import ExecutionId
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.saving import Saving
from quiesce.providers.postgresql.client import ServerSession
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

    def are_held(self, key: tuple[str, ExecutionId]) -> bool:
        """Tell whether that session is still there."""
        with self._lock:
            session = self._sessions.get(key)
        return session is not None and session.is_alive()

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
class ServerJob(Job):
    """A call and what its node says about its server."""

    options: PostgreSQLOptions
    held: HeldSessions
    reaper: Reaper
    state_dir: Path
    default_repository: Path
    keyring: Keyring

    @property
    def data_directory(self) -> Path:
        """Where the server's files are.

        Raises:
            NonRecoverableError: when its node does not say it.
        """
        if self.options.data_directory is None:
            raise NonRecoverableError(
                f"{self.call.instance} does not say where its files are", hint="Set its data_directory."
            )
        return Path(os.path.realpath(self.options.data_directory))

    @property
    def key(self) -> tuple[str, ExecutionId]:
        """What tells the session of one instance in one execution from all others."""
        return f"{self.call.deployment}/{self.call.instance}", self.call.execution

    @property
    def slot(self) -> str:
        """The name under which the server keeps its log for one instance in one execution."""
        return f"quiesce_{hashlib.sha256('/'.join(self.key).encode()).hexdigest()[:32]}"

    @property
    def file_name(self) -> str:
        """A file name for the state of the call's instance, different for each."""
        return hashlib.sha256(self.key[0].encode()).hexdigest()[:32]

    @property
    def repository(self) -> Archives:
        """Where the node's backups are kept."""
        return Archives(self.options.repository or self.default_repository, self.keyring)

    @property
    def saving(self) -> Saving:
        """The call's backup in the repository."""
        return Saving(self, self.repository, "postgresql")

    def session(self) -> ServerSession:
        """Log in, for as long as the call may last."""
        return ServerSession(self.options, timeout_s=self.context.remaining_s())
