"""Undoing a restore of a database alone: nothing that was committed is lost, whatever happens on the way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from quiesce.errors import ResourceNotFoundError
from quiesce.model.former_state import FormerState, Side
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.providers import host
from quiesce.providers.host import former_states
from quiesce.providers.host.freeze_client import FreezeClient
from quiesce.testing import RecordingContext

from .machine import Machine, Node, forget


class PowerCutError(BaseException):
    """The process is gone."""


class Database:
    """An application's database of one column."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.execute("CREATE TABLE words (word)")

    def write(self, word: str) -> None:
        """Commit one word in the place of all others."""
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            connection.execute("DELETE FROM words")
            connection.execute("INSERT INTO words VALUES (?)", (word,))

    def read(self) -> str:
        """Return the word."""
        return word_in(self.path)


def word_in(path: Path) -> str:
    """Return the word in a database."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        [[word]] = connection.execute("SELECT word FROM words")
        return str(word)


@pytest.fixture(params=["wal", "delete"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Database:
    return Database(tmp_path / "shop.db", request.param)


@pytest.fixture
def node(database: Database) -> Node:
    return Node(host.SQLITE_ALONE, path=str(database.path))


def beside(database: Database) -> Path:
    """What is ours beside the database."""
    return database.path.with_name(".quiesce-shop.db")


def put(machine: Machine, node: Node, to: Side = Side.FORMER) -> None:
    """Undo the restore, or undo that."""
    machine.do(node, Operation.REVERT, parameters=Parameters(undo_to=to))


def kept(machine: Machine, node: Node) -> FormerState | None:
    """Return what is kept."""
    return machine.provider.former_state(machine.call(node, Operation.REVERT), RecordingContext(timeout_s=20))


def saved(machine: Machine, node: Node, database: Database) -> None:
    """Save "saved", and go on with "former"."""
    database.write("saved")
    machine.save(node, full=True)
    database.write("former")


def restore(machine: Machine, node: Node, execution: str = "restore1") -> None:
    """Put "saved" back."""
    machine.do(node, Operation.APPLY, full=True, execution=execution)


def test_an_undo_and_its_undo_as_often_as_wanted(machine: Machine, node: Node, database: Database) -> None:
    saved(machine, node, database)
    with closing(sqlite3.connect(database.path)) as application:
        restore(machine, node)
        machine.do(node, Operation.CONFIRM, execution="restore1")
        state = kept(machine, node)
        assert state is not None
        assert (state.execution, state.kept, state.succeeded) == ("restore1", Side.FORMER, True)
        assert application.execute("SELECT word FROM words").fetchall() == [("saved",)]
        database.write("written since")
        for _ in range(2):
            put(machine, node)
            put(machine, node)
            assert application.execute("SELECT word FROM words").fetchall() == [("former",)]
            put(machine, node, Side.RESTORED)
            assert application.execute("SELECT word FROM words").fetchall() == [("written since",)]
    forget(machine, node)
    assert not beside(database).exists()
    with pytest.raises(ResourceNotFoundError, match="restore"):
        put(machine, node)


def test_a_restore_that_is_run_again_keeps_the_first_former_state(
    machine: Machine, node: Node, database: Database
) -> None:
    saved(machine, node, database)
    restore(machine, node)
    database.write("written in between")
    restore(machine, node, "restore2")
    machine.do(node, Operation.CONFIRM, execution="restore2")
    put(machine, node)
    assert database.read() == "former"
    older = [word_in(path) for path in beside(database).glob(".former-*/content")]
    assert older == ["written in between"]


def test_the_next_restore_that_succeeds_takes_its_place(
    machine: Machine, node: Node, database: Database
) -> None:
    saved(machine, node, database)
    restore(machine, node)
    machine.do(node, Operation.CONFIRM, execution="restore1")
    database.write("second")
    restore(machine, node, "restore2")
    machine.do(node, Operation.CONFIRM, execution="restore2")
    put(machine, node)
    assert database.read() == "second"


def test_where_there_was_no_database_there_is_nothing_to_go_back_to(
    machine: Machine, node: Node, database: Database
) -> None:
    saved(machine, node, database)
    database.path.unlink()
    restore(machine, node)
    assert database.read() == "saved"
    assert kept(machine, node) is None
    forget(machine, node)
    assert not beside(database).exists()


def cutting(monkeypatch: pytest.MonkeyPatch, nth: int) -> Callable[[], bool]:
    """Cut the power before the *nth* durable step of a replacement, or after it was asked for."""
    steps = 0
    cut = False

    def counted(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            nonlocal steps, cut
            if name == "run" and dict(arguments[1]).get("kind") != "replace":  # type: ignore[call-overload]
                return original(*arguments, **named)
            steps += 2
            if steps - 1 == nth:
                cut = True
                raise PowerCutError
            answer = original(*arguments, **named)
            if steps == nth:
                cut = True
                raise PowerCutError
            return answer

        return step

    monkeypatch.setattr(FreezeClient, "run", counted("run", FreezeClient.run))
    for name in ("write_json", "move", "remove"):
        monkeypatch.setattr(former_states, name, counted(name, getattr(former_states, name)))
    monkeypatch.setattr(former_states.os, "replace", counted("replace", former_states.os.replace))
    return lambda: cut


@pytest.mark.parametrize("nth", range(1, 13))
def test_a_restore_that_is_cut_off_anywhere_loses_nothing(
    machine: Machine, node: Node, database: Database, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Whatever was there is there, or is what an undo puts back."""
    saved(machine, node, database)
    with monkeypatch.context() as patch:
        was_cut = cutting(patch, nth)
        try:
            restore(machine, node)
        except PowerCutError:
            assert was_cut()
        else:
            pytest.skip("it has no more steps")
    now = database.read()
    assert now in {"former", "saved"}
    assert (kept(machine, node) is None) == (now == "former")
    if now == "saved":
        put(machine, node)
        assert database.read() == "former"
        put(machine, node, Side.RESTORED)
        assert database.read() == "saved"
    database.write("written after it")
    restore(machine, node, "restore2")
    machine.do(node, Operation.CONFIRM, execution="restore2")
    assert database.read() == "saved"
    put(machine, node)
    words = {word_in(path) for path in beside(database).glob(".*/content")} | {database.read()}
    assert {"written after it", "saved"} <= words
    assert ("former" in words) == (now == "saved")
    forget(machine, node)
    assert not beside(database).exists()


