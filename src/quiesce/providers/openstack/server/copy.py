"""The copy that follows a server's cut."""

from __future__ import annotations

from dataclasses import replace

from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import artifact_of, read_artifact
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import volumes_with_a_node
from quiesce.providers.openstack.server.content import ServerContent
from quiesce.providers.openstack.server.images import await_rotation, await_upload
from quiesce.providers.openstack.volume.copy import copied
from quiesce.providers.openstack.volume.cut import remove_snapshot


def copy(job: OpenStackJob) -> Outcome:
    """Wait until the image is complete; turn snapshots into backups when a full copy is asked for."""
    content = read_artifact(ServerContent, artifact_of(job.call))
    if content.image is None:  # its volumes were cut as a group, or are backups already
        volumes = copied(job, content.volumes) if job.call.full else content.volumes
        return replace(content, volumes=tuple(volumes)).outcome()
    image = await_upload(job, content.image, content.server)
    if image.mapping:
        return _copy_of_volumes(job, content)
    if job.call.full:
        await_rotation(job, content.server)
    volumes = copied(job, content.volumes) if job.call.full else content.volumes
    job.context.progress(image.size_bytes or 0, image.size_bytes)
    return replace(
        content,
        size_bytes=image.size_bytes,
        checksum=image.checksum,
        hash_algorithm=image.hash_algorithm,
        volumes=tuple(volumes),
    ).outcome()


def _copy_of_volumes(job: OpenStackJob, content: ServerContent) -> Outcome:
    """Keep what has no step of its own: as marked snapshots, or as backups and without Nova's image."""
    apart = volumes_with_a_node(job.call, job.connection.volumes.listed(job).values())
    for volume in content.volumes:
        if volume.volume in apart and volume.snapshot:
            remove_snapshot(job, volume.snapshot)
    own = tuple(volume for volume in content.volumes if volume.volume not in apart)
    if not job.call.full:
        content = replace(content, volumes=own)
        _mark_snapshots(job, content)
        return content.outcome()
    backups = copied(job, own)
    job.cloud.delete_image(str(content.image))
    return replace(content, image=None, volumes=tuple(backups)).outcome()


def _mark_snapshots(job: OpenStackJob, content: ServerContent) -> None:
    """Nova's snapshots outlive its image: mark them, so that they are found without it."""
    mark = ownership.mark_of(job.call, ownership.SERVER, content.server)
    for volume in content.volumes:
        if volume.snapshot:
            job.cloud.set_snapshot_metadata(volume.snapshot, mark)
