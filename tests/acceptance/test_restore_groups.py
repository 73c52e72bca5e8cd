"""restore stops what runs, puts it back, starts it again and asks whether it answers; whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .shop import PATIENCE_S, CommandLine

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  data:
    type: quiesce.nodes.host.Directory
    properties: {path: HERE/data}
  slow:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: log.sh, apply: slow.sh, delete: log.sh}
  till:
    type: quiesce.nodes.host.Process
    properties:
      pid_file: HERE/till.pid
      start: cd HERE/data && PYTHON HERE/till.py HERE/till.pid >/dev/null 2>&1 &
      probe: PROBE
    relationships:
      - {type: cloudify.relationships.connected_to, target: data}
      - {type: cloudify.relationships.connected_to, target: slow}
"""
#: every operation notes itself
SCRIPTED = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml]
node_templates:
  db:
    type: cloudify.nodes.Root
    interfaces:
      quiesce.interfaces.restore: {stop: log.sh, start: log.sh, probe: log.sh}
      cloudify.interfaces.freeze: {fs_prepare: freeze.sh, fs_finalize: freeze.sh}
      cloudify.interfaces.snapshot: {create: log.sh, apply: log.sh, delete: log.sh}
  web:
    type: cloudify.nodes.Root
    interfaces:
      quiesce.interfaces.restore: {stop: log.sh, start: log.sh, probe: log.sh}
    relationships:
      - {type: cloudify.relationships.connected_to, target: db}
"""
LOG = 'echo "$(ctx node name) $QUIESCE_WORKFLOW $QUIESCE_OPERATION $QUIESCE_POINT" >>calls\n'
SCRIPTS = {
    "log.sh": LOG + "[ ! -e broken_$QUIESCE_OPERATION ]\n",
    # what is stopped cannot be frozen, nor thawed
    "freeze.sh": LOG + '[ "$(grep -cE "(stop|start)" calls)" != 2 ] || [ ! -e cannot_freeze ]\n',
    "slow.sh": LOG + "[ ! -e slow ] || touch started\nwhile [ -e slow ]; do sleep 0.05; done\n",
}
TILL = """
import os, sys, time
with open(sys.argv[1] + ".new", "w") as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
while True: time.sleep(0.05)
"""


@dataclass(frozen=True, kw_only=True)
class Till:
    """A program that works in a directory, and the deployment of both."""

    here: Path

    @property
    def sale(self) -> Path:
        return self.here / "data" / "sale"

    def pid(self) -> int | None:
        """Return the number of the running program; None when it does not run."""
        try:
            pid = int((self.here / "till.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else pid

    def can_be_terminated(self) -> bool:
        """Tell whether the running program leaves SIGTERM to do what it does by default."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
        return not ignored >> (signal.SIGTERM - 1) & 1

    def works_where(self) -> str:
        """Return what the running program has as its working directory."""
        return str(Path(f"/proc/{self.pid()}/cwd").readlink())


def _open(quiesce: CommandLine, probe: str, blueprint: str = BLUEPRINT) -> Till:
    here = quiesce.directory
    (here / "data").mkdir()
    (here / "till.py").write_text(TILL)
    for name, text in SCRIPTS.items():
        (here / name).write_text(text)
    for word, value in {"HERE": str(here), "PYTHON": sys.executable, "PROBE": probe}.items():
        blueprint = blueprint.replace(word, value)
    (here / "shop.yaml").write_text(blueprint)
    till = Till(here=here)
    till.sale.write_text("first")
    quiesce("init", "shop.yaml", "-b", "shop")
    return till


def _run_till(till: Till) -> None:
    words = f"{sys.executable} {till.here}/till.py {till.here}/till.pid"
    subprocess.run(["/bin/sh", "-c", f"setsid {words} >/dev/null 2>&1 &"], cwd=till.here / "data", check=True)
    _wait_until(lambda: till.pid() is not None)


def _wait_until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def till(quiesce: CommandLine) -> Iterator[Till]:
    made = _open(quiesce, "test -e data/sale -o -e HERE/data/sale".replace("HERE", str(quiesce.directory)))
    _run_till(made)
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    made.sale.write_text("second")
    yield made
    if pid := made.pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_running_program_is_stopped_and_started_around_the_restore(
    quiesce: CommandLine, till: Till
) -> None:
    before = till.pid()
    planned = quiesce("plan", "restore", "shop", "-p", "snapshot_name=one").out
    assert "in use" not in planned
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert till.sale.read_text() == "first"
    assert till.pid() not in (None, before)
    assert till.works_where() == str(till.here / "data")


