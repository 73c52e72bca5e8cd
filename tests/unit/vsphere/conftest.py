"""A machine on a vCenter in memory, and calls to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.repository_objects import left_in

from quiesce.model.call import Call
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import FREEZE_SUSPEND, SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.ports import ProviderSettings
from quiesce.providers.vsphere.provider import VSphereProvider
from quiesce.providers.vsphere.vcenter import VCenter
from quiesce.testing import RecordingContext
from quiesce.testing.fake_vcenter import FakeVCenter, FakeVCenterWorld

CONNECTION = {"host": "memory", "username": "u", "password": "p"}


@dataclass
class Site:
    """One machine called ``web``, its provider, and what a test asks of it."""

    directory: Path
    world: FakeVCenterWorld = field(default_factory=FakeVCenterWorld)
    machine: str = ""
    context: RecordingContext = field(default_factory=RecordingContext)

    def __post_init__(self) -> None:
        self.machine = self.world.add("web")

    def provider(self, center: VCenter | None = None) -> VSphereProvider:
        settings = ProviderSettings(
            state_dir="", repository=str(self.directory), keys_file=str(self.directory.parent / "keys")
        )
        found = center or FakeVCenter(self.world)
        return VSphereProvider(settings, connect=lambda _: found)

    def call(self, operation: Operation, **changes: Any) -> Call:
        node = Node(
            id=NodeId("server"),
            type="cloudify.vsphere.nodes.Server",
            type_hierarchy=("cloudify.nodes.Root", "cloudify.nodes.Compute", "cloudify.vsphere.nodes.Server"),
        )
        fields: dict[str, Any] = {
            "operation": operation,
            "interface": SNAPSHOT_CREATE if operation is Operation.SNAPSHOT else FREEZE_SUSPEND,
            "function": "quiesce.vsphere.any",
            "deployment": DeploymentName("shop"),
            "execution": ExecutionId("exec1"),
            "step": StepId("step"),
            "attempt": 1,
            "instance": InstanceId("server_ab12"),
            "node": node,
            "properties": {"connection_config": CONNECTION, "resource_id": "web"},
            "parameters": Parameters(),
            "point": BackupName("one"),
        }
        return Call(**(fields | changes))

    def perform(self, operation: Operation, center: VCenter | None = None, **changes: Any) -> Outcome:
        return self.provider(center).perform(self.call(operation, **changes), self.context)

    def backup(self, center: VCenter | None = None, **changes: Any) -> Outcome:
        """Run SNAPSHOT and COPY of a full copy."""
        cut = self.perform(Operation.SNAPSHOT, center, full=True, **changes)
        return self.perform(Operation.COPY, center, full=True, artifact=cut.artifact, **changes)

    def write(self, text: str) -> None:
        self.world.files[self.disk] = text.encode()

    def read(self) -> str:
        return self.world.files[self.disk].rstrip(b"\0").decode()

    @property
    def disk(self) -> str:
        return self.world.machines[self.machine].disks[0].file

    def objects(self) -> frozenset[str]:
        """Everything that could leak, files of restored disks by number only: their names change."""
        names = {f"machine {one.name}" for one in self.world.machines.values()}
        names |= {f"snapshot {cut.snapshot.name}" for cut in self.world.cuts.values()}
        names |= {f"{len(self.world.files)} disks"}
        files = left_in(self.directory, self.directory.parent / "drafts")
        return frozenset(names | {f"file {path}" for path in files})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "backups")


@pytest.fixture
def option() -> Callable[..., dict[str, Any]]:
    """Return properties of a node with these options."""
    return lambda **options: {"connection_config": CONNECTION, "resource_id": "web", **options}
