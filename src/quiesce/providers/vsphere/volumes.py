"""Disks that a blueprint declares as nodes: they are saved and restored with their machine."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.model.call import Call, Related
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.topology import COMPUTE


def perform(call: Call) -> Outcome:
    """Answer for a disk.

    Raises:
        UnsupportedError: when the machine takes no part, so that nothing would hold the disk.
    """
    if call.operation is Operation.SNAPSHOT:
        return _with_machine(call, _server(call))
    if call.operation in (Operation.COPY, Operation.DELETE):
        return NOTHING if call.operation is Operation.DELETE else Outcome(artifact=call.artifact)
    if call.operation is Operation.APPLY:
        return Outcome(note=f"restored with {_server(call).instance}")
    raise NonRecoverableError(f"a disk has no {call.operation} of its own; its machine has")


def _with_machine(call: Call, server: Related) -> Outcome:
    if not _takes_part(call, server):
        raise UnsupportedError(
            f"{call.instance} is a disk of {server.instance}, which takes no part in this execution",
            hint=f"Include {server.instance} too: vSphere saves disks with their machine.",
        )
    artifact: Mapping[str, Json] = {"with": server.instance, "objects": []}
    return Outcome(artifact=artifact, note=f"saved with {server.instance}")


def _server(call: Call) -> Related:
    for related in call.related:
        if COMPUTE in related.node.type_hierarchy:
            return related
    raise UnsupportedError(
        f"{call.instance} is connected to no machine",
        hint="Relate the disk to its server with cloudify.vsphere.storage_connected_to_server.",
    )


def _takes_part(call: Call, server: Related) -> bool:
    asked = call.parameters
    if asked.include_instances and server.instance not in asked.include_instances:
        return False
    if asked.include_nodes and server.node.id not in asked.include_nodes:
        return False
    types = set(server.node.type_hierarchy)
    if asked.include_types and not types.intersection(asked.include_types):
        return False
    return server.node.id not in asked.exclude_nodes and not types.intersection(asked.exclude_types)
