"""How the content of one volume is put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.quiesced_servers import await_status, detached
from quiesce.providers.openstack.removal import remove_scratch
from quiesce.providers.openstack.resources import Volume, VolumeBackup, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent

Source = VolumeSnapshot | VolumeBackup


def source_of(job: OpenStackJob, content: VolumeContent) -> Source:
    """Return the object that holds the data, found fit to be put back.

    Raises:
        ResourceNotFoundError: when it is gone.
        DamagedArtifactError: when Cinder says that it is not usable.
    """
    found: Source | None
    if content.backup is not None:
        what, found = f"backup {content.backup}", job.cloud.backup(content.backup)
    else:
        what, found = f"snapshot {content.snapshot}", job.cloud.snapshot(str(content.snapshot))
    if found is None:
        raise ResourceNotFoundError(f"{what} of volume {content.volume} is not there any more")
    if found.status not in ("available", "restoring", "backing-up"):
        raise DamagedArtifactError(f"{what} of volume {content.volume} is {found.status}")
    return found


def state_of(source: Source) -> str:
    """Return what can be said of the data without reading it, for a proof."""
    return f"Cinder says that {source.name} ({source.id}) is {source.status}; its data was not read"


def put_back(job: OpenStackJob, volume: Volume | None, content: VolumeContent, source: Source) -> str:
    """Give the volume the content of *source*; return its id, new when another took its place."""
    if volume is None:
        return _made_anew(job, content, source)
    write = _way_back(job, volume, source)
    with detached(job, volume) as taken:
        await_status(job, volume.id, "available")
        taken[0] = write()
    return taken[0]


def _way_back(job: OpenStackJob, volume: Volume, source: Source) -> Callable[[], str]:
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
    theirs = ownership.of_others(volume.metadata)
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


def _made_anew(job: OpenStackJob, content: VolumeContent, source: Source) -> str:
    """Make a volume like the one that is gone, and restore into it."""
    if isinstance(source, VolumeSnapshot):
        raise ResourceNotFoundError(f"volume {source.volume_id} is gone, its snapshot cannot be used")
    remove_scratch(job, content.volume)
    new_id = _empty_like(job, content, source)
    await_status(job, new_id, "available")
    job.cloud.restore_backup(source.id, volume_id=new_id)
    await_status(job, new_id, "available")
    job.cloud.update_volume(new_id, name=content.name, metadata=content.metadata)
    job.warn(f"volume {content.volume} was gone; volume {new_id} replaces it")
    return new_id


def _empty_like(job: OpenStackJob, content: VolumeContent, source: VolumeBackup) -> str:
    """Return an empty volume like the one that is gone, made now or by an earlier attempt."""
    own = ownership.own_scratch(job.connection.volumes.listed(job).values(), content.volume, job.call)
    if own is not None:
        return own.id
    name = ownership.object_name(ownership.SCRATCH, content.volume, job.call)
    mark = ownership.mark_of(job.call, ownership.SCRATCH, content.volume)
    like = Volume(
        id=content.volume,
        name=content.name,
        status="",
        size_gib=max(content.size_gib, source.size_gib),
        type=content.type,
        zone=content.zone,
    )
    try:
        return job.cloud.create_volume(name, source, mark, like=like)
    except (NonRecoverableError, ResourceNotFoundError) as error:
        job.warn(f"no volume of type {content.type} in zone {content.zone} can be made: {error}")
        return job.cloud.create_volume(name, source, mark, like=replace(like, type=None, zone=None))


def foreseen(job: OpenStackJob, volume: Volume | None, content: VolumeContent) -> tuple[str, ...]:
    """Return what a restore of *content* will not keep of *volume*; nothing, when it stays what it is."""
    if volume is not None:
        source = job.cloud.snapshot(content.snapshot) if content.snapshot else None
        if source is None or _why_no_revert(job, volume, source) is None:
            return ()
    return not_kept(content, gone=volume is None)


def not_kept(content: VolumeContent, *, gone: bool) -> tuple[str, ...]:
    """Return what a volume that takes another one's place has not of it."""
    lost = {
        f"its id {content.volume}, by which others may know it": True,
        f"its group of volumes {content.group}": content.group is not None,
        f"its attachment as {content.device}": gone and content.device is not None,
    }
    return tuple(what for what, applies in lost.items() if applies)
