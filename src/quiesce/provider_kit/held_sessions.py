"""Freezes that last as long as a session on a server: each held by a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
)
from quiesce.files.durable import make_private_directory
from quiesce.isolation.modules import own_command
from quiesce.isolation.run import inherited_environment
from quiesce.model.ids import Json
from quiesce.provider_kit.session_holder import STAY, start_time

#: how long a holder may take to end by itself before it is killed, which ends its session as well
_GRACE_S: Final = 1.0
_PAUSE_S: Final = 0.01
#: how long a process may take to be ready, in seconds
_START_S: Final = 30.0
_LONGEST_STATE: Final = 1 << 16
#: what holds a freeze that was left as it is; it is waited for when the next one is
_LEFT: Final[list[subprocess.Popen[bytes]]] = []
_ERRORS: Final[Mapping[str, type[ProviderError]]] = {
    each.code: each for each in (RecoverableError, CannotFreezeError, OperationTimeoutError)
}


class SessionHolders:
    """Starts, finds and ends the processes that hold freezes; *directory* is their private state.

    *program* is a module that calls `session_holder.main`.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._lock = threading.Lock()
        self._idle: subprocess.Popen[bytes] | None = None
        self._ours: dict[str, subprocess.Popen[bytes]] = {}

    def be_ready(self) -> None:
        """Have a process ready, so that the next freeze need not wait until it runs."""
        with self._lock:
            if self._idle is None or self._idle.poll() is not None:
                self._idle = self._start()

    def hold(
        self, key: str, request: Mapping[str, Json], *, thaw_after_s: float, timeout_s: float
    ) -> Mapping[str, Json]:
        """Freeze what *request* describes; it ends by itself after *thaw_after_s*, or with this process.

        A freeze of the same key that was there before is ended first.
        """
        self.release(key, timeout_s=timeout_s)
        make_private_directory(self._directory)
        with self._lock:
            process, self._idle = self._idle or self._start(), None
            self._ours[key] = process
        body = {**request, "state": str(self._path(key)), "thaw_after_s": thaw_after_s}
        try:
            _tell(process, json.dumps(body).encode() + b"\n")
            return _answer_of(process, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def held(self, key: str) -> Mapping[str, Json] | None:
        """Return what is known of the freeze of that key; None when nobody holds it."""
        with _opened(self._path(key)) as state:
            return state.facts if state is not None and state.locked else None

    def release(self, key: str, *, timeout_s: float) -> bool:
        """End the freeze of that key, whoever began it; return when its holder is gone.

        Returns false when it was killed before it had thawed: its session has ended with it.

        Raises:
            OperationTimeoutError: when it does not end in time.
        """
        ends = time.monotonic() + timeout_s
        while True:
            with _opened(self._path(key)) as state:
                if state is None or not state.locked:
                    self._path(key).unlink(missing_ok=True)
                    self._forget(key)
                    return state is None or state.thawed or state.facts is None
            state.end(min(_GRACE_S, max(0.0, ends - time.monotonic())))
            if time.monotonic() >= ends:
                raise OperationTimeoutError(f"the holder of {key} (process {state.pid}) does not end")

    def close(self) -> None:
        """Go: what is still frozen stays so until it is thawed or its timer fires."""
        with self._lock:
            idle, self._idle = self._idle, None
            ours, self._ours = self._ours, {}
        for process in ours.values():
            _tell(process, STAY)
            _close_pipes(process)
        _LEFT[:] = [process for process in (*_LEFT, *ours.values()) if process.poll() is None]
        if idle is not None:
            _close_pipes(idle)
            idle.wait()

    def _forget(self, key: str) -> None:
        with self._lock:
            process = self._ours.pop(key, None)
        if process is not None:
            _close_pipes(process)
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                own_command(self._program),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=inherited_environment(),
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise NonRecoverableError(f"no process can be started to hold a freeze: {error}") from error
        try:
            _read_answer(process, _START_S)
        except BaseException:
            process.kill()
            process.wait()
            _close_pipes(process)
            raise
        return process

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """What a state file says; *locked* tells whether its holder lives."""

    locked: bool
    pid: int | None = None
    started: int | None = None
    facts: Mapping[str, Json] | None = None
    thawed: bool = False

    def end(self, grace_s: float) -> None:
        """Make it end: ask first, then kill it."""
        if self.pid is None or start_time(self.pid) != self.started:
            time.sleep(_PAUSE_S)  # it has not written yet who it is
            return
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if start_time(self.pid) == self.started:
                _send(descriptor, signal.SIGTERM)
                if not _ended(descriptor, grace_s):
                    _send(descriptor, signal.SIGKILL)
                    _ended(descriptor, grace_s)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        locked = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            locked = True
        yield _Holder(locked=locked, **_read(descriptor))
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, _LONGEST_STATE, 0))
    except ValueError:
        return {}  # it is being written
    return found if isinstance(found, dict) else {}


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _ended(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(data)


def _answer_of(process: subprocess.Popen[bytes], timeout_s: float) -> Mapping[str, Json]:
    answer = _read_answer(process, timeout_s)
    if "error" in answer:
        kind = _ERRORS.get(answer["code"], NonRecoverableError)
        raise kind(answer["error"], hint=answer["hint"] or None)
    facts: Mapping[str, Json] = answer["facts"]
    return facts


def _read_answer(process: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
    stream, line, ends = process.stdout, b"", time.monotonic() + timeout_s
    if stream is None:
        return {"facts": {}}
    while not line.endswith(b"\n"):
        left_s = ends - time.monotonic()
        if left_s <= 0 or not _ended(stream.fileno(), left_s):
            raise OperationTimeoutError(f"the holder did not answer within {timeout_s:.1f} s")
        chunk = os.read(stream.fileno(), _LONGEST_STATE)
        if not chunk:
            raise RecoverableError("the holder ended without an answer")
        line += chunk
    found: dict[str, Any] = json.loads(line)
    return found


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
