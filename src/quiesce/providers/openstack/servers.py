"""One server: suspended, resumed, put back, measured."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from quiesce.errors import DamagedArtifactError, NonRecoverableError, ProviderError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.openstack import power
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.cutting import Content
from quiesce.providers.openstack.locating import server_of
from quiesce.providers.openstack.resources import Backup, Server, Snapshot, Volume
from quiesce.providers.openstack.roots import Roots
from quiesce.providers.openstack.volumes import Piece, Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One volume on its way back."""

    piece: Piece
    volume: Volume | None
    source: Snapshot | Backup


class Servers:
    """Works on one server of a connection, for one call."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context
        self._volumes = Volumes(connection, call, context)
        self._roots = Roots(connection, call, context)
        self._power = power.Power(connection.cloud, connection.servers, context)

    # -- suspend and resume -----------------------------------------------------------------------------

    def suspend(self) -> Outcome:
        """Stop the processors; what is paused or shut off has none running already."""
        server = self._settled()
        if server.status == power.STOPPED:
            return Outcome(note=f"server {server.name} is shut off; there is nothing to suspend")
        if server.status != power.PAUSED:
            self._bring(server, power.SUSPENDED)
        return NOTHING

    def resume(self) -> Outcome:
        """Let the processors go on; a server that somebody has shut off stays so."""
        server = self._settled()
        if server.status == power.STOPPED:
            return Outcome(note=f"server {server.name} is shut off, not suspended; it was left so")
        self._bring(server, power.ACTIVE)
        return NOTHING

    def _settled(self) -> Server:
        server = server_of(self._call, self._connection, self._context)
        return server if server.task_state is None else self._power.settled(server.id)

    def _bring(self, server: Server, wanted: str) -> None:
        if server.status != wanted:
            self._power.bring(server.id, wanted)

    # -- putting back -----------------------------------------------------------------------------------

    def apply(self) -> Outcome:
        """Put the root disk back, and the volumes that the cut took along.

        Everything needed is checked before anything is touched.
        """
        content = Content.of(self._call)
        server = self._server(content)
        self._check_image(content, server)
        returns = self._returns(content)
        with ExitStack() as rest:
            if any(not way.piece.root for way in returns):
                rest.enter_context(self._connection.rest.stopped(server.id, self._context))
            self._put_root_back(server, content, returns)
            for way in returns:
                if not way.piece.root:
                    self._volumes.put_back(way.volume, way.source)
        return NOTHING

    def _server(self, content: Content) -> Server:
        try:
            return server_of(self._call, self._connection, self._context)
        except ResourceNotFoundError as error:
            where = f"image {content.image_id}" if content.image_id else "its volumes' backups"
            raise ResourceNotFoundError(
                f"server {content.server_id} is gone, so there is nothing to rebuild",
                hint=f"Boot a new server from {where}, and give its id as 'resource_id'.",
            ) from error

    def _check_image(self, content: Content, server: Server) -> None:
        if content.image_id is None or server.boots_from_volume:
            return
        image = self._cloud.image(content.image_id)
        if image is None:
            raise ResourceNotFoundError(
                f"image {content.image_id} of server {server.name} is not there any more"
            )
        same = content.checksum in (None, image.checksum) and content.size_bytes in (None, image.size_bytes)
        if image.status != "active" or not same:
            raise DamagedArtifactError(
                f"image {image.id} is {image.status} with {image.size_bytes} bytes and checksum "
                f"{image.checksum}; {content.size_bytes} bytes and {content.checksum} were written"
            )

    def _returns(self, content: Content) -> list[Return]:
        if not content.pieces:
            return []
        volumes = self._connection.volumes.now(self._context, what="the list of volumes")
        return [
            Return(piece=piece, volume=volumes.get(piece.volume_id), source=self._volumes.checked(piece))
            for piece in content.pieces
        ]

    def _put_root_back(self, server: Server, content: Content, returns: list[Return]) -> None:
        if not server.boots_from_volume:
            self._roots.rebuilt(server, str(content.image_id))
            return
        for way in returns:
            if way.piece.root:
                if way.volume is None:
                    raise NonRecoverableError(
                        f"the root volume {way.piece.volume_id} of {server.name} is gone"
                    )
                self._roots.put_back(server, way.volume, way.source)

    # -- statistics -------------------------------------------------------------------------------------

    def measure(self) -> Outcome:
        """Return what Nova tells: diagnostics to administrators, state and size to everybody."""
        server = server_of(self._call, self._connection, self._context)
        figures: dict[str, Json] = {
            "status": server.status,
            "vcpus": server.flavor.get("vcpus"),
            "memory_bytes": _scaled(server.flavor.get("ram"), 1 << 20),
            "disk_bytes": _scaled(server.flavor.get("disk"), 1 << 30),
            "volumes": len(server.volume_ids),
            "launched_at": server.launched_at,
        }
        note = ""
        try:
            figures |= _figures_of(self._cloud.diagnostics(server.id))
        except ProviderError as error:
            note = f"no diagnostics: {error}"
            self._context.log(Level.INFO, note)
        return Outcome(measurements=figures, note=note)


#: what of Nova's diagnostics is a sum over devices: our name, their list, their field, their unit in ours
_SUMS: Final = (
    ("cpu_time_s", "cpu_details", "time", 1e-9),
    ("disk_read_bytes", "disk_details", "read_bytes", 1),
    ("disk_written_bytes", "disk_details", "write_bytes", 1),
    ("disk_read_requests", "disk_details", "read_requests", 1),
    ("disk_write_requests", "disk_details", "write_requests", 1),
    ("network_received_bytes", "nic_details", "rx_octets", 1),
    ("network_sent_bytes", "nic_details", "tx_octets", 1),
)


def _figures_of(diagnostics: dict[str, Json]) -> dict[str, Json]:
    figures: dict[str, Json] = {
        "state": diagnostics.get("state"),
        "uptime_s": diagnostics.get("uptime"),
    }
    memory = diagnostics.get("memory_details")
    if isinstance(memory, dict):
        figures["memory_used_bytes"] = _scaled(memory.get("used"), 1 << 20)
    for name, section, field, unit in _SUMS:
        details = diagnostics.get(section)
        if isinstance(details, list):
            figures[name] = _sum(details, field, unit)
    return figures


def _sum(details: list[Json], field: str, unit: float) -> float:
    values = [detail.get(field) for detail in details if isinstance(detail, dict)]
    return sum(value * unit for value in values if isinstance(value, int | float))


def _scaled(value: Json, unit: int) -> Json:
    return value * unit if isinstance(value, int) else None
