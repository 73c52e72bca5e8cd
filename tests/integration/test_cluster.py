"""Executions in a queue, on a real PostgreSQL, with real workers that are killed: make test-cluster."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = os.environ.get("QUIESCE_TEST_DATABASE")
pytestmark = pytest.mark.skipif(SERVER is None, reason="make test-cluster has a server for it")
sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("procrastinate", reason="the extra cluster is not installed")

PATIENCE_S = 120.0
HOST = "hv1"
#: how many executions something is killed in; many: QUIESCE_KILLS=100 make test-cluster
KILLS = int(os.environ.get("QUIESCE_KILLS", "3"))
#: within so many seconds after an execution was sent
MOMENTS_S = 4.0
RESTART = os.environ.get("QUIESCE_TEST_POSTGRESQL_RESTART")
SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"
BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_4
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {{path: {root}/data}}
    interfaces:
      cloudify.interfaces.freeze:
        fs_prepare: {{implementation: slow.sh, executor: central_deployment_agent}}
        fs_finalize: {{implementation: slow.sh, executor: central_deployment_agent}}
"""
#: says what it does, and lasts until the file `go` is there
SCRIPT = """#!/bin/sh
echo "$QUIESCE_OPERATION" >> {root}/trace
while [ ! -e {root}/go ]; do sleep 0.05; done
"""


class Cluster:
    """A deployment in a database of its own, and workers with homes of their own."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.workers: list[subprocess.Popen[bytes]] = []
        (root / "data").mkdir()
        (root / "data" / "file").write_text("content")
        (root / "slow.sh").write_text(SCRIPT.format(root=root))
        (root / "blueprint.yaml").write_text(BLUEPRINT.format(root=root))
        self.quiesce("init", str(root / "blueprint.yaml"), "-b", "shop")

    def environment(self, home: str, host: str = HOST) -> dict[str, str]:
        return {
            **os.environ,
            "QUIESCE_HOME": str(self.root / home),
            "QUIESCE_DATABASE": self.url,
            "QUIESCE_HOST": host,
        }

    def run(self, *arguments: str, host: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine *host*."""
        command = [sys.executable, "-P", "-m", "quiesce.cli.main", *arguments]
        return subprocess.run(
            command,
            env=self.environment(f"home-of-{host}", host),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def quiesce(self, *arguments: str) -> str:
        done = self.run(*arguments, host=HOST)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, *arguments: str) -> Any:
        return json.loads(self.quiesce(*arguments, "--json"))

    def sql(self, query: str) -> list[Any]:
        """Ask the database itself, which settles nothing; while it restarts, ask again."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
            try:
                with engine.connect() as connection:
                    result = connection.execute(sa.text(query))
                    return [tuple(row) for row in result] if result.returns_rows else []
            except sa.exc.OperationalError:
                assert time.monotonic() < ends
                time.sleep(0.2)
            finally:
                engine.dispose()

    def add_worker(self, *arguments: str, host: str = HOST) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "quiesce.cli.main", "worker", *arguments]
        with (self.root / "workers.log").open("ab") as log:
            worker = subprocess.Popen(
                command, env=self.environment(f"home-of-{host}", host), stdout=log, stderr=log
            )
        self.workers.append(worker)
        self.wait(
            lambda: worker.pid in {each["pid"] for each in self.told("workers", "list")["workers"]["workers"]}
        )
        return worker

    def send(self, name: str, queue: str = "central") -> str:
        told = self.told(
            "backup", "shop", "--queue", queue, "--max-freeze", "300", "-p", f"snapshot_name={name}"
        )
        return str(told["queued"]["execution"])

    def queue(self, name: str = "central") -> dict[str, Any]:
        found = {each["name"]: each for each in self.told("workers", "list")["workers"]["queues"]}
        return found.get(name, {"waiting": 0, "running": 0, "failed": 0})

    def states(self) -> dict[str, str]:
        return {each["id"]: each["state"] for each in self.told("executions", "list")["executions"]}

    def points(self) -> list[str]:
        return [each["name"] for each in self.told("backups", "list", "shop")["restore_points"]]

    @property
    def trace(self) -> list[str]:
        path = self.root / "trace"
        return path.read_text().split() if path.exists() else []

    def go(self) -> None:
        (self.root / "go").touch()

    def job_of(self, worker: subprocess.Popen[bytes]) -> int | None:
        """Return the process of the job that *worker* has started."""
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        return int(children[0]) if children else None

    @property
    def log(self) -> str:
        return (self.root / "workers.log").read_text()

    def wait(self, reached: Callable[[], object]) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < ends, self.log[-3000:]
            time.sleep(0.1)

    def close(self) -> None:
        self.go()
        self.end_workers()

    def end_workers(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A new database on the server."""
    assert SERVER is not None
    name = f"cluster_{uuid.uuid4().hex}"
    administrator = sa.create_engine(SERVER, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with administrator.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = sa.make_url(SERVER).set(database=name)
    made = Cluster(tmp_path, url.render_as_string(hide_password=False))
    yield made
    made.close()
    with administrator.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    administrator.dispose()


def test_a_worker_runs_what_is_in_its_queue_and_nothing_else(cluster: Cluster) -> None:
    cluster.go()
    cluster.add_worker("--queue", "host/a")
    elsewhere, here = cluster.send("one", queue="host/b"), cluster.send("two", queue="host/a")
    cluster.wait(lambda: cluster.states().get(here) == "completed")
    assert elsewhere not in cluster.states()
    assert cluster.queue("host/b")["waiting"] == 1
    assert cluster.points() == ["two"]
    cluster.wait(lambda: cluster.queue("host/a")["running"] == 0)


def test_executions_of_one_deployment_follow_one_another(cluster: Cluster) -> None:
    cluster.add_worker()
    first, second = cluster.send("one"), cluster.send("two")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    assert cluster.queue() | {"waiting": 1, "running": 1} == cluster.queue()
    cluster.go()
    cluster.wait(lambda: cluster.states() == {first: "completed", second: "completed"})
    assert cluster.trace == ["freeze", "thaw", "freeze", "thaw"]


def test_a_worker_that_is_told_to_end_brings_what_runs_to_its_end(cluster: Cluster) -> None:
    worker = cluster.add_worker()
    running, waiting = cluster.send("one"), cluster.send("two")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=2)
    cluster.go()
    assert worker.wait(timeout=PATIENCE_S) == 0
    assert cluster.states() == {running: "completed"}
    assert waiting not in cluster.states()
    assert cluster.queue()["waiting"] == 1


