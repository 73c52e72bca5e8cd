"""How a server is put back, with the volumes that its cut took along."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from quiesce.errors import DamagedArtifactError, NonRecoverableError, ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit.artifact import artifact_of, read_artifact
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of
from quiesce.providers.openstack.quiesced_servers import stopped
from quiesce.providers.openstack.resources import Server, Volume, VolumeBackup, VolumeSnapshot
from quiesce.providers.openstack.root_disk import put_root_volume_back, rebuild
from quiesce.providers.openstack.server.content import ServerContent
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.restore import put_back, source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReturn:
    """One volume on its way back."""

    content: VolumeContent
    volume: Volume | None
    source: VolumeSnapshot | VolumeBackup


def apply(job: OpenStackJob) -> Outcome:
    """Put the root disk back, and the volumes that the cut took along.

    Everything needed is checked before anything is touched.
    """
    content = read_artifact(ServerContent, artifact_of(job.call))
    server = _server(job, content)
    _check_image(job, content, server)
    returns = _returns(job, content)
    others = [each for each in returns if not each.content.root]
    with ExitStack() as held:
        if others:
            held.enter_context(stopped(job, server.id))
        _put_root_back(job, server, content, returns)
        for each in others:
            put_back(job, each.volume, each.content, each.source)
    return NOTHING


def _server(job: OpenStackJob, content: ServerContent) -> Server:
    try:
        return server_of(job)
    except ResourceNotFoundError as error:
        where = f"image {content.image}" if content.image else "its volumes' backups"
        raise ResourceNotFoundError(
            f"server {content.server} is gone, so there is nothing to rebuild",
            hint=f"Boot a new server from {where}, and give its id as 'resource_id'.",
        ) from error


def _check_image(job: OpenStackJob, content: ServerContent, server: Server) -> None:
    if content.image is None or server.boots_from_volume:
        return
    image = job.cloud.image(content.image)
    if image is None:
        raise ResourceNotFoundError(f"image {content.image} of server {server.name} is not there any more")
    same = content.checksum in (None, image.checksum) and content.size_bytes in (None, image.size_bytes)
    if image.status != "active" or not same:
        raise DamagedArtifactError(
            f"image {image.id} is {image.status} with {image.size_bytes} bytes and checksum "
            f"{image.checksum}; {content.size_bytes} bytes and {content.checksum} were written"
        )


def _returns(job: OpenStackJob, content: ServerContent) -> list[VolumeReturn]:
    if not content.volumes:
        return []
    volumes = job.connection.volumes.listed(job)
    return [
        VolumeReturn(content=each, volume=volumes.get(each.volume), source=source_of(job, each))
        for each in content.volumes
    ]


def _put_root_back(
    job: OpenStackJob, server: Server, content: ServerContent, returns: list[VolumeReturn]
) -> None:
    if not server.boots_from_volume:
        rebuild(job, server.id, str(content.image))
        return
    for each in returns:
        if each.content.root:
            if each.volume is None:
                raise NonRecoverableError(f"the root volume {each.content.volume} of {server.name} is gone")
            put_root_volume_back(job, server.id, each.volume, each.source)
