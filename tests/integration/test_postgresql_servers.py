"""Real PostgreSQL servers under load, saved and restored; a ledger of acknowledged writes is the judge."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.repository_objects import left_in, packs, spoil

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")

from tests.labs.databases.server import reachable_directory
from tests.labs.databases.subjects import DeploymentSubject, settings_below
from tests.labs.postgresql.server import PostgreSQLLedger, PostgreSQLServer, written

from quiesce.errors import (
    InUseError,
    MountInsideError,
    NonRecoverableError,
    ProviderError,
    RecoverableError,
    UntrustedPathError,
)
from quiesce.model.former_state import Side
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.provider_kit import server_user as owner
from quiesce.providers import postgresql
from quiesce.providers.postgresql.client import ServerSession
from quiesce.providers.postgresql.options import PostgreSQLOptions
from quiesce.providers.postgresql.provider import PostgreSQLProvider
from quiesce.testing.contexts import RecordingContext

pytestmark = pytest.mark.timeout(900)

#: how many cuts are made under load, and restored
CUTS = int(os.environ.get("QUIESCE_CUTS", "2"))


class Deployment(DeploymentSubject):
    """One server of a deployment, asked operation by operation."""

    node_type = postgresql.SERVER
    capabilities = postgresql.DESCRIPTION.kinds[0].capabilities
    timeout_s = 240.0

    def __init__(self, server: PostgreSQLServer) -> None:
        self.root, self.server = server.root, server
        self.properties: dict[str, Json] = {
            "host": str(server.run_directory),
            "data_directory": str(server.data),
        }
        self.provider_now = PostgreSQLProvider(settings_below(self.root))

    def back_up(self, number: int = 1, within: Callable[[], object] = lambda: None) -> Outcome:
        """Make a restore point; *within* is done after the base copy, right before the cut."""
        self.do(Operation.PREPARE, number)
        within()
        cut = self.do(Operation.SNAPSHOT, number)
        return self.do(Operation.COPY, number, artifact=cut.artifact)

    def slots(self) -> str:
        """Return what the server holds for anybody."""
        return self.server.query("SELECT slot_name FROM pg_replication_slots")


@contextlib.contextmanager
def deployment(**settings: object) -> Iterator[Deployment]:
    with PostgreSQLServer.started(**settings) as server:
        found = Deployment(server)
        with contextlib.closing(found.provider_now):
            yield found


@pytest.fixture
def plain() -> Iterator[Deployment]:
    with deployment() as found:
        yield found


@pytest.fixture
def split() -> Iterator[Deployment]:
    """A server over three directories, which no cut of one of them would hold together."""
    with reachable_directory("elsewhere") as elsewhere:
        for part in ("log", "space"):
            (elsewhere / part).mkdir()
            PostgreSQLServer.own(elsewhere / part)
        with deployment(log_directory=elsewhere / "log" / "pg_wal") as found:
            found.server.query(f"CREATE TABLESPACE space LOCATION '{elsewhere / 'space'}'")
            yield found


# -- what was acknowledged, and nothing later -------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, CUTS + 1))
def test_a_cut_under_load_holds_what_was_acknowledged_and_nothing_later(
    split: Deployment, number: int
) -> None:
    """Everything of before the cut is in it; nothing that was only begun after it."""
    split.server.query("CREATE TABLE large TABLESPACE space AS SELECT generate_series(1, 20000) AS n")
    with PostgreSQLLedger(split.server) as ledger:
        split.do(Operation.PREPARE)
        split.server.query("INSERT INTO large SELECT generate_series(20001, 40000)")
        before, _ = ledger.now()
        cut = split.do(Operation.SNAPSHOT)
        _, tried = ledger.now()
        ledger.wait_for_more(than=tried)
        split.server.query("DELETE FROM large")
        saved = split.do(Operation.COPY, artifact=cut.artifact)
    split.put_back(saved.artifact)
    restored = written(split.server)
    assert before <= restored <= tried
    assert split.server.query("SELECT count(*) FROM large") == "40000"
    split.server.query("CREATE EXTENSION amcheck")
    split.server.run("pg_amcheck", *split.server.connection, "--all", "--heapallindexed")
    assert (split.server.data / "pg_wal").is_symlink()
    assert split.slots() == ""


def test_what_a_restored_server_is_given_afterwards_is_there_after_its_next_restore(
    plain: Deployment,
) -> None:
    """The first restore leaves no target behind at which the second one would stop."""
    plain.server.query("CREATE TABLE ledger (n bigint)")
    for number in (1, 2, 3):
        plain.server.query(f"INSERT INTO ledger VALUES ({number})")
        saved = plain.back_up(number)
        plain.server.query("INSERT INTO ledger VALUES (99)")
        plain.put_back(saved.artifact, number)
        plain.do(Operation.CONFIRM, number)
        assert written(plain.server) == set(range(1, number + 1))
    assert "recovery_target" not in (plain.server.data / "postgresql.auto.conf").read_text()


def test_an_undone_restore_gives_back_what_was_there(split: Deployment) -> None:
    """All three directories go back, and forth again."""
    split.server.query("CREATE TABLE ledger (n bigint) TABLESPACE space; INSERT INTO ledger VALUES (1)")
    saved = split.back_up()
    split.server.query("INSERT INTO ledger VALUES (2)")
    split.put_back(saved.artifact)
    split.do(Operation.CONFIRM)
    assert written(split.server) == {1}
    for wanted, numbers in ((Side.FORMER, {1, 2}), (Side.RESTORED, {1})):
        split.do(Operation.STOP)
        for _ in range(2):
            split.do(Operation.REVERT, parameters=Parameters(undo_to=wanted))
        split.do(Operation.START)
        split.do(Operation.PROBE)
        assert written(split.server) == numbers


def test_a_server_is_started_with_its_options_and_once_with_its_directory(plain: Deployment) -> None:
    """Each start added the directory once more."""
    plain.server.stop()
    options = "-o", "-c application_name='a b' -c work_mem=5MB"
    plain.server.run("pg_ctl", "-w", "-D", plain.server.data, "-l", plain.server.log, *options, "start")
    for _ in range(2):
        plain.do(Operation.STOP)
        plain.do(Operation.START)
    words = shlex.split((plain.server.data / "postmaster.opts").read_text())
    assert [word for word in words if word.startswith("-D")] == ["-D"]
    assert plain.server.query("SHOW work_mem") == "5MB"


def test_what_is_kept_is_found_though_the_data_directory_is_a_link(plain: Deployment) -> None:
    link = plain.root / "data"
    link.symlink_to(plain.server.data)
    plain.properties["data_directory"] = str(link)
    saved = plain.back_up()
    plain.put_back(saved.artifact)
    state = plain.provider_now.former_state(plain.call(Operation.REVERT, full=True), RecordingContext())
    assert state is not None
    assert state.kept is Side.FORMER


def test_the_servers_user_is_given_no_secret_of_ours(
    plain: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What works with that user's rights can be looked into by everything else of that user."""
    monkeypatch.setenv("QUIESCE_SECRET_OTHER", "s3cret")
    environments = []
    popen = subprocess.Popen

    def spy(*arguments: object, **options: object) -> object:
        environments.append(options.get("env", os.environ))
        return popen(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(owner.subprocess, "Popen", spy)
    plain.do(Operation.CONFIRM, parameters=Parameters(keep_undo_s=0))
    assert environments
    assert not [each for each in environments if "s3cret" in each.values()]  # type: ignore[attr-defined]


# -- what goes wrong between the base copy and the end of the cut -----------------------------------------


def test_a_cut_whose_log_was_let_go_is_refused_and_leaves_nothing(plain: Deployment) -> None:
    """The session that held the log was ended, and the server has used its files again."""
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")

    def let_go() -> None:
        plain.server.query("SELECT pg_terminate_backend(active_pid, 30000) FROM pg_replication_slots")
        for _ in range(3):
            plain.server.query("INSERT INTO ledger VALUES (2); SELECT pg_switch_wal(); CHECKPOINT")

    with pytest.raises(NonRecoverableError, match="has removed"):
        plain.back_up(within=let_go)
    plain.do(Operation.DELETE, undo=True)
    assert plain.slots() == ""
    assert left_in(plain.root / "repository", plain.root / "drafts") == []


def test_a_cut_whose_session_was_ended_is_whole_when_its_log_is_still_there(plain: Deployment) -> None:
    """Nobody is sent away for what did no harm; every page of the log was looked at."""
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")
    held = "SELECT pg_terminate_backend(active_pid, 30000) FROM pg_replication_slots"
    saved = plain.back_up(within=lambda: plain.server.query(held))
    plain.server.query("INSERT INTO ledger VALUES (2)")
    plain.put_back(saved.artifact)
    assert written(plain.server) == {1}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_restarted_before_the_cut_is_cut_exactly_or_not_at_all(
    plain: Deployment, mode: str
) -> None:
    """A crash of the server is no excuse for a wrong restore point."""
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")

    def restart() -> None:
        plain.server.query("INSERT INTO ledger VALUES (2)")
        plain.server.stop(mode)
        plain.server.start()
        plain.server.query("INSERT INTO ledger VALUES (3)")

    try:
        saved = plain.back_up(within=restart)
    except ProviderError:
        plain.do(Operation.DELETE, undo=True)
    else:
        plain.server.query("INSERT INTO ledger VALUES (4)")
        plain.put_back(saved.artifact)
        assert written(plain.server) == {1, 2, 3}
    assert plain.slots() == ""


def test_a_server_that_is_down_cannot_be_cut_and_says_so(plain: Deployment) -> None:
    plain.do(Operation.PREPARE)
    plain.server.stop()
    with pytest.raises(ProviderError, match="cannot be used"):
        plain.do(Operation.SNAPSHOT)
    plain.do(Operation.DELETE, undo=True)


def test_another_server_in_its_place_is_found_out(plain: Deployment) -> None:
    """The cut of one server says nothing of the base copy of another one."""
    plain.do(Operation.PREPARE)
    plain.server.stop()
    with deployment() as other:
        plain.properties["host"] = str(other.server.run_directory)
        with pytest.raises(NonRecoverableError, match="another server"):
            plain.do(Operation.SNAPSHOT)
        assert other.slots() == ""


def test_a_session_that_does_not_end_is_not_waited_for_without_end(plain: Deployment) -> None:
    options = PostgreSQLOptions(host=str(plain.server.run_directory))
    with ServerSession(options) as holding, ServerSession(options, timeout_s=1.0) as asking:
        holding.hold_wal("held")
        ((process,),) = holding.rows("SELECT pg_backend_pid()")
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(RecoverableError, match="held"):
                asking.release_wal("held")
        finally:
            os.kill(process, signal.SIGCONT)
        asking.release_wal("held")
        assert plain.slots() == ""


# -- what is refused before anything is touched -----------------------------------------------------------


def test_a_server_that_runs_is_not_replaced(plain: Deployment) -> None:
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")
    saved = plain.back_up()
    with pytest.raises(InUseError):
        plain.do(Operation.APPLY, artifact=saved.artifact)
    assert written(plain.server) == {1}


def test_a_damaged_backup_replaces_nothing(plain: Deployment) -> None:
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")
    saved = plain.back_up()
    spoil(packs(plain.root / "repository"))
    plain.server.query("INSERT INTO ledger VALUES (2)")
    plain.do(Operation.STOP)
    with pytest.raises(ProviderError) as caught:
        plain.do(Operation.APPLY, artifact=saved.artifact)
    assert not caught.value.retryable
    plain.do(Operation.START)
    assert written(plain.server) == {1, 2}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_directory_that_is_a_mount_point_is_named_and_left_alone() -> None:
    """Its content cannot change places with another's at one instant."""
    with tempfile.TemporaryDirectory(prefix="quiesce-mount-") as name:
        mount = Path(name)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "quiesce-test", name], check=False, capture_output=True
        )
        if done.returncode != 0:
            pytest.skip("nothing can be mounted here")
        try:
            mount.chmod(0o755)
            PostgreSQLServer.own(mount)
            with deployment(log_directory=mount / "pg_wal") as found:
                saved = found.back_up()
                found.do(Operation.STOP)
                found.do(Operation.APPLY, artifact=saved.artifact)  # a directory below it is fine
                found.do(Operation.START)
                found.do(Operation.PROBE)
                found.do(Operation.STOP)
                found.properties["data_directory"] = name
                assert _inspect(found) == ["mount-inside"]
                with pytest.raises(MountInsideError, match=name):
                    found.do(Operation.APPLY, artifact=saved.artifact)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def _inspect(found: Deployment) -> list[str]:
    call = found.call(Operation.APPLY, full=True)
    target = found.provider_now.inspect_target(call, RecordingContext(timeout_s=60.0))
    return [problem.code for problem in target.problems]