@pytest.mark.parametrize("nth", range(1, 11))
def test_an_undo_that_is_cut_off_anywhere_is_gone_on_with(
    machine: Machine, node: Node, database: Database, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    saved(machine, node, database)
    restore(machine, node)
    machine.do(node, Operation.CONFIRM, execution="restore1")
    database.write("written since")
    with monkeypatch.context() as patch:
        was_cut = cutting(patch, nth)
        try:
            put(machine, node)
        except PowerCutError:
            assert was_cut()
        else:
            pytest.skip("it has no more steps")
    now, state = database.read(), kept(machine, node)
    assert state is not None
    assert now == ("written since" if state.kept is Side.FORMER else "former")
    database.write(f"{now}, and more")
    put(machine, node)
    if now == "written since":
        assert database.read() == "former"
        put(machine, node, Side.RESTORED)
        assert database.read() == "written since, and more"
    else:
        assert database.read() == "former, and more"
        put(machine, node, Side.RESTORED)
        assert database.read() == "written since"


def test_what_is_committed_while_it_is_restored_is_kept_or_comes_after(
    machine: Machine, node: Node, tmp_path: Path
) -> None:
    """Every word that was acknowledged is in the former state, in order, or was written after the restore."""
    path = Path(str(node.properties["path"]))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO words VALUES ('saved')")
    machine.save(node, full=True)
    done = threading.Event()
    acknowledged: list[int] = []

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
                connection.execute("INSERT INTO log VALUES (?)", (number,))
            acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(acknowledged) < 5:
            done.wait(0.01)
        restore(machine, node)
    finally:
        done.set()
        writer.join()
    (former,) = beside_of(path).glob(".undo/content")
    before = numbers_in(former)
    after = numbers_in(path)
    assert before == list(range(1, len(before) + 1))
    assert before + after == acknowledged


def beside_of(path: Path) -> Path:
    """What is ours beside a database."""
    return path.with_name(f".quiesce-{path.name}")


def numbers_in(path: Path) -> list[int]:
    """Return what was logged."""
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM log ORDER BY number")]
