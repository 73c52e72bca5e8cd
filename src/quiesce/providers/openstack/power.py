"""Bring a server into a power state, whatever it does now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError
from quiesce.ports import Context
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.resources import Server
from quiesce.providers.openstack.waiting import Watch

ACTIVE: Final = "ACTIVE"
PAUSED: Final = "PAUSED"
SUSPENDED: Final = "SUSPENDED"
STOPPED: Final = "SHUTOFF"
ERROR: Final = "ERROR"

#: from which state which action leads to ACTIVE
_WAKING: Final = {PAUSED: "unpause", SUSPENDED: "resume", STOPPED: "os-start"}
_GOING: Final = {SUSPENDED: "suspend", STOPPED: "os-stop"}


class Power:
    """Works on the power states of one cloud's servers, for one call."""

    def __init__(self, cloud: Cloud, servers: Watch[Server], context: Context) -> None:
        self._cloud = cloud
        self._servers = servers
        self._context = context

    def settled(self, server_id: str) -> Server:
        """Return the server once nothing is under way on it."""

        def judge(listing: Mapping[str, Server]) -> Server | None:
            server = there(listing, server_id)
            return server if server.task_state is None else None

        return self._servers.until(
            judge, self._context, what=f"server {server_id} to be idle", only=server_id
        )

    def bring(self, server_id: str, wanted: str) -> Server:
        """Bring a server to ACTIVE, SUSPENDED or SHUTOFF and return it; it may be there already.

        Raises:
            NonRecoverableError: when the server is in a state that does not lead there.
        """
        server = self.settled(server_id)
        if server.status not in (wanted, ACTIVE):
            server = self._step(server, _way(_WAKING, server.status, server), ACTIVE)
        if server.status != wanted:
            server = self._step(server, _GOING[wanted], wanted)
        return server

    def _step(self, server: Server, action: str, wanted: str) -> Server:
        self._cloud.act(server.id, action)

        def judge(listing: Mapping[str, Server]) -> Server | None:
            now = there(listing, server.id)
            if now.task_state is not None:
                return None
            if now.status == server.status:
                raise RecoverableError(f"Nova did not {action} server {server.id}: it is still {now.status}")
            if now.status != wanted:
                _way({}, now.status, now)
            return now

        return self._servers.until(
            judge, self._context, what=f"server {server.id} to become {wanted}", only=server.id
        )


def there(listing: Mapping[str, Server], server_id: str) -> Server:
    """Return the server from a listing.

    Raises:
        ResourceNotFoundError: when it has been deleted.
    """
    server = listing.get(server_id)
    if server is None or server.status == "DELETED" or server.task_state == "deleting":
        raise ResourceNotFoundError(f"server {server_id} is gone: somebody has deleted it")
    return server


def _way(ways: Mapping[str, str], status: str, server: Server) -> str:
    if status not in ways:
        why = f": {server.fault}" if server.fault else ""
        raise NonRecoverableError(
            f"server {server.name} ({server.id}) is {status}{why}",
            hint="Bring it to ACTIVE (see 'openstack server show'), then run again.",
        )
    return ways[status]
