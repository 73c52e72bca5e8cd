"""What becomes of a script's processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import OperationTimeoutError
from quiesce.isolation.reaper import Reaper
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.providers.script.provider import ScriptProvider
from quiesce.testing import RecordingContext

from .conftest import a_call

STUBBORN = "trap 'echo asked >> marks' TERM\nsleep 60 & echo $! > child\nwhile :; do sleep 0.05; done\n"


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(claim: Callable[[], bool]) -> None:
    for _ in range(1000):
        if claim():
            return
        time.sleep(0.02)
    raise AssertionError("it never came true")


def test_a_script_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path, provider: ScriptProvider
) -> None:
    (tmp_path / "hang.sh").write_text(STUBBORN)
    call = a_call(tmp_path, inputs={"script_path": "hang.sh"})
    with pytest.raises(OperationTimeoutError, match=r"hang\.sh did not finish in time"):
        provider.perform(call, RecordingContext(timeout_s=0.5))
    assert not lives(int((tmp_path / "child").read_text()))
    assert (tmp_path / "marks").read_text().startswith("asked")


def test_a_hanging_freeze_is_killed_before_it_can_do_more(tmp_path: Path, provider: ScriptProvider) -> None:
    (tmp_path / "freeze.sh").write_text("trap 'echo frozen > marks' TERM\nsleep 60\n")
    call = a_call(
        tmp_path, operation=Operation.FREEZE, interface=FS_PREPARE, inputs={"script_path": "freeze.sh"}
    )
    with pytest.raises(OperationTimeoutError):
        provider.perform(call, RecordingContext(timeout_s=0.5))
    assert not (tmp_path / "marks").exists()


def test_a_script_nobody_waits_for_is_stopped(tmp_path: Path, provider: ScriptProvider) -> None:
    (tmp_path / "hang.py").write_text("import time\ntime.sleep(60)\n")
    context = RecordingContext(timeout_s=60)
    context.give_up()
    with pytest.raises(OperationTimeoutError, match="no longer needed"):
        provider.perform(a_call(tmp_path, inputs={"script_path": "hang.py"}), context)


def test_what_a_script_leaves_running_lives_on_and_is_not_waited_for(run: Any, tmp_path: Path) -> None:
    run("daemon.sh", "sleep 60 & echo $! > daemon\n")
    pid = int((tmp_path / "daemon").read_text())
    assert lives(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_script_gets_no_file_of_ours_and_no_terminal(run: Any, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        outcome = run(
            "files.py",
            "import os\nfrom cloudify import ctx\n"
            "ctx.returns([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
            " if os.path.exists(f'/proc/self/fd/{n}')])\n",
        )
    assert str(tmp_path / "ours") not in outcome.result
    assert "/dev/null" in outcome.result


def test_scripts_die_with_us(tmp_path: Path) -> None:
    """When the engine is killed, a freeze script cannot go on behind the thaw."""
    (tmp_path / "freeze.sh").write_text("echo $$ > pid\nsleep 60\n")
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(tmp_path), str(Path(__file__).parent)])
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "")
    pid = int((tmp_path / "pid").read_text())
    assert lives(pid)
    engine.kill()
    engine.wait()
    until(lambda: not lives(pid))


ENGINE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import a_call
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers.script.provider import ScriptProvider
from quiesce.testing import RecordingContext
provider = ScriptProvider(ProviderSettings(state_dir="", repository=""))
call = a_call(Path(sys.argv[1]), operation=Operation.FREEZE, inputs={"script_path": "freeze.sh"})
provider.perform(call, RecordingContext(timeout_s=60))
"""


def test_a_reaper_that_was_killed_is_replaced() -> None:
    sleeper = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    reaper = Reaper()
    reaper.watch(sleeper.pid, 0.0)
    first = reaper._process
    assert first is not None
    first.kill()
    first.wait()
    reaper.watch(999_999_999, 0.0)
    reaper.close()
    assert sleeper.wait(timeout=10) == -signal.SIGKILL


def test_what_a_child_sends_is_not_trusted(run: Any, context: RecordingContext) -> None:
    outcome = run(
        "hostile.py",
        "import os, socket\nfrom cloudify import ctx\n"
        "answers = []\n"
        "lines = [b'not json', b'[]', b'{\"verb\": \"__class__\"}', b'{\"verb\": \"save\"}', b'[' * 100000]\n"
        "for line in lines:\n"
        "    s = socket.socket(socket.AF_UNIX)\n"
        "    s.connect(os.environ['CTX_SOCKET_URL'][7:])\n"
        "    s.sendall(line + b'\\n')\n"
        "    answers.append(b'error' in s.recv(100000))\n"
        "ctx.returns(answers)\n",
    )
    assert outcome.result == [True] * 5


def test_the_stand_in_is_not_importable_here() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import quiesce.providers.script.provider, cloudify"],
        capture_output=True,
        check=False,
    )
    assert b"No module named 'cloudify'" in done.stderr
