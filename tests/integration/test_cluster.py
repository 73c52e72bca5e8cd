"""Executions in a queue, on a real PostgreSQL, with real workers that are killed: make test-cluster."""

from __future__ import annotations

import json
import os
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
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A new database on the server."""
    assert SERVER is not None
    name = f"cluster_{uuid.uuid4().hex}"
    administrator = sa.create_engine(SERVER, isolation_level="AUTOCOMMIT")
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


def kill_all(pid: int) -> None:
    """Kill a process and all that it has started."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    os.kill(pid, signal.SIGSTOP)
    for child in children:
        kill_all(child)
    os.kill(pid, signal.SIGKILL)
