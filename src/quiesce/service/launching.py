"""Start executions as processes of their own: they outlive the console, which never slows a frozen window."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.app.services import Services
from quiesce.errors import QuiesceError
from quiesce.files.durable import make_private_directory
from quiesce.isolation.modules import own_command
from quiesce.model.ids import DeploymentName, ExecutionId

#: how long a page waits for a command's execution, or its error, in seconds; the command goes on
_STARTED_S: Final = 20.0
_LOOK_S: Final = 0.05


class CommandFailedError(QuiesceError):
    """A command ended before there was an execution; the message is what it printed."""

    code = "command-refused"


class Launcher:
    """Runs quiesce's own command line."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._logs = home / "console"
        self._environment = dict(environment)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, services: Services, deployment: DeploymentName, arguments: Sequence[str]
    ) -> ExecutionId | None:
        """Start a command; return the execution that it runs, or None when there is none (yet).

        Raises:
            CommandFailedError: when it was refused.
        """
        known = {each.id for each in services.executions.list(deployment)}
        make_private_directory(self._logs)
        log = self._logs / f"{time.time_ns()}.log"
        with log.open("xb") as output:
            process = subprocess.Popen(
                own_command("quiesce.cli.main", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self._running = [each for each in self._running if each.poll() is None]
        self._running.append(process)
        ends = time.monotonic() + _STARTED_S
        while time.monotonic() < ends:
            status = process.poll()
            new = [each.id for each in services.executions.list(deployment) if each.id not in known]
            if new:
                return new[-1]
            if status is not None:
                if status == 0:
                    return None
                raise CommandFailedError(_printed(log))
            time.sleep(_LOOK_S)
        return None

    def wait(self) -> None:
        """Return when everything that was started has ended."""
        for process in self._running:
            process.wait()


def _printed(log: Path) -> str:
    lines = log.read_text(errors="replace")[-4000:].splitlines()
    return "\n".join(lines[-12:]) or "the command failed without a word"
