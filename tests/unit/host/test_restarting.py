"""A process around a restore: stopped, started and probed, by its own commands or by systemd."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NoReturn

import pytest

from quiesce.errors import (
    OperationTimeoutError,
    ProbeFailedError,
    ProviderError,
    RecoverableError,
)
from quiesce.model.operation import Operation
from quiesce.providers import host
from quiesce.providers.host import snapshot_dir
from quiesce.testing import RecordingContext

from .machine import Machine, Node

#: writes its number, and stays until it is told to end; the second argument makes it deaf
DAEMON = """
import os, signal, sys, time
if sys.argv[2:] == ["deaf"]: signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".new", "w") as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
print("it runs", flush=True)
while True: time.sleep(0.05)
"""


class Daemon:
    """A daemon that a shell starts in the background."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid_file = directory / "daemon.pid"
        self.program = directory / "daemon.py"
        self.program.write_text(DAEMON)

    def node(self, *words: str, **properties: str | int) -> Node:
        start = f"{sys.executable} {self.program} {self.pid_file} {' '.join(words)} &"
        return Node(host.PROCESS, **({"pid_file": str(self.pid_file), "start": start} | properties))

    def pid(self) -> int | None:
        """Return the number of the running process; None when there is none."""
        try:
            pid = int(self.pid_file.read_text())
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else pid


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    if pid := made.pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_it_is_started_stopped_and_started_again(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node()
    machine.do(node, Operation.START)
    first = daemon.pid()
    assert first is not None
    machine.do(node, Operation.STOP)
    assert daemon.pid() is None
    machine.do(node, Operation.START)
    assert daemon.pid() not in (None, first)


def test_what_runs_already_runs_and_what_is_stopped_is_stopped(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node()
    machine.do(node, Operation.START)
    first = daemon.pid()
    machine.do(node, Operation.START)
    assert daemon.pid() == first
    machine.do(node, Operation.STOP)
    assert "not running" in machine.do(node, Operation.STOP).note


def test_it_goes_on_when_the_provider_is_closed(machine: Machine, daemon: Daemon) -> None:
    machine.do(daemon.node(), Operation.START)
    machine.provider.close()
    time.sleep(0.3)
    assert daemon.pid() is not None


def test_its_own_command_stops_it(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node("deaf", stop=f"kill -9 $(cat {daemon.pid_file})")
    machine.do(node, Operation.START)
    machine.do(node, Operation.STOP)
    assert daemon.pid() is None


def test_what_does_not_stop_is_not_killed(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node("deaf")
    machine.do(node, Operation.START)
    with pytest.raises(OperationTimeoutError, match="does not stop"):
        machine.do(node, Operation.STOP, context=RecordingContext(timeout_s=0.5))
    assert daemon.pid() is not None


def test_a_failing_command_is_told_with_what_it_said(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node(stop="echo no way; exit 3")
    machine.do(node, Operation.START)
    with pytest.raises(RecoverableError, match=r"exit status 3: no way"):
        machine.do(node, Operation.STOP)
    failing = daemon.node(pid_file=str(daemon.directory / "other.pid"), start="echo broken >&2; false")
    with pytest.raises(RecoverableError, match=r"exit status 1: broken"):
        machine.do(failing, Operation.START)


def test_a_start_that_leaves_nothing_has_failed(machine: Machine, daemon: Daemon) -> None:
    with pytest.raises(RecoverableError, match="does not run"):
        machine.do(daemon.node(start="true"), Operation.START, context=RecordingContext(timeout_s=0.3))


def test_what_is_suspended_can_be_stopped(machine: Machine, daemon: Daemon) -> None:
    node = daemon.node()
    machine.do(node, Operation.START)
    machine.do(node, Operation.SUSPEND)
    machine.do(node, Operation.STOP)
    assert daemon.pid() is None


def test_commands_know_why_they_run(machine: Machine, daemon: Daemon) -> None:
    told = daemon.directory / "told"
    start = daemon.node().properties["start"]
    node = daemon.node(start=f"echo $QUIESCE_WORKFLOW $QUIESCE_OPERATION $QUIESCE_POINT >{told}; {start}")
    machine.do(node, Operation.START, workflow="restore", point="nightly")
    assert told.read_text() == "restore start nightly\n"


def test_a_process_that_cannot_be_started_is_left_running(machine: Machine, daemon: Daemon) -> None:
    machine.do(daemon.node(), Operation.START)
    assert (
        "left running" in machine.do(Node(host.PROCESS, pid_file=str(daemon.pid_file)), Operation.STOP).note
    )
    assert daemon.pid() is not None


SYSTEMCTL = """#!/bin/sh
echo "$@" >>"{log}"
case "$*" in
  *show*) cat "{pid}" 2>/dev/null || echo 0 ;;
  *start*) {python} {program} "{pid}" & while [ ! -s "{pid}" ]; do sleep 0.05; done ;;
  *stop*) kill $(cat "{pid}"); rm "{pid}" ;;
esac
"""


def test_a_unit_is_stopped_and_started_by_systemd(
    machine: Machine, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = daemon.directory / "log"
    systemctl = daemon.directory / "systemctl"
    systemctl.write_text(
        SYSTEMCTL.format(log=log, pid=daemon.pid_file, python=sys.executable, program=daemon.program)
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{daemon.directory}:{os.environ['PATH']}")
    node = Node(host.PROCESS, systemd_unit="shop@1.service")
    machine.do(node, Operation.START)
    assert daemon.pid() is not None
    machine.do(node, Operation.STOP)
    assert daemon.pid() is None
    asked = log.read_text()
    assert "start -- shop@1.service" in asked
    assert "stop -- shop@1.service" in asked


@pytest.mark.parametrize("unit", ["-H", "a b", "x;y"])
def test_what_is_no_unit_is_refused(machine: Machine, unit: str) -> None:
    with pytest.raises(ProviderError, match="systemd_unit"):
        machine.do(Node(host.PROCESS, systemd_unit=unit), Operation.STOP)


@pytest.mark.parametrize(
    ("properties", "passed", "words"),
    [
        ({"command": "x"}, True, "left running"),
        ({"command": "x", "start": "y"}, True, "stopped and started"),
        ({"command": "x", "stop": "y"}, False, "start is not"),
        ({"pid": 1, "start": "y"}, False, "pid names"),
        ({"systemd_unit": "x"}, True, "stopped and started"),
    ],
)
def test_the_doctor_tells_what_a_restore_does_with_it(
    machine: Machine, properties: dict[str, str | int], passed: bool, words: str
) -> None:
    call = machine.call(Node(host.PROCESS, **properties), Operation.MEASURE)
    findings = machine.provider.doctor(call, RecordingContext(timeout_s=5))
    (found,) = (finding for finding in findings if finding.check == "restart")
    assert found.passed is passed
    assert words in found.detail


# -- probes --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def web(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def _probe(machine: Machine, probe: str | int, timeout_s: float = 0.6) -> None:
    machine.do(
        Node(host.PROCESS, probe=probe), Operation.PROBE, context=RecordingContext(timeout_s=timeout_s)
    )


def test_a_page_that_is_there_is_an_answer(machine: Machine) -> None:
    with web(200) as port:
        for probe in (f"http://127.0.0.1:{port}/health?deep=1", port, str(port), f"tcp://127.0.0.1:{port}"):
            _probe(machine, probe)


def test_a_page_with_an_error_is_none(machine: Machine) -> None:
    with web(503) as port, pytest.raises(ProbeFailedError, match="status 503"):
        _probe(machine, f"http://127.0.0.1:{port}/")


def test_a_port_that_nobody_listens_on_is_none(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for probe in (port, f"http://127.0.0.1:{port}/"):
        with pytest.raises(ProbeFailedError, match="refused"):
            _probe(machine, probe)


def test_a_command_is_asked_until_it_succeeds(machine: Machine, tmp_path: Path) -> None:
    _probe(machine, f"echo x >>{tmp_path}/asked; [ $(wc -l <{tmp_path}/asked) = 3 ]", timeout_s=20)
    with pytest.raises(ProbeFailedError, match="exit status 1: not yet"):
        _probe(machine, "echo not yet; false")


def test_a_command_that_hangs_is_given_up(machine: Machine) -> None:
    with pytest.raises(ProbeFailedError, match="did not end in time"):
        _probe(machine, "sleep 60", timeout_s=0.5)


@pytest.mark.parametrize("probe", [0, 65536, "tcp://127.0.0.1", "tcp://127.0.0.1:0"])
def test_what_is_no_probe_is_refused(machine: Machine, probe: str | int) -> None:
    with pytest.raises(ProviderError, match="probe"):
        _probe(machine, probe)


# -- in use --------------------------------------------------------------------------------------------


def test_who_uses_a_directory_and_who_would_be_stopped(
    machine: Machine, daemon: Daemon, node: Node, data: Path
) -> None:
    start = daemon.node().properties["start"]
    process = daemon.node(start=f"cd {data} && {start}")
    machine.do(process, Operation.START)
    context = RecordingContext(timeout_s=5)
    used = machine.provider.used_by(machine.call(node, Operation.APPLY), context)
    assert daemon.pid() in used
    ended = machine.provider.ended_by_stop(machine.call(process, Operation.STOP), context)
    assert set(used) <= set(ended)
    unstartable = Node(host.PROCESS, pid_file=str(daemon.pid_file))
    assert machine.provider.ended_by_stop(machine.call(unstartable, Operation.STOP), context) == []


def test_data_that_cannot_be_looked_at_are_told_not_raised(
    machine: Machine, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's FUSE mount is, for root too."""

    def hidden(_path: Path | str) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(snapshot_dir, "open_declared", hidden)
    call = machine.call(Node(host.DIRECTORY, path=str(data)), Operation.APPLY)
    with pytest.raises(ProviderError, match="Permission denied"):
        machine.provider.used_by(call, RecordingContext(timeout_s=5))
