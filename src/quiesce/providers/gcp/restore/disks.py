"""The disks that a restore makes from copies."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.ownership import claim
from quiesce.providers.gcp.copy.artifact import CopiedDisk, CopySet, MadeCopy
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import RESTORED, description, labels, owner_of
from quiesce.providers.gcp.references import IMAGES, SNAPSHOTS, Reference
from quiesce.providers.gcp.resources import READY, GcpDisk


def make_disks(job: GcpJob, made: CopySet, sources: Mapping[Reference, Reference]) -> None:
    """Make each new disk from the copy of its source; those that an earlier try made are taken up."""
    by_disk = {disk.disk: (copy, disk) for copy, disk in made.disks}
    wanted = [(new, *by_disk[source]) for new, source in sources.items()]
    for operation in job.compute.side_by_side(lambda one: _begin(job, *one), wanted):
        if operation is not None:
            job.compute.wait(operation)
    for new in sources:
        _await_ready(job, new)


def _begin(job: GcpJob, new: Reference, copy: MadeCopy, disk: CopiedDisk) -> Reference | None:
    try:
        if copy.reference.collection == IMAGES:
            return job.compute.insert_from_machine_image(new, _body_from_image(job, copy, disk))
        return job.compute.insert(new, _body_from_snapshot(job, copy, disk))
    except AlreadyThereError:
        claim(job.call, owner_of(job.compute.disk(new).labels), new.path)
        return None


def _body_from_snapshot(job: GcpJob, copy: MadeCopy, disk: CopiedDisk) -> dict[str, object]:
    stored = copy.reference.collection == SNAPSHOTS
    body: dict[str, object] = {
        "source_snapshot" if stored else "source_instant_snapshot": copy.reference.path,
        "labels": labels(job.call, RESTORED, disk.device),
        "description": description(job.call),
        "size_gb": disk.size_gb,
        "type_": disk.type,
        "replica_zones": list(disk.replica_zones),
        "provisioned_iops": disk.iops,
        "provisioned_throughput": disk.throughput,
    }
    return {key: value for key, value in body.items() if value}


def _body_from_image(job: GcpJob, copy: MadeCopy, disk: CopiedDisk) -> dict[str, object]:
    body: dict[str, object] = {
        "sourceMachineImage": copy.reference.path,
        "sourceMachineImageDiskDeviceName": disk.device,
        "labels": labels(job.call, RESTORED, disk.device),
        "description": description(job.call),
        "sizeGb": str(disk.size_gb),
        "type": disk.type,
        "replicaZones": list(disk.replica_zones),
    }
    return {key: value for key, value in body.items() if value}


def _await_ready(job: GcpJob, new: Reference) -> None:
    def look() -> GcpDisk | None:
        disk = job.compute.disk(new)
        if disk.status == "FAILED":
            raise NonRecoverableError(f"{new.path} could not be made: it is FAILED")
        return disk if disk.status == READY else None

    job.compute.deadline.until(look, longest_s=4.0)
