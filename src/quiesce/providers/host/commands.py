"""NodeCommands that a node's properties name: to start it, to stop it, to ask whether it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError
from quiesce.files.durable import make_private_directory, storage_errors
from quiesce.isolation.child import Child, Command
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import facts_of, grace_s, inherited_environment
from quiesce.providers.host.job import HostJob

#: what is started keeps this file as its output, not a pipe that ends with us
_TO_FILE: Final = 'exec >>"$0" 2>&1; exec "$@"'
_LONGEST_SAID: Final = 500
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command has ended, and the last that it has said."""

    status: int
    text: str

    def __str__(self) -> str:
        said = f": {self.text}" if self.text else ""
        return f"exit status {self.status}{said}"


class NodeCommands:
    """Runs commands, side by side.

    A command ends when quiesce dies; what one that has ended left in the background goes on.
    """

    def __init__(self, directory: Path) -> None:
        """*directory* keeps what the last command of each node has said."""
        self._directory = directory
        self._reaper = Reaper()

    def run_shell(self, job: HostJob, command: str) -> Said:
        """Run *command* by the shell, and return when it has ended.

        Raises:
            OperationTimeoutError: when it did not end in time; it was killed.
        """
        return self.run(job, ["/bin/sh", "-c", command])

    def run(self, job: HostJob, argv: Sequence[str]) -> Said:
        """Run a program, and return when it has ended.

        Raises:
            OperationTimeoutError: when it did not end in time; it was killed.
        """
        log = self._empty_log(job)
        command = Command(
            argv=["/bin/sh", "-c", _TO_FILE, str(log), *argv],
            env={**inherited_environment(), **facts_of(job.call)},
            cwd="/",
            log_stdout=False,
            log_stderr=False,
            grace_s=grace_s(job.call.operation),
        )
        with Child(command, self._reaper) as child:
            ends = time.monotonic() + job.context.remaining_s()
            while not child.has_ended(_LOOK_S):
                if time.monotonic() >= ends or job.context.given_up():
                    raise OperationTimeoutError(f"{argv[-1]!r} did not end in time{_told(log)}")
            return Said(status=child.status(), text=_said(log))

    def close(self) -> None:
        """End the process that watches over the commands."""
        self._reaper.close()

    def _empty_log(self, job: HostJob) -> Path:
        log = self._directory / f"{job.key}.{job.call.operation}.log"
        with storage_errors("keep what a command says"):
            make_private_directory(self._directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(log, flags, 0o600))
        return log


def systemctl(job: HostJob, commands: NodeCommands, *words: str) -> Said:
    """Ask systemd: the machine's as root, else that of the user.

    Raises:
        NonRecoverableError: when there is no systemctl.
    """
    whose = [] if os.geteuid() == 0 else ["--user"]
    said = commands.run(job, ["systemctl", "--no-ask-password", *whose, *words])
    if said.status == 127:
        raise NonRecoverableError("there is no systemctl on this machine", hint="Set start and stop instead.")
    return said


def _said(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_SAID))
        return file.read(_LONGEST_SAID).decode(errors="replace").strip()


def _told(log: Path) -> str:
    said = _said(log)
    return f": {said}" if said else ""
