"""One child process with its whole group."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Self

from quiesce.errors import NonRecoverableError
from quiesce.isolation.reaper import Reaper

#: the child waits for a line before it becomes the command, so that it is watched before it does anything
_GATE = 'read -r go && exec "$@" </dev/null'


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and how."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    #: whether the output becomes log lines; else it is dropped
    log_stdout: bool = True
    log_stderr: bool = True
    stderr_to_stdout: bool = False
    #: a descriptor that takes both instead; it lasts as long as the child, or what that leaves behind
    output: int | None = None
    #: descriptors that it has under the same numbers
    descriptors: Sequence[int] = ()
    #: seconds between asking it to end and killing it; 0: it is killed at once
    grace_s: float = 2.0


class Child:
    """A running command; leaves the ``with`` block only when its group is gone or it ended by itself."""

    def __init__(self, command: Command, reaper: Reaper) -> None:
        self._reaper = reaper
        self._grace_s = command.grace_s
        self._process = _start(command)
        self.pid = self._process.pid
        #: readable when the child has ended
        self.ending = os.pidfd_open(self.pid)
        self._open_gate()

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its output, unless that is dropped."""
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """Its errors, unless they are dropped or joined to the output."""
        return self._process.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the group, if the child has not ended by itself, and forget it."""
        if not self.has_ended():
            self.kill()
        self.status()
        os.close(self.ending)
        for stream in (self._process.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def has_ended(self, wait_s: float | None = 0.0) -> bool:
        """Tell whether the child has ended, waiting up to *wait_s* seconds, or as long as it takes."""
        ending = select.poll()
        ending.register(self.ending, select.POLLIN)
        return bool(ending.poll(None if wait_s is None else wait_s * 1000))

    def status(self) -> int:
        """Wait for the child and return its exit status, negative for the signal that ended it."""
        if self._process.returncode is None:
            self.has_ended(None)
            self._reaper.forget(self.pid)
        return self._process.wait()

    def kill(self) -> None:
        """End the whole group: terminated first, if there is a grace period, then killed."""
        if self._grace_s:
            self._signal(signal.SIGTERM)
            self.has_ended(self._grace_s)
        self._signal(signal.SIGKILL)
        self.has_ended(None)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _open_gate(self) -> None:
        self._reaper.watch(self.pid, self._grace_s)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"go\n")
                self._process.stdin.close()


def _start(command: Command) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *command.argv],
            stdin=subprocess.PIPE,
            stdout=_stdout(command),
            stderr=_stderr(command),
            env=dict(command.env),
            cwd=command.cwd,
            start_new_session=True,
            pass_fds=command.descriptors,
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        raise NonRecoverableError(f"{command.argv[0]} could not be started: {error}") from error


def _stdout(command: Command) -> int:
    if command.output is not None:
        return command.output
    return subprocess.PIPE if command.log_stdout else subprocess.DEVNULL


def _stderr(command: Command) -> int:
    if command.output is not None:
        return command.output
    if command.stderr_to_stdout:
        return subprocess.STDOUT
    return subprocess.PIPE if command.log_stderr else subprocess.DEVNULL
