"""Base copies whose end is the cut: what is done meanwhile, and what is killed at each moment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")

from tests.integration.test_mariadb_servers import Deployment, running
from tests.labs.mariadb.server import MariaDBServer, program, wait_until

from quiesce.errors import NonRecoverableError, ProviderError
from quiesce.model.ids import BackupName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.providers.mariadb import backup
from quiesce.providers.mariadb import copying as copying_module
from quiesce.providers.mariadb import staging as staging_module
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.passage import Passage
from quiesce.providers.mariadb.staging import Staging
from quiesce.testing.contexts import RecordingContext

pytestmark = pytest.mark.timeout(900)

#: a process that is killed while a copy waits
PREPARING = """
import sys
from pathlib import Path
from tests.integration.test_mariadb_servers import Deployment
from quiesce.model.operation import Operation
deployment = Deployment.of(Path(sys.argv[1]), sys.argv[2], data_directory=sys.argv[3], hold=False)
deployment.do(Operation.PREPARE)
print("prepared", flush=True)
sys.stdin.read()
"""
#: mariadb-backup, which is killed at one moment of a join; $moment and $real are set before
KILLED = """
for word; do
    case $word in
    --target-dir=*) target=${word#*=} ;;
    --incremental-dir=*) changes=${word#*=} ;;
    esac
done
left() { find "$changes" -name '*.delta' | wc -l; }
case $moment in
log-removed) rm "$target/ib_logfile0" ;;
file-made) [ "$changes" ] || exec "$real" "$@"; truncate -s 64K "$target/shop/more.ibd" ;;
*) [ "$changes" ] || exec "$real" "$@" ;;
esac
case $moment in
first-change-applied)
    before=$(left)
    "$real" "$@" &
    for _ in $(seq 5000); do [ "$(left)" = "$before" ] || break; done
    kill -9 $! ;;
