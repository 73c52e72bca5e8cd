"""One instant for the volumes of a server: a snapshot of the group of volumes that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiesce.errors import NonRecoverableError, RecoverableError, UnsupportedError
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.removal import remove_group_snapshot
from quiesce.providers.openstack.resources import Volume, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.cut import content_of


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


def await_group_cut(job: OpenStackJob, group_snapshot: str, volumes: Sequence[Volume]) -> list[VolumeContent]:
    """Return the volumes' snapshots when they hold their one point in time."""
    wanted = {volume.id for volume in volumes}

    def judge(listing: Mapping[str, VolumeSnapshot]) -> dict[str, VolumeSnapshot] | None:
        found = [each for each in listing.values() if each.group_snapshot_id == group_snapshot]
        failed = [each.id for each in found if each.status.startswith("error")]
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
