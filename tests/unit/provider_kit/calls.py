"""Calls as an engine makes them."""

from __future__ import annotations

from quiesce.model.call import Call
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node


def a_call(operation: Operation = Operation.SNAPSHOT, **changes: object) -> Call:
    """Return a call; keyword arguments replace its fields."""
    fields: dict[str, object] = {
        "operation": operation,
        "interface": SNAPSHOT_CREATE,
        "function": "",
        "deployment": DeploymentName("shop"),
        "execution": ExecutionId("backup-1"),
        "step": StepId("vm_1.create"),
        "attempt": 1,
        "instance": InstanceId("vm_1"),
        "node": Node(id=NodeId("vm"), type="acme.Disk", type_hierarchy=("cloudify.nodes.Root", "acme.Disk")),
        "parameters": Parameters(),
        "point": BackupName("nightly"),
    }
    return Call(**(fields | changes))  # type: ignore[arg-type]
