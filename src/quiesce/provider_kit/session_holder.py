"""A process that holds one freeze in one session on a server; it ends the freeze whatever happens to us.

`SessionHolders` starts it, waits until it is ready, and writes a request (a line of JSON) to its standard
input. It freezes, answers with a line of JSON and then does nothing but keep the session alive. It thaws,
whatever comes first: when it is asked to (SIGTERM), when its timer fires, or when the process that asked for
the freeze dies (end of file) without having said that the freeze is to stay. When it is killed itself, its
session ends with it.

A lock on its state file lasts as long as the process: whoever gets that lock knows that it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from quiesce.errors import QuiesceError

#: said by who asked for the freeze before it goes: the freeze stays until it is thawed, or its timer fires
STAY: Final = b"stay\n"
_BEAT_S: Final = 0.25
_CHUNK_BYTES: Final = 65536
_INPUT: Final = 0
_OUTPUT: Final = 1


class SessionHold(Protocol):
    """One kind of freeze."""

    def freeze(self) -> Mapping[str, Any]:
        """Freeze, and return what is to be known of it; what raises has frozen nothing."""
        ...

    def keep(self) -> None:
        """See that it is still frozen, and have it stay so; raises when it is not."""
        ...

    def thaw(self) -> None:
        """Thaw, and end the session."""
        ...


def main(make: Callable[[Mapping[str, Any]], SessionHold]) -> None:
    """Hold what *make* makes of the request."""
    asked = _asked_to_end()
    _answer({"ready": True})
    line = _read_line()
    if not line:
        return
    request = json.loads(line)
    ends = time.monotonic() + request["thaw_after_s"]
    with _locked_state(Path(request["state"])) as state:
        hold = make(request)
        try:
            facts = hold.freeze()
        except QuiesceError as error:
            _answer({"error": str(error), "code": error.code, "hint": error.hint})
            return
        _write(state, {**_ourselves(), "facts": facts})
        try:
            _answer({"facts": facts})
            _keep(hold, asked, ends)
        finally:
            hold.thaw()
        _write(state, {**_ourselves(), "thawed": True})
        os._exit(0)  # somebody waits until we are gone, and there is nothing to tidy up


def start_time(pid: int) -> int | None:
    """Return when *pid* was started, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def _keep(hold: SessionHold, asked: int, ends: float) -> None:
    """Return when it is time to thaw, or nothing is held any more."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    poll.register(_INPUT, select.POLLIN)
    while (left_s := ends - time.monotonic()) > 0:
        ready = {descriptor for descriptor, _ in poll.poll(min(_BEAT_S, left_s) * 1000)}
        if asked in ready:
            return
        if _INPUT in ready:
            if os.read(_INPUT, _CHUNK_BYTES) != STAY:
                return
            poll.unregister(_INPUT)
        try:
            hold.keep()
        except QuiesceError:
            return


def _asked_to_end() -> int:
    """Return what becomes readable when this process is asked to end; nothing else disturbs it."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return readable


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(_INPUT, _CHUNK_BYTES)
        if not chunk:
            return b""
        line += chunk
    return line


@contextlib.contextmanager
def _locked_state(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write(descriptor, _ourselves())
        yield descriptor
    finally:
        os.close(descriptor)


def _ourselves() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": start_time(os.getpid())}


def _write(descriptor: int, state: Mapping[str, Any]) -> None:
    data = json.dumps(state).encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _answer(answer: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(_OUTPUT, json.dumps(answer).encode() + b"\n")
    sys.stdout.flush()
