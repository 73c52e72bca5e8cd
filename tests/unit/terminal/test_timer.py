"""The timer of the far side, run by a shell of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import cast

from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, InstanceId
from quiesce.providers.terminal import timer
from quiesce.providers.terminal.client import Connection
from quiesce.testing.contexts import RecordingContext

#: as `ps`, but each child of a timer still bears the timer's name, as it does until it becomes a command
SLOW_PS = """#!/bin/sh
sleep 0.5
{ps} "$@"
for parent in $({ps} -A -o pid= -o args= | awk '$2 == "sh" && $4 == ":" {{ print $1 }}'); do
    for child in $({ps} -o pid= --ppid "$parent"); do echo "$child sh -c : {name}; a child"; done
done
"""
SLOW_CAT = """#!/bin/sh
sleep 1
exec {cat}
"""


class Shell:
    """Stands for a connection: what is to be run over there runs here."""

    address = "here"

    def __init__(self, path: str) -> None:
        self.environment = os.environ | {"PATH": path}

    def run(self, command: str, text: str, context: object) -> str:
        return subprocess.run(
            ["sh", "-c", command],
            check=False,
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout


class AnyCall:
    """As much of a call as a timer asks for."""

    deployment = DeploymentName(f"timer-{os.getpid()}")
    instance = InstanceId("service_ab12cd")


def put(command: Path, script: str) -> None:
    command.write_text(script)
    command.chmod(0o755)


def test_what_it_is_to_run_is_not_lost_while_the_old_one_is_looked_for(tmp_path: Path) -> None:
    call = cast(Call, AnyCall())
    put(tmp_path / "ps", SLOW_PS.format(ps=shutil.which("ps"), name=timer._name(call)))
    put(tmp_path / "cat", SLOW_CAT.format(cat=shutil.which("cat")))
    connection = cast(Connection, Shell(f"{tmp_path}:{os.environ['PATH']}"))
    marker = tmp_path / "frozen"
    marker.touch()
    timer.arm(connection, call, [f"rm -f {marker}"], 1.0, RecordingContext())
    deadline = time.monotonic() + 60
    while marker.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not marker.exists()