changes-joined) "$real" "$@" ;;
esac
kill -9 $$
"""
#: how long a statement may wait for a lock before it is an error, in seconds
AT_ONCE = "SET lock_wait_timeout = 2"

Found = tuple[MariaDBServer, Deployment]


@pytest.fixture
def found() -> Iterator[Found]:
    """A server that saves itself."""
    program("mariadb-backup")
    with running() as (server, root):
        deployment = Deployment.of(root, str(server.socket), data_directory=str(server.data), hold=False)
        with contextlib.closing(deployment.provider_now):
            yield server, deployment


def at_once(server: MariaDBServer, *statements: str) -> None:
    """Have them done, each of them without a wait for anybody's lock."""
    with contextlib.closing(server.connect(init_command=AT_ONCE)) as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def copying(root: Path) -> list[int]:
    """Return the processes of mariadb-backup that work below *root*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            opened = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if words[0].endswith(b"mariadb-backup") and any(name.startswith(str(root)) for name in opened):
                found.append(int(process.name))
    return found


def nothing_is_held(server: MariaDBServer) -> bool:
    """Tell whether anybody could begin a backup now."""
    import pymysql

    with contextlib.suppress(pymysql.OperationalError):
        at_once(server, "BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT", "BACKUP STAGE END")
        return True
    return False


def check_all(server: MariaDBServer) -> None:
    for (table,) in server.ask("SHOW TABLES IN shop"):
        assert server.ask(f"CHECK TABLE shop.{table} EXTENDED")[-1][-1] == "OK"


def test_what_is_done_while_the_copy_waits_is_in_it_and_waits_for_nothing(found: Found) -> None:
    server, deployment = found
    server.ask("CREATE TABLE shop.big (n BIGINT PRIMARY KEY, filler VARCHAR(500))")
    server.ask("INSERT INTO shop.big SELECT seq, REPEAT('x', 400) FROM shop.seq_1_to_20000")
    server.ask("CREATE TABLE shop.going ENGINE=InnoDB AS SELECT 1 AS n")
    deployment.do(Operation.PREPARE)
    assert copying(deployment.root)
    at_once(
        server,
        "CREATE TABLE shop.made ENGINE=InnoDB AS SELECT 1 AS n",
        "CREATE TABLE shop.plainly (n INT) ENGINE=Aria",
        "INSERT INTO shop.plainly VALUES (1), (2)",
        "ALTER TABLE shop.big ADD COLUMN more INT DEFAULT 7, FORCE",
        "CREATE TABLE shop.early LIKE shop.big",
        "INSERT INTO shop.early SELECT * FROM shop.big LIMIT 500",
        "RENAME TABLE shop.early TO shop.late",
        "DROP TABLE shop.going",
        "UPDATE shop.big SET filler = 'changed' WHERE n % 2 = 0",
        "DELETE FROM shop.big WHERE n > 19000",
        "INSERT INTO shop.ledger VALUES (1)",
    )
    cut = deployment.do(Operation.SNAPSHOT)
    assert not copying(deployment.root)
    at_once(server, "INSERT INTO shop.ledger VALUES (2)", "DROP TABLE shop.late")
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(1,)]
    assert server.ask("SELECT COUNT(*), SUM(more), SUM(filler = 'changed') FROM shop.big") == [
        (19000, 133000, 9500)
    ]
    assert server.ask("SELECT COUNT(*) FROM shop.late") == [(500,)]
    assert server.ask("SELECT SUM(n) FROM shop.plainly") == [(3,)]
    assert ("going",) not in server.ask("SHOW TABLES IN shop")
    check_all(server)


def test_a_process_that_is_killed_leaves_neither_a_copy_nor_a_lock(found: Found) -> None:
    server, deployment = found
    words = [sys.executable, "-c", PREPARING, deployment.root, server.socket, server.data]
    with subprocess.Popen(
        [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "prepared\n"
        assert copying(deployment.root)
        assert not nothing_is_held(server)
        process.kill()
    wait_until(lambda: not copying(deployment.root))
    wait_until(lambda: nothing_is_held(server))
    server.ask("INSERT INTO shop.ledger VALUES (3)")
    saved = deployment.back_up()
    server.ask("DELETE FROM shop.ledger")
    deployment.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(3,)]
    assert not [path for path in (deployment.root / "state").rglob("*") if path.is_socket()]


def end_sessions(server: MariaDBServer) -> None:
    """End all sessions but ours, as an administrator would."""
    for (number,) in server.ask("SELECT id FROM information_schema.PROCESSLIST WHERE id <> CONNECTION_ID()"):
        with contextlib.suppress(Exception):
            server.ask(f"KILL {number}")


def kill_server(server: MariaDBServer) -> None:
    server.end()
    server.start()


def kill_copy(server: MariaDBServer) -> None:
    for pid in copying(server.base.parent):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("harm", [end_sessions, kill_server, kill_copy])
def test_a_copy_that_is_lost_before_the_cut_is_no_cut(
    found: Found, harm: Callable[[MariaDBServer], None]
) -> None:
    server, deployment = found
    deployment.do(Operation.PREPARE)
    harm(server)
    with pytest.raises(ProviderError):
        deployment.do(Operation.SNAPSHOT)
    assert not copying(deployment.root)
    wait_until(lambda: nothing_is_held(server))
    deployment.do(Operation.DELETE)
    assert not list(deployment.root.rglob("staging"))
    deployment.back_up(2)


def test_a_copy_that_is_given_up_ends_at_once(found: Found) -> None:
    server, deployment = found
    deployment.do(Operation.PREPARE)
    deployment.do(Operation.DELETE)
    assert not copying(deployment.root)
    assert nothing_is_held(server)


def test_in_a_process_for_each_operation_the_copy_becomes_a_base_copy(found: Found) -> None:
    """As inside of Cloudify."""
    server, deployment = found
    deployment.do(Operation.PREPARE)
    deployment.provider_now.close()
    assert not copying(deployment.root)
    assert nothing_is_held(server)
    server.ask("INSERT INTO shop.ledger VALUES (4)")
    again = Deployment.of(deployment.root, str(server.socket), data_directory=str(server.data), hold=False)
    with contextlib.closing(again.provider_now):
        cut = again.do(Operation.SNAPSHOT)
        server.ask("INSERT INTO shop.ledger VALUES (5)")
        saved = again.do(Operation.COPY, artifact=cut.artifact)
        again.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(4,)]
    check_all(server)


def test_a_server_that_offers_encryption_is_copied_through_the_relay() -> None:
    """mariadb-backup would take the offer, and the relay could not read what it says."""
    program("mariadb-backup")
    with tempfile.TemporaryDirectory(prefix="quiesce-mariadb-tls-") as directory:
        Path(directory).chmod(0o755)
        key, certificate = Path(directory) / "key", Path(directory) / "certificate"
        words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
        words += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([program("openssl"), *words], check=True, capture_output=True)
        key.chmod(0o644)
        with running(settings=[f"--ssl-key={key}", f"--ssl-cert={certificate}"]) as (server, root):
            assert server.ask("SELECT @@have_ssl") == [("YES",)]
            properties: dict[str, Json] = {"data_directory": str(server.data), "hold": False}
            deployment = Deployment.of(root, str(server.socket), **properties)
            with contextlib.closing(deployment.provider_now):
                call = deployment.call(
                    Operation.PREPARE, full=True, point=BackupName("p1"), execution=ExecutionId("e1")
                )
                deployment.provider_now.perform(call, RecordingContext(timeout_s=20.0))
                assert copying(root)
                deployment.do(Operation.DELETE)


# -- copies that are joined, and the join is killed ---------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True], ids=["one-copy", "base-and-changes"])
def test_a_copy_whose_join_is_killed_is_joined_by_the_next_try(found: Found, apart: bool) -> None:
    """Killed at any moment of it; and once more between the join and the store."""
    server, deployment = found
    deployment.do(Operation.PREPARE)
    if apart:
        deployment.provider_now.close()
    server.ask("CREATE TABLE shop.more (n BIGINT PRIMARY KEY, filler VARCHAR(500))")
    server.ask("INSERT INTO shop.more SELECT seq, REPEAT('y', 300) FROM shop.seq_1_to_10000")
    server.ask("INSERT INTO shop.ledger VALUES (6)")
    cut = deployment.do(Operation.SNAPSHOT)
    for number in range(6):
        with killed_after(deployment.root, number * 0.04), contextlib.suppress(NonRecoverableError):
            deployment.do(Operation.COPY, artifact=cut.artifact)
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(6,)]
    assert server.ask("SELECT COUNT(*) FROM shop.more") == [(10000,)]
    check_all(server)


@pytest.mark.parametrize("moment", ["log-removed", "file-made", "first-change-applied", "changes-joined"])
def test_a_join_that_is_killed_at_a_moment_loses_nothing(found: Found, moment: str) -> None:
    """mariadb-backup removes what it has applied; and then every table that it finds no change of.

    And where a new table's file has no first page yet, it cannot make it.
    """
    server, deployment = found
    programs = deployment.root / "programs"
    programs.mkdir(mode=0o755)
    wrapper, real = programs / "mariadb-backup", program("mariadb-backup")
    write_program(wrapper, f'#!/bin/sh\nexec {real} "$@"\n')
    deployment.properties["programs"] = str(programs)
    deployment.do(Operation.PREPARE)
    deployment.provider_now.close()
    server.ask("CREATE TABLE shop.more (n BIGINT PRIMARY KEY, filler VARCHAR(500))")
    server.ask("INSERT INTO shop.more SELECT seq, REPEAT('y', 300) FROM shop.seq_1_to_5000")
    server.ask("CREATE TABLE shop.plainly (n INT) ENGINE=Aria")
    server.ask("INSERT INTO shop.plainly VALUES (1), (2)")
    server.ask("INSERT INTO shop.ledger VALUES (8)")
    if moment == "file-made":
        write_pages(server)
    cut = deployment.do(Operation.SNAPSHOT)
    changed = digests(deployment.root)
    write_program(wrapper, f"#!/bin/sh\nmoment={moment} real={real}\n{KILLED}")
    for _ in range(2):
        with pytest.raises(NonRecoverableError, match="exit status -9"):
            deployment.do(Operation.COPY, artifact=cut.artifact)
        assert digests(deployment.root) == changed
    write_program(wrapper, f'#!/bin/sh\nexec {real} "$@"\n')
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(8,)]
    assert server.ask("SELECT COUNT(*) FROM shop.more") == [(5000,)]
    assert server.ask("SELECT SUM(n) FROM shop.plainly") == [(3,)]
    check_all(server)


@pytest.mark.parametrize("apart", [False, True], ids=["one-copy", "base-and-changes"])
def test_what_was_copied_before_the_machine_was_started_is_no_backup(
    found: Found, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mariadb-backup has nothing written to the disk, and InnoDB takes lost pages for new ones."""
    _, deployment = found
    deployment.do(Operation.PREPARE)
    if apart:
        deployment.provider_now.close()
    cut = deployment.do(Operation.SNAPSHOT)
    monkeypatch.setattr(staging_module, "_boot", lambda: b"another one")
    with pytest.raises(NonRecoverableError, match="has been started since"):
        deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.do(Operation.DELETE)
    deployment.back_up(2)


