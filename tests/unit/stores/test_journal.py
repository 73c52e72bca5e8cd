"""The journal in the database: complete, in order, and closed to whoever was superseded."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import StoreError, SupersededError, UnknownNameError
from quiesce.model.cut_size import CutSize, Lasted
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, StepId
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan
from quiesce.model.records import Begun, Record
from quiesce.stores import database as database_module
from quiesce.stores.database import Database
from quiesce.stores.executions import SqlExecutions

from . import made
from .conftest import ON_SQLITE, empty_database

ID = ExecutionId("backup-1")
NUMBERS = itertools.count()
SHOP = DeploymentName("shop")
PLAN = Plan(workflow="backup", parameters=Parameters(), groups=(), steps=())
EXECUTION = Execution(id=ID, deployment=SHOP, workflow="backup", created_at=1.0, points=(BackupName("one"),))


def begun(name: str) -> Begun:
    return Begun(at=1.0, tick=1.0, step=StepId(name))


@pytest.fixture
def executions(database: Database) -> SqlExecutions:
    """A store that knows one execution."""
    store = SqlExecutions(database)
    store.add(EXECUTION, PLAN)
    return store


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlExecutions]:
    """A store for many examples."""
    with empty_database(tmp_path_factory.mktemp("db")) as database:
        yield SqlExecutions(database)


@made.relaxed
@given(batches=st.lists(st.lists(made.records, min_size=1, max_size=4), max_size=4))
def test_records_are_read_in_the_order_in_which_they_were_written(
    long_lived: SqlExecutions, batches: list[list[Record]]
) -> None:
    execution = ExecutionId(f"backup-{next(NUMBERS)}")
    long_lived.add(Execution(id=execution, deployment=SHOP, workflow="backup", created_at=1.0), PLAN)
    for batch in batches:
        long_lived.take_over(execution).append(batch)
    written = [record for batch in batches for record in batch]
    assert list(long_lived.journal(execution).read()) == written
    positions = [position for position, _ in long_lived.journal(execution).read_from(2)]
    assert positions == list(range(2, len(written)))


def test_a_writer_that_was_superseded_writes_nothing_any_more(executions: SqlExecutions) -> None:
    old, new = executions.take_over(ID), executions.take_over(ID)
    new.append([begun("a")])
    with pytest.raises(SupersededError):
        old.append([begun("b"), begun("c")])
    new.append([begun("d")])
    assert [record.step for record in new.read()] == ["a", "d"]  # type: ignore[union-attr]


def test_a_journal_for_reading_cannot_be_written(executions: SqlExecutions) -> None:
    with pytest.raises(SupersededError):
        executions.journal(ID).append([begun("a")])


def test_only_the_last_of_many_that_take_over_at_once_can_write(executions: SqlExecutions) -> None:
    journals = []
    threads = [threading.Thread(target=lambda: journals.append(executions.take_over(ID))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = []
    for journal in journals:
        try:
            journal.append([begun("x")])
            outcomes.append(True)
        except SupersededError:
            outcomes.append(False)
    assert outcomes.count(True) == 1


def test_a_batch_is_kept_whole_or_not_at_all(executions: SqlExecutions) -> None:
    class Unencodable(str):
        __slots__ = ()

    journal = executions.take_over(ID)
    bad = begun("b")
    object.__setattr__(bad, "attempt", object())
    with pytest.raises(TypeError):
        journal.append([begun("a"), bad])
    assert list(journal.read()) == []
    journal.append([begun(Unencodable("c"))])
    assert len(list(journal.read())) == 1


@ON_SQLITE
def test_a_locked_database_is_a_store_error_and_nothing_is_half_written(
    executions: SqlExecutions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    impatient = Database(f"sqlite:///{tmp_path}/quiesce.db")
    journal = SqlExecutions(impatient).take_over(ID)
    other = sqlite3.connect(tmp_path / "quiesce.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as caught:
        journal.append([begun("a")])
    assert "Another program holds the database" in caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    journal.append([begun("b")])
    assert [record.step for record in journal.read()] == ["b"]  # type: ignore[union-attr]
    impatient.close()


def test_an_execution_comes_back_as_it_was_and_as_it_was_updated(executions: SqlExecutions) -> None:
    assert executions.get(ID) == EXECUTION
    assert executions.plan(ID) == PLAN
    assert [e.id for e in executions.open_ones(SHOP)] == [ID]
    ended = Execution(
        id=ID, deployment=SHOP, workflow="backup", created_at=1.0, state=ExecutionState.COMPLETED
    )
    executions.update(ended)
    assert executions.list() == [ended]
    assert executions.open_ones() == []


def test_an_execution_that_owes_a_thaw_stays_open(executions: SqlExecutions) -> None:
    owing = Execution(
        id=ID, deployment=SHOP, workflow="backup", created_at=1.0, state=ExecutionState.FAILED, owes=True
    )
    executions.update(owing)
    assert executions.open_ones() == [owing]


def test_a_wish_to_cancel_is_kept(executions: SqlExecutions) -> None:
    assert executions.cancel_asked(ID) is None
    executions.ask_cancel(ID, "somebody said so")
    assert executions.cancel_asked(ID) == "somebody said so"


def test_the_last_duration_of_each_operation_is_kept(executions: SqlExecutions) -> None:
    key = (InstanceId("vm"), Operation.SNAPSHOT)
    freeze = (InstanceId("vm"), Operation.FREEZE)
    tried = Lasted(seconds=3.0, finished=False, size=CutSize(entries=5, copied_bytes=1 << 40))
    executions.keep_durations(SHOP, {key: Lasted(seconds=1.0), freeze: Lasted(seconds=2.0)})
    executions.keep_durations(SHOP, {key: tried})
    executions.keep_durations(SHOP, {})
    assert executions.durations(SHOP) == {key: tried, freeze: Lasted(seconds=2.0)}


def test_an_unknown_execution_is_answered_with_the_last_known_ones(executions: SqlExecutions) -> None:
    with pytest.raises(UnknownNameError, match="there is: backup-1"):
        executions.get("backup-2")


@pytest.mark.parametrize(
    ("changed", "stays"),
    [
        ({"state": ExecutionState.FAILED}, False),
        ({}, True),
        ({"state": ExecutionState.FAILED, "owes": True}, True),
    ],
    ids=["ended", "running", "owing"],
)
def test_only_what_is_over_can_be_forgotten(
    executions: SqlExecutions, changed: dict[str, Any], stays: bool
) -> None:
    executions.take_over(ID).append([begun("cut")])
    executions.update(dataclasses.replace(EXECUTION, **changed))
    executions.remove([ID])
    assert [execution.id for execution in executions.list()] == [ID] * stays
    assert len(list(executions.journal(ID).read())) == stays
