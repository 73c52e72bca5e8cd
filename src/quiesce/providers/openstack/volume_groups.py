"""The group of volumes that are cut together, if its snapshots are of one instant.

Cinder promises one instant of those groups only whose type says so, and by default it shows what types say
to administrators alone. A snapshot of a group is of every volume in it, and can be removed only as a whole,
so it is used where a group has exactly the volumes that are to be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from quiesce.providers.openstack.errors import NotAllowedError
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import volumes_of
from quiesce.providers.openstack.options import GroupSnapshots
from quiesce.providers.openstack.resources import Volume

_ONE_INSTANT: Final = "consistent_group_snapshot_enabled"


def group_of(job: OpenStackJob, volumes: Sequence[Volume], listing: Mapping[str, Volume]) -> str | None:
    """Return the group that has *volumes* and no other of *listing*, if its snapshots are of one instant."""
    group = shared_group(volumes, listing)
    if group is None or job.options.group_snapshots is GroupSnapshots.NEVER:
        return None
    why_not = why_not_used(job, group)
    if why_not:
        job.warn(f"no snapshot of the group of volumes {group}: {why_not}")
    return None if why_not else group


def group_of_nodes(job: OpenStackJob, volume: Volume) -> str | None:
    """Return the group of *volume*, if its snapshots are of one instant and every volume in it is cut now."""
    if volume.group_id is None or job.options.group_snapshots is GroupSnapshots.NEVER:
        return None
    members = group_members(job, volume.group_id)
    if len(members) < 2:
        return None
    others = {each.id for each in members} - {volume.id}
    left_out = others - volumes_of(job.context.cut_together(), members)
    why_not = why_not_used(job, volume.group_id)
    if left_out:
        why_not = (
            f"{', '.join(sorted(left_out))} in it has no node that is cut with {volume.name or volume.id}"
        )
    if why_not:
        job.warn(f"no snapshot of the group of volumes {volume.group_id}: {why_not}")
    return None if why_not else volume.group_id


def group_members(job: OpenStackJob, group: str) -> list[Volume]:
    """Return the volumes that are in *group*."""
    return [each for each in job.connection.volumes.listed(job).values() if each.group_id == group]


def shared_group(volumes: Sequence[Volume], listing: Mapping[str, Volume]) -> str | None:
    """Return the group that has *volumes*, two or more, and no other of *listing*."""
    groups = {volume.group_id for volume in volumes}
    if len(volumes) < 2 or len(groups) != 1:
        return None
    (group,) = groups
    members = {volume.id for volume in listing.values() if volume.group_id == group}
    return group if members == {volume.id for volume in volumes} else None


def why_not_used(job: OpenStackJob, group: str) -> str:
    """Return why no snapshot of *group* is made; empty: it is of one instant, or the operator says so."""
    match job.options.group_snapshots:
        case GroupSnapshots.NEVER:
            return "group_snapshots is never, so they are cut one after the other"
        case GroupSnapshots.ALWAYS:
            return ""
        case GroupSnapshots.AUTO:
            return _why_not_one_instant(job, group)


def _why_not_one_instant(job: OpenStackJob, group: str) -> str:
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
