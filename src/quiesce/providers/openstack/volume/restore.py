"""How the content of one volume is put back."""

from __future__ import annotations

from collections.abc import Callable

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError, UnsupportedError
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.ownership import PREFIX
from quiesce.providers.openstack.quiesced_servers import await_status, detached
from quiesce.providers.openstack.resources import Volume, VolumeBackup, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent


def source_of(job: OpenStackJob, content: VolumeContent) -> VolumeSnapshot | VolumeBackup:
    """Return the object that holds the data, found fit to be put back.

    Raises:
        ResourceNotFoundError: when it is gone.
        DamagedArtifactError: when Cinder says that it is not usable.
    """
    found: VolumeSnapshot | VolumeBackup | None
    if content.backup is not None:
        what, found = f"backup {content.backup}", job.cloud.backup(content.backup)
    else:
        what, found = f"snapshot {content.snapshot}", job.cloud.snapshot(str(content.snapshot))
    if found is None:
        raise ResourceNotFoundError(f"{what} of volume {content.volume} is not there any more")
    if found.status not in ("available", "restoring", "backing-up"):
        raise DamagedArtifactError(f"{what} of volume {content.volume} is {found.status}")
    return found


def state_of(source: VolumeSnapshot | VolumeBackup) -> str:
    """Return what can be said of the data without reading it, for a proof."""
    return f"Cinder says that {source.name} ({source.id}) is {source.status}; its data was not read"


def put_back(job: OpenStackJob, volume: Volume | None, source: VolumeSnapshot | VolumeBackup) -> str:
    """Give the volume the content of *source*; return its id, new when another took its place."""
    if volume is None:
        return _made_anew(job, source)
    write = _way_back(job, volume, source)
    with detached(job, volume) as taken:
        await_status(job, volume.id, "available")
        taken[0] = write()
    return taken[0]


def _way_back(job: OpenStackJob, volume: Volume, source: VolumeSnapshot | VolumeBackup) -> Callable[[], str]:
    """Choose before anything is touched."""
    if isinstance(source, VolumeBackup):
        return lambda: _restored_over(job, volume, source)
    why = _why_no_revert(job, volume, source)
    if why is None:
        return lambda: _reverted(job, volume, source)
    if not job.options.swap_volume:
        raise UnsupportedError(
            f"volume {volume.id} cannot be reverted to snapshot {source.id}: {why}",
            hint="To have a new volume take its place: -p swap_volume=true",
        )
    return lambda: _swapped(job, volume, source)


def _why_no_revert(job: OpenStackJob, volume: Volume, snapshot: VolumeSnapshot) -> str | None:
    newer = [
        other.name or other.id
        for other in job.connection.snapshots.listed(job).values()
        if other.volume_id == volume.id and other.created_at > snapshot.created_at
    ]
    if newer:
        return f"Cinder reverts to the latest snapshot only, and newer ones exist: {', '.join(newer)}"
    if volume.size_gib != snapshot.size_gib:
        return f"the volume has {volume.size_gib} GiB now, and had {snapshot.size_gib} GiB then"
    return None


def _reverted(job: OpenStackJob, volume: Volume, snapshot: VolumeSnapshot) -> str:
    job.cloud.revert(volume.id, snapshot.id)
    return await_status(job, volume.id, "available").id


def _swapped(job: OpenStackJob, volume: Volume, snapshot: VolumeSnapshot) -> str:
    theirs = {key: value for key, value in volume.metadata.items() if not key.startswith(PREFIX)}
    new_id = job.cloud.create_volume(volume.name, snapshot, theirs, like=volume)
    await_status(job, new_id, "available")
    job.warn(f"volume {new_id} takes the place of volume {volume.id}, which is kept: remove it when you wish")
    return new_id


def _restored_over(job: OpenStackJob, volume: Volume, backup: VolumeBackup) -> str:
    if volume.size_gib < backup.size_gib:
        raise UnsupportedError(
            f"volume {volume.id} has {volume.size_gib} GiB, its backup needs {backup.size_gib} GiB"
        )
    job.cloud.restore_backup(backup.id, volume_id=volume.id)
    return await_status(job, volume.id, "available").id


def _made_anew(job: OpenStackJob, source: VolumeSnapshot | VolumeBackup) -> str:
    if isinstance(source, VolumeSnapshot):
        raise ResourceNotFoundError(f"volume {source.volume_id} is gone, its snapshot cannot be used")
    new_id = job.cloud.restore_backup(source.id, name=f"restored-{source.volume_id}")
    await_status(job, new_id, "available")
    job.warn(f"volume {source.volume_id} was gone; volume {new_id} replaces it")
    return new_id
