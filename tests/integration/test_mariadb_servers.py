"""Real MariaDB servers under load, held, saved and restored; a ledger of acknowledged writes is the judge."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from tests.repository_objects import packs, spoil

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")

from tests.labs.databases.ledger import Ledger
from tests.labs.databases.server import wait_until
from tests.labs.databases.subjects import DeploymentSubject, settings_below
from tests.labs.mariadb.server import MariaDBServer, program

from quiesce.errors import (
    CannotFreezeError,
    InUseError,
    NonRecoverableError,
    ProbeFailedError,
    ProviderError,
    RecoverableError,
    UntrustedPathError,
)
from quiesce.model.former_state import Side
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.providers import mariadb
from quiesce.providers.mariadb import copying, restore
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.provider import MariaDBProvider
from quiesce.providers.mariadb.staging import Staging
from quiesce.testing.contexts import RecordingContext

pytestmark = pytest.mark.timeout(900)

#: how many cuts are made under load, and restored
CUTS = int(os.environ.get("QUIESCE_CUTS", "2"))


class Deployment(DeploymentSubject):
    """One server of a deployment, asked operation by operation."""

    node_type = mariadb.SERVER
    capabilities = mariadb.DESCRIPTION.kinds[0].capabilities
    timeout_s = 120.0

    @classmethod
    def of(cls, root: Path, socket: str, **properties: Json) -> Self:
        """Return the server behind *socket*."""
        self = cls()
        self.properties: dict[str, Json] = {"host": socket, "hold": True, **properties}
        self.root, self.provider_now = root, MariaDBProvider(settings_below(root))
        return self

    def back_up(self, number: int = 1) -> Outcome:
        """Make a restore point, as the workflow does."""
        self.do(Operation.PREPARE, number)
        cut = self.do(Operation.SNAPSHOT, number)
        return self.do(Operation.COPY, number, artifact=cut.artifact)


class MariaDBLedger(Ledger):
    """Half of the writers write without transactions."""

    server: MariaDBServer

    def work(self, writer: int) -> None:
        insert = f"INSERT INTO shop.{'plain' if writer % 2 else 'ledger'} VALUES (%s)"
        with contextlib.closing(self.server.connect()) as session, session.cursor() as cursor:
            self.write(lambda number: cursor.execute(insert, (number,)))


def written(server: MariaDBServer) -> frozenset[int]:
    """Return the numbers that the server holds."""
    rows = server.ask("SELECT n FROM shop.ledger UNION ALL SELECT n FROM shop.plain")
    return frozenset(number for (number,) in rows)


@contextlib.contextmanager
def running(**settings: object) -> Iterator[tuple[MariaDBServer, Path]]:
    with MariaDBServer.started(**settings) as server:
        server.ask("CREATE DATABASE shop")
        server.ask("CREATE TABLE shop.ledger (n BIGINT PRIMARY KEY) ENGINE=InnoDB")
        server.ask("CREATE TABLE shop.plain (n BIGINT PRIMARY KEY) ENGINE=Aria")
        yield server, server.root


@pytest.fixture
def found() -> Iterator[tuple[MariaDBServer, Deployment]]:
    """A server that saves itself."""
    program("mariadb-backup")
    with running() as (server, root):
        deployment = Deployment.of(root, str(server.socket), data_directory=str(server.data), hold=False)
        with contextlib.closing(deployment.provider_now):
            yield server, deployment


@pytest.fixture
def held() -> Iterator[tuple[MariaDBServer, Deployment]]:
    """A server whose files others cut."""
    with running() as (server, root):
        deployment = Deployment.of(root, str(server.socket))
        with contextlib.closing(deployment.provider_now):
            yield server, deployment


# -- what was acknowledged, and nothing later -------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, CUTS + 1))
def test_a_cut_under_load_holds_what_was_acknowledged_and_nothing_later(
    found: tuple[MariaDBServer, Deployment], number: int
) -> None:
    server, deployment = found
    with MariaDBLedger(server) as ledger:
        deployment.do(Operation.PREPARE)
        ledger.wait_for_more()
        server.ask("CREATE TABLE shop.later AS SELECT 1 AS n")
        before, _ = ledger.now()
        cut = deployment.do(Operation.SNAPSHOT)
        _, tried = ledger.now()
        ledger.wait_for_more()
        server.ask("DROP TABLE shop.later")
        saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert before <= written(server) <= tried
    assert server.ask("SELECT n FROM shop.later") == [(1,)]
    assert not list(deployment.root.rglob("staging"))
    server.ask("INSERT INTO shop.ledger VALUES (-1)")
    server.stop()
    server.start()
    assert -1 in written(server)


def test_tables_named_like_files_of_the_backup_come_back(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    server.ask("CREATE DATABASE mariadb_backup_db")
    names = ("shop.xtrabackup_t", "shop.mariadb_backup_t", "mariadb_backup_db.t")
    for name in names:
        server.ask(f"CREATE TABLE {name} AS SELECT 1 AS n")
    saved = deployment.back_up()
    deployment.restore(saved.artifact)
    for name in names:
        assert server.ask(f"SELECT n FROM {name}") == [(1,)]


def test_what_is_dropped_before_the_cut_does_not_come_back(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    server.ask("CREATE DATABASE gone")
    for name in ("gone.t", "shop.t"):
        server.ask(f"CREATE TABLE {name} ENGINE=Aria AS SELECT 1 AS n")
    server.ask("CREATE TABLE gone.u ENGINE=InnoDB AS SELECT 1 AS n")
    deployment.do(Operation.PREPARE)
    server.ask("DROP DATABASE gone")
    server.ask("DROP TABLE shop.t")
    cut = deployment.do(Operation.SNAPSHOT)
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert ("gone",) not in server.ask("SHOW DATABASES")
    assert ("t",) not in server.ask("SHOW TABLES IN shop")


def test_a_freeze_that_is_lost_while_it_is_copied_is_replaced_by_a_lock_of_the_copy(
    found: tuple[MariaDBServer, Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, deployment = found
    deployment.properties["hold"] = True
    write_one(server)
    made: list[tuple[str, ...]] = []
    copy = copying.copy

    def losing(job: MariaDBJob, staging: Staging, name: str, *options: str) -> None:
        copy(job, staging, name, *options)
        made.append(options)
        job.holders.release(job.key, timeout_s=60.0)

    deployment.do(Operation.PREPARE)
    deployment.freeze()
    monkeypatch.setattr(copying, "copy", losing)
    cut = deployment.do(Operation.SNAPSHOT)
    assert ["--no-lock" in options for options in made] == [True, False]
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert written(server) == {-2}


def test_what_is_held_is_saved_exactly(found: tuple[MariaDBServer, Deployment]) -> None:
    """Nothing is written between the freeze and the cut, though mariadb-backup takes no lock of its own."""
    server, deployment = found
    deployment.properties["hold"] = True
    with MariaDBLedger(server) as ledger:
        deployment.do(Operation.PREPARE)
        ledger.wait_for_more()
        deployment.freeze()
        before, tried = ledger.now()
        cut = deployment.do(Operation.SNAPSHOT)
        assert deployment.is_frozen()
        assert ledger.now()[0] - before <= tried - before
        deployment.do(Operation.THAW)
        ledger.wait_for_more()
        saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert before <= written(server) <= tried


def test_files_that_are_copied_while_it_is_held_start_elsewhere() -> None:
    """Another node cuts them, one file after the other, under load."""
    with running(settings=["--innodb-flush-log-at-trx-commit=0"]) as (server, root):
        deployment = Deployment.of(root, str(server.socket))
        with MariaDBLedger(server) as ledger, contextlib.closing(deployment.provider_now):
            deployment.freeze()
            before, tried = ledger.now()
            subprocess.run(["cp", "-a", server.data, root / "copy"], check=True)
            assert deployment.is_frozen()
            deployment.do(Operation.THAW)
            ledger.wait_for_more()
        other = MariaDBServer(base=root / "other")
        shutil.rmtree(other.data)
        (root / "copy").rename(other.data)
        try:
            other.start()
            assert before <= written(other) <= tried
            for table in ("ledger", "plain"):
                assert other.ask(f"CHECK TABLE shop.{table}")[-1][-1] == "OK"
        finally:
            other.end()


# -- nothing is left in the server, and nobody waits for long ---------------------------------------------


def write_one(server: MariaDBServer) -> None:
    """Return when a write is acknowledged; no longer than the session's time-out of 20 s."""
    server.ask("REPLACE INTO shop.ledger VALUES (-2)")


