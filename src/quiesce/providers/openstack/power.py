"""Bring a server into a power state, whatever it does now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import Server

ACTIVE: Final = "ACTIVE"
PAUSED: Final = "PAUSED"
SUSPENDED: Final = "SUSPENDED"
STOPPED: Final = "SHUTOFF"
ERROR: Final = "ERROR"

#: from which state which action leads to ACTIVE
_WAKING: Final = {PAUSED: "unpause", SUSPENDED: "resume", STOPPED: "os-start"}
_GOING: Final = {SUSPENDED: "suspend", STOPPED: "os-stop"}


def settled(job: OpenStackJob, server_id: str) -> Server:
    """Return the server once nothing is under way on it."""

    def judge(found: Server | None) -> Server | None:
        server = there(found, server_id)
        return server if server.task_state is None else None

    return job.connection.servers.until(server_id, judge, job, f"server {server_id} to be idle")


def bring(job: OpenStackJob, server_id: str, wanted: str) -> Server:
    """Bring a server to ACTIVE, SUSPENDED or SHUTOFF and return it; it may be there already.

    Raises:
        NonRecoverableError: when the server is in a state that does not lead there.
    """
    server = settled(job, server_id)
    if server.status not in (wanted, ACTIVE):
        server = _step(job, server, _way(_WAKING, server), ACTIVE)
    if server.status != wanted:
        server = _step(job, server, _GOING[wanted], wanted)
    return server


def there(server: Server | None, server_id: str) -> Server:
    """Return the server that was found.

    Raises:
        ResourceNotFoundError: when it has been deleted.
    """
    if server is None or server.status == "DELETED" or server.task_state == "deleting":
        raise ResourceNotFoundError(f"server {server_id} is gone: somebody has deleted it")
    return server


def _step(job: OpenStackJob, server: Server, action: str, wanted: str) -> Server:
    job.cloud.act(server.id, action)

    def judge(found: Server | None) -> Server | None:
        now = there(found, server.id)
        if now.task_state is not None:
            return None
        if now.status == server.status:
            raise RecoverableError(f"Nova did not {action} server {server.id}: it is still {now.status}")
        if now.status != wanted:
            _way({}, now)
        return now

    return job.connection.servers.until(server.id, judge, job, f"server {server.id} to become {wanted}")


def _way(ways: Mapping[str, str], server: Server) -> str:
    if server.status not in ways:
        why = f": {server.fault}" if server.fault else ""
        raise NonRecoverableError(
            f"server {server.name} ({server.id}) is {server.status}{why}",
            hint="Bring it to ACTIVE (see 'openstack server show'), then run again.",
        )
    return ways[server.status]
