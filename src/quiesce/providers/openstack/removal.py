"""Removes what one step made for one restore point, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.collection import Collection
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import (
    CloudImage,
    GroupSnapshot,
    Volume,
    VolumeBackup,
    VolumeSnapshot,
)

T = TypeVar("T", VolumeSnapshot, GroupSnapshot, VolumeBackup, Volume)
Marked = TypeVar("Marked", VolumeBackup, Volume)
_Removable = VolumeSnapshot | GroupSnapshot | VolumeBackup | Volume

#: states in which Cinder refuses to delete; they pass
_BUSY: Final = frozenset(
    {
        "creating",
        "backing-up",
        "restoring",
        "restoring-backup",
        "uploading",
        "downloading",
        "unmanaging",
        "deleting",
    }
)


def remove(job: OpenStackJob) -> None:
    """Remove images, and the snapshots, backups and scratch volumes that were made for the call's point."""
    images = ownership.removable(job.connection.images.listed(job).values(), job.call)
    _refuse_protected(images)
    _remove_volume_objects(job, {name for image in images for name in image.snapshot_ids})
    for image in images:
        job.cloud.delete_image(image.id)


def remove_scratch(job: OpenStackJob, volume_id: str) -> None:
    """Remove what earlier restores of *volume_id* left when they were given up half-way."""
    images = job.connection.images.listed(job).values()
    for image in ownership.left_over(images, volume_id, job.call):
        job.cloud.delete_image(image.id)
    volumes = job.connection.volumes.listed(job).values()
    left = ownership.left_over(volumes, volume_id, job.call)
    _remove(job, job.connection.volumes, [volume.id for volume in left], job.cloud.delete_volume)


def let_go_of_group_snapshot(job: OpenStackJob, group_snapshot: str) -> None:
    """Say that the call's instance needs it no longer; remove it when nobody does."""
    for part in _parts(job, group_snapshot):
        if ownership.hold_of(job.call) in part.metadata:
            job.cloud.remove_snapshot_metadata(part.id, ownership.hold_of(job.call))
    # looked at again: who lets go last sees that nobody holds it
    if not any(ownership.is_held(part) for part in _parts(job, group_snapshot)):
        remove_group_snapshot(job, group_snapshot)


def _parts(job: OpenStackJob, group_snapshot: str) -> list[VolumeSnapshot]:
    listing = job.connection.snapshots.listed(job).values()
    return [found for found in listing if found.group_snapshot_id == group_snapshot]


def remove_group_snapshot(job: OpenStackJob, group_snapshot: str) -> None:
    """Remove one of our group snapshots with all that is in it, and wait until it is gone."""
    collection = job.connection.group_snapshots
    collection.until(group_snapshot, _idle, job, f"{group_snapshot} to be idle")
    with job.connection.changes_group_snapshots:  # several may have let go of it at once
        found = collection.find(group_snapshot, job)
        if found is not None and found.status != "deleting":
            job.cloud.delete_group_snapshot(group_snapshot)
    collection.until(group_snapshot, _gone, job, f"{group_snapshot} to be gone")


def _remove_volume_objects(job: OpenStackJob, mapped: set[str]) -> None:
    """Remove what Cinder has; *mapped* are snapshots that our images name."""
    connection = job.connection
    backups = _ours(job, connection.backups)
    _refuse_dependents(backups)
    snapshots = connection.snapshots.listed(job).values()
    own = {found.id for found in ownership.removable(snapshots, job.call)} | mapped
    volumes = _ours(job, connection.volumes)
    _remove(job, connection.backups, [backup.id for backup in backups], job.cloud.delete_backup)
    _remove(job, connection.volumes, [volume.id for volume in volumes], job.cloud.delete_volume)
    found = [snapshot for snapshot in snapshots if snapshot.id in own]
    together = [*found, *(each for each in snapshots if ownership.made_for_group(job.call, each))]
    for group_snapshot in {each.group_snapshot_id: None for each in together if each.group_snapshot_id}:
        let_go_of_group_snapshot(job, group_snapshot)
    single = [snapshot.id for snapshot in found if not snapshot.group_snapshot_id]
    _remove(job, connection.snapshots, single, job.cloud.delete_snapshot)


def _ours(job: OpenStackJob, collection: Collection[Marked]) -> list[Marked]:
    return ownership.removable(collection.listed(job).values(), job.call)


def _remove(
    job: OpenStackJob, collection: Collection[T], ids: Sequence[str], delete: Callable[[str], None]
) -> None:
    for thing_id in ids:
        collection.until(thing_id, _idle, job, f"{thing_id} to be idle")
        delete(thing_id)
    for thing_id in ids:
        collection.until(thing_id, _gone, job, f"{thing_id} to be gone")


def _idle(found: _Removable | None) -> bool | None:
    return True if found is None or found.status not in _BUSY else None


def _gone(found: _Removable | None) -> bool | None:
    if found is None:
        return True
    if found.status.startswith("error"):
        raise NonRecoverableError(
            f"{found.name} ({found.id}) could not be removed: it is {found.status}",
            hint="Ask the cloud's operator; then remove the restore point again.",
        )
    return None


def _refuse_dependents(backups: list[VolumeBackup]) -> None:
    held = [found for found in backups if found.has_dependents]
    if held:
        names = ", ".join(f"{found.name} ({found.id})" for found in held)
        raise NonRecoverableError(
            f"incremental backups build on {names}",
            hint="Remove the newer restore points of this volume first.",
        )


def _refuse_protected(images: list[CloudImage]) -> None:
    held = [image for image in images if image.protected]
    if held:
        names = ", ".join(f"{image.name} ({image.id})" for image in held)
        raise NonRecoverableError(
            f"somebody has protected {names}", hint="Unprotect it: openstack image set --unprotected ID"
        )
