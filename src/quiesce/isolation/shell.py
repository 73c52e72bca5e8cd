"""One command of the shell, with a bound on how long it may take and how much it may say."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.isolation.run import inherited_environment

_LONGEST_SAID: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellResult:
    """How a command ended, and the last that it said."""

    #: None: it did not end in time, and was killed
    status: int | None
    said: str

    @property
    def passed(self) -> bool:
        """Whether it says that all is well."""
        return self.status == 0

    def __str__(self) -> str:
        how = "it did not end in time" if self.status is None else f"exit status {self.status}"
        return f"{how}: {self.said}" if self.said else how


def run_shell(command: str, facts: Mapping[str, str], *, directory: str, timeout_s: float) -> ShellResult:
    """Run *command* in *directory*, with *facts* in its environment; all that it started ends with it."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**inherited_environment(), **facts},
            start_new_session=True,
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout=timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - _LONGEST_SAID))
        return ShellResult(status=status, said=output.read().decode(errors="replace").strip())
