"""Disks that a blueprint declares as nodes: they are saved and restored with their machine."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import UnsupportedError
from quiesce.model.call import Call, Related
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import ELSEWHERE, Proof
from quiesce.model.topology import COMPUTE
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.provider_kit.saving import proof
from quiesce.providers.vsphere.job import VSphereJob


class VirtualDiskOperations(CheckedOperations[VSphereJob]):
    """What a disk answers: that its machine does it."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    copy = unsupported
    measure = unsupported
    prepare = stop = start = probe = unsupported

    def snapshot(self, job: VSphereJob, /) -> Outcome:
        """See that the machine takes part, whose snapshot holds the disk.

        Raises:
            UnsupportedError: when the machine takes no part, so that nothing would hold the disk.
        """
        server = _server(job.call)
        if not _takes_part(job.call, server):
            raise UnsupportedError(
                f"{job.call.instance} is a disk of {server.instance}, which takes no part in this execution",
                hint=f"Include {server.instance} too: vSphere saves disks with their machine.",
            )
        return Outcome(
            artifact={"with": server.instance, "objects": []}, note=f"saved with {server.instance}"
        )

    def apply(self, job: VSphereJob, /) -> Outcome:
        """Leave it to the machine."""
        return Outcome(note=f"restored with {_server(job.call).instance}")

    def delete(self, job: VSphereJob, /) -> Outcome:
        """Leave it to the machine."""
        return NOTHING

    def doctor(self, job: VSphereJob, /) -> Sequence[Finding]:
        """Tell which machine the disk is saved with."""
        detail = f"saved and restored with {_server(job.call).instance}"
        return [Finding(check="machine", passed=True, detail=detail)]

    def verify(self, job: VSphereJob, /) -> Proof:
        """Leave it to the machine."""
        return proof(ELSEWHERE, detail=f"stored with {_server(job.call).instance}")


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
