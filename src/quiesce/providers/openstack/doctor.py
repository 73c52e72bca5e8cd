"""What ``quiesce doctor`` asks of a cloud: rights, quotas, agent, backends. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.ports import Finding
from quiesce.providers.openstack import power
from quiesce.providers.openstack.client import Service
from quiesce.providers.openstack.guest_agent import AGENT, frozen_twice, may_freeze, missing_properties
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of, volume_of, volumes_with_a_node
from quiesce.providers.openstack.resources import Server, Volume
from quiesce.providers.openstack.volume_groups import group_members, shared_group, why_not_used

#: the limits that a backup may hit: the limit, what is used of it, what it counts
_LIMITS = (
    ("maxTotalSnapshots", "totalSnapshotsUsed", "snapshots"),
    ("maxTotalBackups", "totalBackupsUsed", "backups"),
    ("maxTotalVolumes", "totalVolumesUsed", "volumes"),
    ("maxTotalVolumeGigabytes", "totalGigabytesUsed", "GiB of volumes and snapshots"),
    ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed", "GiB of backups"),
)


def check_server(job: OpenStackJob) -> Iterator[Finding]:
    """Check the login, the server and what its backup needs."""
    login = _login(job)
    yield login
    if not login.passed:
        return
    try:
        server = server_of(job)
    except ProviderError as error:
        yield _failed("server", error)
        return
    usable = server.status in (power.ACTIVE, power.STOPPED, power.PAUSED, power.SUSPENDED)
    yield Finding(
        check="server",
        passed=usable,
        detail=f"{server.name} ({server.id}) is {server.status}",
        remedy="" if usable else "Bring it to ACTIVE before a backup.",
    )
    if server.locked:
        yield Finding(
            check="locked",
            passed=False,
            detail="somebody has locked it, so Nova makes no snapshot of it and rebuilds it not",
            remedy=f"Have it unlocked: openstack server unlock {server.id}",
        )
    yield _agent(job, server)
    yield from _cut(job, server)
    yield _seen("images", job.cloud.images, "Give the user the right to list and make images.")
    yield _diagnostics(job, server)
    if server.volume_ids:
        yield from _backend(job)


def check_volume(job: OpenStackJob) -> Iterator[Finding]:
    """Check the login, the volume and what its backup needs."""
    login = _login(job)
    yield login
    if not login.passed:
        return
    volume = volume_of(job)
    if volume is None:
        yield Finding(
            check="volume", passed=False, detail="it is not there", remedy="Give its id as 'resource_id'."
        )
        return
    usable = volume.status in ("available", "in-use")
    yield Finding(
        check="volume",
        passed=usable,
        detail=f"{volume.name or volume.id} is {volume.status}",
        remedy="" if usable else "Wait, or have the cloud's operator reset its state.",
    )
    yield _revertible(job, volume)
    yield from _shared([volume])
    yield from _apart(job, volume)
    yield from _backend(job)


def check_network(job: OpenStackJob) -> Iterator[Finding]:
    """Check the login and that networks can be seen."""
    login = _login(job)
    yield login
    if login.passed:
        yield _seen("networks", lambda: job.cloud.network_objects("networks"), "Check the rights.")


def _login(job: OpenStackJob) -> Finding:
    return _try("login", lambda: f"project {job.cloud.client.project_id}", "Check client_config.")


def _backend(job: OpenStackJob) -> Iterator[Finding]:
    yield _seen("snapshots", job.cloud.snapshots, "Give the user the right to list and make snapshots.")
    yield _seen("backups", job.cloud.backups, "Ask the cloud's operator for the backup service.")
    try:
        limits = job.cloud.limits(Service.VOLUME)
    except ProviderError as error:
        yield _failed("quota", error)
        return
    for limit, used, what in _LIMITS:
        yield from _quota(limits, limit, used, what)


def _agent(job: OpenStackJob, server: Server) -> Finding:
    if not server.boots_from_volume:
        image = job.cloud.image(str(server.image_id))
        found = (
            f"{AGENT}=yes is set"
            if image is not None and may_freeze(image.metadata)
            else f"{AGENT} is not set"
        )
        return Finding(
            check="agent",
            passed=False,
            detail=f"{found}; Nova never tells whether the agent answered, so a cut counts as crash",
            remedy="Bind a hook to fs_prepare and fs_finalize for more.",
        )
    volumes = job.connection.volumes.listed(job)
    why = missing_properties(volumes[name] for name in server.volume_ids if name in volumes)
    return Finding(
        check="agent",
        passed=why is None,
        detail=why or "Nova refuses to snapshot without a freeze, so a backup proves the agent",
        remedy="Set the properties on the image, install the agent, and make the server anew." if why else "",
    )


def _cut(job: OpenStackJob, server: Server) -> Iterator[Finding]:
    """Tell how the disks are cut, and what would make that worth less than it seems."""
    listing = job.connection.volumes.listed(job)
    attached = [listing[name] for name in server.volume_ids if name in listing]
    apart = volumes_with_a_node(job.call, attached)
    own = [volume for volume in attached if volume.id not in apart]
    yield from _shared(attached)
    if (apart or not server.boots_from_volume) and frozen_twice(job, server, attached):
        yield Finding(
            check="two-freezes",
            passed=False,
            detail="Nova freezes and thaws around its own snapshot, which ends the freeze of fs_prepare "
            "before every disk is cut, so a backup counts as crash",
            remedy=f"Take {AGENT} from the image, or the hook from the blueprint.",
        )
    if len(own) + (not server.boots_from_volume) > 1:
        yield _moments(job, own, listing)


def _moments(job: OpenStackJob, own: Sequence[Volume], listing: Mapping[str, Volume]) -> Finding:
    group = shared_group(own, listing)
    if group is None:
        detail = "its disks are no group of volumes, so they are cut one after the other; a hook holds them"
        return Finding(check="group", passed=True, detail=detail)
    detail = f"its volumes are the group {group}: "
    detail += why_not_used(job, group) or "one snapshot of it is their cut"
    return Finding(check="group", passed=True, detail=detail)


def _apart(job: OpenStackJob, volume: Volume) -> Iterator[Finding]:
    """Tell of volumes that are a group with this one, and what that is worth with a node of its own."""
    members = group_members(job, volume.group_id) if volume.group_id else []
    if volume.group_id is None or len(members) < 2:
        return
    detail = f"it is one of {len(members)} volumes of the group {volume.group_id}: "
    detail += why_not_used(job, volume.group_id) or (
        "one snapshot of it is the cut of all of them, where each has a node of its own in the same backup"
    )
    yield Finding(check="group", passed=True, detail=detail)


def _shared(attached: Iterable[Volume]) -> Iterator[Finding]:
    for volume in attached:
        if len(volume.attachments) > 1:
            yield Finding(
                check="shared",
                passed=False,
                detail=f"volume {volume.name or volume.id} is attached to {len(volume.attachments)} servers, "
                "so what one of them freezes another one writes, and it cannot be put back",
                remedy="Detach it from all but one before a restore.",
            )


def _diagnostics(job: OpenStackJob, server: Server) -> Finding:
    """Only statistics suffer without this right, so it is not a failure."""
    try:
        job.cloud.diagnostics(server.id)
    except ProviderError:
        return Finding(
            check="diagnostics", passed=True, detail="not allowed: statistics give state and size only"
        )
    return Finding(check="diagnostics", passed=True, detail="allowed")


def _revertible(job: OpenStackJob, volume: Volume) -> Finding:
    snapshots = job.connection.snapshots.listed(job).values()
    count = sum(snapshot.volume_id == volume.id for snapshot in snapshots)
    return Finding(
        check="revert",
        passed=True,
        detail=f"of its {count} snapshots only the latest can be reverted to; others need swap_volume",
    )


def _quota(limits: Mapping[str, Json], limit: str, used: str, what: str) -> Iterator[Finding]:
    most, taken = limits.get(limit), limits.get(used)
    if not isinstance(most, int) or not isinstance(taken, int):
        return
    passed = most < 0 or taken < most
    yield Finding(
        check="quota",
        passed=passed,
        detail=f"{taken} of {'unlimited' if most < 0 else most} {what} used",
        remedy="" if passed else f"Remove some, or have the quota of {what} raised.",
    )


def _seen(what: str, every: Callable[[], Sized], remedy: str) -> Finding:
    return _try(what, lambda: f"{len(every())} {what} seen", remedy)


def _try(check: str, action: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(check=check, passed=True, detail=action())
    except ProviderError as error:
        return Finding(check=check, passed=False, detail=str(error), remedy=error.hint or remedy)


def _failed(check: str, error: ProviderError) -> Finding:
    return Finding(check=check, passed=False, detail=str(error), remedy=error.hint)
