"""The only freeze that Nova offers: its own, around its own snapshot.

There is no call to freeze a guest. Nova does it for a moment while it makes a snapshot, when the image says
that there is a guest agent. For a server that boots from a volume and whose image *requires* it, a snapshot
without freeze is an error, so a success is proof. For a server that boots from an image Nova goes on without
when the agent is silent, and tells nobody: that proves nothing, and is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from quiesce.errors import CannotFreezeError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context
from quiesce.providers.openstack import power
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.images import check_rotation
from quiesce.providers.openstack.locating import server_of, volumes_with_a_node
from quiesce.providers.openstack.resources import Server, Volume

#: image properties: there is an agent; no snapshot without it
AGENT: Final = "hw_qemu_guest_agent"
REQUIRED: Final = "os_require_quiesce"
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


class Freezing:
    """FREEZE and THAW of one server."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._call = call
        self._context = context

    def freeze(self) -> Outcome:
        """Find out whether the cut will be frozen by Nova, provably.

        Raises:
            CannotFreezeError: when it will not be, or nobody could tell.
        """
        check_rotation(self._call)
        server = server_of(self._call, self._connection, self._context)
        why = self._why_not(server)
        if why is not None:
            raise CannotFreezeError(f"server {server.name}: {why}", hint=_HOOK)
        return Outcome(consistency=Consistency.FILESYSTEM)

    def thaw(self) -> Outcome:
        """Return when Nova is past the moment in which it holds the guest frozen."""

        def judge(listing: Mapping[str, Server]) -> bool | None:
            now = listing.get(server.id)
            return True if now is None or now.task_state not in _CUTTING else None

        try:
            server = server_of(self._call, self._connection, self._context)
        except ResourceNotFoundError:
            return Outcome(note="the server is gone, so nothing of it is frozen")
        if judge({server.id: server}) is None:
            what = f"Nova to finish the cut of server {server.id}"
            self._connection.servers.until(judge, self._context, what=what, only=server.id, frozen=True)
        return NOTHING

    def _why_not(self, server: Server) -> str | None:
        if server.status != power.ACTIVE:
            return f"it is {server.status}, so its guest cannot be asked"
        if not server.boots_from_volume:
            return (
                "it boots from an image; Nova would go on without a freeze when the agent does not answer, "
                "and does not tell"
            )
        listing = self._connection.volumes.now(self._context, what="the list of volumes")
        volumes = [listing[volume_id] for volume_id in server.volume_ids if volume_id in listing]
        apart = volumes_with_a_node(self._call, volumes)
        if apart:
            return f"volumes {', '.join(sorted(apart))} have steps of their own, outside Nova's freeze"
        return lacking(volumes)


def lacking(volumes: Iterable[Volume]) -> str | None:
    """Return which image property is missing for a provable freeze, or None."""
    properties: dict[str, str] = {}
    for volume in volumes:
        properties |= volume.image_metadata if volume.bootable else {}
    missing = [
        key for key in (AGENT, REQUIRED) if properties.get(key, "").lower() not in ("yes", "true", "1")
    ]
    return f"its image lacks {' and '.join(f'{key}=yes' for key in missing)}" if missing else None
