"""The provider's side of the freeze daemon: it has freezes held, finds them, ends them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.files.durable import make_private_directory
from quiesce.model.ids import Json
from quiesce.providers.host import freeze_daemon

#: how long a holder may take to end by itself before it is killed, when killing it is as good
_GRACE_S: Final = 0.5
_PAUSE_S: Final = 0.005

_ERRORS: Final[Mapping[str, Callable[[str], ProviderError]]] = {
    "busy": RecoverableError,
    "missing": ResourceNotFoundError,
    "unsupported": UnsupportedError,
    "full": lambda text: NonRecoverableError(text, hint="Make room where the database is."),
    "input-output": lambda text: NonRecoverableError(
        text, hint="Make room where the database is; if there is enough, see the kernel's log."
    ),
    "forbidden": lambda text: CannotFreezeError(text, hint="Freezing a file system needs root."),
}


class FreezeClient:
    """Starts, finds and ends the holders of one machine's freezes; *directory* is their private state."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._watched: dict[str, socket.socket] = {}
        self._daemon = _Daemon()
        self._finalizer = weakref.finalize(self, _hand_over, self._daemon, self._watched)
        self._finalizer.atexit = False

    def hold(self, key: str, request: Mapping[str, Json], *, thaw_after_s: float, timeout_s: float) -> None:
        """Freeze what *request* describes; it ends by itself after *thaw_after_s*, or with this process.

        A freeze of the same key that was there before is ended first.
        """
        self.release(key, timeout_s=timeout_s)
        make_private_directory(self._directory)
        body = {**request, "state": str(self._path(key)), "thaw_after_s": thaw_after_s, "key": key}
        body["asker"] = os.getpid()
        with self._lock:
            connection = self._watched[key] = self._send(body)
        try:
            _await(connection, timeout_s)
        except BaseException:
            self._forget(key, connection)
            raise

    def extend(self, key: str, message: Mapping[str, Json], *, timeout_s: float) -> None:
        """Take more under a freeze that this process began."""
        connection = self._watched[key]
        connection.send(json.dumps(message).encode())
        _await(connection, timeout_s)

    def run(self, request: Mapping[str, Json], *, timeout_s: float) -> Mapping[str, Json]:
        """Do what *request* describes in a process of its own, and return its answer."""
        with self._lock:
            connection = self._send(request)
        with contextlib.closing(connection):
            return _await(connection, timeout_s)

    def release(self, key: str, *, timeout_s: float) -> Mapping[str, Json] | None:
        """End the freeze of that key, whoever began it; return when its holder is gone.

        Returns what a holder that died without thawing has left behind, None when there is nothing.
        """
        self._forget(key)
        ends = time.monotonic() + timeout_s
        while (state := self._state(key)) is not None:
            if not state.locked:
                state.remove()
                return state.body or None
            state.end(min(_GRACE_S, ends - time.monotonic()))
            if time.monotonic() >= ends:
                raise OperationTimeoutError(
                    f"the holder of {key} (process {state.body.get('pid')}) does not end"
                )
        return None

    def held(self, key: str) -> Mapping[str, Json] | None:
        """Return what the holder of that key holds, or left behind; None when nothing is held."""
        state = self._state(key)
        if state is None:
            return None
        state.close()
        return state.body if state.locked or state.body.get("kind") != "database" else None

    def all_held(self) -> list[Mapping[str, Json]]:
        """Return what every holder on this machine holds."""
        keys = [path.name.removesuffix(".json") for path in self._directory.glob("*.json")]
        return [body for key in keys if (body := self.held(key)) is not None]

    def own_processes(self) -> frozenset[int]:
        """Return the processes that hold freezes, and the one that starts them."""
        holders = (held.get("pid") for held in self.all_held())
        return frozenset({self._daemon.pid, *(pid for pid in holders if isinstance(pid, int))})

    def close(self) -> None:
        """Hand the watch over: what is still frozen stays so until it is thawed or its timer fires."""
        self._finalizer()

    def _send(self, body: Mapping[str, Json]) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        data = json.dumps(body).encode()
        with theirs:
            try:
                self._daemon.send(data, theirs)
            except OSError as error:
                ours.close()
                raise NonRecoverableError(f"no process can be started to hold a freeze: {error}") from error
        return ours

    def _forget(self, key: str, only: socket.socket | None = None) -> None:
        """Stop watching, which ends the freeze; whoever still waits for its answer hears of it."""
        with self._lock:
            connection = self._watched.get(key)
            if connection is None or only not in {None, connection}:
                return
            del self._watched[key]
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"

    def _state(self, key: str) -> _HolderState | None:
        try:
            return _HolderState(self._path(key))
        except FileNotFoundError:
            return None