def test_a_program_that_nothing_stops_refuses_the_restore_beforehand(
    quiesce: CommandLine, till: Till
) -> None:
    before = till.pid()
    stranger = subprocess.Popen(["sleep", "600"], cwd=till.here / "data")
    try:
        planned = quiesce("plan", "restore", "shop", "-p", "snapshot_name=one", status=5).out
        assert f"pid {stranger.pid}" in planned
        refused = quiesce("restore", "shop", "-p", "snapshot_name=one", status=5).err
    finally:
        stranger.kill()
        stranger.wait()
    assert "in-use" in refused
    assert f"pid {stranger.pid}" in refused
    assert f"pid {before}" not in refused
    assert till.pid() == before, "it was stopped although the restore was refused"
    assert till.sale.read_text() == "second"


@pytest.mark.parametrize("victims", ["engine", "engine and guard"])
def test_what_was_stopped_is_started_when_quiesce_is_killed(
    quiesce: CommandLine, till: Till, victims: str
) -> None:
    before = till.pid()
    (till.here / "slow").touch()
    restoring = quiesce.start("restore", "shop", "-p", "snapshot_name=one")
    _wait_until((till.here / "started").exists)
    assert till.pid() is None, "it runs while the data are replaced"
    guards = _children(restoring.pid) if victims == "engine and guard" else []
    restoring.kill()
    for guard in guards:
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard, signal.SIGKILL)
    (till.here / "slow").unlink()
    if guards:
        assert "nothing is left stopped" in quiesce("recover").out
    _wait_until(lambda: till.pid() is not None)
    assert till.pid() != before
    assert till.can_be_terminated(), "whoever started it has let it inherit its own deafness"


def test_a_probe_that_fails_fails_the_restore_and_all_runs(quiesce: CommandLine) -> None:
    till = _open(quiesce, "echo it is empty; false")
    _run_till(till)
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    failed = quiesce(
        "restore", "shop", "-p", "snapshot_name=one", "-p", "safety_snapshot=true",
        "-p", "operation_timeout=1", status=6,
    )  # fmt: skip
    assert "probe-failed" in failed.err
    assert "it is empty" in failed.err
    assert "To go back: quiesce restore shop -p snapshot_name=safety-" in failed.err
    pid = till.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def scripted(quiesce: CommandLine) -> Till:
    till = _open(quiesce, "", SCRIPTED)
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    (till.here / "calls").unlink()
    return till


def _calls(till: Till) -> list[str]:
    return (till.here / "calls").read_text().splitlines()


def test_scripts_are_called_in_their_groups_and_know_why(quiesce: CommandLine, scripted: Till) -> None:
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert _calls(scripted) == [
        f"{node} restore {operation} one"
        for node, operation in (
            ("web", "stop"),
            ("db", "stop"),
            ("db", "freeze"),
            ("db", "apply"),
            ("db", "thaw"),
            ("db", "start"),
            ("web", "start"),
            ("db", "probe"),
            ("web", "probe"),
        )
    ]


def test_what_is_stopped_need_not_be_frozen(quiesce: CommandLine, scripted: Till) -> None:
    """A freeze that fails because its service is stopped does not end the restore; its thaw comes later."""
    (scripted.here / "cannot_freeze").touch()
    quiesce("restore", "shop", "-p", "snapshot_name=one", "-p", "task_retries=0")
    operations = [call.split()[2] for call in _calls(scripted) if call.startswith("db")]
    assert operations[-1] == "probe"
    assert operations.index("start") < len(operations) - 1 - operations[::-1].index("thaw")


@pytest.mark.parametrize("broken", ["apply", "stop"])
def test_whatever_fails_what_was_stopped_is_started(
    quiesce: CommandLine, scripted: Till, broken: str
) -> None:
    (scripted.here / f"broken_{broken}").touch()
    quiesce("restore", "shop", "-p", "snapshot_name=one", "-p", "task_retries=0", status=6)
    calls = _calls(scripted)
    stopped = {call.split()[0] for call in calls if " stop " in call}
    assert stopped
    assert {call.split()[0] for call in calls if " start " in call} == stopped
    assert not any(" probe " in call for call in calls)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
