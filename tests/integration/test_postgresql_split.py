"""Split storage, cut one part after the other: what that loses, and that a server's own backup loses nothing.

The parts are copied while the server works, as volumes would be that are cut at different times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")

from tests.integration.test_postgresql_servers import Deployment
from tests.labs.postgresql.server import PostgreSQLLedger, PostgreSQLServer, written

from quiesce.model.operation import Operation

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root copies another user's files as they are"),
]

#: how many cuts are made of each kind
CUTS = int(os.environ.get("QUIESCE_CUTS", "2"))


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A server whose log lies elsewhere."""
    with room() as root:
        server = PostgreSQLServer(base=root / "server", log_directory=root / "server/log")
        found = Deployment(server)
        try:
            server.start()
            server.query("CREATE EXTENSION amcheck")
            yield found
        finally:
            found.provider_now.close()
            server.end()


@pytest.fixture
def split(deployment: Deployment) -> PostgreSQLServer:
    return deployment.server


@contextlib.contextmanager
def room() -> Iterator[Path]:
    """Give a directory that the server's user can reach."""
    with tempfile.TemporaryDirectory(prefix="quiesce-split-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def copy(server: PostgreSQLServer, part: str, place: Path) -> None:
    """Copy the directory *part* of the server's into *place*, whatever becomes of its files meanwhile."""
    place.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(server.base / part), str(place)], check=False, stderr=subprocess.DEVNULL)


def work(server: PostgreSQLServer) -> None:
    """Return when the server has written much, and has thrown old parts of its log away."""
    for _ in range(4):
        server.query("SELECT pg_switch_wal()")
        server.query("CHECKPOINT")
        time.sleep(0.2)


def starts(place: Path) -> frozenset[int] | None:
    """Start a server on what was copied to *place*; return what it holds, None when it does not start."""
    place.chmod(0o755)
    other = PostgreSQLServer(base=place / "other")
    shutil.rmtree(other.data)
    (place / "data").rename(other.data)
    (other.data / "postmaster.pid").unlink(missing_ok=True)
    (other.data / "pg_wal").unlink()
    (other.data / "pg_wal").symlink_to(place / "log")
    with (other.data / "postgresql.conf").open("a") as file:
        file.write(f"unix_socket_directories = '{other.run_directory}'\n")
    try:
        with contextlib.suppress(AssertionError):
            other.start()
            other.run("pg_amcheck", *other.connection, "-d", "postgres", "--heapallindexed")
            return written(other)
        return None
    finally:
        other.end()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param("log", "data", id="the log before the data"),
        pytest.param("data", "log", id="the data before a log that was used again"),
    ],
)
def test_parts_that_are_cut_one_after_the_other_lose_the_server(
    split: PostgreSQLServer, first: str, then: str
) -> None:
    """This is what is at stake: no copy of these starts."""
    with PostgreSQLLedger(split), room() as root:
        for number in range(CUTS):
            place = root / str(number)
            copy(split, first, place)
            work(split)
            copy(split, then, place)
            assert starts(place) is None


def test_both_cut_at_one_instant_lose_nothing(split: PostgreSQLServer) -> None:
    """The server stands still, as its volumes do in one cut of both."""
    with PostgreSQLLedger(split) as ledger, room() as root:
        for number in range(CUTS):
            place = root / str(number)
            split.query("CHECKPOINT")
            time.sleep(0.3)
            pids = processes(split)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                before, tried = ledger.now()
                copy(split, "data", place)
                copy(split, "log", place)
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            held = starts(place)
            assert held is not None
            assert before <= held <= tried


def processes(server: PostgreSQLServer) -> list[int]:
    """Return the server's processes, the first of them first."""
    first = int((server.data / "postmaster.pid").read_text().split()[0])
    found = [first]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == first:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("number", range(1, CUTS + 1))
def test_a_servers_own_backup_of_split_storage_loses_nothing(
    deployment: Deployment, split: PostgreSQLServer, number: int
) -> None:
    """The same work, the same storage, and whatever is cut when: every copy starts and holds the ledger."""
    with PostgreSQLLedger(split) as ledger:
        time.sleep(0.3)
        deployment.do(Operation.PREPARE, number)
        work(split)
        before, _ = ledger.now()
        cut = deployment.do(Operation.SNAPSHOT, number)
        _, tried = ledger.now()
        work(split)
        saved = deployment.do(Operation.COPY, number, artifact=cut.artifact)
    deployment.restore(saved.artifact, number)
    assert before <= written(split) <= tried
    split.run("pg_amcheck", *split.connection, "-d", "postgres", "--heapallindexed")