def test_a_holder_that_is_killed_lets_commits_go_on_and_is_missed(
    held: tuple[MariaDBServer, Deployment],
) -> None:
    server, deployment = held
    deployment.freeze()
    os.kill(deployment.holder(), signal.SIGKILL)
    write_one(server)
    assert deployment.is_frozen() is False
    deployment.do(Operation.THAW)
    deployment.freeze()  # no stage is left
    assert deployment.is_frozen()


def test_a_session_that_nobody_keeps_alive_is_ended_by_the_server(
    held: tuple[MariaDBServer, Deployment],
) -> None:
    """As when the machine of quiesce loses its power: no end of the connection ever arrives."""
    server, deployment = held
    deployment.freeze()
    pid = deployment.holder()
    os.kill(pid, signal.SIGSTOP)
    try:
        write_one(server)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: deployment.is_frozen() is False)


def test_a_process_that_is_killed_while_it_holds_lets_commits_go_on(
    held: tuple[MariaDBServer, Deployment],
) -> None:
    server, deployment = held
    here = "tests.integration.test_mariadb_servers"
    with deployment.frozen_by_another(here, str(server.socket)) as process:
        assert deployment.is_frozen()
        process.kill()
    write_one(server)
    wait_until(lambda: not deployment.is_frozen())