class _HolderState:
    """A holder's state file, opened; *locked* tells whether its holder lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = False
        except BlockingIOError:
            self.locked = True
        self.body = self._read()

    def remove(self) -> None:
        """Remove it; nobody holds it."""
        self._path.unlink(missing_ok=True)
        self.close()

    def end(self, grace_s: float) -> None:
        """Make its holder end: ask first, then kill what can be killed without harm."""
        pid, started = self.body.get("pid"), self.body.get("started")
        self.close()
        if not isinstance(pid, int) or not isinstance(started, int):
            time.sleep(_PAUSE_S)  # it has not written yet who it is
            return
        with _pidfd(pid) as descriptor:
            if descriptor is None or not freeze_daemon.send_signal(pid, started, signal.SIGTERM):
                time.sleep(_PAUSE_S)
                return
            if not _ended(descriptor, grace_s) and self.body.get("kind") == "database":
                freeze_daemon.send_signal(pid, started, signal.SIGKILL)
                _ended(descriptor, grace_s)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)

    def _read(self) -> Mapping[str, Json]:
        data = os.pread(self._descriptor, freeze_daemon.LONGEST_MESSAGE * 4, 0)
        with contextlib.suppress(ValueError):
            body = json.loads(data)
            return body if isinstance(body, dict) else {}
        return {}


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ended(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def _await(connection: socket.socket, timeout_s: float) -> Mapping[str, Json]:
    connection.settimeout(max(0.001, timeout_s))
    try:
        data = connection.recv(freeze_daemon.LONGEST_MESSAGE)
    except TimeoutError as error:
        raise OperationTimeoutError(f"the holder did not answer within {timeout_s:.1f} s") from error
    except OSError as error:
        raise RecoverableError(f"the holder's connection was closed: {error}") from error
    if not data:
        raise RecoverableError("the holder ended without an answer")
    answer: dict[str, Json] = json.loads(data)
    if "error" in answer:
        raise _ERRORS.get(str(answer["code"]), NonRecoverableError)(str(answer["error"]))
    return answer


class _Daemon:
    """The process that forks holders, started ahead and not waited for: it is ready before it is needed."""

    def __init__(self) -> None:
        self._start()

    @property
    def pid(self) -> int:
        """Which process it is."""
        return self._process.pid

    def send(self, request: bytes, watcher: socket.socket) -> None:
        """Have a holder forked; a daemon that has died is replaced."""
        try:
            socket.send_fds(self._socket, [request], [watcher.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            self._start()
            socket.send_fds(self._socket, [request], [watcher.fileno()])

    def close(self) -> None:
        """End it. It holds nothing itself."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", freeze_daemon.__file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise NonRecoverableError(f"cannot start the process that holds freezes: {error}") from error
        self._socket = ours


def _hand_over(daemon: _Daemon, watched: dict[str, socket.socket]) -> None:
    for connection in watched.values():
        with contextlib.suppress(OSError):
            connection.send(b'{"handed_over": true}')
        connection.close()
    watched.clear()
    daemon.close()
