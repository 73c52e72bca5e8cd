"""Workflows on volumes that are a group, each with a node of its own: run by the whole engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_openstack import FakeClient, FakeOpenStack
from hands import QUICK

from quiesce.app.run.execution import NoGuard, Watching
from quiesce.app.run.run import Result, run_workflow
from quiesce.bootstrap import Application, Settings
from quiesce.model.deployment import Deployment
from quiesce.model.ids import DeploymentName, InstanceId, NodeId
from quiesce.model.request import WorkflowRequest
from quiesce.model.topology import Instance, Node, Topology
from quiesce.providers.openstack.provider import OpenStackProvider

VOLUME = ("cloudify.nodes.Root", "cloudify.nodes.openstack.Volume")


class Shop:
    """A deployment of volumes on a cloud in memory."""

    def __init__(self, home: Path, cloud: FakeOpenStack, volumes: Sequence[str]) -> None:
        provider = OpenStackProvider(connect=lambda _: FakeClient(cloud), pace=QUICK)
        self._application = Application(Settings(home=home, database_url=f"sqlite:///{home}/quiesce.db"))
        services = self._application.services
        self.services = replace(services, provider=lambda _: provider, guard=NoGuard)
        nodes = [_node(f"disk{number}", volume) for number, volume in enumerate(volumes)]
        topology = Topology(
            nodes={node.id: node for node in nodes},
            instances={
                InstanceId(f"{node.id}_1"): Instance(id=InstanceId(f"{node.id}_1"), node=node.id)
                for node in nodes
            },
        )
        deployment = Deployment(
            name=DeploymentName("shop"),
            blueprint="",
            blueprint_dir="",
            created_at=time.time(),
            topology=topology,
        )
        self.services.deployments.add(deployment, {})

    def run(self, workflow: str, **parameters: Any) -> Result:
        """Run a workflow to its end; it must succeed."""
        request = WorkflowRequest(deployment="shop", workflow=workflow, parameters=parameters)
        result = run_workflow(self.services, request, Watching())
        assert result.error is None, result.error
        return result

    def notes(self) -> set[str]:
        """Return what the catalog says of the parts of the restore points."""
        return {artifact.note for point in self.services.catalog.list() for artifact in point.artifacts}

    def close(self) -> None:
        """Release everything."""
        self._application.close()


def _node(name: str, volume: str) -> Node:
    return Node(id=NodeId(name), type=VOLUME[-1], type_hierarchy=VOLUME, properties={"resource_id": volume})


@pytest.fixture
def volumes(cloud: FakeOpenStack) -> list[str]:
    made = [cloud.volume(name=name) for name in ("wal", "data", "index")]
    cloud.group(made)
    return made


@pytest.fixture
def shop(tmp_path: Path, cloud: FakeOpenStack, volumes: list[str]) -> Iterator[Shop]:
    found = Shop(tmp_path, cloud, volumes)
    yield found
    found.close()


@pytest.mark.parametrize("parallel", [1, 8])
@pytest.mark.parametrize("incremental", [True, False], ids=["snapshot", "backup"])
def test_they_are_cut_at_one_instant_restored_and_removed(
    shop: Shop, cloud: FakeOpenStack, volumes: list[str], incremental: bool, parallel: int
) -> None:
    before = cloud.objects()
    cloud.write_always()
    shop.run("backup", snapshot_name="monday", snapshot_incremental=incremental, parallel=parallel)
    (note,) = shop.notes()
    assert "at one instant with 2 more" in note
    assert bool(cloud.group_snapshots) is incremental
    shop.run("restore", snapshot_name="monday", snapshot_incremental=incremental, safety_snapshot=False)
    assert len({cloud.data[volume] for volume in volumes}) == 1
    shop.run("remove_backup", snapshot_name="monday", snapshot_incremental=incremental)
    cloud.settle()
    assert cloud.objects() == before


def test_of_a_part_of_the_nodes_none_is_made(shop: Shop, cloud: FakeOpenStack) -> None:
    shop.run("backup", snapshot_name="monday", include_nodes=["disk0", "disk1"])
    assert shop.notes() == {""}
    assert len(cloud.snapshots) == 2


def test_what_the_rest_of_a_restore_point_needs_is_not_removed(
    shop: Shop, cloud: FakeOpenStack, volumes: list[str]
) -> None:
    shop.run("backup", snapshot_name="monday")
    shop.run("remove_backup", snapshot_name="monday", include_nodes=["disk0"])
    assert len(cloud.group_snapshots) == 1
    cloud.data[volumes[1]] = "broken"
    shop.run("restore", snapshot_name="monday", include_nodes=["disk1"], safety_snapshot=False)
    assert cloud.data[volumes[1]] != "broken"
