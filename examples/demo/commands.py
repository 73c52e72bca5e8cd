"""Quiesce's own command line, called as a user would call it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIESCE = Path(sys.executable).with_name("quiesce")
DIM, BOLD, GREEN, RED, PLAIN = (
    ("\033[2m", "\033[1m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5
)
#: of the lines about an operation, the one that says when it began is enough here
_TOLD = re.compile(r"Starting to|LOG|workflow execution")


@dataclass(frozen=True)
class Window:
    """When a backup froze the shop; seconds since the epoch."""

    #: the first freeze was asked for
    began: float
    #: the database was known to be frozen, and asked to be thawed
    frozen: float
    thawing: float
    #: the last thaw was known to have happened
    ended: float


class Quiesce:
    """Runs ``quiesce`` with its state in *home*, and shows what it prints."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "QUIESCE_HOME": str(home), "TERM": "dumb"}

    def __call__(self, *arguments: str) -> str:
        """Run a command, show it and what it says; fail as it fails."""
        print(f"\n  {BOLD}$ quiesce {shlex.join(arguments)}{PLAIN}", flush=True)
        output = self._run(*arguments)
        for line in _worth_telling(output):
            print(f"    {DIM}{line}{PLAIN}")
        return output

    def point(self, name: str) -> dict[str, Any]:
        """Return what the catalog knows about a restore point."""
        shown = json.loads(self._run("backups", "show", "shop", name, "--json"))
        return dict(shown["restore_point"])

    def last_execution(self, workflow: str) -> str:
        """Return the id of the latest execution of *workflow*."""
        executions = json.loads(self._run("executions", "list", "--json"))["executions"]
        return str([each["id"] for each in executions if each["workflow"] == workflow][-1])

    def window(self, name: str) -> Window:
        """Return when the backup *name* froze what, from its events."""
        execution = self.point(name)["execution"]
        lines = self._run("events", execution, "--json").splitlines()
        events = [json.loads(line)["event"] for line in lines]

        def times(message: str, context: str = "") -> list[float]:
            return [e["at"] for e in events if message in e["message"] and context in e["context"]]

        return Window(
            began=min(times("Starting to cloudify.interfaces.freeze.fs_prepare")),
            frozen=max(times("Task succeeded", ".fs_prepare")),
            thawing=min(times("Starting to cloudify.interfaces.freeze.fs_finalize")),
            ended=max(times("Task succeeded", ".fs_finalize")),
        )

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [QUIESCE, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            told = f"{shlex.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
            raise RuntimeError(f"quiesce {told}")
        return done.stdout


def _worth_telling(output: str) -> list[str]:
    """Leave out most event lines, and their date."""
    told = []
    for line in output.splitlines():
        event = re.match(r"\d{4}-\d\d-\d\d (\S+)  (CFY|LOG) <shop> (.*)", line)
        if event is None:
            told.append(line)
        elif _TOLD.search(line):
            told.append(f"{event[1]}  {event[3]}")
    return told
