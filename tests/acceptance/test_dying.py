"""Signals and sudden death in the middle of a backup: everything is thawed, and it can be gone on with."""

from __future__ import annotations

import fcntl
import signal
import sqlite3
from contextlib import closing

import pytest

from quiesce.errors import ExitStatus

from .shop import CommandLine, Shop, eventually, start_slow_backup


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_window_thaws_and_leaves_nothing(
    quiesce: CommandLine, slow_shop: Shop, number: signal.Signals
) -> None:
    process = start_slow_backup(quiesce, slow_shop)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.CANCELLED, err
    assert not slow_shop.is_frozen()
    assert f"Cancelling 'backup' workflow execution: it was cancelled by {number.name}" in out
    assert quiesce.points("shop") == {}
    assert not (slow_shop.directory / "made").exists()
    assert [e["state"] for e in quiesce.executions()] == ["cancelled"]


def test_a_second_signal_does_not_skip_the_thaw(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.CANCELLED, err
    assert not slow_shop.is_frozen()


def test_a_cancel_from_elsewhere_thaws_and_leaves_nothing(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop)
    (running,) = quiesce.executions()
    assert "was asked to stop" in quiesce("executions", "cancel", running["id"]).out
    assert process.wait(60) == ExitStatus.CANCELLED
    assert not slow_shop.is_frozen()
    assert quiesce.points("shop") == {}


def test_the_bound_on_the_window_holds_when_a_cut_hangs(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop, "--max-freeze", "2s")
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.FAILED
    assert "[max-freeze]" in err
    assert not slow_shop.is_frozen()
    assert quiesce.points("shop") == {}


def test_the_guard_thaws_when_the_engine_is_stopped_for_good(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop, "--max-freeze", "1s")
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: not slow_shop.is_frozen(), "thawed by the guard")
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.FAILED, err
    assert not slow_shop.is_frozen()
    quiesce("recover")


def test_the_guard_thaws_when_the_engine_is_killed(quiesce: CommandLine, slow_shop: Shop) -> None:
    _kill_in_the_window(quiesce, slow_shop)
    (dead,) = quiesce.executions()
    assert dead["state"] == "running"
    listed = quiesce("executions", "list")
    assert "INTERRUPTED" in listed.out
    assert f"{dead['id']} was interrupted" in listed.err
    assert "nothing of it is frozen" in quiesce("recover").out


def test_an_interrupted_backup_is_rolled_back_when_it_is_resumed(
    quiesce: CommandLine, slow_shop: Shop
) -> None:
    dead = _kill_in_the_window(quiesce, slow_shop)
    answer = quiesce("executions", "resume", dead, status=ExitStatus.FAILED)
    assert "[interrupted]" in answer.err
    assert "cuts of two points in time are never mixed" in answer.err
    assert quiesce.points("shop") == {}
    assert not (slow_shop.directory / "made").exists()
    assert "there is nothing to resume" in quiesce("executions", "resume", dead, status=ExitStatus.USAGE).err


def test_an_interrupted_backup_is_rolled_back_when_it_is_cancelled(
    quiesce: CommandLine, slow_shop: Shop
) -> None:
    dead = _kill_in_the_window(quiesce, slow_shop)
    quiesce("executions", "cancel", dead)
    assert quiesce.points("shop") == {}
    assert not (slow_shop.directory / "made").exists()
    assert [e["state"] for e in quiesce.executions()] == ["cancelled"]
    quiesce("executions", "cancel", dead, status=ExitStatus.USAGE)


def test_the_next_backup_takes_an_interrupted_one_up_by_itself(quiesce: CommandLine, slow_shop: Shop) -> None:
    _kill_in_the_window(quiesce, slow_shop)
    (slow_shop.directory / "go").touch()
    quiesce("backup", "shop", "-p", "snapshot_name=next")
    assert [(e["state"]) for e in quiesce.executions()] == ["failed", "completed"]
    assert list(quiesce.points("shop")) == ["next"]


def test_an_interrupted_restore_is_finished_when_it_is_resumed_and_stands_in_the_way_until_then(
    quiesce: CommandLine, slow_shop: Shop
) -> None:
    go, started = slow_shop.directory / "go", slow_shop.directory / "started"
    go.touch()
    slow_shop.order("tea")
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    slow_shop.order("coffee")
    go.unlink()
    started.unlink()
    process = quiesce.start("restore", "shop", "-p", "snapshot_name=one", "-p", "safety_snapshot=false")
    eventually(started.exists, "an instance is being replaced")
    process.kill()
    process.communicate()
    dead = quiesce.executions()[-1]
    eventually(lambda: not slow_shop.is_frozen() and _is_free(quiesce), "thawed by the guard")
    for command in ("backup", "suspend"):
        answer = quiesce(command, "shop", status=ExitStatus.REFUSED)
        assert "[unfinished]" in answer.err
        assert f"quiesce executions resume {dead['id']}" in answer.err
    go.touch()
    quiesce("executions", "resume", dead["id"])
    assert slow_shop.orders() == ["tea"]
    assert not slow_shop.is_frozen()
    assert [e["state"] for e in quiesce.executions()] == ["completed", "completed"]


def _kill_in_the_window(quiesce: CommandLine, shop: Shop) -> str:
    process = start_slow_backup(quiesce, shop)
    (running,) = quiesce.executions()
    process.kill()
    process.communicate()
    eventually(lambda: not shop.is_frozen(), "thawed by the guard")
    eventually(lambda: _thaws(quiesce) == 1 and _is_free(quiesce), "written down by the guard")
    return str(running["id"])


def _thaws(quiesce: CommandLine) -> int:
    with closing(sqlite3.connect(quiesce.home / "quiesce.db")) as connection:
        query = """SELECT count(*) FROM records, json_each(records.body) AS record
            WHERE json_extract(record.value, '$[0]') = 'done' AND record.value LIKE '%.fs_finalize%'"""
        return int(connection.execute(query).fetchone()[0])


def _is_free(quiesce: CommandLine) -> bool:
    with (quiesce.home / "leases" / "shop").open() as lease:
        try:
            fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
