"""Freezes that a process of its own holds: found, ended, left, and gone with whoever asked for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quiesce.errors import CannotFreezeError, OperationTimeoutError
from quiesce.provider_kit.held_sessions import SessionHolders, _opened

PROGRAM = "tests.unit.provider_kit.touching_holder"
HERE = Path(__file__).parents[3]
PATIENCE_S = 60.0
ASKING = """
import sys
from pathlib import Path
from quiesce.provider_kit.held_sessions import SessionHolders
holders = SessionHolders("tests.unit.provider_kit.touching_holder", Path(sys.argv[1]))
holders.hold("one", {"path": sys.argv[2]}, thaw_after_s=60.0, timeout_s=30.0)
if sys.argv[3] == "leave":
    holders.close()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionHolders]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    found = SessionHolders(PROGRAM, tmp_path / "holds")
    yield found
    found.release("one", timeout_s=30.0)
    found.close()


def hold(holders: SessionHolders, path: Path, *, thaw_after_s: float = 60.0, **request: object) -> None:
    holders.hold("one", {"path": str(path), **request}, thaw_after_s=thaw_after_s, timeout_s=30.0)  # type: ignore[dict-item]


def test_what_is_held_is_released_by_another(holders: SessionHolders, tmp_path: Path) -> None:
    holders.be_ready()
    hold(holders, tmp_path / "held")
    assert (tmp_path / "held").exists()
    other = SessionHolders(PROGRAM, tmp_path / "holds")
    assert other.held("one") is not None
    assert other.release("one", timeout_s=30.0)
    assert not (tmp_path / "held").exists()
    assert holders.held("one") is None
    assert other.release("one", timeout_s=30.0)


def test_it_ends_by_itself_when_its_time_is_over(holders: SessionHolders, tmp_path: Path) -> None:
    hold(holders, tmp_path / "held", thaw_after_s=0.5)
    wait_until(lambda: not (tmp_path / "held").exists())
    wait_until(lambda: holders.held("one") is None)


def test_one_that_is_killed_is_told_from_one_that_has_thawed(holders: SessionHolders, tmp_path: Path) -> None:
    hold(holders, tmp_path / "held")
    os.kill(json.loads((tmp_path / "holds/one.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: holders.held("one") is None)
    assert not holders.release("one", timeout_s=30.0)


def test_who_looks_after_one_that_is_gone_is_not_taken_for_it(
    holders: SessionHolders, tmp_path: Path
) -> None:
    hold(holders, tmp_path / "held")
    state = tmp_path / "holds/one.json"
    os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: holders.held("one") is None)
    with _opened(state):  # another process, at the same time
        assert holders.held("one") is None


def test_one_that_does_not_end_is_killed(holders: SessionHolders, tmp_path: Path) -> None:
    hold(holders, tmp_path / "held", hangs=True)
    assert not holders.release("one", timeout_s=30.0)
    assert holders.held("one") is None


def test_what_is_refused_is_said_and_held_by_nobody(holders: SessionHolders, tmp_path: Path) -> None:
    with pytest.raises(CannotFreezeError, match="not today"):
        hold(holders, tmp_path / "held", refuses="not today")
    assert holders.held("one") is None


def test_an_answer_that_does_not_come_holds_nothing(holders: SessionHolders, tmp_path: Path) -> None:
    request = {"path": str(tmp_path / "held"), "sleeps_s": 60.0}
    with pytest.raises(OperationTimeoutError):
        holders.hold("one", request, thaw_after_s=60.0, timeout_s=0.5)
    assert holders.held("one") is None


def test_what_is_lost_is_not_held(holders: SessionHolders, tmp_path: Path) -> None:
    hold(holders, tmp_path / "held")
    (tmp_path / "held").unlink()
    wait_until(lambda: holders.held("one") is None)


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "dies"])
def test_it_ends_with_who_asked_for_it_unless_it_was_left(
    holders: SessionHolders, tmp_path: Path, leaves: bool
) -> None:
    words = [sys.executable, "-c", ASKING, str(tmp_path / "holds"), str(tmp_path / "held")]
    with subprocess.Popen(
        [*words, "leave" if leaves else "die"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"held\n"
        asking.kill()
    if leaves:
        time.sleep(1.0)
        assert holders.held("one") is not None
    else:
        wait_until(lambda: not (tmp_path / "held").exists())


def wait_until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)