def test_what_a_killed_worker_has_begun_comes_to_its_end_and_is_not_run_twice(cluster: Cluster) -> None:
    worker = cluster.add_worker()
    execution = cluster.send("one")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    worker.kill()
    cluster.add_worker()
    cluster.go()
    cluster.wait(lambda: cluster.states() == {execution: "completed"})
    cluster.wait(lambda: cluster.queue() | {"waiting": 0, "running": 0, "failed": 0} == cluster.queue())
    assert cluster.trace == ["freeze", "thaw"]
    assert cluster.points() == ["one"]


def test_what_died_with_its_worker_is_thawed_and_taken_up_by_another(cluster: Cluster) -> None:
    worker = cluster.add_worker()
    execution = cluster.send("one")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    job = cluster.job_of(worker)
    assert job is not None
    worker.kill()
    os.kill(job, signal.SIGKILL)
    cluster.go()
    cluster.wait(lambda: cluster.trace[-1] == "thaw")  # by the guard of the job, where the freeze was
    cluster.add_worker()
    cluster.wait(lambda: cluster.states() == {execution: "failed"})
    cluster.wait(lambda: cluster.queue() | {"waiting": 0, "running": 0, "failed": 1} == cluster.queue())
    assert cluster.points() == []


def test_no_other_machine_takes_up_what_a_dead_one_has_frozen(cluster: Cluster) -> None:
    worker = cluster.add_worker()
    execution = cluster.send("one")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    kill_all(worker.pid)  # its guard, too
    cluster.add_worker(host="hv2")
    cluster.go()
    cluster.wait(
        lambda: f"{execution} waits: execution {execution} ran on hv1, and this is hv2" in cluster.log
    )
    for command in (["recover"], ["backup", "shop"], ["executions", "resume", execution]):
        assert cluster.run(*command, host="hv2").returncode in (5, 7)
    assert "on hv1: quiesce recover" in cluster.run("deployments", "list", host="hv2").stderr
    assert cluster.trace == ["freeze"]
    cluster.add_worker()
    cluster.wait(lambda: cluster.states() == {execution: "failed"})
    cluster.wait(lambda: cluster.queue() | {"waiting": 0, "running": 0, "failed": 1} == cluster.queue())
    assert cluster.trace == ["freeze", "thaw"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a process another host name")
def test_a_restore_point_is_put_back_on_the_machine_that_made_it(cluster: Cluster) -> None:
    cluster.go()
    cluster.quiesce("backup", "shop", "-p", "snapshot_name=one")
    (cluster.root / "data" / "file").write_text("of another machine")
    environment = cluster.environment("home-of-hv2")
    del environment["QUIESCE_HOST"]
    inside = f"hostname hv2 && exec {sys.executable} -P -m quiesce.cli.main restore shop -p snapshot_name=one"
    done = subprocess.run(
        ["unshare", "--uts", "sh", "-c", inside],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 5
    assert (
        "restore point one was made on hv1, and this is hv2; nothing was touched [other-host]" in done.stderr
    )
    assert (cluster.root / "data" / "file").read_text() == "of another machine"
    cluster.quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert (cluster.root / "data" / "file").read_text() == "content"


def test_a_worker_is_drained_from_afar(cluster: Cluster) -> None:
    drained, other = cluster.add_worker(), cluster.add_worker(host="hv2")
    running = cluster.send("one", queue="host/hv1")
    cluster.wait(lambda: cluster.trace == ["freeze"])
    told = cluster.told("workers", "drain", "hv1")["drained"]
    assert [(each["host"], each["pid"]) for each in told] == [("hv1", drained.pid)]
    waiting = cluster.send("two", queue="host/hv1")
    cluster.go()
    assert drained.wait(timeout=PATIENCE_S) == 0
    assert cluster.states() == {running: "completed"}
    assert waiting not in cluster.states()
    assert other.poll() is None
    assert "hv2" in cluster.run("workers", "drain", "hv3", host=HOST).stderr


def test_a_job_is_run_although_numbers_begin_anew(cluster: Cluster) -> None:
    cluster.go()
    cluster.add_worker()
    first = cluster.send("one")
    cluster.wait(lambda: cluster.states() == {first: "completed"})
    cluster.wait(lambda: cluster.sql("SELECT count(*) FROM procrastinate_jobs") == [(0,)])
    cluster.sql("ALTER SEQUENCE procrastinate_jobs_id_seq RESTART")
    second = cluster.send("two")
    cluster.wait(lambda: cluster.states() == {first: "completed", second: "completed"})
    assert cluster.points() == ["one", "two"]


def test_a_worker_with_a_role_of_its_own_claims_its_own_queues_only(cluster: Cluster) -> None:
    """The SQL is that of the page."""
    cluster.go()
    others = cluster.send("others", queue="host/hv2")
    role = f"quiesce_{uuid.uuid4().hex[:8]}"
    (given,) = re.findall(r"```sql\n(CREATE ROLE quiesce_hv1.*?)```", SCALING.read_text(), re.DOTALL)
    for statement in given.replace("quiesce_hv1", role).split(";"):
        if statement.strip():
            cluster.sql(statement)
    owner = cluster.url
    try:
        cluster.url = sa.make_url(owner).set(username=role).render_as_string(hide_password=False)
        assert cluster.sql("SELECT * FROM procrastinate_jobs") == []
        assert cluster.sql("UPDATE procrastinate_jobs SET status = 'doing' RETURNING id") == []
        refused = [
            "INSERT INTO procrastinate_jobs (task_name, queue_name) VALUES ('quiesce.run', 'host/hv1')"
        ]
        refused += ["UPDATE alembic_version SET version_num = '0'", "DROP TABLE executions"]
        for statement in refused:
            with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
                cluster.sql(statement)
        cluster.add_worker("--queue", "host/hv1", "--queue", "host/hv2")
        cluster.url = owner
        own = cluster.send("own", queue="host/hv1")
        cluster.wait(lambda: cluster.states() == {own: "completed"})
        cluster.wait(lambda: cluster.queue("host/hv1")["running"] == 0)
        assert others not in cluster.states()
        assert cluster.queue("host/hv2")["waiting"] == 1
    finally:
        cluster.url = owner
        cluster.end_workers()
        cluster.sql(f"DROP OWNED BY {role}")
        cluster.sql(f"DROP ROLE {role}")


@pytest.mark.skipif(RESTART is None, reason="make test-cluster has a server that can be restarted")
def test_whatever_is_killed_nothing_stays_frozen_and_every_execution_ends(cluster: Cluster) -> None:
    cluster.go()
    # a seed of its own each time, told when it fails
    seed = int(os.environ.get("QUIESCE_SEED") or random.SystemRandom().randrange(10**6))
    chosen = random.Random(seed)
    for number in range(KILLS):
        victim = chosen.choice(sorted(VICTIMS))
        moment = chosen.uniform(0.0, MOMENTS_S)
        _kill_once(cluster, f"point-{number}", victim, moment, f"{victim} after {moment:.2f} s, seed {seed}")


def _kill_once(cluster: Cluster, name: str, victim: str, moment: float, told: str) -> None:
    worker = next((each for each in cluster.workers if each.poll() is None), None) or cluster.add_worker()
    before = len(cluster.trace)
    execution = cluster.send(name)
    time.sleep(moment)
    VICTIMS[victim](worker.pid)
    if worker.poll() is not None or victim in ("worker", "everything"):
        worker.wait()
    jobs = f"SELECT status::text FROM procrastinate_jobs WHERE args->>'execution' = '{execution}'"

    def over() -> bool:
        if all(each.poll() is not None for each in cluster.workers):
            cluster.add_worker()  # as systemd does
        return cluster.sql(jobs) in ([], [("failed",)])

    cluster.wait(over)
    found = cluster.sql(f"SELECT state, owes FROM executions WHERE id = '{execution}'")
    assert found, f"{told}: the execution is lost\n{cluster.log[-3000:]}"
    ((state, owes),) = found
    points = cluster.sql(f"SELECT state FROM restore_points WHERE name = '{name}' AND state <> 'removed'")
    trace = cluster.trace[before:]
    assert state in ("completed", "failed"), f"{told}: {state}\n{cluster.log[-3000:]}"
    assert not owes, told
    assert points == ([("complete",)] if state == "completed" else []), told
    assert "freeze" not in trace or trace[-1] == "thaw", told
    assert state != "completed" or trace.count("freeze") >= 1, told
    assert (cluster.root / "data" / "file").read_text() == "content", told


def _descendants(pid: int, word: str) -> list[int]:
    """Return the processes that *pid* has started whose command holds *word*."""
    found = []
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            own = [int(child)] if word in Path(f"/proc/{child}/cmdline").read_text() else []
            found += own + _descendants(int(child), word)
    except FileNotFoundError:  # it has just ended
        pass
    return found


def _kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _restart(_: int) -> None:
    assert RESTART is not None
    subprocess.run([RESTART], check=True, timeout=PATIENCE_S, capture_output=True)


def kill_all(pid: int) -> None:
    """Kill a process and all that it has started."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    os.kill(pid, signal.SIGSTOP)
    for child in children:
        kill_all(child)
    os.kill(pid, signal.SIGKILL)


VICTIMS: dict[str, Callable[[int], None]] = {
    "worker": _kill,
    "job": lambda pid: _kill(*_descendants(pid, "quiesce.cli.job")),
    "guard": lambda pid: _kill(*_descendants(pid, "quiesce.cli.guard")),
    "job and guard": lambda pid: _kill(*_descendants(pid, "quiesce.cli")),
    "everything": kill_all,
    "PostgreSQL": _restart,
}
