"""Real Redis servers under load, held, saved and restored; a ledger of acknowledged writes is the judge."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from tests.repository_objects import left_in, packs, spoil

pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.labs.databases.ledger import Ledger
from tests.labs.databases.server import wait_until
from tests.labs.databases.subjects import DeploymentSubject, settings_below
from tests.labs.redis.server import RedisServer

from quiesce.errors import InUseError, NonRecoverableError, NoRoomError, ProviderError
from quiesce.model.former_state import Side
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.providers import redis as redis_provider
from quiesce.providers.redis import backup, client
from quiesce.providers.redis.provider import RedisProvider
from quiesce.testing.contexts import RecordingContext

pytestmark = pytest.mark.timeout(600)

#: how many cuts are made under load, and restored
CUTS = int(os.environ.get("QUIESCE_CUTS", "2"))


class Deployment(DeploymentSubject):
    """One server of a deployment, asked operation by operation."""

    node_type = redis_provider.SERVER
    capabilities = redis_provider.DESCRIPTION.kinds[0].capabilities

    @classmethod
    def of(cls, root: Path, socket: str, *, data: Path | None = None) -> Self:
        """Return the server behind *socket*; one without *data* has its files cut by others."""
        self = cls()
        self.properties: dict[str, Json] = {"host": socket}
        if data is not None:
            self.properties["data_directory"] = str(data)
        self.root, self.provider_now = root, RedisProvider(settings_below(root))
        return self

    def back_up(self, number: int = 1) -> Outcome:
        """Make a restore point, as the workflow does."""
        self.do(Operation.PREPARE, number)
        self.freeze()
        cut = self.do(Operation.SNAPSHOT, number)
        assert self.is_frozen()
        self.do(Operation.THAW, number)
        return self.do(Operation.COPY, number, artifact=cut.artifact)


class RedisLedger(Ledger):
    """Writers that connect anew when the server was away."""

    server: RedisServer

    def work(self, writer: int) -> None:
        import redis

        while not self.stopped.is_set():
            with contextlib.suppress(redis.RedisError), self.server.client() as client:
                self.write(lambda number, to=client: to.sadd("ledger", number))


def written(server: RedisServer) -> frozenset[int]:
    """Return the numbers that the server holds."""
    return frozenset(int(each) for each in server.ask("SMEMBERS", "ledger"))


@contextlib.contextmanager
def running(**settings: object) -> Iterator[tuple[RedisServer, Path]]:
    with RedisServer.started(**settings) as server:
        yield server, server.root


@pytest.fixture(params=[True, False], ids=["append-only", "dumps"])
def found(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, Deployment]]:
    with running(appends=request.param) as (server, root):
        deployment = Deployment.of(root, str(server.socket), data=server.data)
        try:
            yield server, deployment
        finally:
            deployment.provider_now.close()


@pytest.fixture
def held() -> Iterator[tuple[RedisServer, Deployment]]:
    """A server whose files others cut."""
    with running(appends=True) as (server, root):
        deployment = Deployment.of(root, str(server.socket))
        try:
            yield server, deployment
        finally:
            deployment.provider_now.close()


# -- what was acknowledged, and nothing later -------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, CUTS + 1))
def test_a_cut_under_load_holds_what_was_acknowledged_and_nothing_later(
    found: tuple[RedisServer, Deployment], number: int
) -> None:
    server, deployment = found
    with RedisLedger(server) as ledger:
        deployment.do(Operation.PREPARE)
        deployment.freeze()
        before, _ = ledger.now()
        cut = deployment.do(Operation.SNAPSHOT)
        deployment.do(Operation.THAW)
        _, tried = ledger.now()
        ledger.wait_for_more(than=tried)
        saved = deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.restore(saved.artifact)
    assert before <= written(server) <= tried
    server.ask("SADD", "ledger", 0)
    server.stop()
    server.start()
    assert 0 in written(server)  # what is written afterwards is kept


@pytest.mark.parametrize("appends", [True, False], ids=["append-only", "dumps"])
def test_files_that_are_copied_while_it_is_held_start_elsewhere(appends: bool) -> None:
    """Another node cuts them, one file after the other, under load."""
    with running(appends=appends) as (server, root):
        deployment = Deployment.of(root, str(server.socket))
        with RedisLedger(server) as ledger, contextlib.closing(deployment.provider_now):
            deployment.freeze()
            before, tried = ledger.now()
            shutil.copytree(server.data, root / "copy")
            assert deployment.is_frozen()
            deployment.do(Operation.THAW)
            ledger.wait_for_more(than=before)
        other = RedisServer(base=root / "other", appends=appends)
        shutil.rmtree(other.data)
        shutil.move(root / "copy", other.data)
        for path in (other.data, *other.data.rglob("*")):
            other.own(path)
        try:
            other.start()
            assert before <= written(other) <= tried
        finally:
            other.end()


# -- nothing is left in the server ------------------------------------------------------------------------


def test_a_holder_that_is_killed_lets_writes_go_on_and_is_missed(
    held: tuple[RedisServer, Deployment],
) -> None:
    server, deployment = held
    deployment.freeze()
    os.kill(deployment.holder(), signal.SIGKILL)
    assert server.ask("SET", "after", "1")  # answered within its time-out of ten seconds
    assert deployment.is_frozen() is False
    deployment.do(Operation.THAW)
    assert not list((deployment.root / "state/holds").glob("*.json"))


def test_a_pause_that_was_renewed_too_late_is_missed(held: tuple[RedisServer, Deployment]) -> None:
    server, deployment = held
    deployment.freeze()
    pid = deployment.holder()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert server.ask("SET", "between", "1")  # answered within its time-out of ten seconds
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: deployment.is_frozen() is False)


def test_a_server_that_was_started_anew_is_missed(held: tuple[RedisServer, Deployment]) -> None:
    """However fast: the one that is there now was not paused from the beginning."""
    server, deployment = held
    server.stop()
    server.start()  # all its figures are those of the one to come
    deployment.freeze()
    pid = deployment.holder()
    os.kill(pid, signal.SIGSTOP)  # it sees the new server only
    try:
        server.end()
        server.start()
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: deployment.is_frozen() is False)


def test_a_process_that_is_killed_while_it_holds_lets_writes_go_on(
    held: tuple[RedisServer, Deployment],
) -> None:
    server, deployment = held
    here = "tests.integration.test_redis_servers"
    with deployment.frozen_by_another(here, str(server.socket)) as process:
        assert deployment.is_frozen()
        process.kill()
    wait_until(lambda: not deployment.is_frozen())
    assert server.ask("SET", "after", "1")


def test_a_server_that_nobody_thaws_goes_on_when_its_time_is_over(
    held: tuple[RedisServer, Deployment],
) -> None:
    server, deployment = held
    deployment.freeze(5.0)
    assert server.ask("SET", "after", "1")
    wait_until(lambda: deployment.is_frozen() is False)


def test_files_that_are_rewritten_while_it_is_held_are_no_cut(held: tuple[RedisServer, Deployment]) -> None:
    server, deployment = held
    deployment.freeze()
    server.ask("BGREWRITEAOF")
    wait_until(lambda: deployment.is_frozen() is False)


def test_a_rewrite_that_runs_is_waited_for(held: tuple[RedisServer, Deployment]) -> None:
    server, deployment = held
    server.ask("CONFIG", "SET", "rdb-key-save-delay", "2000")
    with server.client() as client:
        client.mset({f"k{number}": number for number in range(300)})
    server.ask("BGREWRITEAOF")
    deployment.freeze()
    assert not server.client().info("persistence")["aof_rewrite_in_progress"]
    assert deployment.is_frozen()


# -- what is refused --------------------------------------------------------------------------------------


def test_a_state_that_was_saved_again_is_not_taken_for_the_cut(
    found: tuple[RedisServer, Deployment],
) -> None:
    server, deployment = found
    cut = deployment.do(Operation.SNAPSHOT)
    wait_until(lambda: not server.client().info("persistence")["rdb_bgsave_in_progress"])
    server.ask("SET", "later", "1")
    server.ask("SAVE")
    with pytest.raises(NonRecoverableError, match="saved again"):
        deployment.do(Operation.COPY, artifact=cut.artifact)
    deployment.do(Operation.DELETE, undo=True)
    assert left_in(deployment.root / "repository", deployment.root / "drafts") == []


def test_a_state_of_another_run_is_not_taken_for_the_cut(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    cut = deployment.do(Operation.SNAPSHOT)
    server.end()
    server.start()  # it counts its saves anew
    server.ask("SAVE")
    with pytest.raises(NonRecoverableError, match="started anew"):
        deployment.do(Operation.COPY, artifact=cut.artifact)


@pytest.mark.parametrize("late_s", [-1, 5])
def test_a_child_that_begins_to_write_late_writes_the_cut(
    found: tuple[RedisServer, Deployment], late_s: int
) -> None:
    """It holds what there was when it forked, however long it has waited; its clock may be a tick behind."""
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    artifact = deployment.do(Operation.SNAPSHOT).artifact
    assert isinstance(artifact, dict)
    forked_at = artifact["forked_at"]
    assert isinstance(forked_at, int)
    saved = deployment.do(Operation.COPY, artifact={**artifact, "forked_at": forked_at - late_s})
    deployment.restore(saved.artifact)
    assert written(server) == {1}


def test_without_room_nothing_is_begun_for_which_writes_would_be_refused(
    found: tuple[RedisServer, Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose save has failed takes no more writes."""
    server, deployment = found
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda _: usage)
    server.ask("SET", "a", "x" * 1000)
    for operation in (Operation.PREPARE, Operation.SNAPSHOT):
        with pytest.raises(NoRoomError):
            deployment.do(operation)
    assert server.ask("SET", "a", "1")


