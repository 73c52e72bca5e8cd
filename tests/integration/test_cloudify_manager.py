"""What a manager's engine does differently: Cloudify's own dispatcher, over a stand-in of its REST calls.

A workflow and each operation run in processes of their own, as on a manager's workers and agents; runtime
properties are kept over REST, with their versions.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .cloudify_lab.lab import Lab
from .cloudify_lab.managed import managed

pytestmark = [pytest.mark.platform("cfy"), pytest.mark.timeout(900)]


@pytest.fixture
def lab(cfy_place: Path, tmp_path: Path) -> Lab:
    return Lab(place=cfy_place, directory=tmp_path)


def on_agent(function: str) -> dict[str, str]:
    return {"implementation": f"lab.lab_operations.{function}", "executor": "host_agent"}


def machines(**behaves: str) -> dict[str, Any]:
    """Return two machines, one frozen by its agent, and a directory that is backed up by the worker."""
    properties = {"behaves": behaves}
    return {
        "vm": {"type": "lab.nodes.Machine", "properties": properties},
        "remote": {
            "type": "lab.nodes.Machine",
            "properties": properties,
            "interfaces": {
                "cloudify.interfaces.freeze": {
                    "fs_prepare": on_agent("freeze"),
                    "fs_finalize": on_agent("thaw"),
                }
            },
        },
    }


@pytest.fixture
def data(lab: Lab) -> Path:
    data = lab.directory / "data"
    data.mkdir()
    (data / "file").write_text("before")
    return data


def volume(lab: Lab, data: Path) -> dict[str, Any]:
    properties = {"path": str(data), "repository": str(lab.directory / "repository")}
    return {
        "volume": {
            "type": "quiesce.nodes.host.Directory",
            "properties": properties,
            "relationships": [{"type": "cloudify.relationships.contained_in", "target": "vm"}],
        }
    }


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)


def test_a_backup_is_made_restored_and_removed_over_rest(lab: Lab, data: Path) -> None:
    """Operations of the worker and of an agent; what is remembered is kept by the manager."""
    with managed(lab, {**machines(), **volume(lab, data)}) as manager:
        assert (
            manager.run("backup", execution="e1", snapshot_name="one", snapshot_incremental=False)
            == "terminated"
        )
        assert len(lab.made()) == 2
        assert lab.frozen() == []
        kept = [each for each in manager.instances().values() if each["node_id"] == "volume"]
        assert "one" in kept[0]["runtime_properties"]["quiesce_points"]
        (data / "file").write_text("after")
        assert manager.run("restore", execution="e2", snapshot_name="one") == "terminated"
        assert (data / "file").read_text() == "before"
        assert "Restored from 'one'" in manager.events()
        assert "there is no restore point" in manager.run("restore", execution="e3", snapshot_name="nosuch")
        assert manager.run("remove_backup", execution="e4", snapshot_name="one") == "terminated"
        assert lab.made() == []


def test_what_an_agent_does_is_done_by_the_agent(lab: Lab) -> None:
    with managed(lab, machines()) as manager:
        assert manager.run("backup", execution="e1", snapshot_name="one") == "terminated"
        by = dict(line.split() for line in (lab.directory / "executors").read_text().splitlines())
    assert {name.partition("_")[0]: executor for name, executor in by.items()} == {
        "vm": "central_deployment_agent",
        "remote": "host_agent",
    }


@pytest.mark.parametrize("trouble", ["fail", "hang"])
def test_nothing_stays_frozen_when_an_operation_fails_or_hangs(lab: Lab, trouble: str) -> None:
    """A worker ends what takes longer than it may."""
    with managed(lab, machines(create=trouble)) as manager:
        told = manager.run("backup", execution="e1", snapshot_name="one", operation_timeout=4)
        assert told.startswith("failed")
        assert lab.frozen() == []
        assert lab.made() == []


def test_a_cancel_thaws_first(lab: Lab) -> None:
    with managed(lab, machines(create="wait")) as manager:
        begun = manager.begin("backup", execution="e1", snapshot_name="one")
        wait_until((lab.directory / "waiting").exists)
        assert lab.frozen() != []
        manager.ask("executions/e1", {"status": "cancelling"})
        wait_until(lambda: manager.status("e1") == "cancelled" or begun.process.poll() is not None)
        (lab.directory / "interrupted").touch()
        begun.process.wait(timeout=60)
        assert manager.status("e1") == "cancelled"
        assert lab.frozen() == []


@pytest.mark.parametrize("status", ["force_cancelling", "kill_cancelling"])
def test_a_forced_cancel_is_followed_by_the_guards_thaw(lab: Lab, status: str) -> None:
    """The dispatcher does not wait for the workflow, whose process ends with what was frozen frozen."""
    with managed(lab, machines(create="wait")) as manager:
        begun = manager.begin("backup", execution="e1", snapshot_name="one")
        wait_until((lab.directory / "waiting").exists)
        manager.ask("executions/e1", {"status": status})
        begun.process.wait(timeout=60)
        (lab.directory / "interrupted").touch()
        wait_until(lambda: lab.frozen() == [])
        assert manager.status("e1") == "cancelled"


@pytest.mark.parametrize("refused", [False, True], ids=["token is good", "token is refused"])
def test_a_killed_worker_is_followed_by_the_guards_thaw(lab: Lab, refused: bool) -> None:
    """When the manager refuses the execution's token, the next workflow thaws, by its own."""
    with managed(lab, machines(create="wait")) as manager:
        begun = manager.begin("backup", execution="e1", snapshot_name="one")
        wait_until((lab.directory / "waiting").exists)
        if refused:
            manager.ask("executions/e1", {"status": "kill_cancelling", "refuse_token": True})
        begun.process.kill()
        begun.process.wait()
        (lab.directory / "interrupted").touch()
        if not refused:
            wait_until(lambda: lab.frozen() == [])
        assert manager.run("statistics", execution="e2") == "terminated"
        assert lab.frozen() == []
        assert any("was interrupted" in event for event in manager.events())


def test_a_resumed_backup_thaws_and_asks_to_be_started_again(lab: Lab) -> None:
    """A manager that restarts resumes its executions."""
    with managed(lab, machines(create="wait")) as manager:
        begun = manager.begin("backup", execution="e1", snapshot_name="one")
        wait_until((lab.directory / "waiting").exists)
        for guard in lab.guards():
            os.kill(guard, signal.SIGKILL)
        begun.process.kill()
        begun.process.wait()
        (lab.directory / "interrupted").touch()
        assert lab.frozen() != []
        told = manager.run("backup", execution="e1", resume=True, snapshot_name="one")
        assert told.startswith("failed")
        assert "Start it again" in told
        assert lab.frozen() == []
