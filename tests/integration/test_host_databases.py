"""Directories that hold a database under load: every cut within the freeze is transactionally clean."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.model.ids import BackupName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import ProviderSettings
from quiesce.providers import host
from quiesce.providers.host.provider import HostProvider
from quiesce.testing import RecordingContext, Subject

#: each transaction writes to both tables; what is printed was committed
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
number = 0
while True:
    number += 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO one VALUES (?, ?)", (sys.argv[2], number))
    connection.execute("INSERT INTO other VALUES (?, ?, ?)", (sys.argv[2], number, "x" * 2000))
    connection.execute("COMMIT")
    with open(sys.argv[3], "w") as acknowledged:
        acknowledged.write(str(number))
"""


class Node(Subject):
    def __init__(self, node_type: str, instance: str, **properties: Json) -> None:
        self.node_type, self.instance, self.properties = node_type, instance, properties


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[HostProvider]:
    settings = ProviderSettings(
        state_dir=str(tmp_path / "state"),
        repository=str(tmp_path / "repository"),
        keys_file=str(tmp_path / "keys"),
    )
    provider = HostProvider(settings)
    yield provider
    provider.close()


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_a_cut_of_a_directory_holds_exactly_what_was_committed_when_it_was_frozen(
    provider: HostProvider, tmp_path: Path, mode: str
) -> None:
    data = tmp_path / "data"
    database = make_database(data, mode)
    service = Node(host.SQLITE, "db_1", path=str(database))
    volume = Node(host.DIRECTORY, "data_1", path=str(data))
    writers = [start_writer(database, str(n), tmp_path / f"acknowledged-{n}") for n in range(2)]
    try:
        for point in range(5):
            wait_for_writes(tmp_path)
            do(provider, service, Operation.FREEZE)
            frozen_at = [acknowledged(tmp_path, n) for n in range(2)]
            do(provider, volume, Operation.SNAPSHOT, point=f"p{point}")
            assert provider.is_frozen(service.call(Operation.FREEZE), RecordingContext())
            do(provider, service, Operation.THAW)
            do(provider, volume, Operation.COPY, point=f"p{point}")
            saved = tmp_path / ".quiesce-data" / f"p{point}" / "content" / "shop.db"
            # a commit may have been made, and its acknowledgement not yet been written
            assert [count - at in {0, 1} for count, at in zip(counts(saved), frozen_at, strict=True)] == [
                True,
                True,
            ]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
@pytest.mark.parametrize("frozen", [False, True], ids=["thawed", "frozen"])
def test_a_database_that_is_in_use_is_restored_under_its_users(
    provider: HostProvider, tmp_path: Path, full: bool, frozen: bool
) -> None:
    database = make_database(tmp_path / "data", "wal")
    node = Node(host.SQLITE_ALONE, "db_1", path=str(database))
    user = sqlite3.connect(database, isolation_level=None)
    user.execute("INSERT INTO one VALUES ('user', 1)")
    do(provider, node, Operation.SNAPSHOT, full=full)
    do(provider, node, Operation.COPY, full=full)
    user.execute("DELETE FROM one")

    if frozen:
        do(provider, node, Operation.FREEZE, thaw_after_s=60)
    do(provider, node, Operation.APPLY, full=full)
    if frozen:
        assert provider.is_frozen(node.call(Operation.FREEZE), RecordingContext()), "it stays frozen"
        do(provider, node, Operation.THAW)

    assert user.execute("SELECT * FROM one").fetchall() == [("user", 1)]
    user.execute("INSERT INTO one VALUES ('user', 2)")
    user.close()


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_a_destroyed_database_comes_back_with_its_mode(
    provider: HostProvider, tmp_path: Path, full: bool
) -> None:
    database = make_database(tmp_path / "data", "wal")
    database.chmod(0o640)
    node = Node(host.SQLITE_ALONE, "db_1", path=str(database))
    do(provider, node, Operation.SNAPSHOT, full=full)
    do(provider, node, Operation.COPY, full=full)
    database.unlink()

    do(provider, node, Operation.FREEZE, restoring=True)
    do(provider, node, Operation.APPLY, full=full, restoring=True)
    do(provider, node, Operation.THAW, restoring=True)

    assert counts(database) == [0, 0]
    assert database.stat().st_mode & 0o777 == 0o640


def do(
    provider: HostProvider, node: Node, operation: Operation, *, point: str = "one", **changes: object
) -> Outcome:
    call = node.call(operation, point=BackupName(point), execution=ExecutionId(point), **changes)
    return provider.perform(call, RecordingContext(timeout_s=60))


def make_database(data: Path, mode: str) -> Path:
    data.mkdir()
    connection = sqlite3.connect(data / "shop.db")
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("CREATE TABLE one (writer TEXT, number INTEGER)")
    connection.execute("CREATE TABLE other (writer TEXT, number INTEGER, text TEXT)")
    connection.close()
    return data / "shop.db"


def start_writer(database: Path, name: str, acknowledged: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, database, name, acknowledged])


def acknowledged(root: Path, writer: int) -> int:
    path = root / f"acknowledged-{writer}"
    while not (text := path.read_text() if path.exists() else ""):
        time.sleep(0.001)
    return int(text)


def wait_for_writes(root: Path) -> None:
    goal = [acknowledged(root, n) + 5 for n in range(2)]
    ends = time.monotonic() + 60
    while any(acknowledged(root, n) < goal[n] for n in range(2)):
        assert time.monotonic() < ends, "nothing is written"
        time.sleep(0.01)


def counts(database: Path) -> list[int]:
    """Return how many transactions of each writer are there, none of them half."""
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = []
    for writer in ("0", "1"):
        tables = [
            [
                number
                for (number,) in connection.execute(f"SELECT number FROM {t} WHERE writer = ?", (writer,))
            ]
            for t in ("one", "other")
        ]
        assert tables[0] == tables[1] == list(range(1, len(tables[0]) + 1))
        found.append(len(tables[0]))
    connection.close()
    return found
