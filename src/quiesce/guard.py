"""The engine's side of the guard: a process of its own that thaws when the engine cannot.

The pipe to it closes when the engine's process dies, in whatever way; that is how the guard knows. It is
in a session of its own, so neither the terminal nor a signal to the engine's process group reaches it.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from quiesce.errors import GuardError, StoreError

READY: Final = b"ready\n"
#: how long the guard may take to start, in seconds; it is started long before it is needed
START_TIMEOUT_S: Final = 60.0
#: how long is waited, in seconds, to see a guard end that has nothing to do
_LEAVE_S: Final = 0.5


class GuardProcess:
    """Answers the port `Guard`. The process starts when the object is made."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], first: Sequence[str] = ()
    ) -> None:
        try:
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{log} cannot be opened: {error.strerror}",
                hint="Check the directory's owner and mode, or set QUIESCE_HOME to another one.",
            ) from error
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=descriptor,
                start_new_session=True,
                env=dict(environment),
                cwd="/",
            )
        finally:
            os.close(descriptor)
        for order in first:
            self._tell(order)

    def prepare(self, execution: str) -> None:
        """Tell the guard which execution it is for.

        One that has died is missed as soon as it is to watch, by the engine, which ends the execution.
        """
        with suppress(GuardError):
            self._tell(f"execution {execution}")

    def watch(self, max_freeze_s: float) -> None:
        """Return when the guard has answered that it is ready."""
        self._tell(f"max-freeze {max_freeze_s!r}")
        answer = self._read_line(START_TIMEOUT_S)
        if answer != READY:
            raise GuardError(
                "the guard, which thaws when this process dies, did not start; nothing was frozen"
            )

    def window_opened(self) -> None:
        """Say that the first freeze begins now."""
        self._tell("opened")

    def release(self, *, settled: bool) -> None:
        """Say that the engine is done; a guard with nothing to do ends by itself.

        One that has died is not missed any more: what the engine owes, its own account says.
        """
        with suppress(GuardError):
            self._tell("settled" if settled else "owing")

    def dismiss(self) -> None:
        """Let go of the process: one that owes nothing ends, one that owes a thaw continues without us."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_LEAVE_S)

    def _tell(self, order: str) -> None:
        pipe = self._process.stdin
        try:
            if pipe is not None and not pipe.closed:
                pipe.write(order.encode() + b"\n")
                pipe.flush()
        except OSError as error:
            raise GuardError("the guard, which thaws when this process dies, has died") from error

    def _read_line(self, timeout_s: float) -> bytes:
        pipe = self._process.stdout
        ends = time.monotonic() + timeout_s
        line = b""
        with selectors.DefaultSelector() as selector:
            if pipe is None:
                return line
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n") and selector.select(max(0.0, ends - time.monotonic())):
                read = os.read(pipe.fileno(), 64)
                if not read:
                    break
                line += read
        return line