def test_a_session_that_the_server_ends_is_missed(held: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = held
    deployment.freeze()
    ours = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root'"
    for (number,) in server.ask(ours):
        server.ask(f"KILL {number}")
    write_one(server)
    wait_until(lambda: deployment.is_frozen() is False)


def test_a_server_that_nobody_thaws_goes_on_when_its_time_is_over(
    held: tuple[MariaDBServer, Deployment],
) -> None:
    server, deployment = held
    deployment.freeze(5.0)
    write_one(server)
    wait_until(lambda: deployment.is_frozen() is False)


def test_it_is_held_at_once_although_a_query_runs_for_long(
    held: tuple[MariaDBServer, Deployment],
) -> None:
    """Behind such a query, other locks would have everybody wait."""
    server, deployment = held
    for number in range(3):
        server.ask("INSERT INTO shop.ledger VALUES (%s)", number)
    slow = threading.Thread(target=sleep_until_killed, args=(server,), daemon=True)
    slow.start()
    asleep = "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'"
    wait_until(lambda: server.ask(asleep))
    deployment.freeze()
    ((number,),) = server.ask(asleep)
    deployment.do(Operation.THAW)
    server.ask(f"KILL {number}")
    slow.join(60.0)


def sleep_until_killed(server: MariaDBServer) -> None:
    """Have a query run for as long as nobody ends it."""
    import pymysql

    with contextlib.suppress(pymysql.Error), contextlib.closing(server.connect(read_timeout=600)) as session:
        session.cursor().execute("SELECT SLEEP(600) FROM shop.ledger ORDER BY n")


def test_what_cannot_be_held_in_time_holds_up_nobody(held: tuple[MariaDBServer, Deployment]) -> None:
    """Somebody else's backup runs."""
    server, deployment = held
    with contextlib.closing(server.connect()) as other, other.cursor() as cursor:
        cursor.execute("BACKUP STAGE START")
        with pytest.raises(CannotFreezeError):
            deployment.freeze(1.0)
        write_one(server)
    assert deployment.is_frozen() is False


# -- what is refused --------------------------------------------------------------------------------------


def test_a_server_that_runs_is_not_replaced(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    write_one(server)
    saved = deployment.back_up()
    with pytest.raises(InUseError):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    assert written(server) == {-2}


def test_a_restore_point_of_a_newer_release_replaces_nothing(
    found: tuple[MariaDBServer, Deployment],
) -> None:
    """The server that is there would not start with it; one that is newer than the point does."""
    server, deployment = found
    saved = deployment.back_up()
    write_one(server)
    deployment.do(Operation.STOP)
    job = deployment.provider_now.job(deployment.call(Operation.APPLY), RecordingContext())
    job.remember("version", "10.6.18-MariaDB")
    with pytest.raises(NonRecoverableError, match=r"is of MariaDB 10\.6\.18"):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    deployment.do(Operation.START)
    assert written(server) == {-2}
    deployment.do(Operation.STOP)
    job.remember("version", "11.4.2-MariaDB")
    deployment.do(Operation.APPLY, artifact=saved.artifact)
    deployment.do(Operation.START)
    assert written(server) == frozenset()


def test_a_damaged_backup_replaces_nothing(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    saved = deployment.back_up()
    spoil(packs(deployment.root / "repository"))
    write_one(server)
    deployment.do(Operation.STOP)
    with pytest.raises(ProviderError):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    deployment.do(Operation.START)
    assert written(server) == {-2}


def test_a_table_that_lies_elsewhere_is_named_and_nothing_is_begun(
    found: tuple[MariaDBServer, Deployment],
) -> None:
    """What would not come back is no backup; held while others cut, it is one."""
    server, deployment = found
    elsewhere = deployment.root / "elsewhere"
    elsewhere.mkdir()
    server.own(elsewhere)
    server.ask(f"CREATE TABLE shop.apart (n INT) DATA DIRECTORY = '{elsewhere}'")
    with pytest.raises(NonRecoverableError, match=str(elsewhere)):
        deployment.do(Operation.PREPARE)
    deployment.properties = {"host": str(server.socket), "hold": True}
    findings = deployment.provider_now.doctor(deployment.call(Operation.MEASURE), RecordingContext())
    assert all(finding.passed for finding in findings), findings
    assert any(str(elsewhere) in finding.detail for finding in findings)
    discovered = deployment.provider_now.discover({"host": str(server.socket)})
    assert discovered["node_templates"]["mariadb_3306"]["properties"]["hold"] is True  # type: ignore[index, call-overload]


def test_a_damaged_table_does_not_pass(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    for number in range(2000):
        server.ask("INSERT INTO shop.plain VALUES (%s)", number)
    server.stop()
    path = server.data / "shop/plain.MAI"
    data = bytearray(path.read_bytes())
    data[8192 + 100 : 8192 + 400] = bytes(300)
    path.write_bytes(data)
    server.start()
    with pytest.raises(ProbeFailedError, match="plain"):
        deployment.do(Operation.PROBE)


def test_a_program_that_an_upgrade_has_exchanged_is_started_by_its_name(tmp_path: Path) -> None:
    program = Path(shutil.copy(shutil.which("sleep") or "", tmp_path / "mariadbd"))
    deployment = Deployment.of(tmp_path, "/nowhere", data_directory=str(tmp_path))
    with subprocess.Popen([program, "600"]) as process, contextlib.closing(deployment.provider_now) as asked:
        try:
            wait_until(lambda: b"600" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
            program.unlink()
            job = asked.job(deployment.call(Operation.STOP), RecordingContext())
            restore._remember_command(job, process.pid)
        finally:
            process.kill()
    assert json.loads(job.recall("started")) == [str(program), "600"]


def test_a_server_that_ends_while_it_is_waited_for_is_said(held: tuple[MariaDBServer, Deployment]) -> None:
    """It was started by somebody else, so nothing of ours has said why."""
    server, deployment = held
    server.stop()
    deployment.properties["data_directory"] = str(server.data)
    job = deployment.provider_now.job(deployment.call(Operation.START), RecordingContext())
    with pytest.raises(RecoverableError, match="ended again"):
        restore._answers(job)


# -- the way back, and what is found ----------------------------------------------------------------------


def test_an_undone_restore_gives_back_what_was_there(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    server.ask("INSERT INTO shop.ledger VALUES (1)")
    saved = deployment.back_up()
    server.ask("INSERT INTO shop.ledger VALUES (2)")
    deployment.restore(saved.artifact)
    assert written(server) == {1}
    for wanted, numbers in ((Side.FORMER, {1, 2}), (Side.RESTORED, {1})):
        deployment.do(Operation.STOP)
        deployment.do(Operation.REVERT, parameters=Parameters(undo_to=wanted))
        deployment.do(Operation.START)
        deployment.do(Operation.PROBE)
        assert written(server) == numbers


def test_doctor_passes_and_discover_writes_the_blueprint(found: tuple[MariaDBServer, Deployment]) -> None:
    server, deployment = found
    findings = deployment.provider_now.doctor(deployment.call(Operation.MEASURE), RecordingContext())
    assert all(finding.passed for finding in findings), findings
    assert deployment.provider_now.discover({"host": str(server.socket)})["node_templates"] == {
        "mariadb_3306": {
            "type": mariadb.SERVER,
            "properties": {
                "host": str(server.socket),
                "port": 3306,
                "user": "root",
                "data_directory": str(server.data),
            },
        }
    }


def test_a_user_with_the_documented_rights_is_enough(found: tuple[MariaDBServer, Deployment]) -> None:
    """Also with a password that option files would misread."""
    server, deployment = found
    page = (Path(__file__).parents[2] / "docs/providers/mariadb.md").read_text()
    for statement in page.partition("```sql\n")[2].partition("```")[0].split(";"):
        if statement.strip():
            server.ask(statement)
    server.ask("SET PASSWORD FOR quiesce@localhost = PASSWORD('a\\\\b\"#c ')")
    deployment.properties |= {"user": "quiesce", "password": 'a\\b"#c ', "hold": True}
    write_one(server)
    deployment.do(Operation.PREPARE)
    deployment.freeze()
    cut = deployment.do(Operation.SNAPSHOT)
    deployment.do(Operation.THAW)
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    server.ask("DELETE FROM shop.ledger")
    deployment.restore(saved.artifact)
    assert written(server) == {-2}
    left = [path for path in (deployment.root / "state").rglob("*") if path.is_file()]
    assert not any(b'b"#c' in path.read_bytes() for path in left)


# -- what the server's user may do to root ----------------------------------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whom the server's user attacks")
#: stands in the place of mariadb-backup, and says as whom it was started
SPY = """\
#!/bin/sh
id -u >>{said}
exec {program} "$@"
"""


@needs_root
def test_a_link_in_the_servers_directory_leads_root_nowhere(
    found: tuple[MariaDBServer, Deployment], tmp_path: Path
) -> None:
    """A table's file was a link to one of root's: the backup held it, and a restore gave it to the server."""
    server, deployment = found
    secret = tmp_path / "secret"
    secret.write_text("vermilion")
    secret.chmod(0o600)
    server.ask("CREATE TABLE shop.stolen (n INT) ENGINE=MyISAM")
    server.ask("FLUSH TABLES")
    (server.data / "shop" / "stolen.MYD").unlink()
    (server.data / "shop" / "stolen.MYD").symlink_to(secret)
    with pytest.raises(NonRecoverableError, match="mariadb-backup"):
        deployment.back_up()
    copies = (deployment.root / "repository").rglob("*.MYD")
    assert not any(b"vermilion" in path.read_bytes() for path in copies)


@needs_root
def test_no_program_of_the_servers_runs_as_root(
    found: tuple[MariaDBServer, Deployment], tmp_path: Path
) -> None:
    """It loads libraries from where the server says, and recovers in what the server has written."""
    server, deployment = found
    said, programs = deployment.root / "said", deployment.root / "programs"
    programs.mkdir()
    spy = programs / "mariadb-backup"
    spy.write_text(SPY.format(said=said, program=program("mariadb-backup")))
    spy.chmod(0o755)
    said.touch()
    said.chmod(0o666)
    deployment.properties["programs"] = str(programs)
    write_one(server)
    saved = deployment.back_up()
    deployment.restore(saved.artifact)
    assert written(server) == {-2}
    assert set(said.read_text().split()) == {str(server.data.stat().st_uid)}


@needs_root
@pytest.mark.parametrize("operation", [Operation.STOP, Operation.PREPARE])
def test_a_directory_that_the_servers_user_has_replaced_by_a_link_is_refused(
    found: tuple[MariaDBServer, Deployment], operation: Operation
) -> None:
    """It led to another user's, as whom the server's program would have been started."""
    server, deployment = found
    theirs = deployment.root / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, "nobody")
    server.stop()
    server.data.rename(server.base / "away")
    server.data.symlink_to(theirs)
    os.lchown(server.data, (server.base / "away").stat().st_uid, -1)
    with pytest.raises(UntrustedPathError, match="is a link"):
        deployment.do(operation)


@needs_root
def test_what_somebody_else_has_started_is_no_server(found: tuple[MariaDBServer, Deployment]) -> None:
    """Their program was started again as the server's user."""
    server, deployment = found
    theirs = Path(shutil.copy(shutil.which("sleep") or "", deployment.root / "mariadbd"))
    with subprocess.Popen([theirs, "600"], cwd=server.data, user="nobody") as process:
        try:
            job = deployment.provider_now.job(deployment.call(Operation.STOP), RecordingContext())
            wait_until(lambda: b"600" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
            assert process.pid not in job.processes()
            assert job.processes()
        finally:
            process.kill()


@needs_root
def test_a_user_that_the_system_knows_logs_in(found: tuple[MariaDBServer, Deployment]) -> None:
    """The server asks the kernel who has connected: root, whoever the program runs as."""
    server, deployment = found
    server.ask("ALTER USER root@localhost IDENTIFIED VIA unix_socket")
    write_one(server)
    deployment.restore(deployment.back_up().artifact)
    assert written(server) == {-2}
