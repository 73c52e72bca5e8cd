"""FreezeClient: a freeze lasts exactly as long as somebody watches it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import OperationTimeoutError, RecoverableError, ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.providers.host.freeze_client import FreezeClient

from .machine import wait_until

ENGINE = """
import signal, sys
from pathlib import Path
from quiesce.model.ids import Json
from quiesce.providers.host.freeze_client import FreezeClient
freezes = FreezeClient(Path(sys.argv[1]))
freezes.hold("db", {"kind": "database", "path": sys.argv[2], "busy_s": 5.0}, thaw_after_s=60, timeout_s=10)
print("frozen", flush=True)
if sys.argv[3] == "hand over":
    freezes.close()
elif sys.argv[3] == "die":
    raise SystemExit("a bug")
else:
    signal.pause()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return path


@pytest.fixture
def freezes(tmp_path: Path) -> Iterator[FreezeClient]:
    freezes = FreezeClient(tmp_path / "holds")
    yield freezes
    freezes.release("db", timeout_s=5)
    freezes.close()


def writable(database: Path) -> bool:
    connection = sqlite3.connect(database, timeout=0)
    try:
        with connection:
            connection.execute("INSERT INTO t VALUES (1)")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def hold(freezes: FreezeClient, database: Path, *, thaw_after_s: float = 60.0, busy_s: float = 5.0) -> None:
    request: dict[str, Json] = {"kind": "database", "path": str(database), "busy_s": busy_s}
    freezes.hold("db", request, thaw_after_s=thaw_after_s, timeout_s=10)


def engine(tmp_path: Path, database: Path, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ENGINE, str(tmp_path / "holds"), str(database), end]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "frozen\n"
    return process


def test_reading_goes_on_while_the_database_is_held(freezes: FreezeClient, database: Path) -> None:
    hold(freezes, database)

    assert not writable(database)
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


def test_everything_committed_is_in_the_database_file_when_it_is_held(
    freezes: FreezeClient, database: Path, tmp_path: Path
) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(1000)])
    hold(freezes, database)
    (tmp_path / "copy.db").write_bytes(database.read_bytes())
    connection.close()

    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    copy.close()


def test_a_held_database_is_thawed_when_the_process_that_froze_is_killed(
    tmp_path: Path, database: Path
) -> None:
    with engine(tmp_path, database, "wait") as process:
        assert not writable(database)
        process.kill()
        process.wait()
        wait_until(lambda: writable(database))


def test_a_held_database_is_thawed_when_the_process_that_froze_ends_by_a_bug(
    tmp_path: Path, database: Path
) -> None:
    with engine(tmp_path, database, "die") as process:
        process.wait()
        wait_until(lambda: writable(database))


def test_a_killed_process_group_does_not_take_the_holder_with_it(
    tmp_path: Path, database: Path, freezes: FreezeClient
) -> None:
    with engine(tmp_path, database, "wait") as process:
        held = freezes.held("db")
        assert held is not None
        assert os.getpgid(int(str(held["pid"]))) != os.getpgid(process.pid)
        assert os.getsid(int(str(held["pid"]))) != os.getsid(process.pid)
        process.kill()


def test_a_freeze_that_was_handed_over_outlives_its_process_until_another_one_thaws(
    tmp_path: Path, database: Path, freezes: FreezeClient
) -> None:
    with engine(tmp_path, database, "hand over") as process:
        process.wait()
        assert not writable(database)
        assert freezes.held("db") is not None
        freezes.release("db", timeout_s=5)
        assert writable(database)
        assert freezes.held("db") is None


def test_the_timer_thaws_what_was_handed_over_and_nobody_thaws(database: Path, tmp_path: Path) -> None:
    freezes = FreezeClient(tmp_path / "holds")
    hold(freezes, database, thaw_after_s=0.5)
    freezes.close()
    assert not writable(database)
    wait_until(lambda: writable(database))
    assert list((tmp_path / "holds").iterdir()) == []


def test_a_holder_that_was_killed_holds_nothing(freezes: FreezeClient, database: Path) -> None:
    hold(freezes, database)
    held = freezes.held("db")
    assert held is not None
    os.kill(int(str(held["pid"])), signal.SIGKILL)

    wait_until(lambda: freezes.held("db") is None)
    assert writable(database)
    left = freezes.release("db", timeout_s=5)
    assert left is not None
    assert left["path"] == str(database)


def test_a_recycled_process_number_is_never_signalled(
    freezes: FreezeClient, database: Path, tmp_path: Path
) -> None:
    hold(freezes, database)
    [state] = (tmp_path / "holds").glob("*.json")
    body = json.loads(state.read_text())
    time.sleep(0.05)
    with subprocess.Popen(["sleep", "60"]) as innocent:
        state.write_text(json.dumps({**body, "pid": innocent.pid}))
        other = FreezeClient(tmp_path / "holds")
        with pytest.raises(OperationTimeoutError):
            other.release("db", timeout_s=0.3)
        other.close()
        assert innocent.poll() is None
        innocent.kill()
    state.write_text(json.dumps(body))


def test_a_holder_that_does_not_answer_is_killed(freezes: FreezeClient, database: Path) -> None:
    hold(freezes, database)
    held = freezes.held("db")
    assert held is not None
    os.kill(int(str(held["pid"])), signal.SIGSTOP)

    freezes.release("db", timeout_s=10)

    assert writable(database)


def test_a_freeze_waits_for_a_writer_and_gives_up_when_it_takes_too_long(
    freezes: FreezeClient, database: Path
) -> None:
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecoverableError, match="locked"):
        hold(freezes, database, busy_s=0.2)
    assert freezes.held("db") is None
    writer.execute("ROLLBACK")
    writer.close()
    hold(freezes, database)


def test_a_thaw_works_while_the_freeze_still_hangs(freezes: FreezeClient, database: Path) -> None:
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    errors: list[Exception] = []

    def freeze() -> None:
        try:
            hold(freezes, database, busy_s=30.0)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=freeze)
    thread.start()
    wait_until(lambda: bool(freezes.held("db")))
    freezes.release("db", timeout_s=10)
    thread.join()
    writer.execute("ROLLBACK")
    writer.close()

    assert len(errors) == 1
    assert writable(database)
    assert freezes.held("db") is None


def test_a_database_that_is_not_there_is_not_made(freezes: FreezeClient, tmp_path: Path) -> None:
    with pytest.raises(ResourceNotFoundError):
        hold(freezes, tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()


def test_a_daemon_that_was_killed_is_replaced(freezes: FreezeClient, database: Path) -> None:
    hold(freezes, database)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for child in children:
        if "freeze_daemon.py" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
            os.waitid(os.P_PID, int(child), os.WEXITED | os.WNOWAIT)
    hold(freezes, database)
    assert not writable(database)


def test_the_state_of_a_freeze_is_private(freezes: FreezeClient, database: Path, tmp_path: Path) -> None:
    hold(freezes, database)
    [state] = (tmp_path / "holds").glob("*.json")
    assert state.stat().st_mode & 0o777 == 0o600
    assert state.parent.stat().st_mode & 0o777 == 0o700


def test_processes_are_held_beside_a_database(freezes: FreezeClient, database: Path) -> None:
    """The holders that there are already stand in nobody's way."""
    hold(freezes, database)
    freezes.hold("web", {"kind": "processes", "members": []}, thaw_after_s=60, timeout_s=10)
    assert freezes.held("web") is not None
    assert not writable(database)
    freezes.release("web", timeout_s=5)
