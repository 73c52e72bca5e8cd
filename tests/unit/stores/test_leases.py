"""Leases: one holder, named to whoever is refused, and free when the holder's process is dead."""

from __future__ import annotations

import os
import resource
import signal
import stat
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from quiesce.errors import BusyError, StoreError
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.ports import Leases
from quiesce.stores import advisory_leases
from quiesce.stores.advisory_leases import AdvisoryLeases
from quiesce.stores.database import Database
from quiesce.stores.leases import FileLeases

from .conftest import ON_SQLITE, SERVER

ON_POSTGRESQL = pytest.mark.skipif(SERVER is None, reason="make test-postgresql has a server for it")

SHOP, BANK = DeploymentName("shop"), DeploymentName("bank")
FIRST, SECOND = ExecutionId("backup-1"), ExecutionId("backup-2")


@pytest.fixture
def leases(tmp_path: Path, request: pytest.FixtureRequest) -> Leases:
    """Leases of one machine, or of all that share the PostgreSQL that a variable names."""
    if SERVER is None:
        return FileLeases(tmp_path / "leases")
    return AdvisoryLeases(request.getfixturevalue("database"), "leases")


def test_a_second_holder_is_refused_and_told_the_first(leases: Leases) -> None:
    lease = leases.acquire(SHOP, FIRST)
    with pytest.raises(BusyError, match="execution backup-1 runs on shop") as caught:
        leases.acquire(SHOP, SECOND)
    assert "quiesce executions cancel backup-1" in caught.value.hint
    lease.release()


def test_another_deployment_is_another_lease(leases: Leases) -> None:
    held = [leases.acquire(SHOP, FIRST), leases.acquire(BANK, SECOND)]
    assert (leases.holder(SHOP), leases.holder(BANK)) == (FIRST, SECOND)
    for lease in held:
        lease.release()


def test_giving_a_lease_back_twice_is_giving_it_back_once(
    leases: Leases,
) -> None:
    first = leases.acquire(SHOP, FIRST)
    first.release()
    assert leases.holder(SHOP) is None
    second = leases.acquire(SHOP, SECOND)
    first.release()
    assert leases.holder(SHOP) == SECOND
    second.release()


def test_asking_who_holds_it_takes_nothing(leases: Leases) -> None:
    assert leases.holder(SHOP) is None
    leases.acquire(SHOP, FIRST).release()
    assert leases.holder(SHOP) is None
    leases.acquire(SHOP, SECOND).release()


def test_the_lease_of_a_killed_process_is_free_at_once(leases: Leases) -> None:
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        leases.acquire(SHOP, FIRST)
        os.write(ready_write, b"x")
        signal.pause()
    os.read(ready_read, 1)
    assert leases.holder(SHOP) == FIRST
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert leases.holder(SHOP) is None
    leases.acquire(SHOP, SECOND).release()
    os.close(ready_read)
    os.close(ready_write)


@ON_SQLITE
def test_lock_files_are_private(leases: Leases, tmp_path: Path) -> None:
    leases.acquire(SHOP, FIRST).release()
    assert stat.S_IMODE((tmp_path / "leases").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "leases" / "shop").stat().st_mode) & 0o077 == 0


def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="the lease of shop"):
        FileLeases(tmp_path / "file").acquire(SHOP, FIRST)


@ON_SQLITE
def test_a_full_disk_keeps_nobody_from_a_lease(leases: Leases) -> None:
    """What thaws needs one, too."""
    leases.acquire(SHOP, FIRST).release()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        lease = leases.acquire(SHOP, FIRST)
        with pytest.raises(BusyError):
            leases.acquire(SHOP, SECOND)
        lease.release()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leases.holder(SHOP) is None


@ON_POSTGRESQL
def test_leases_of_two_kinds_are_two(database: Database) -> None:
    executions, schedulers = AdvisoryLeases(database, "leases"), AdvisoryLeases(database, "schedulers")
    held = [executions.acquire(SHOP, FIRST), schedulers.acquire(SHOP, SECOND)]
    assert (executions.holder(SHOP), schedulers.holder(SHOP)) == (FIRST, SECOND)
    for lease in held:
        lease.release()


@ON_POSTGRESQL
def test_another_machine_is_refused_too(database: Database) -> None:
    """Two machines have two homes, and nothing in common but the database."""
    here, there = AdvisoryLeases(database, "leases"), AdvisoryLeases(database, "leases")
    lease = here.acquire(SHOP, FIRST)
    with pytest.raises(BusyError, match="execution backup-1 runs on shop"):
        there.acquire(SHOP, SECOND)
    lease.release()
    there.acquire(SHOP, SECOND).release()


def _end_session(database: Database, execution: ExecutionId) -> None:
    end = sa.text(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = :name"
    )
    with database.write() as connection:
        assert connection.execute(end, {"name": f"quiesce {execution}"}).scalars().all() == [True]


@ON_POSTGRESQL
def test_a_lease_whose_session_the_server_ended_is_taken_again(database: Database) -> None:
    """A server that restarts must not let anybody settle what a living process still works on."""
    leases = AdvisoryLeases(database, "leases")
    lease = leases.acquire(SHOP, FIRST)
    for _ in range(2):
        _end_session(database, FIRST)
        for _ in range(200):
            if leases.holder(SHOP) is not None:
                break
            time.sleep(0.05)
        assert leases.holder(SHOP) == FIRST
    with pytest.raises(BusyError, match="execution backup-1 runs on shop"):
        leases.acquire(SHOP, SECOND)
    lease.release()
    assert leases.holder(SHOP) is None


@ON_POSTGRESQL
def test_a_lease_whose_session_the_server_ended_is_free_and_can_be_given_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory_leases, "LOOK_S", 3600.0)
    leases = AdvisoryLeases(database, "leases")
    lease = leases.acquire(SHOP, FIRST)
    _end_session(database, FIRST)
    second = leases.acquire(SHOP, SECOND)
    lease.release()
    assert leases.holder(SHOP) == SECOND
    second.release()
