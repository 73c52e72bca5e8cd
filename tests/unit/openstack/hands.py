"""Performs single operations on a `FakeOpenStack`, as the engine would ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fake_openstack import FakeClient, FakeOpenStack

from quiesce.model.call import Call, Related
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json, NodeId, StepId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.provider_kit.listing import Pace
from quiesce.providers.openstack.provider import OpenStackProvider
from quiesce.testing import RecordingContext

QUICK = Pace(gather_s=0.0005, least_s=0.0005, most_s=0.002)


class Hands:
    """One provider on one fake cloud."""

    def __init__(self, cloud: FakeOpenStack) -> None:
        self.cloud = cloud
        self.client = FakeClient(cloud)
        self.provider = OpenStackProvider(connect=lambda _: self.client, pace=QUICK)
        self.context = RecordingContext(timeout_s=5)

    def call(
        self,
        operation: Operation,
        resource_id: str,
        type_: str = "Server",
        *,
        full: bool = False,
        **changes: Any,
    ) -> Call:
        """Return the call that an engine would make."""
        type_name = type_ if "." in type_ else f"cloudify.nodes.openstack.{type_}"
        fields: dict[str, Any] = {
            "operation": operation,
            "interface": "",
            "function": "",
            "deployment": DeploymentName("shop"),
            "execution": ExecutionId("exec1"),
            "step": StepId("step1"),
            "attempt": 1,
            "instance": InstanceId(f"{type_.rsplit('.', 1)[-1].lower()}_{resource_id[:6]}"),
            "node": node(type_name),
            "properties": {"resource_id": resource_id},
            "parameters": Parameters(),
            "point": BackupName("monday"),
            "full": full,
        }
        return Call(**(fields | changes))

    def do(self, operation: Operation, resource_id: str, type_: str = "Server", **changes: Any) -> Outcome:
        """Perform one operation."""
        return self.provider.perform(self.call(operation, resource_id, type_, **changes), self.context)

    def back_up(self, resource_id: str, type_: str = "Server", **changes: Any) -> Mapping[str, Json]:
        """SNAPSHOT and COPY; return the artifact."""
        cut = self.do(Operation.SNAPSHOT, resource_id, type_, **changes)
        copy = self.do(Operation.COPY, resource_id, type_, artifact=cut.artifact, **changes)
        assert copy.artifact is not None
        return copy.artifact

    @property
    def said(self) -> str:
        """Everything that was logged."""
        return "\n".join(text for _, text in self.context.lines)


def node(type_name: str, **fields: Any) -> Node:
    """Return a node of one type."""
    return Node(
        id=NodeId("node"), type=type_name, type_hierarchy=("cloudify.nodes.Root", type_name), **fields
    )


def neighbour(resource_id: str, type_: str) -> Related:
    """Return a related instance of an official type."""
    return Related(
        instance=InstanceId(f"{type_.lower()}_x"),
        node=node(f"cloudify.nodes.openstack.{type_}"),
        relationship="cloudify.relationships.connected_to",
        properties={"resource_id": resource_id},
        dependent=True,
    )
