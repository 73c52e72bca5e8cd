"""Holds a server's writes: a pause that is short, and renewed until it is no longer wanted.

When this process is killed, nobody renews the pause, and the server goes on by itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from quiesce.errors import CannotFreezeError, NotFrozenError, ProviderError
from quiesce.files.reading import open_regular_file
from quiesce.provider_kit.session_holder import main
from quiesce.providers.redis.client import RedisSession
from quiesce.providers.redis.options import RedisOptions

#: how long the server stays paused when nobody renews it, in seconds
LEASE_S: Final = 2.0
_PAUSE_S: Final = 0.02


class PausedServer:
    """A server whose writes wait."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._patience_s: float = request["patience_s"]
        self._until = time.monotonic() + request["thaw_after_s"]
        #: whether others cut the files: then they have to hold everything
        self._files_are_cut: bool = request["files_are_cut"]
        self._options = RedisOptions(**request["login"])
        self._session: RedisSession | None = None
        self._rewrites: object = None
        #: until when the pause lasts for certain; None: there is none
        self._paused_until: float | None = None
        #: different after each start of the server
        self._run = ""

    def freeze(self) -> Mapping[str, Any]:
        """Pause, once nothing rewrites the files; then have them hold everything that was acknowledged."""
        ends = time.monotonic() + self._patience_s
        session = self._session = RedisSession(self._options, timeout_s=self._patience_s)
        try:
            self._run = session.run_id()
            self._pause_between_rewrites(session, ends)
            if self._files_are_cut:
                self._complete_files(session, ends)
        except BaseException:
            self.thaw()
            raise
        return {}

    def keep(self) -> None:
        """Renew the pause, never beyond the timer; raise when there was a time without it, or a rewrite."""
        session = self._in_session()
        self._pause(session)
        if session.run_id() != self._run:
            raise NotFrozenError("the server was started anew while it was paused")
        if self._files_are_cut and self._rewrites != _rewrites(session.info("persistence")):
            raise NotFrozenError("its append-only files were rewritten while it was paused")

    def thaw(self) -> None:
        """Let writes go on."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ProviderError):
                session.unpause()
            session.close()

    def _pause_between_rewrites(self, session: RedisSession, ends: float) -> None:
        """Pause when nothing rewrites the files; one that began in that instant is waited for."""
        while True:
            self._wait(session, ends, "a save or rewrite to end", _is_quiet)
            self._pause(session)
            about = session.info("persistence")
            if _is_quiet(about):
                self._rewrites = _rewrites(about)
                return
            self._paused_until = None
            session.unpause()

    def _complete_files(self, session: RedisSession, ends: float) -> None:
        if session.setting("appendonly") == "yes":
            self._wait(session, ends, "its append-only file to be written", _is_written)
            syncing = threading.Thread(target=_sync, args=(list(_append_only_files(session)),), daemon=True)
            syncing.start()
            self._wait(session, ends, "its files to reach the disk", lambda _: not syncing.is_alive())
        elif session.info("persistence").get("rdb_changes_since_last_save"):
            session.fork_to_save()
            self._wait(session, ends, "its save to end", _is_quiet)
            if session.info("persistence")["rdb_last_bgsave_status"] != "ok":
                raise CannotFreezeError("the server could not save: see its log")

    def _wait(self, session: RedisSession, ends: float, what: str, is_so: Any) -> None:
        while not is_so(session.info("persistence")):
            if time.monotonic() >= ends:
                raise CannotFreezeError(f"{what} was waited for, and took too long")
            if self._paused_until is not None:
                self._pause(session)
            time.sleep(_PAUSE_S)

    def _pause(self, session: RedisSession) -> None:
        """Pause for some time from now on.

        Raises:
            NotFrozenError: when the time before may have been over already: writes went on in between.
        """
        asked_at = time.monotonic()
        lasts_s = min(LEASE_S, self._until - asked_at)
        session.pause(lasts_s)
        was_until, self._paused_until = self._paused_until, asked_at + lasts_s
        if was_until is not None and time.monotonic() > was_until:
            raise NotFrozenError("its pause was over before it was renewed")

    def _in_session(self) -> RedisSession:
        if self._session is None:
            raise NotFrozenError("the session has ended")
        return self._session


def _is_quiet(about: Mapping[str, Any]) -> bool:
    return not any(
        about.get(name)
        for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    )


def _is_written(about: Mapping[str, Any]) -> bool:
    return not about.get("aof_buffer_length") and not about.get("aof_pending_bio_fsync")


def _rewrites(about: Mapping[str, Any]) -> object:
    """Return what changes with each rewrite; its count is there from 7.0 on."""
    return [about.get(name) for name in ("aof_rewrites", "aof_rewrite_in_progress", "aof_base_size")]


def _append_only_files(session: RedisSession) -> Iterator[Path]:
    """Give the files of the log that are on this machine: one (6.2), or a directory of them."""
    directory = Path(session.setting("dir"))
    yield directory / session.setting("appendfilename")
    if name := session.setting("appenddirname"):
        yield from sorted((directory / name).glob("*.aof"))


def _sync(paths: Iterable[Path]) -> None:
    """Have files on the disk; those that are not on this machine, their server writes there by itself."""
    for path in paths:
        with contextlib.suppress(OSError), open_regular_file(path) as file:
            os.fsync(file.fileno())


if __name__ == "__main__":
    main(PausedServer)
