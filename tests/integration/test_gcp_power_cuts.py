"""``kill -9`` at each step group of a workflow, then a rerun: the list of all objects is the proof."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Estate, serve
from fakegce.command_line import STORE, WEB, CommandLine
from fakegce.runs import Runs

from quiesce.app.run.execution import Watching
from quiesce.app.run.recover import find_unfinished
from quiesce.app.run.run import continue_execution
from quiesce.blueprint import instantiate, load_blueprint
from quiesce.engine import Purpose
from quiesce.model.deployment import Deployment
from quiesce.model.ids import DeploymentName, Json
from quiesce.model.restore_point import PointState

#: copies that one backup makes: two snapshots, a machine image, and a snapshot of the disk alone
COPIES = 4

#: which request the process does not survive: its method, the how manieth, and before or after it is served
BACKUP = [
    ("compute.instances.get", 1, "before"),
    ("compute.disks.createSnapshot", 1, "after"),
    ("compute.disks.createSnapshot", 3, "before"),
    ("compute.machineImages.insert", 1, "after"),
    ("compute.snapshots.list", 1, "after"),
    ("compute.disks.list", 1, "after"),
    ("compute.zoneOperations.wait", 1, "before"),
    ("compute.globalOperations.wait", 1, "after"),
]
RESTORE = [
    ("compute.snapshots.list", 1, "before"),
    ("compute.disks.insert", 1, "after"),
    ("compute.disks.insert", 4, "after"),
    ("compute.instances.stop", 1, "after"),
    ("compute.instances.detachDisk", 1, "after"),
    ("compute.instances.detachDisk", 3, "after"),
    ("compute.instances.attachDisk", 1, "before"),
    ("compute.instances.attachDisk", 2, "after"),
    ("compute.instances.start", 1, "before"),
    ("compute.instances.start", 2, "after"),
]
REMOVAL = [
    ("compute.snapshots.list", 1, "after"),
    ("compute.snapshots.delete", 1, "after"),
    ("compute.machineImages.delete", 1, "before"),
    ("compute.globalOperations.wait", 2, "before"),
]


class Scene:
    """One stand-in; each test gets its own deployment, home and resources."""

    def __init__(self, cloud: Cloud, url: str, home: Path) -> None:
        cloud.reset()
        self.cloud, self.estate = cloud, Estate(cloud)
        self.shell = CommandLine(home, url, self.estate)
        self.shell.build()
        self.runs = Runs(home / "state", url)
        self._deploy(home)

    def _deploy(self, home: Path) -> None:
        topology = instantiate(load_blueprint(home / "blueprint.yaml"), random.Random(1).choice)
        deployment = Deployment(
            name=DeploymentName("lab"),
            blueprint=str(home / "blueprint.yaml"),
            blueprint_dir=str(home),
            created_at=time.time(),
            topology=topology,
        )
        self.runs.application.services.deployments.add(deployment, {})

    def kill_at(self, point: tuple[str, int, str], *command: str) -> None:
        """Run a command whose process dies at that request; what it froze must be thawed all the same."""
        method, number, when = point
        left = [number]
        process = self.shell.start(*command)

        def strike(served: str) -> None:
            left[0] -= served == method
            if served == method and left[0] == 0:
                os.kill(process.pid, signal.SIGKILL)

        setattr(self.cloud, when, strike)
        text, _ = process.communicate(timeout=240)
        self.cloud.before = self.cloud.after = lambda _: None
        assert process.returncode == -signal.SIGKILL, text
        self._until_the_guard_is_done()
        assert not self.shell.frozen.exists(), "the guard has not thawed"

    def _until_the_guard_is_done(self) -> None:
        leases = self.runs.application.services.leases
        deadline = time.monotonic() + 100
        while leases.holder(DeploymentName("lab")) or self.shell.frozen.exists():
            assert time.monotonic() < deadline, "the guard has not finished"
            time.sleep(0.1)

    def go_on(self) -> None:
        """Take up what the dead process left."""
        services = self.runs.application.services
        for left in find_unfinished(services, DeploymentName("lab")):
            continue_execution(services, left.execution.id, Purpose.FORWARD, Watching())

    def run(self, workflow: str, **parameters: Json) -> None:
        result = self.runs.run(workflow, **parameters)
        assert result.error is None, result.error

    def backup(self) -> None:
        self.run("backup", snapshot_name="one", snapshot_incremental=False)

    def statuses(self) -> set[str]:
        return {self.estate.find(vm)["status"] for vm in (WEB, STORE)}

    def is_complete(self) -> bool:
        points = self.runs.application.services.catalog.list(DeploymentName("lab"))
        return any(point.name == "one" and point.state is PointState.COMPLETE for point in points)


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[Cloud, str]]:
    server, running, url = serve(op_seconds=0.02)
    yield running, url
    server.shutdown()
    server.server_close()


@pytest.fixture
def scene(cloud: tuple[Cloud, str], tmp_path: Path) -> Iterator[Scene]:
    made = Scene(*cloud, tmp_path)
    yield made
    made.runs.close()
    assert made.estate.off_schema() == []


def named(point: tuple[str, int, str]) -> str:
    method, number, when = point
    return f"{when}-{method.partition('.')[2]}-{number}"


@pytest.mark.parametrize("point", BACKUP, ids=named)
def test_a_backup_that_was_killed_leaves_nothing_or_is_finished(
    scene: Scene, point: tuple[str, int, str]
) -> None:
    """After the death and the next command: every copy once, or none; removal leaves no trace."""
    before = scene.estate.objects()
    command = ("backup", "lab", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    scene.kill_at(point, *command)
    scene.go_on()
    if not scene.is_complete():
        assert scene.estate.objects() == before
        scene.backup()
    assert len(scene.estate.copies()) == COPIES
    scene.run("remove_backup", snapshot_name="one")
    assert scene.estate.objects() == before


@pytest.mark.parametrize("point", RESTORE, ids=named)
def test_a_restore_that_was_killed_can_be_finished(scene: Scene, point: tuple[str, int, str]) -> None:
    """After the death and going on: the state is back, machines run, and no disk is there twice."""
    scene.shell.write_all("good")
    disks = {key for key in scene.cloud.items if key[0] == "disks"}
    scene.backup()
    scene.shell.write_all("bad")
    scene.kill_at(point, "restore", "lab", "-p", "snapshot_name=one")
    assert scene.statuses() == {"RUNNING"}, "the guard has not started what the restore had stopped"
    scene.go_on()
    if scene.shell.read_all() != ("good", "good"):
        scene.run("restore", snapshot_name="one")
    assert scene.shell.read_all() == ("good", "good")
    assert scene.statuses() == {"RUNNING"}
    now = {key for key in scene.cloud.items if key[0] == "disks"}
    assert disks < now
    assert len(now) == 2 * len(disks)


@pytest.mark.parametrize("point", REMOVAL, ids=named)
def test_a_removal_that_was_killed_is_finished_by_the_next(scene: Scene, point: tuple[str, int, str]) -> None:
    """After the death and the same command again nothing of the restore point is left."""
    before = scene.estate.objects()
    scene.backup()
    scene.kill_at(point, "remove-backup", "lab", "-p", "snapshot_name=one")
    scene.go_on()
    if scene.estate.objects() != before:
        scene.run("remove_backup", snapshot_name="one")
    assert scene.estate.objects() == before
