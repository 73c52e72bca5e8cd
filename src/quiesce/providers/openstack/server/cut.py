"""The cut through one server's disks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from quiesce.errors import RecoverableError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import Outcome
from quiesce.providers.openstack import ownership, power
from quiesce.providers.openstack.guest_agent import may_freeze
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of, volumes_with_a_node
from quiesce.providers.openstack.resources import CloudImage, Server, Volume
from quiesce.providers.openstack.root_disk import is_root_device
from quiesce.providers.openstack.server.content import ServerContent
from quiesce.providers.openstack.server.images import await_image_cut, begin_image, check_rotation
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.cut import await_cut, begin_cut, content_of, made_before


def cut(job: OpenStackJob) -> Outcome:
    """Fix the point in time of the root disk and of the attached volumes that have no node."""
    check_rotation(job)
    with job.connection.images.ahead(job) as asked:
        server = server_of(job)
        volumes = _attached(job, server)
        images = asked()
    if server.boots_from_volume:
        return _cut_of_volumes(job, server, volumes, images)
    image_id = begin_image(job, server, images.values())
    contents = _begin_cuts(job, _without_node(job, volumes))
    await_image_cut(job, image_id, server.id)
    _await_cuts(job, contents)
    note = f"the disks of {server.name} were cut one after the other" if contents else ""
    outcome = ServerContent(server=server.id, image=image_id, volumes=tuple(contents)).outcome(note=note)
    return _capped(job, server, volumes, outcome) if volumes else outcome


def _cut_of_volumes(
    job: OpenStackJob, server: Server, volumes: Sequence[Volume], images: Mapping[str, CloudImage]
) -> Outcome:
    """Nova snapshots every volume, frozen around all of them where it can; the image holds no data."""
    done = _copied_before(job, server, volumes)
    if done is not None:
        return done.outcome()
    image_id = begin_image(job, server, images.values())
    contents = _snapshots_of_image(job, image_id, volumes)
    _await_cuts(job, contents)
    content = ServerContent(server=server.id, image=image_id, volumes=tuple(contents))
    if server.status == power.ACTIVE:
        apart = volumes_with_a_node(job.call, volumes)
        return _capped(job, server, volumes, content.outcome()) if apart else content.outcome()
    note = f"server {server.name} was {server.status}, so Nova froze nothing"
    return content.outcome(consistency=Consistency.CRASH, note=note)


def _capped(job: OpenStackJob, server: Server, volumes: Sequence[Volume], outcome: Outcome) -> Outcome:
    """Return *outcome* for a server of which disks were cut outside of Nova's own snapshot.

    Where Nova freezes a guest around that, its thaw ends the freeze of a hook as well: the guest agent thaws
    everything, whoever froze it.
    """
    if server.status != power.ACTIVE or not job.frozen_by_hook or not _frozen_by_nova(job, server, volumes):
        return outcome
    note = (
        f"Nova froze and thawed {server.name} around its own snapshot, and that thaw ended the freeze of "
        "fs_prepare before every disk was cut"
    )
    notes = [one for one in (outcome.note, note) if one]
    return replace(outcome, consistency=Consistency.CRASH, note="; ".join(notes))


def _frozen_by_nova(job: OpenStackJob, server: Server, volumes: Sequence[Volume]) -> bool:
    """Tell whether Nova may have frozen the guest; yes, when its image cannot be asked any more."""
    if server.boots_from_volume:
        return any(may_freeze(volume.image_metadata) for volume in volumes if volume.bootable)
    image = job.cloud.image(str(server.image_id))
    return image is None or may_freeze(image.metadata)


def _begin_cuts(job: OpenStackJob, volumes: Sequence[Volume]) -> list[VolumeContent]:
    if not volumes:
        return []
    with made_before(job) as asked:
        made = asked()
    return [begin_cut(job, volume, made) for volume in volumes]


def _await_cuts(job: OpenStackJob, contents: Iterable[VolumeContent]) -> None:
    for content in contents:
        await_cut(job, content)


def _attached(job: OpenStackJob, server: Server) -> list[Volume]:
    if not server.volume_ids:
        return []
    listing = job.connection.volumes.listed(job)
    return [listing[volume_id] for volume_id in server.volume_ids if volume_id in listing]


def _without_node(job: OpenStackJob, volumes: Sequence[Volume]) -> list[Volume]:
    apart = volumes_with_a_node(job.call, volumes)
    return [volume for volume in volumes if volume.id not in apart]


def _copied_before(job: OpenStackJob, server: Server, volumes: Sequence[Volume]) -> ServerContent | None:
    """Return what this step has already made full copies of, when it has done so for every volume."""
    if not job.call.full:
        return None
    backups = job.connection.backups.listed(job).values()
    contents = []
    for volume in _without_node(job, volumes):
        name = ownership.object_name(ownership.VOLUME, volume.id, job.call)
        own = ownership.claimed(backups, name, job.call)
        if own is None or own.status != "available":
            return None
        content = content_of(volume)
        root = is_root_device(content.device, volume)
        contents.append(replace(content, backup=own.id, root=root))
    return ServerContent(server=server.id, volumes=tuple(contents)) if contents else None


def _snapshots_of_image(job: OpenStackJob, image_id: str, volumes: Iterable[Volume]) -> list[VolumeContent]:
    """Return the snapshots that Nova's image names."""
    image = job.cloud.image(image_id)
    if image is None:
        raise RecoverableError(f"image {image_id} has vanished")
    snapshots = job.connection.snapshots.listed(job)
    own = {volume.id: volume for volume in volumes}
    contents = []
    for device in image.mapping:
        snapshot = snapshots.get(str(device.get("snapshot_id")))
        if snapshot is not None and snapshot.volume_id in own:
            content = content_of(own[snapshot.volume_id])
            root = device.get("boot_index") == 0
            contents.append(replace(content, snapshot=snapshot.id, root=root))
    return contents