@pytest.mark.parametrize("name", ["redis.conf", "users.acl"])
def test_a_configuration_that_a_restore_would_take_away_is_named(name: str) -> None:
    """The server could not be started without it."""
    with running() as (server, root):
        deployment = Deployment.of(root, str(server.socket), data=server.data)
        with contextlib.closing(deployment.provider_now):
            inside = server.data / name
            if name == "users.acl":
                inside.touch()
                server.config.write_text(f"{server.config.read_text()}aclfile {inside}\n")
            else:
                inside = server.config = Path(shutil.copy(server.config, inside))
            server.own(inside)
            server.stop()
            server.start()
            for operation in (Operation.PREPARE, Operation.SNAPSHOT, Operation.STOP):
                with pytest.raises(NonRecoverableError, match=name):
                    deployment.do(operation)
            assert server.running
            findings = deployment.provider_now.doctor(deployment.call(Operation.MEASURE), RecordingContext())
            assert [finding.check for finding in findings if not finding.passed] == ["server"]


def test_a_server_that_runs_is_not_replaced(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    with pytest.raises(InUseError):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    assert written(server) == {1}


def test_a_damaged_backup_replaces_nothing(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    spoil(packs(deployment.root / "repository"))
    server.ask("SADD", "ledger", 2)
    deployment.do(Operation.STOP)
    with pytest.raises(ProviderError):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    deployment.do(Operation.START)
    wait_until(lambda: server.running)
    assert written(server) == {1, 2}


def test_a_server_that_has_not_loaded_what_was_restored_does_not_pass(
    found: tuple[RedisServer, Deployment],
) -> None:
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    deployment.do(Operation.STOP)
    deployment.do(Operation.APPLY, artifact=saved.artifact)
    for path in server.data.iterdir():
        path.unlink()
    deployment.do(Operation.START)
    with pytest.raises(ProviderError, match="saved"):
        deployment.provider_now.perform(
            deployment.call(Operation.PROBE, full=True), RecordingContext(timeout_s=1.0)
        )


# -- stopped by systemd -----------------------------------------------------------------------------------


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RedisServer, Deployment, Path]]:
    """A server that keeps dumps only, and a program in the place of systemctl."""
    with running() as (server, root):
        deployment = Deployment.of(root, str(server.socket), data=server.data)
        deployment.properties["systemd_unit"] = "redis.service"
        systemctl = root / "bin/systemctl"
        systemctl.parent.mkdir()
        systemctl.touch(mode=0o755)
        monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
        with contextlib.closing(deployment.provider_now):
            yield server, deployment, systemctl


