"""Processes: the right ones, all of them, and never a stranger."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError, ResourceNotFoundError, UntrustedPathError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.providers import host
from quiesce.providers.host import processes
from quiesce.testing import RecordingContext

from .machine import Machine, Node, wait_until

NOBODY = 65534
COUNTING = "import sys, time\nwhile True: open(sys.argv[1], 'a').write('x'); time.sleep(0.005)"
FORKING = """
import os, sys, time
while True:
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0: break
        except ChildProcessError: break
    time.sleep(0.005)
"""
FAMILY = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(3)]
print("ready", flush=True)
children[0].wait()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def states(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_suspended_process_does_nothing_until_it_is_resumed(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    node = Node(host.PROCESS, pid=start(COUNTING, str(out)).pid)
    wait_until(out.exists)

    machine.do(node, Operation.SUSPEND)
    size = out.stat().st_size
    time.sleep(0.1)
    assert out.stat().st_size == size

    machine.do(node, Operation.RESUME)
    wait_until(lambda: out.stat().st_size > size)


def test_processes_that_are_born_meanwhile_are_stopped_too(machine: Machine, start: Start) -> None:
    process = start(FORKING)
    wait_until(lambda: len(children_of(process.pid)) > 3)

    machine.do(Node(host.PROCESS, pid=process.pid), Operation.SUSPEND)

    assert states([process.pid, *children_of(process.pid)]) <= {"T", "Z"}


def test_children_whose_parent_was_killed_while_suspended_are_resumed(machine: Machine, start: Start) -> None:
    process = start(FAMILY)
    assert process.stdout is not None
    process.stdout.readline()
    family = children_of(process.pid)
    node = Node(host.PROCESS, pid=process.pid)
    machine.do(node, Operation.SUSPEND)
    process.kill()
    process.wait()
    assert states(family) == {"T"}

    machine.do(node, Operation.RESUME)

    assert "T" not in states(family)


def test_the_command_line_finds_processes_and_narrows_a_pid_file(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    process = start(COUNTING, str(tmp_path / "unmistakable"))
    wait_until((tmp_path / "unmistakable").exists)
    (tmp_path / "pid").write_text(str(process.pid))

    def count(**properties: str) -> object:
        outcome = machine.do(Node(host.PROCESS, **properties), Operation.MEASURE)
        assert outcome.measurements is not None
        return outcome.measurements["processes"]

    assert count(command=rf"COUNTING|{tmp_path}/unmistakable$") == 1
    assert count(pid_file=str(tmp_path / "pid")) == 1
    with pytest.raises(ResourceNotFoundError):
        count(pid_file=str(tmp_path / "pid"), command="postgres")


def test_a_process_that_was_started_after_its_pid_file_was_written_is_a_stranger(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    process = start(COUNTING, str(tmp_path / "out"))
    (tmp_path / "pid").write_text(str(process.pid))
    long_ago = time.time() - 3600
    os.utime(tmp_path / "pid", (long_ago, long_ago))

    with pytest.raises(ResourceNotFoundError):
        machine.do(Node(host.PROCESS, pid_file=str(tmp_path / "pid")), Operation.SUSPEND)
    assert "T" not in states([process.pid])


def test_a_remembered_number_that_now_is_another_process_is_left_alone(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    process = start(COUNTING, str(tmp_path / "out"))
    node = Node(host.PROCESS, pid=process.pid)
    machine.do(node, Operation.SUSPEND)
    [record] = (tmp_path / "state" / "suspended").glob("*.json")
    body = json.loads(record.read_text())
    body["members"] = [[pid, started - 1] for pid, started in body["members"]]
    record.write_text(json.dumps(body))

    machine.do(Node(host.PROCESS, command="no such process at all"), Operation.RESUME)

    assert states([process.pid]) == {"T"}


@pytest.mark.parametrize("scope", ["group", "session"])
def test_a_group_or_session_includes_those_whose_parent_is_gone(
    machine: Machine, start: Start, scope: str
) -> None:
    process = start(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: time.sleep(600)\n"
        "    os._exit(0)\n"
        "os.wait(); print('ready', flush=True); time.sleep(600)"
    )
    assert process.stdout is not None
    process.stdout.readline()

    def count(scope: str) -> object:
        outcome = machine.do(Node(host.PROCESS, pid=process.pid, scope=scope), Operation.MEASURE)
        assert outcome.measurements is not None
        return outcome.measurements["processes"]

    assert count("tree") == 1
    assert count(scope) == 2


def test_quiesce_never_stops_itself(machine: Machine) -> None:
    for pid in (os.getpid(), os.getppid(), 1):
        with pytest.raises(NonRecoverableError, match="quiesce itself"):
            machine.do(Node(host.PROCESS, pid=pid), Operation.SUSPEND)


def test_a_node_must_say_which_process_it_means(machine: Machine) -> None:
    with pytest.raises(NonRecoverableError) as caught:
        machine.do(Node(host.PROCESS), Operation.SUSPEND)
    assert "pid_file" in caught.value.hint


def test_resuming_what_does_not_run_is_fine(machine: Machine) -> None:
    machine.do(Node(host.PROCESS, command="no such process at all"), Operation.RESUME)


def test_a_paused_process_goes_on_when_the_engine_is_killed(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    worker = start(COUNTING, str(out))
    wait_until(out.exists)
    engine = start(
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from quiesce.model.operation import Operation\n"
        "from quiesce.ports import ProviderSettings\n"
        "from quiesce.providers import host\n"
        "from quiesce.providers.host.provider import HostProvider\n"
        "from quiesce.testing import RecordingContext, Subject\n"
        "class Node(Subject):\n"
        "    node_type = host.PAUSED_PROCESS\n"
        "    properties = {'pid': int(sys.argv[1])}\n"
        "provider = HostProvider(ProviderSettings(state_dir=sys.argv[2], repository=sys.argv[2]))\n"
        "provider.perform(Node().call(Operation.FREEZE, thaw_after_s=60), RecordingContext())\n"
        "print('frozen', flush=True)\n"
        "signal.pause()\n",
        str(worker.pid),
        str(tmp_path / "state"),
    )
    assert engine.stdout is not None
    assert engine.stdout.readline() == "frozen\n"
    assert states([worker.pid]) == {"T"}

    engine.kill()
    engine.wait()

    wait_until(lambda: "T" not in states([worker.pid]))


def test_a_thaw_leaves_suspended_what_was_suspended_before(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    process = start(COUNTING, str(tmp_path / "out"))
    node = Node(host.PAUSED_PROCESS, pid=process.pid)
    machine.do(node, Operation.SUSPEND)
    machine.do(node, Operation.FREEZE)
    machine.do(node, Operation.THAW)
    assert states([process.pid]) == {"T"}
    machine.do(node, Operation.RESUME)
    assert states([process.pid]) != {"T"}


def test_pausing_a_process_is_worth_as_much_as_a_power_cut(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    node = Node(host.PAUSED_PROCESS, pid=start(COUNTING, str(tmp_path / "out")).pid)
    assert machine.do(node, Operation.FREEZE).consistency is Consistency.CRASH
    machine.do(node, Operation.THAW)


def test_a_restore_does_not_need_the_process_to_run(machine: Machine) -> None:
    node = Node(host.PAUSED_PROCESS, command="no such process at all")
    outcome = machine.do(node, Operation.FREEZE, restoring=True)
    assert "no process" in outcome.note
    machine.do(node, Operation.THAW, restoring=True)


def test_the_doctor_tells_whether_the_process_runs(machine: Machine, start: Start, tmp_path: Path) -> None:
    running = Node(host.PROCESS, pid=start(COUNTING, str(tmp_path / "out")).pid)
    missing = Node(host.PROCESS, command="no such process at all")
    for node, passed in ((running, True), (missing, False)):
        finding, _ = machine.provider.doctor(machine.call(node, Operation.SUSPEND), RecordingContext())
        assert finding.passed is passed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files and processes of other users")
def test_a_file_of_another_user_names_only_processes_of_that_user(machine: Machine, tmp_path: Path) -> None:
    """Finding S10: who could write the file had root stop any process."""
    pid_file = tmp_path / "pid"
    node = Node(host.PROCESS, pid_file=str(pid_file))
    command = ["sleep", "60"]
    with subprocess.Popen(command) as roots, subprocess.Popen(command, user=NOBODY) as nobodys:
        try:
            pid_file.write_text(f"{roots.pid}")
            os.chown(pid_file, NOBODY, NOBODY)
            with pytest.raises(UntrustedPathError, match=f"names process {roots.pid} of user 0"):
                machine.do(node, Operation.SUSPEND)
            assert state_of(roots.pid) != "T"

            pid_file.write_text(f"{nobodys.pid}")
            machine.do(node, Operation.SUSPEND)
            assert state_of(nobodys.pid) == "T"
        finally:
            roots.kill()
            nobodys.kill()


def test_a_file_that_others_can_write_is_not_believed(machine: Machine, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("1")
    pid_file.chmod(0o666)
    with pytest.raises(UntrustedPathError, match="others could have written it"):
        machine.do(Node(host.PROCESS, pid_file=str(pid_file)), Operation.SUSPEND)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _is_frozen(machine: Machine, node: Node) -> bool | None:
    return machine.provider.is_frozen(machine.call(node, Operation.THAW), RecordingContext())


def test_a_service_that_does_not_run_needs_no_freeze_and_that_is_said(machine: Machine) -> None:
    node = Node(host.PAUSED_PROCESS, command="there is nothing to pause")
    outcome = machine.do(node, Operation.FREEZE)
    assert outcome.consistency is Consistency.CRASH
    assert "none of its processes runs" in outcome.note
    assert _is_frozen(machine, node) is True
    machine.do(node, Operation.THAW)


def test_a_service_that_was_started_within_the_window_was_not_frozen(machine: Machine, start: Start) -> None:
    """It may have written while the cut was taken."""
    node = Node(host.PAUSED_PROCESS, command="started.within.the.window")
    machine.do(node, Operation.FREEZE)
    service = start("import time; 'started within the window'; time.sleep(600)")
    wait_until(lambda: _is_frozen(machine, node) is False)
    machine.do(node, Operation.THAW)
    assert "are stopped" in machine.do(node, Operation.FREEZE).note
    assert states([service.pid]) == {"T"}
    assert _is_frozen(machine, node) is True
    machine.do(node, Operation.THAW)
    assert "T" not in states([service.pid])


def test_of_endless_arguments_the_first_are_searched() -> None:
    """An expression such as ``a.*b`` takes the square of their length."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *["x" * 100_000] * 10], stdin=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: processes.command_line(process.pid) != "")
            found = processes.command_line(process.pid)
        finally:
            process.kill()
    assert found.startswith(f"{sys.executable} -c input() xxx")
    assert len(found) == 32 << 10
