"""Every process of ours is killed at once in the window; whoever is left, or comes next, lets go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .shop import CommandLine, eventually, stop_then_kill

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  web:
    type: quiesce.nodes.host.PausedProcess
    properties: {pid: PID}
    relationships: [{type: cloudify.relationships.connected_to, target: slow}]
  slow:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: slow.sh}
"""
SLOW = "#!/bin/sh\ntouch {0}/started; while [ ! -e {0}/go ]; do sleep 0.05; done\n"


@pytest.fixture
def web() -> Iterator[int]:
    """A program that is paused around the cut."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time\nwhile True: time.sleep(0.01)"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def place(quiesce: CommandLine, tmp_path: Path, web: int) -> Iterator[Path]:
    """A deployment whose cut waits for a file called go."""
    place = tmp_path / "blueprint"
    place.mkdir()
    (place / "slow.sh").write_text(SLOW.format(place))
    (place / "blueprint.yaml").write_text(BLUEPRINT.replace("PID", str(web)))
    quiesce("init", str(place / "blueprint.yaml"), "-b", "shop")
    yield place
    (place / "go").touch()  # nobody is left who would end the script


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def ours(home: Path, *, rescue: bool) -> set[int]:
    """All that has our home in its environment, and the rescue process, which waits for one of those."""
    found = {pid for pid in _all() if f"QUIESCE_HOME={home}" in _read(pid, "environ").split("\0")}
    if rescue:
        found |= {pid for pid in _all() if "\0/dev/fd/" in _read(pid, "cmdline") and _waits_for(pid) & found}
    return found - {os.getpid()}


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    return ""


def _waits_for(pid: int) -> set[int]:
    """The processes of which *pid* holds a descriptor."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").glob("*"):
        lines = _read(pid, f"fdinfo/{path.name}").splitlines()
        found |= {int(line.split()[1]) for line in lines if line.startswith("Pid:")}
    return found


def kill_at_once(quiesce: CommandLine, *, rescue: bool, seed: int = 0) -> None:
    if rescue:
        known = len(ours(quiesce.home, rescue=False))
        eventually(lambda: len(ours(quiesce.home, rescue=True)) > known, "the rescue process knows of us")
    killed = stop_then_kill(lambda: ours(quiesce.home, rescue=rescue), seed)
    assert len(killed) >= 4, "the engine, the guard, a daemon and a holder at least"


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_of_us_lets_go_on(quiesce: CommandLine, place: Path, web: int, seed: int) -> None:
    """Nobody runs a command, and the program goes on all the same."""
    engine = quiesce.start("backup", "shop")
    eventually((place / "started").exists, "the cut has begun")
    assert is_stopped(web)
    kill_at_once(quiesce, rescue=False, seed=seed)
    engine.communicate()
    eventually(lambda: not is_stopped(web), "the program goes on")


@pytest.mark.parametrize(
    "command", [("backups", "list", "shop"), ("executions", "list"), ("deployments", "list")]
)
def test_the_next_command_lets_go_on_without_being_asked(
    quiesce: CommandLine, place: Path, web: int, command: tuple[str, ...]
) -> None:
    """When even the last process is killed (a container that ends), any command thaws."""
    engine = quiesce.start("backup", "shop")
    eventually((place / "started").exists, "the cut has begun")
    kill_at_once(quiesce, rescue=True)
    engine.communicate()
    assert is_stopped(web), "somebody has survived"
    answer = quiesce(*command)
    assert not is_stopped(web)
    assert "web" in answer.err
    assert "was left frozen or stopped, and goes on now" in answer.err
    assert "STILL BE FROZEN" not in answer.err
