"""The only freeze that Nova offers: its own, around its own snapshot.

There is no call to freeze a guest. Nova does it for a moment while it makes a snapshot, when the image says
that there is a guest agent. For a server that boots from a volume and whose image *requires* it, a snapshot
without freeze is an error, so a success is proof. For a server that boots from an image Nova goes on without
when the agent is silent, and tells nobody: that proves nothing, and is not claimed.
"""

from __future__ import annotations

from typing import Final

from quiesce.errors import CannotFreezeError, ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.openstack import power
from quiesce.providers.openstack.guest_agent import missing_properties
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of, volumes_with_a_node
from quiesce.providers.openstack.resources import Server
from quiesce.providers.openstack.server.images import check_rotation

#: task states in which Nova may hold the guest frozen
_CUTTING: Final = frozenset(
    {
        "image_snapshot_pending",
        "image_snapshot",
        "image_backup_pending",
        "image_backup",
        "image_pending_upload",
    }
)
_HOOK: Final = "Bind a hook to fs_prepare and fs_finalize, or accept crash consistency."


def freeze(job: OpenStackJob) -> Outcome:
    """Find out whether the cut will be frozen by Nova, provably.

    Raises:
        CannotFreezeError: when it will not be, or nobody could tell.
    """
    check_rotation(job)
    server = server_of(job)
    why = _why_not(job, server)
    if why is not None:
        raise CannotFreezeError(f"server {server.name}: {why}", hint=_HOOK)
    return Outcome(consistency=Consistency.FILESYSTEM)


def thaw(job: OpenStackJob) -> Outcome:
    """Return when Nova is past the moment in which it holds the guest frozen."""
    try:
        server = server_of(job)
    except ResourceNotFoundError:
        return Outcome(note="the server is gone, so nothing of it is frozen")
    if _is_past(server) is None:
        what = f"Nova to finish the cut of server {server.id}"
        job.connection.servers.until(server.id, _is_past, job, what, urgent=True)
    return NOTHING


def _is_past(now: Server | None) -> bool | None:
    return True if now is None or now.task_state not in _CUTTING else None


def _why_not(job: OpenStackJob, server: Server) -> str | None:
    if server.status != power.ACTIVE:
        return f"it is {server.status}, so its guest cannot be asked"
    if not server.boots_from_volume:
        return (
            "it boots from an image; Nova would go on without a freeze when the agent does not answer, "
            "and does not tell"
        )
    listing = job.connection.volumes.listed(job)
    volumes = [listing[volume_id] for volume_id in server.volume_ids if volume_id in listing]
    apart = volumes_with_a_node(job.call, volumes)
    if apart:
        return f"volumes {', '.join(sorted(apart))} have steps of their own, outside Nova's freeze"
    return missing_properties(volumes)