@pytest.mark.parametrize("apart", [False, True], ids=["one-copy", "base-and-changes"])
def test_what_was_joined_is_not_joined_again(
    found: Found, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the join and the end of the store."""
    server, deployment = found
    deployment.do(Operation.PREPARE)
    if apart:
        deployment.provider_now.close()
    server.ask("INSERT INTO shop.ledger VALUES (7)")
    cut = deployment.do(Operation.SNAPSHOT)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_store", fail)
        with pytest.raises(KeyboardInterrupt):
            deployment.do(Operation.COPY, artifact=cut.artifact)
    joined: list[tuple[str, ...]] = []

    def run(job: MariaDBJob, staging: Staging, passage: Passage, *words: str) -> None:
        joined.append(words)

    monkeypatch.setattr(copying_module, "_run", run)
    saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    assert joined == []
    deployment.restore(saved.artifact)
    assert server.ask("SELECT n FROM shop.ledger") == [(7,)]
    check_all(server)


def write_pages(server: MariaDBServer) -> None:
    """Have InnoDB write its pages: what it has in its log only is no change of a page, but a new file."""
    for name in ("innodb_max_dirty_pages_pct_lwm", "innodb_max_dirty_pages_pct"):
        server.ask(f"SET GLOBAL {name} = 0")
    age = "SHOW GLOBAL STATUS LIKE 'Innodb_checkpoint_age'"
    wait_until(lambda: int(server.ask(age)[0][1]) < 100_000)


def digests(root: Path) -> dict[str, str]:
    """Return what the changes of the backup below *root* hold."""
    (changes,) = root.rglob("staging/copies/changes")
    return {
        str(path.relative_to(changes)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in changes.rglob("*")
        if path.is_file()
    }


def write_program(path: Path, text: str) -> None:
    """Have *path* be a program that everybody may run."""
    path.write_text(text)
    path.chmod(0o755)


@contextlib.contextmanager
def killed_after(root: Path, seconds: float) -> Iterator[None]:
    """Kill mariadb-backup so long after it was started."""
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            if found := copying(root):
                time.sleep(seconds * random.uniform(0.5, 1.5))
                for pid in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()
