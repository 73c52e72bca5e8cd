"""Everything of ours is killed at once: what was stopped goes on all the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from quiesce.providers.host import processes
from quiesce.providers.host.freeze_daemon import rescue_scope

from .machine import wait_until

#: it looks at every rescue process of the machine, and kills them
pytestmark = pytest.mark.quiet

ENGINE = """
import signal, sys
from pathlib import Path
from typing import Protocol
from quiesce.providers.host import processes
from quiesce.providers.host.freeze_client import FreezeClient
freezes = FreezeClient(Path(sys.argv[1]))
victim = int(sys.argv[2])
freezes.hold("web", {"kind": "processes", "members": []}, thaw_after_s=float(sys.argv[3]), timeout_s=10)
processes.stop(
    lambda: [processes.stat_of(victim)],
    lambda fresh: freezes.extend(
        "web", {"members": [[member.pid, member.started] for member in fresh]}, timeout_s=10
    ),
    10,
)
print("stopped", flush=True)
signal.pause()
"""


@pytest.fixture
def victim() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time\nwhile True: time.sleep(0.01)"])
    yield process.pid
    process.kill()
    process.wait()


class Freeze(Protocol):
    """Lets an engine of its own stop the victim."""

    def __call__(self, timer_s: float = 600.0) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def freeze(tmp_path: Path, victim: int) -> Iterator[Freeze]:
    engines: list[subprocess.Popen[bytes]] = []

    def begin(timer_s: float = 600.0) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", ENGINE, str(tmp_path / "holds"), str(victim), str(timer_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        engines.append(process)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"stopped\n"
        return process

    yield begin
    for engine in engines:
        engine.kill()
        engine.wait()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ours(engine: int) -> set[int]:
    """The engine and what descends from it, by the kernel's word alone."""
    found = {engine}
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def rescues() -> set[int]:
    return {pid for pid in processes.every_process() if "-S /dev/fd/" in processes.command_line(pid)}


@pytest.mark.parametrize("turn", range(12))
def test_what_was_stopped_goes_on(freeze: Freeze, victim: int, turn: int) -> None:
    """In whatever order the kernel lets them die."""
    engine = freeze()
    assert state_of(victim) == "T"
    doomed = sorted(ours(engine.pid))
    assert len(doomed) >= 3, "the engine, the daemon and a holder"
    random.Random(turn).shuffle(doomed)
    for pid in doomed:
        with suppress(ProcessLookupError):  # it has ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)
    engine.wait()
    wait_until(lambda: state_of(victim) != "T")


def test_what_the_engine_stops_with_its_last_breath_goes_on(freeze: Freeze, victim: int) -> None:
    """The holder is dead first; the engine stops the process once more, and dies."""
    engine = freeze()
    for pid in ours(engine.pid) - {engine.pid}:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state_of(victim) != "T")
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: state_of(victim) == "T")
    engine.kill()
    engine.wait()
    wait_until(lambda: state_of(victim) != "T")


def test_nothing_is_left_running_when_nothing_is_held(freeze: Freeze, victim: int) -> None:
    """The rescue process ends with what it was there for."""
    before = rescues()
    engine = freeze()
    started = rescues() - before
    assert len(started) == 1
    [pid] = started
    assert Path(f"/proc/{pid}/environ").read_bytes().count(b"QUIESCE") == 0
    assert os.getsid(pid) not in {os.getsid(0), os.getsid(engine.pid)}
    engine.send_signal(signal.SIGTERM)
    engine.wait()
    wait_until(lambda: state_of(victim) != "T")
    wait_until(lambda: not rescues() & started)


def test_a_rescue_process_that_was_killed_is_replaced(freeze: Freeze, victim: int) -> None:
    """The next freeze has one again, and this one still ends with its engine."""
    before = rescues()
    engine = freeze()
    for pid in rescues() - before:
        os.kill(pid, signal.SIGKILL)
    engine.kill()
    engine.wait()
    wait_until(lambda: state_of(victim) != "T")


def test_a_rescue_process_thaws_when_the_machine_is_shut_down(freeze: Freeze, victim: int) -> None:
    before = rescues()
    engine = freeze()
    [pid] = rescues() - before
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: state_of(victim) != "T")
    wait_until(lambda: pid not in rescues())
    engine.kill()
    engine.wait()


def test_under_systemd_it_is_in_a_scope_of_its_own() -> None:
    """Ending our unit or session kills its control group, and not that scope."""
    assert rescue_scope(systemd=False, root=True) == []
    for root, whose in ((True, "--system"), (False, "--user")):
        scope = rescue_scope(systemd=True, root=root)
        assert scope[0] == "systemd-run"
        assert {whose, "--scope"} <= set(scope)


def test_the_time_of_a_stopped_engine_is_bounded(freeze: Freeze, victim: int) -> None:
    """With the engine and the daemon stopped and the holder killed, it goes on at once."""
    engine = freeze()
    holders = ours(engine.pid) - {engine.pid}
    engine.send_signal(signal.SIGSTOP)
    for pid in holders:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state_of(victim) != "T")
    engine.kill()
    engine.wait()
