"""Programs that are run for a node: what its properties name, systemd, and the programs of servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from quiesce.errors import NonRecoverableError, OperationTimeoutError
from quiesce.files.durable import make_private_directory, storage_errors
from quiesce.isolation.child import Child, Command
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import everybodys_environment, facts_of, grace_s, inherited_environment
from quiesce.model.call import Call
from quiesce.ports import Context

_LONGEST_SAID: Final = 500
_LOOK_S: Final = 0.1
_NOT_FOUND: Final = 127


class NamedJob(Protocol):
    """A call that has a file name of its own."""

    @property
    def call(self) -> Call:
        """What is asked."""
        ...

    @property
    def context(self) -> Context:
        """Who waits for it."""
        ...

    @property
    def key(self) -> str:
        """A file name for the state of the call's instance, different for each."""
        ...


def _look_at_nothing() -> None:
    """Wait for its end only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command has ended, and the last that it has said."""

    status: int
    text: str

    def __str__(self) -> str:
        said = f": {self.text}" if self.text else ""
        return f"exit status {self.status}{said}"


class RunningProgram:
    """A program that runs beside us."""

    def __init__(self, child: Child, argv: Sequence[str], log: Path) -> None:
        self._child = child
        self._argv = argv
        self._log = log

    def has_ended(self, wait_s: float = 0.0) -> bool:
        """Tell whether it has, waiting up to *wait_s* seconds."""
        return self._child.has_ended(wait_s)

    def said(self) -> Said:
        """Return how it has ended."""
        return Said(status=self._child.status(), text=_said(self._log))

    def wait(self, job: NamedJob, *, look: Callable[[], None] = _look_at_nothing) -> Said:
        """Return how it has ended; *look* is called again and again until then.

        Raises:
            OperationTimeoutError: when it does not end within the call's time.
        """
        ends = time.monotonic() + job.context.remaining_s()
        while not self._child.has_ended(_LOOK_S):
            look()
            if time.monotonic() >= ends or job.context.given_up():
                raise OperationTimeoutError(f"{_shown(self._argv)!r} did not end in time{_told(self._log)}")
        return self.said()

    def close(self) -> None:
        """Kill it, if it has not ended."""
        self._child.close()


class NodeCommands:
    """Runs commands, side by side.

    A command ends when quiesce dies; what one that has ended left in the background goes on.
    """

    def __init__(self, directory: Path) -> None:
        """*directory* keeps what the last command of each node has said."""
        self._directory = directory
        self._reaper = Reaper()

    def run_shell(self, job: NamedJob, command: str) -> Said:
        """Run *command* by the shell, and return when it has ended.

        Raises:
            OperationTimeoutError: when it did not end in time; it was killed.
        """
        return self.run(job, ["/bin/sh", "-c", command])

    def run(
        self,
        job: NamedJob,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        look: Callable[[], None] = _look_at_nothing,
        descriptors: Sequence[int] = (),
    ) -> Said:
        """Run a program, and return when it has ended; *look* is called again and again until then.

        *environment* is added to our own. *descriptors* are those that the program has, too.

        Raises:
            OperationTimeoutError: when it did not end in time; it was killed.
        """
        with contextlib.closing(
            self.start(job, argv, environment=environment, descriptors=descriptors)
        ) as program:
            return program.wait(job, look=look)

    def start(
        self,
        job: NamedJob,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> RunningProgram:
        """Start a program that runs on until it ends, is closed, or quiesce dies."""
        log = self._empty_log(job)
        with log.open("ab") as out:  # a file, not a pipe: what is left in the background keeps it
            command = Command(
                argv=argv,
                env={**inherited_environment(), **facts_of(job.call), **(environment or {})},
                cwd="/",
                output=out.fileno(),
                descriptors=descriptors,
                grace_s=grace_s(job.call.operation),
            )
            return RunningProgram(Child(command, self._reaper), argv, log)

    def run_as(self, job: NamedJob, user: Mapping[str, Any], argv: Sequence[str]) -> Said:
        """Run a program as *user* (`ServerUser.of_process`), and return when it has ended.

        What it leaves running goes on, whatever becomes of us.

        Raises:
            OperationTimeoutError: when it did not end in time; it was killed.
        """
        log = self._empty_log(job)
        process = _detached(log, user, argv)
        ends = time.monotonic() + job.context.remaining_s()
        while True:
            try:
                return Said(status=process.wait(_LOOK_S), text=_said(log))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= ends or job.context.given_up():
                    process.kill()
                    process.wait()
                    raise OperationTimeoutError(f"{_shown(argv)!r} did not end in time{_told(log)}") from None

    def leave_running(self, job: NamedJob, user: Mapping[str, Any], argv: Sequence[str]) -> None:
        """Start a program as *user* that goes on, whatever becomes of us: it is no child of ours.

        Raises:
            NonRecoverableError: when it could not be started; else nothing is known of it.
        """
        if self.run_as(job, user, ["/bin/sh", "-c", '"$@" &', "sh", *argv]).status != 0:
            raise NonRecoverableError(f"{_shown(argv)!r} could not be started")

    def said_by(self, job: NamedJob) -> str:
        """Return the last that the call's program has said; empty when none was started for it."""
        try:
            return _said(self._directory / f"{job.key}.{job.call.operation}.log")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """End the process that watches over the commands."""
        self._reaper.close()

    def _empty_log(self, job: NamedJob) -> Path:
        log = self._directory / f"{job.key}.{job.call.operation}.log"
        with storage_errors("keep what a command says"):
            make_private_directory(self._directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(log, flags, 0o600))
        return log


def systemctl(job: NamedJob, commands: NodeCommands, *words: str) -> Said:
    """Ask systemd: the machine's as root, else that of the user.

    Raises:
        NonRecoverableError: when there is no systemctl.
    """
    whose = [] if os.geteuid() == 0 else ["--user"]
    said = commands.run(job, ["systemctl", "--no-ask-password", *whose, *words])
    if said.status == _NOT_FOUND:
        raise NonRecoverableError("there is no systemctl on this machine", hint="Set start and stop instead.")
    return said


def _detached(log: Path, user: Mapping[str, Any], argv: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        with log.open("ab") as out:
            return subprocess.Popen(
                argv,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=everybodys_environment(),
                start_new_session=True,
                **user,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise NonRecoverableError(f"{_shown(argv)!r} could not be started: {error}") from error


def _shown(argv: Sequence[str]) -> str:
    """Return the program's name, or the shell's command."""
    return argv[-1] if argv[0] == "/bin/sh" else Path(argv[0]).name


def _said(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_SAID))
        return file.read(_LONGEST_SAID).decode(errors="replace").strip()


def _told(log: Path) -> str:
    said = _said(log)
    return f": {said}" if said else ""
