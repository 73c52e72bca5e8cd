"""What ``quiesce doctor`` asks of a cloud: rights, quotas, agent, backends. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from quiesce.errors import ProviderError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, Finding
from quiesce.providers.openstack import power
from quiesce.providers.openstack.client import Service
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.freezing import AGENT, lacking
from quiesce.providers.openstack.locating import server_of, volume_of
from quiesce.providers.openstack.resources import Server, Volume

#: the limits that a backup may hit: the limit, what is used of it, what it counts
_LIMITS = (
    ("maxTotalSnapshots", "totalSnapshotsUsed", "snapshots"),
    ("maxTotalBackups", "totalBackupsUsed", "backups"),
    ("maxTotalVolumes", "totalVolumesUsed", "volumes"),
    ("maxTotalVolumeGigabytes", "totalGigabytesUsed", "GiB of volumes and snapshots"),
    ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed", "GiB of backups"),
)


class Examination:
    """One node's examination."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context

    def of(self, sort: str) -> Sequence[Finding]:
        """Return every check made for a node of this sort."""
        login = self._try("login", lambda: f"project {self._cloud.client.project_id}", "Check client_config.")
        if not login.passed:
            return [login]
        checks = {"Server": self._of_server, "Volume": self._of_volume}
        return [login, *checks.get(sort, self._of_network)()]

    def _of_server(self) -> Iterator[Finding]:
        try:
            server = server_of(self._call, self._connection, self._context)
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
        yield self._agent(server)
        yield self._try("images", self._images, "Give the user the right to list and make images.")
        yield self._diagnostics(server)
        if server.volume_ids:
            yield from self._of_backend()

    def _of_volume(self) -> Iterator[Finding]:
        volume = volume_of(self._call, self._connection, self._context)
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
        yield self._revertible(volume)
        yield from self._of_backend()

    def _of_network(self) -> Iterator[Finding]:
        yield self._try(
            "network",
            lambda: f"{len(self._cloud.network_objects('networks'))} networks seen",
            "Check the rights.",
        )

    def _of_backend(self) -> Iterator[Finding]:
        yield self._try("snapshots", self._snapshots, "Give the user the right to list and make snapshots.")
        yield self._try("backups", self._backups, "Ask the cloud's operator for the backup service.")
        yield from self._quotas()

    def _agent(self, server: Server) -> Finding:
        if not server.boots_from_volume:
            image = self._cloud.image(str(server.image_id))
            has = image is not None and image.metadata.get(AGENT, "").lower() in ("yes", "true")
            found = f"{AGENT}=yes is set" if has else f"{AGENT} is not set"
            return Finding(
                check="agent",
                passed=False,
                detail=f"{found}; Nova never tells whether the agent answered, so a cut counts as crash",
                remedy="Bind a hook to fs_prepare and fs_finalize for more.",
            )
        volumes = self._connection.volumes.now(self._context, what="the list of volumes")
        why = lacking(volumes[name] for name in server.volume_ids if name in volumes)
        return Finding(
            check="agent",
            passed=why is None,
            detail=why or "Nova refuses to snapshot without a freeze, so a backup proves the agent",
            remedy="Set the properties on the image, install the agent, and make the server anew."
            if why
            else "",
        )

    def _images(self) -> str:
        return f"{len(self._cloud.images())} images owned by the project"

    def _snapshots(self) -> str:
        return f"{len(self._cloud.snapshots())} snapshots seen"

    def _backups(self) -> str:
        return f"{len(self._cloud.backups())} backups seen"

    def _diagnostics(self, server: Server) -> Finding:
        """Only statistics suffer without this right, so it is not a failure."""
        try:
            self._cloud.diagnostics(server.id)
        except ProviderError:
            return Finding(
                check="diagnostics", passed=True, detail="not allowed: statistics give state and size only"
            )
        return Finding(check="diagnostics", passed=True, detail="allowed")

    def _revertible(self, volume: Volume) -> Finding:
        snapshots = self._connection.snapshots.now(self._context, what="the list of snapshots")
        count = sum(snapshot.volume_id == volume.id for snapshot in snapshots.values())
        return Finding(
            check="revert",
            passed=True,
            detail=f"of its {count} snapshots only the latest can be reverted to; others need swap_volume",
        )

    def _quotas(self) -> Iterator[Finding]:
        try:
            limits = self._cloud.limits(Service.VOLUME)
        except ProviderError as error:
            yield _failed("quota", error)
            return
        for limit, used, what in _LIMITS:
            yield from _quota(limits, limit, used, what)

    def _try(self, check: str, action: Callable[[], str], remedy: str) -> Finding:
        try:
            return Finding(check=check, passed=True, detail=action())
        except ProviderError as error:
            return Finding(check=check, passed=False, detail=str(error), remedy=error.hint or remedy)


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


def _failed(check: str, error: ProviderError) -> Finding:
    return Finding(check=check, passed=False, detail=str(error), remedy=error.hint)
