"""One instant for many volumes: a snapshot of the group that they are.

They are those of one server, or have nodes of their own. In the second case whoever is cut first makes the
snapshot for all of them, each writes on its part of it that it needs it, and who is the last to need it no
longer removes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiesce.errors import NonRecoverableError, RecoverableError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.removal import remove_group_snapshot
from quiesce.providers.openstack.resources import GroupSnapshot, Volume, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.cut import content_of
from quiesce.providers.openstack.volume_groups import group_members, group_of_nodes


def begin_group_cut(
    job: OpenStackJob, server_id: str, group: str, made: Mapping[str, VolumeSnapshot]
) -> str | None:
    """Ask for a snapshot of *group*, unless this step has asked before; return its id, or None if refused."""
    name = ownership.object_name(ownership.SERVER, server_id, job.call)
    own = ownership.claimed(made.values(), name, job.call)
    if own is not None and own.group_snapshot_id is not None:
        if not own.status.startswith("error"):
            return own.group_snapshot_id
        remove_group_snapshot(job, own.group_snapshot_id)
    try:
        description = ownership.description_of(job.call, ownership.SERVER, server_id)
        return job.cloud.create_group_snapshot(group, name, description)
    except (NonRecoverableError, UnsupportedError) as error:
        job.warn(f"no snapshot of the group of volumes {group}: {error}")
        return None


def cut_with_others(job: OpenStackJob, volume: Volume) -> Outcome | None:
    """Cut *volume* at one instant with the others of its group, which have nodes of their own.

    None where that is not offered.
    """
    group = group_of_nodes(job, volume)
    begun = begin_shared_cut(job, group) if group is not None else None
    if group is None or begun is None:
        return None
    # all or none: who tries again makes it anew, and must not take away what another step has got
    members = group_members(job, group)
    contents = await_group_cut(job, begun, members)
    content = next(each for each in contents if each.volume == volume.id)
    hold(job, content)
    note = f"cut at one instant with {len(members) - 1} more, as their group {group}"
    return replace(content.outcome(), note=note)


def begin_shared_cut(job: OpenStackJob, group: str) -> str | None:
    """Ask for a snapshot of *group* unless another volume's step has done so; else as `begin_group_cut`."""
    name = ownership.object_name(ownership.GROUP, group, job.call)
    _remove_failed(job, name)
    asked = f"{job.call.execution} {name}"
    with job.connection.changes_group_snapshots:
        own = _own(job, name)
        if own is not None:
            return own.id
        if asked in job.connection.refused_group_cuts:
            return None
        try:
            description = ownership.group_description(job.call, group)
            return job.cloud.create_group_snapshot(group, name, description)
        except (NonRecoverableError, UnsupportedError) as error:
            job.warn(f"no snapshot of the group of volumes {group}: {error}")
            job.connection.refused_group_cuts.add(asked)
            return None


def _own(job: OpenStackJob, name: str) -> GroupSnapshot | None:
    made = job.connection.group_snapshots.listed(job).values()
    return ownership.claimed(made, name, ownership.for_all(job.call))


def _remove_failed(job: OpenStackJob, name: str) -> None:
    own = _own(job, name)
    if own is not None and own.status not in ("creating", "available"):
        remove_group_snapshot(job, own.id)


def hold(job: OpenStackJob, content: VolumeContent) -> None:
    """Say that the call's instance needs its part of a group's snapshot."""
    job.cloud.set_snapshot_metadata(str(content.snapshot), {ownership.hold_of(job.call): job.call.instance})


def await_group_cut(job: OpenStackJob, group_snapshot: str, volumes: Sequence[Volume]) -> list[VolumeContent]:
    """Return the volumes' snapshots when they hold their one point in time."""
    wanted = {volume.id for volume in volumes}

    def judge(listing: Mapping[str, VolumeSnapshot]) -> dict[str, VolumeSnapshot] | None:
        found = [each for each in listing.values() if each.group_snapshot_id == group_snapshot]
        failed = [each.id for each in found if each.status.startswith("error")]
        if not found:
            raise RecoverableError(f"group snapshot {group_snapshot} has vanished")
        if failed:
            raise RecoverableError(f"{', '.join(failed)} of group snapshot {group_snapshot} failed")
        available = {each.volume_id: each for each in found if each.status == "available"}
        return available if wanted <= available.keys() else None

    what = f"group snapshot {group_snapshot}"
    made = job.connection.snapshots.until_listed(judge, job, what, urgent=True)
    return [
        replace(content_of(volume), snapshot=made[volume.id].id, group_snapshot=group_snapshot)
        for volume in volumes
    ]