def test_doctor_names_what_is_split_and_passes(split: Deployment) -> None:
    findings = split.provider_now.doctor(split.call(Operation.MEASURE), RecordingContext(timeout_s=60.0))
    assert all(finding.passed for finding in findings), findings
    parts = [finding.detail.partition(":")[0] for finding in findings if finding.check == "storage"]
    assert parts == ["data", "log", "tablespace space"]


def test_a_role_with_the_documented_rights_is_enough(plain: Deployment) -> None:
    """Nobody has to give a backup program the rights of a superuser."""
    page = (Path(__file__).parents[2] / "docs/providers/postgresql.md").read_text()
    for statement in page.partition("```sql\n")[2].partition("```")[0].split(";"):
        if statement.strip():
            plain.server.query(statement)
    plain.server.query("CREATE TABLE ledger AS SELECT 1::bigint AS n")
    plain.properties |= {"user": "quiesce", "password": "secret"}
    findings = plain.provider_now.doctor(plain.call(Operation.MEASURE), RecordingContext(timeout_s=60.0))
    assert all(finding.passed for finding in findings), findings
    saved = plain.back_up()
    plain.server.query("INSERT INTO ledger VALUES (2)")
    plain.put_back(saved.artifact)
    assert written(plain.server) == {1}


def test_discover_writes_a_blueprint_of_what_listens(plain: Deployment) -> None:
    found = plain.provider_now.discover({"host": str(plain.server.run_directory)})
    assert found["node_templates"] == {
        "postgresql_5432": {
            "type": postgresql.SERVER,
            "properties": {
                "host": str(plain.server.run_directory),
                "port": 5432,
                "user": "postgres",
                "data_directory": str(plain.server.data),
            },
        }
    }


# -- what others may do to root ---------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whom the server's user attacks")
def test_a_directory_that_the_servers_user_has_replaced_by_a_link_is_refused(plain: Deployment) -> None:
    """It led to another user's, as whom the server's program would have been started."""
    theirs = plain.root / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, "nobody")
    plain.server.end()
    plain.server.data.rename(plain.server.data.with_name("away"))
    plain.server.data.symlink_to(theirs)
    os.lchown(plain.server.data, plain.server.data.with_name("away").stat().st_uid, -1)
    with pytest.raises(UntrustedPathError, match="is a link"):
        plain.do(Operation.START)