def test_a_server_that_systemd_does_not_stop_goes_on(unit: tuple[RedisServer, Deployment, Path]) -> None:
    server, deployment, systemctl = unit
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ProviderError, match="systemctl stop"):
        deployment.do(Operation.STOP)
    assert server.ask("SET", "after", "1")  # answered within its time-out of ten seconds


def test_a_server_that_systemd_stops_has_saved_all_however_long_that_takes(
    unit: tuple[RedisServer, Deployment, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than other answers may take; nothing is acknowledged that is not saved."""
    server, deployment, systemctl = unit
    systemctl.write_text(f"#!/bin/sh\nkill -KILL {server.pids[0]}\n")
    monkeypatch.setattr(client, "_ANSWER_S", 0.5)
    with RedisLedger(server) as ledger:
        server.ask("SET", "a", "1")
        server.ask("CONFIG", "SET", "rdb-key-save-delay", "1000000")
        deployment.do(Operation.STOP)
        acknowledged, tried = ledger.now()
    server.start()
    assert acknowledged <= written(server) <= tried


# -- the way back, and what is found ----------------------------------------------------------------------


def test_a_probe_may_answer_with_any_bytes(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    with server.client() as asking:
        asking.set("image", b"\xff\x00")
    deployment.properties["probe"] = "GET image"
    deployment.do(Operation.PROBE)


def test_an_undone_restore_gives_back_what_was_in_memory(found: tuple[RedisServer, Deployment]) -> None:
    """What nobody had saved, too."""
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    server.ask("SADD", "ledger", 2)
    deployment.restore(saved.artifact)
    assert written(server) == {1}
    for wanted, numbers in ((Side.FORMER, {1, 2}), (Side.RESTORED, {1})):
        deployment.do(Operation.STOP)
        deployment.do(Operation.REVERT, parameters=Parameters(undo_to=wanted))
        deployment.do(Operation.START)
        deployment.do(Operation.PROBE)
        assert written(server) == numbers


def test_doctor_passes_and_discover_writes_the_blueprint(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    findings = deployment.provider_now.doctor(deployment.call(Operation.MEASURE), RecordingContext())
    assert all(finding.passed for finding in findings), findings
    assert deployment.provider_now.discover({"host": str(server.socket)})["node_templates"] == {
        "redis_6379": {
            "type": redis_provider.SERVER,
            "properties": {"host": str(server.socket), "port": 6379, "data_directory": str(server.data)},
        }
    }


def test_a_user_with_the_documented_rights_is_enough(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    page = (Path(__file__).parents[2] / "docs/providers/redis.md").read_text()
    (rule,) = (line for line in page.splitlines() if line.startswith("ACL SETUSER"))
    server.ask(*rule.split())
    deployment.properties |= {"user": "quiesce", "password": "secret"}
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    server.ask("SADD", "ledger", 2)
    with pytest.raises(ProviderError):
        _as_user(server, lambda client: client.flushall())
    deployment.do(Operation.STOP)
    deployment.do(Operation.APPLY, artifact=saved.artifact)
    server.start()
    assert written(server) == {1}


def test_a_replica_is_refused(found: tuple[RedisServer, Deployment]) -> None:
    server, deployment = found
    server.ask("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(NonRecoverableError, match="replica"):
        deployment.do(Operation.PREPARE)


def _as_user(server: RedisServer, action: Callable[[object], object]) -> None:
    import redis

    with redis.Redis(unix_socket_path=str(server.socket), username="quiesce", password="secret") as client:
        try:
            action(client)
        except redis.exceptions.NoPermissionError as error:
            raise NonRecoverableError(str(error)) from error


def test_a_restore_point_of_another_kind_of_server_is_refused(
    found: tuple[RedisServer, Deployment],
) -> None:
    """Valkey's newer dumps are of a format of their own."""
    server, deployment = found
    server.ask("SADD", "ledger", 1)
    saved = deployment.back_up()
    deployment.do(Operation.STOP)
    (told,) = (deployment.root / "state/started").iterdir()
    told.write_text(json.dumps({**json.loads(told.read_text()), "name": "other"}))
    with pytest.raises(NonRecoverableError, match="other"):
        deployment.do(Operation.APPLY, artifact=saved.artifact)
    deployment.do(Operation.START)
    assert written(server) == {1}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whom the server's user attacks")
def test_a_dump_that_is_somebody_elses_file_is_not_read(tmp_path: Path) -> None:
    """The server's user says which file it is: another server's dump, which root can read."""
    with running(appends=False) as (server, root):
        deployment = Deployment.of(root, str(server.socket), data=server.data)
        with contextlib.closing(deployment.provider_now):
            deployment.do(Operation.PREPARE)
            cut = deployment.do(Operation.SNAPSHOT)
            dump = server.data / cut.artifact["dump_name"]
            wait_until(dump.exists)
            shutil.copy(dump, root / "theirs")
            (root / "theirs").chmod(0o600)
            named = dict(cut.artifact) | {"dump_name": "../../theirs"}
            with pytest.raises(NonRecoverableError, match="is no name of a file"):
                deployment.do(Operation.COPY, artifact=named)
            (root / "theirs").rename(dump)
            with pytest.raises(NonRecoverableError, match="belongs to user 0"):
                deployment.do(Operation.COPY, artifact=cut.artifact)
