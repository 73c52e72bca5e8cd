"""The cut through one server's disks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from quiesce.errors import RecoverableError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import FS_PREPARE
from quiesce.model.outcome import Outcome
from quiesce.providers.openstack import ownership, power
from quiesce.providers.openstack.guest_agent import frozen_by_nova, frozen_twice
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of, volumes_with_a_node
from quiesce.providers.openstack.resources import CloudImage, Server, Volume
from quiesce.providers.openstack.server.content import ServerContent
from quiesce.providers.openstack.server.images import await_image_cut, begin_image, check_rotation
from quiesce.providers.openstack.volume.content import VolumeContent, is_root_device
from quiesce.providers.openstack.volume.cut import await_cut, begin_cut, content_of, made_before
from quiesce.providers.openstack.volume.group import await_group_cut, begin_group_cut
from quiesce.providers.openstack.volume_groups import group_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Disks:
    """One server and the volumes that its cut has to do with."""

    server: Server
    attached: tuple[Volume, ...]
    #: those of them that have no node
    own: tuple[Volume, ...]
    #: the group of volumes that *own* is, when a snapshot of it is of one instant
    group: str | None


def cut(job: OpenStackJob) -> Outcome:
    """Fix the point in time of the root disk and of the attached volumes that have no node."""
    check_rotation(job)
    with job.connection.images.ahead(job) as asked:
        disks = _disks(job, server_of(job))
        images = asked()
    if disks.server.boots_from_volume:
        return _cut_of_volumes(job, disks, images)
    image_id = begin_image(job, disks.server, images.values())
    contents = _begin_cuts(job, disks)
    await_image_cut(job, image_id, disks.server.id)
    volumes = contents()
    content = ServerContent(server=disks.server.id, image=image_id, volumes=tuple(volumes))
    if not disks.attached:
        return content.outcome()
    outcome = _of_many_moments(job, disks, content) if volumes else content.outcome()
    return _capped(job, disks, outcome)


def _disks(job: OpenStackJob, server: Server) -> _Disks:
    listing = job.connection.volumes.listed(job) if server.volume_ids else {}
    attached = tuple(listing[volume_id] for volume_id in server.volume_ids if volume_id in listing)
    own = tuple(_without_node(job, attached))
    return _Disks(server=server, attached=attached, own=own, group=group_of(job, own, listing))


def _cut_of_volumes(job: OpenStackJob, disks: _Disks, images: Mapping[str, CloudImage]) -> Outcome:
    """Cut all volumes by one snapshot of their group; else Nova snapshots them, frozen where it can."""
    server = disks.server
    done = _copied_before(job, server, disks.attached)
    if done is not None:
        return done.outcome()
    grouped = None if _freezes_for_cut(job, disks) else _cut_of_group(job, disks)
    if grouped is not None:
        return grouped
    image_id = begin_image(job, server, images.values())
    contents = _snapshots_of_image(job, image_id, disks.attached)
    _await_cuts(job, contents)
    return _of_nova(job, disks, ServerContent(server=server.id, image=image_id, volumes=tuple(contents)))


def _of_nova(job: OpenStackJob, disks: _Disks, content: ServerContent) -> Outcome:
    """Return what Nova's snapshots of all volumes are worth."""
    if disks.server.status != power.ACTIVE:
        return content.outcome(consistency=Consistency.CRASH, note=_nothing_frozen(disks.server))
    many = len(disks.own) > 1 and not _freezes_for_cut(job, disks)
    outcome = _of_many_moments(job, disks, content) if many else content.outcome()
    return _capped(job, disks, outcome) if len(disks.own) < len(disks.attached) else outcome


def _cut_of_group(job: OpenStackJob, disks: _Disks) -> Outcome | None:
    """Cut all volumes at one instant, without Nova and its thaw; None where that is not offered."""
    server = disks.server
    if disks.group is None:
        return None
    begun = begin_group_cut(job, server.id, disks.group, job.connection.snapshots.listed(job))
    if begun is None:
        return None
    contents = await_group_cut(job, begun, disks.own)
    volumes = tuple(
        replace(content, root=is_root_device(content.device, volume))
        for content, volume in zip(contents, disks.own, strict=True)
    )
    content = ServerContent(server=server.id, volumes=volumes)
    note = f"its volumes were cut at one instant, as their group {disks.group}"
    if server.status == power.ACTIVE:
        return content.outcome(note=note)
    return content.outcome(consistency=Consistency.CRASH, note=f"{_nothing_frozen(server)}; {note}")


def _nothing_frozen(server: Server) -> str:
    return f"server {server.name} was {server.status}, so Nova froze nothing"


def _freezes_for_cut(job: OpenStackJob, disks: _Disks) -> bool:
    """Tell whether Nova's own freeze is all that there may be around the cut of a server on volumes."""
    if disks.server.status != power.ACTIVE or _is_frozen_by_others(job):
        return False
    return frozen_by_nova(job, disks.server, disks.attached)


def _is_frozen_by_others(job: OpenStackJob) -> bool:
    """Tell whether the blueprint has a freeze of its own, which is not Nova's by another name."""
    hook = job.call.node.operations.get(FS_PREPARE)
    return job.frozen_by_hook and hook is not None and not hook.function.startswith("quiesce.openstack.")


def _of_many_moments(job: OpenStackJob, disks: _Disks, content: ServerContent) -> Outcome:
    """Return the outcome for disks that were cut one after the other: nothing, unless they stood still."""
    name = disks.server.name
    together = {volume.group_snapshot for volume in content.volumes} != {None}
    note = f"the disks of {name} were cut one after the other"
    if together:
        note = f"the volumes of {name} were cut at one instant, as their group, and its root disk at another"
    if job.frozen_by_hook or disks.server.status != power.ACTIVE:
        return content.outcome(note=note)
    note = f"{note}, and nothing froze it, so they may contradict each other; bind a hook to fs_prepare"
    return content.outcome(consistency=Consistency.NONE, note=note)


def _capped(job: OpenStackJob, disks: _Disks, outcome: Outcome) -> Outcome:
    """Return *outcome* for a server of which disks were cut outside of Nova's own snapshot.

    Where Nova freezes a guest around that, its thaw ends the freeze of a hook as well: the guest agent thaws
    everything, whoever froze it.
    """
    server = disks.server
    if not frozen_twice(job, server, disks.attached):
        return outcome
    note = (
        f"Nova froze and thawed {server.name} around its own snapshot, and that thaw ended the freeze of "
        "fs_prepare before every disk was cut"
    )
    notes = [one for one in (outcome.note, note) if one]
    return replace(outcome, consistency=Consistency.CRASH, note="; ".join(notes))


def _begin_cuts(job: OpenStackJob, disks: _Disks) -> Callable[[], list[VolumeContent]]:
    """Begin the cut of the volumes; what is given returns when it is over."""
    if not disks.own:
        return list
    with made_before(job) as asked:
        made = asked()
    if disks.group is not None and not made.backups_of(job, disks.own):
        begun = begin_group_cut(job, disks.server.id, disks.group, made.snapshots)
        if begun is not None:
            return lambda: await_group_cut(job, begun, disks.own)
    contents = [begin_cut(job, volume, made) for volume in disks.own]

    def awaited() -> list[VolumeContent]:
        _await_cuts(job, contents)
        return contents

    return awaited


def _await_cuts(job: OpenStackJob, contents: Iterable[VolumeContent]) -> None:
    for content in contents:
        await_cut(job, content)


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
