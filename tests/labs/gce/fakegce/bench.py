"""Performs single operations on the stand-in, as the engine would ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakegce.cloud import Cloud
from fakegce.estate import PROJECT, ZONE, Estate
from quiesce.model.call import Call, Related
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json, NodeId, StepId
from quiesce.model.operation import FS_PREPARE, SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.restore_point import Proof
from quiesce.model.topology import Implementation, Node
from quiesce.ports import Finding
from quiesce.providers.gcp.provider import GcpProvider
from quiesce.testing import RecordingContext

MACHINE, VOLUME, SNAPSHOT = (f"cloudify.gcp.nodes.{kind}" for kind in ("Instance", "Volume", "Snapshot"))
VM = f"projects/{PROJECT}/zones/{ZONE}/instances/vm"


class Bench:
    """One provider on one stand-in, and a memory of runtime properties."""

    def __init__(self, cloud: Cloud, url: str) -> None:
        cloud.reset()
        self.cloud, self.estate, self.url = cloud, Estate(cloud), url
        self.provider = GcpProvider(sleep=lambda _: None)
        self.memory: dict[str, dict[str, Json]] = {}
        self.lines: list[str] = []

    def node(self, node_type: str, properties: Mapping[str, Json], *, hooked: bool = False) -> Node:
        hook = {FS_PREPARE: Implementation(plugin="", function="hook")} if hooked else {}
        hierarchy = ("cloudify.nodes.Root", node_type)
        return Node(
            id=NodeId("n"), type=node_type, type_hierarchy=hierarchy, properties=properties, operations=hook
        )

    def do(
        self,
        operation: Operation,
        name: str,
        *,
        node_type: str = MACHINE,
        full: bool = True,
        artifact: Mapping[str, Json] | None = None,
        hooked: bool = False,
        related: tuple[Related, ...] = (),
        execution: str = "exec-1",
        function: str = "",
        timeout_s: float = 30.0,
        undo: bool = False,
        **inputs: Json,
    ) -> Outcome:
        """Perform one operation; keyword arguments that are not known are inputs."""
        context = RecordingContext(timeout_s=timeout_s)
        call = self.call(
            operation,
            name,
            node_type,
            hooked=hooked,
            function=function,
            execution=ExecutionId(execution),
            runtime_properties=self.memory.get(name, {}),
            inputs=inputs,
            full=full,
            artifact=artifact,
            related=related,
            undo=undo,
        )
        try:
            return self.provider.perform(call, context)
        finally:
            self.lines += [text for _, text in context.lines]
            if context.runtime_properties is not None:
                self.memory[name] = context.runtime_properties

    def call(
        self,
        operation: Operation,
        name: str,
        node_type: str = MACHINE,
        *,
        hooked: bool = False,
        **changes: Any,
    ) -> Call:
        """Return the call that an engine would make."""
        config: dict[str, Json] = {"project": PROJECT, "zone": ZONE, "api_endpoint": self.url}
        properties: dict[str, Json] = {"name": name, "gcp_config": config}
        fields: dict[str, Any] = {
            "operation": operation,
            "interface": SNAPSHOT_CREATE,
            "function": "",
            "deployment": DeploymentName("d"),
            "execution": ExecutionId("exec-1"),
            "step": StepId("s"),
            "attempt": 1,
            "instance": InstanceId(f"{name}_1"),
            "node": self.node(node_type, properties, hooked=hooked),
            "properties": properties,
            "parameters": Parameters(),
            "point": BackupName("one"),
        }
        return Call(**(fields | changes))

    def findings(self, name: str) -> dict[str, Finding]:
        """Return what doctor says of a machine, by check."""
        found = self.provider.doctor(self.call(Operation.SNAPSHOT, name), RecordingContext())
        return {one.check: one for one in found}

    def verify(self, name: str, artifact: Mapping[str, Json] | None) -> Proof:
        """Check a restore point of a machine."""
        call = self.call(Operation.SNAPSHOT, name, full=True, artifact=artifact)
        return self.provider.verify(call, RecordingContext())

    def foreseen(self, name: str, artifact: Mapping[str, Json], **inputs: Json) -> tuple[str, ...]:
        """Return what a restore of a machine would not keep."""
        call = self.call(Operation.APPLY, name, full=True, artifact=artifact, inputs=inputs)
        return self.provider.inspect_target(call, RecordingContext()).lost

    def make(self, name: str, **options: object) -> Mapping[str, Json]:
        """Cut and copy; returns the artifact."""
        cut = self.do(Operation.SNAPSHOT, name, **options)  # type: ignore[arg-type]
        copy = self.do(Operation.COPY, name, artifact=cut.artifact, **options)  # type: ignore[arg-type]
        return copy.artifact or {}

    def status(self, path: str = VM) -> str:
        return str(self.estate.find(path)["status"])
