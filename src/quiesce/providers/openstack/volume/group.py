"""One instant for the volumes of a server: a snapshot of the group of volumes that they are.

Cinder promises one instant of those groups only whose type says so, and by default it shows what types say
to administrators alone. A snapshot of a group is of every volume in it, and can be removed only as a whole,
so it is used where a group has exactly the volumes that are to be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from quiesce.errors import NonRecoverableError, RecoverableError, UnsupportedError
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.errors import NotAllowedError
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.options import GroupSnapshots
from quiesce.providers.openstack.removal import remove_group_snapshot
from quiesce.providers.openstack.resources import Volume, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.cut import content_of

_ONE_INSTANT: Final = "consistent_group_snapshot_enabled"


def group_of(job: OpenStackJob, volumes: Sequence[Volume], listing: Mapping[str, Volume]) -> str | None:
    """Return the group that has *volumes* and no other of *listing*, if its snapshots are of one instant."""
    group = shared_group(volumes, listing)
    if group is None or job.options.group_snapshots is GroupSnapshots.NEVER:
        return None
    why_not = "" if job.options.group_snapshots is GroupSnapshots.ALWAYS else why_not_one_instant(job, group)
    if why_not:
        job.warn(f"no snapshot of the group of volumes {group}: {why_not}")
    return None if why_not else group


def shared_group(volumes: Sequence[Volume], listing: Mapping[str, Volume]) -> str | None:
    """Return the group that has *volumes*, two or more, and no other of *listing*."""
    groups = {volume.group_id for volume in volumes}
    if len(volumes) < 2 or len(groups) != 1:
        return None
    (group,) = groups
    members = {volume.id for volume in listing.values() if volume.group_id == group}
    return group if members == {volume.id for volume in volumes} else None


def why_not_one_instant(job: OpenStackJob, group: str) -> str:
    """Return why a snapshot of *group* need not be of one instant; empty when its type promises it."""
    try:
        specs = job.connection.specs_of_group(group)
    except NotAllowedError as error:
        return f"{error}; if it is known to be of one instant: group_snapshots: always"
    if specs is None:
        return (
            "Cinder shows only administrators whether it would be of one instant; if that is known: "
            "group_snapshots: always"
        )
    return "" if str(specs.get(_ONE_INSTANT)) == "<is> True" else "its type does not promise one instant"


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
