"""Processes that operations have started, known by their environment once their parent is dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_MARK: Final = "QUIESCE_EXECUTION"
#: how long killed processes are waited for, in seconds
_PATIENCE_S: Final = 1.0


def mark_children(execution: str) -> None:
    """Let what is started from now on say in its environment of which execution it is; empty: of none."""
    os.environ[_MARK] = execution


def end_processes_of(execution: str) -> None:
    """Kill the processes that were started for *execution*, and wait until they are gone."""
    ends = time.monotonic() + _PATIENCE_S
    while (found := list(_processes_of(execution))) and time.monotonic() < ends:
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def _processes_of(execution: str) -> Iterator[int]:
    """Give those of our own user; where there is no ``/proc``, none is known."""
    mark = f"{_MARK}={execution}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
