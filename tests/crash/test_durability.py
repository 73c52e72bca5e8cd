"""What the journal has answered for is on disk, for every process that looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from quiesce.errors import SupersededError
from quiesce.model.execution import Execution
from quiesce.model.ids import DeploymentName, ExecutionId, StepId
from quiesce.model.records import Begun
from quiesce.stores.database import Database
from quiesce.stores.executions import SqlExecutions
from quiesce.stores.memory import MemoryRecords
from tests.crash.scenes import Scene

BEGUN = Begun(at=1.0, tick=1.0, step=StepId("vm.create"))


@pytest.fixture
def stores(tmp_path: Path) -> tuple[SqlExecutions, SqlExecutions]:
    """Two processes' views of one database that knows one execution."""
    url = f"sqlite:///{tmp_path}/quiesce.db"
    ours, theirs = SqlExecutions(Database(url)), SqlExecutions(Database(url))
    execution = Execution(
        id=ExecutionId("e"), deployment=DeploymentName("d"), workflow="backup", created_at=1.0
    )
    ours.add(execution, Scene("backup", "one machine", "healthy").plan)
    return ours, theirs


def test_a_record_is_there_for_others_when_append_returns(
    stores: tuple[SqlExecutions, SqlExecutions],
) -> None:
    """Nobody is answered before the commit."""
    ours, theirs = stores
    ours.take_over(ExecutionId("e")).append([BEGUN])
    assert list(theirs.journal(ExecutionId("e")).read()) == [BEGUN]


def test_a_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    """SQLite syncs its log at every commit (``synchronous`` is FULL), so a power cut loses nothing."""
    database = Database(f"sqlite:///{tmp_path}/quiesce.db")
    with database.read() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def test_an_older_writer_is_refused_and_nothing_is_written(
    stores: tuple[SqlExecutions, SqlExecutions],
) -> None:
    """A take-over makes every earlier fencing token worthless."""
    ours, theirs = stores
    mine = ours.take_over(ExecutionId("e"))
    theirs.take_over(ExecutionId("e"))
    with pytest.raises(SupersededError):
        mine.append([BEGUN])
    assert list(ours.journal(ExecutionId("e")).read()) == []


def test_the_journal_in_memory_refuses_an_older_writer_too() -> None:
    """What the power cuts are proved on behaves as the database does."""
    kept = MemoryRecords()
    mine = kept.take_over()
    kept.take_over()
    with pytest.raises(SupersededError):
        mine.append([BEGUN])
    assert kept.records == []
