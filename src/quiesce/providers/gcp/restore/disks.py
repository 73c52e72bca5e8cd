"""The disks that a restore makes from copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from quiesce.errors import NonRecoverableError, ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.provider_kit.ownership import claim
from quiesce.providers.gcp.copy.artifact import CopiedDisk, CopySet, MadeCopy
from quiesce.providers.gcp.errors import AlreadyThereError, RefusedError
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import RESTORED, description, labels, owner_of
from quiesce.providers.gcp.references import IMAGES, SNAPSHOTS, Reference, last_part
from quiesce.providers.gcp.resources import READY, GcpDisk
from quiesce.providers.gcp.restore.image_machine import disks_of_image
from quiesce.providers.gcp.restore.intent import DiskExchange

#: a new disk, the copy that it is made of, and what it was
Wanted = tuple[Reference, MadeCopy, CopiedDisk]


def make_disks(job: GcpJob, made: CopySet, sources: Mapping[Reference, Reference]) -> list[str]:
    """Make each new disk from the copy of its source; those that an earlier try made are taken up.

    Returns what the new disks lack of what the old ones had.
    """
    by_disk = {disk.disk: (copy, disk) for copy, disk in made.disks}
    wanted = [(new, *by_disk[source]) for new, source in sources.items()]
    of_images = [one for one in wanted if one[1].reference.collection == IMAGES]
    others = [one for one in wanted if one not in of_images]
    _make(job, others, lambda one: _insert_from_snapshot(job, *one))
    _make_of_images(job, made, of_images)
    return add_policies(job, {new: disk for new, _, disk in wanted})


def add_policies(job: GcpJob, disks: Mapping[Reference, CopiedDisk]) -> list[str]:
    """Let new disks have the schedules and groups of the old ones; returns which they have not got."""
    lost = []
    for new, disk in disks.items():
        there = job.compute.disk(new).policies if disk.policies else ()
        for policy in (policy for policy in disk.policies if policy not in there):
            field = "disks" if new.kind == "zones" else "region_disks"
            body = {f"{field}_add_resource_policies_request_resource": {"resource_policies": [policy]}}
            try:
                job.compute.wait(job.compute.act(new, "add_resource_policies", **body))
            except ProviderError as error:
                if error.retryable:
                    raise
                lost.append(f"{new.name} is without the policy {last_part(policy)} of the old disk: {error}")
    return lost


def attachment_of(new: Reference, disk: CopiedDisk | DiskExchange) -> dict[str, object]:
    """Return how a machine is to have *new*, as it had *disk*."""
    body: dict[str, object] = {
        "source": new.path,
        "device_name": disk.device,
        "boot": disk.boot,
        "auto_delete": disk.auto_delete,
        "mode": disk.mode,
    }
    return body | ({"interface": disk.interface} if disk.interface else {})


def _make_of_images(job: GcpJob, made: CopySet, wanted: Sequence[Wanted]) -> None:
    try:
        _make(job, wanted, lambda one: _insert_from_image(job, *one))
    except (RefusedError, UnsupportedError) as error:
        job.warn(
            "Compute Engine makes no disks of a machine image for this project, so a machine of it is "
            f"started for a moment and its disks are taken: {error}"
        )
        with disks_of_image(job, made, wanted[0][1].reference) as disks:
            _make(job, wanted, lambda one: _insert_from_disk(job, one[0], one[2], disks))


def _make(job: GcpJob, wanted: Sequence[Wanted], insert: Callable[[Wanted], Reference]) -> None:
    """Begin all, and return when all are ready."""
    for operation in job.compute.side_by_side(lambda one: _begun(job, one, insert), wanted) if wanted else ():
        if operation is not None:
            job.compute.wait(operation)
    for new, _, _ in wanted:
        _await_ready(job, new)


def _begun(job: GcpJob, one: Wanted, insert: Callable[[Wanted], Reference]) -> Reference | None:
    new, copy, disk = one
    try:
        return insert(one)
    except AlreadyThereError:
        claim(job.call, owner_of(job.compute.disk(new).labels), new.path)
        return None
    except (RefusedError, ResourceNotFoundError) as error:
        if not disk.storage_pool:
            raise
        job.warn(
            f"{new.name} is not in the storage pool {last_part(disk.storage_pool)} of the old disk: {error}"
        )
        return _begun(job, (new, copy, replace(disk, storage_pool="")), insert)


def _insert_from_snapshot(job: GcpJob, new: Reference, copy: MadeCopy, disk: CopiedDisk) -> Reference:
    stored = copy.reference.collection == SNAPSHOTS
    source = {"source_snapshot" if stored else "source_instant_snapshot": copy.reference.path}
    return job.compute.insert(new, source | _body(job, disk))


def _insert_from_disk(
    job: GcpJob, new: Reference, disk: CopiedDisk, disks: Mapping[str, Reference]
) -> Reference:
    if disk.device not in disks:
        raise ResourceNotFoundError(f"the machine image has no disk {disk.device}")
    return job.compute.insert(new, {"source_disk": disks[disk.device].path} | _body(job, disk))


def _insert_from_image(job: GcpJob, new: Reference, copy: MadeCopy, disk: CopiedDisk) -> Reference:
    body: dict[str, object] = {
        "sourceMachineImage": copy.reference.path,
        "sourceMachineImageDiskDeviceName": disk.device,
        "labels": _labels(job, disk),
        "description": description(job.call),
        "sizeGb": str(disk.size_gb),
        "type": disk.type,
        "replicaZones": list(disk.replica_zones),
        "diskEncryptionKey": {"kmsKeyName": disk.kms_key} if disk.kms_key else None,
        "storagePool": disk.storage_pool,
    }
    return job.compute.insert_from_machine_image(new, {key: value for key, value in body.items() if value})


def _body(job: GcpJob, disk: CopiedDisk) -> dict[str, object]:
    body: dict[str, object] = {
        "labels": _labels(job, disk),
        "description": description(job.call),
        "size_gb": disk.size_gb,
        "type_": disk.type,
        "replica_zones": list(disk.replica_zones),
        "provisioned_iops": disk.iops,
        "provisioned_throughput": disk.throughput,
        "disk_encryption_key": {"kms_key_name": disk.kms_key} if disk.kms_key else None,
        "storage_pool": disk.storage_pool,
    }
    return {key: value for key, value in body.items() if value}


def _labels(job: GcpJob, disk: CopiedDisk) -> dict[str, str]:
    return {**disk.labels, **labels(job.call, RESTORED, disk.device)}


def _await_ready(job: GcpJob, new: Reference) -> None:
    def look() -> GcpDisk | None:
        disk = job.compute.disk(new)
        if disk.status == "FAILED":
            raise NonRecoverableError(f"{new.path} could not be made: it is FAILED")
        return disk if disk.status == READY else None

    job.compute.deadline.until(look, longest_s=4.0)
