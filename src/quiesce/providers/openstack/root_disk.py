"""Putting back the disk that a server boots from.

Nova rebuilds from an image. For a server that boots from a volume there is none with data in it (Nova's own
has size 0 and names snapshots), and a root volume cannot be detached: so an image is made of the snapshot
or backup, by way of a scratch volume, and Nova writes it over the root volume.
"""

from __future__ import annotations

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError, ResourceNotFoundError
from quiesce.providers.openstack import ownership, power
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.quiesced_servers import await_status
from quiesce.providers.openstack.removal import remove_scratch
from quiesce.providers.openstack.resources import CloudImage, Server, Volume, VolumeBackup, VolumeSnapshot


def rebuild(job: OpenStackJob, server_id: str, image_id: str) -> None:
    """Rebuild a server from an image; it is shut off afterwards if it was so before, else running."""
    server = _rebuildable(job, server_id)
    job.cloud.rebuild_server(server, image_id)
    wanted = power.STOPPED if server.status == power.STOPPED else power.ACTIVE

    def judge(found: Server | None) -> bool | None:
        now = power.there(found, server_id)
        if now.task_state is not None:
            return None
        if now.status == power.ERROR:
            raise _rebuild_failed(now)
        return True if now.status == wanted else None

    job.connection.servers.until(server_id, judge, job, f"server {server_id} to be rebuilt")


def put_root_volume_back(
    job: OpenStackJob, server_id: str, volume: Volume, source: VolumeSnapshot | VolumeBackup
) -> None:
    """Write the content of *source* over the root volume of a server."""
    remove_scratch(job, volume.id)
    scratch = _scratch_volume(job, volume, source)
    image_id = _scratch_image(job, volume, scratch)
    rebuild(job, server_id, image_id)
    job.cloud.delete_image(image_id)
    job.cloud.delete_volume(scratch.id)
    job.connection.volumes.until_gone(scratch.id, job)


def _rebuildable(job: OpenStackJob, server_id: str) -> Server:
    """Bring the server to a state that Nova rebuilds from; after a failed rebuild, ERROR is one."""
    server = power.settled(job, server_id)
    if server.status in (power.STOPPED, power.ERROR):
        return server
    return power.bring(job, server_id, power.ACTIVE)


def _scratch_volume(job: OpenStackJob, volume: Volume, source: VolumeSnapshot | VolumeBackup) -> Volume:
    own = ownership.own_scratch(job.connection.volumes.listed(job).values(), volume.id, job.call)
    if own is None:
        name = ownership.object_name(ownership.SCRATCH, volume.id, job.call)
        mark = ownership.mark_of(job.call, ownership.SCRATCH, volume.id)
        scratch_id = job.cloud.create_volume(name, source, mark, like=volume)
    else:
        scratch_id = own.id
    ready = await_status(job, scratch_id, "available")
    if isinstance(source, VolumeBackup):
        job.cloud.restore_backup(source.id, volume_id=scratch_id)
        ready = await_status(job, scratch_id, "available")
    return ready


def _scratch_image(job: OpenStackJob, volume: Volume, scratch: Volume) -> str:
    """Return an image of the scratch volume."""
    own = ownership.own_scratch(job.connection.images.listed(job).values(), volume.id, job.call)
    image_id = own.id if own else _begin_image(job, volume, scratch)

    def judge(image: CloudImage | None) -> bool | None:
        if image is None:
            raise ResourceNotFoundError(f"image {image_id} has vanished while it was made")
        return True if image.status == "active" else None

    job.connection.images.until(image_id, judge, job, f"image {image_id} of volume {scratch.id}")
    return image_id


def _begin_image(job: OpenStackJob, volume: Volume, scratch: Volume) -> str:
    """Cinder takes no properties for an image, so the mark is put on it afterwards."""
    name = ownership.object_name(ownership.SCRATCH, volume.id, job.call)
    image_id = job.cloud.upload_volume(scratch.id, name)
    job.cloud.set_image_properties(image_id, ownership.mark_of(job.call, ownership.SCRATCH, volume.id))
    return image_id


def _rebuild_failed(server: Server) -> ProviderError:
    text = f"rebuilding server {server.name} ({server.id}) failed: {server.fault or 'no reason given'}"
    if not server.boots_from_volume:
        return NonRecoverableError(text)
    return RecoverableError(
        text,
        hint="If Cinder needs longer to write the root volume than Nova waits, have its operator raise "
        "reimage_timeout_per_gb; then restore again.",
    )
