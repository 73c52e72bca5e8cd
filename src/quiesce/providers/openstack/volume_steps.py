"""The operations on a node that is a volume."""

from __future__ import annotations

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.cutting import is_root_device
from quiesce.providers.openstack.locating import known_id, volume_of
from quiesce.providers.openstack.resources import Backup, Server, Snapshot, Volume
from quiesce.providers.openstack.rest import seat_of
from quiesce.providers.openstack.roots import Roots
from quiesce.providers.openstack.volumes import Piece, Volumes


class VolumeSteps:
    """SNAPSHOT, COPY, APPLY and MEASURE of one volume."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._call = call
        self._context = context
        self._volumes = Volumes(connection, call, context)

    def cut(self) -> Outcome:
        """Fix the point in time: a snapshot, in use or not."""
        with self._volumes.made_before() as asked:
            volume, made = self._volume(), asked()
        piece = self._volumes.begun_cut(volume, made)
        self._volumes.await_cut(piece)
        return Outcome(artifact=_artifact(piece))

    def copy(self) -> Outcome:
        """Turn the snapshot into a backup, when a full copy is asked for."""
        piece = self._piece()
        if self._call.full:
            piece = self._volumes.copied(piece)
            self._context.progress(piece.size_gib << 30, piece.size_gib << 30)
        return Outcome(artifact=_artifact(piece))

    def apply(self) -> Outcome:
        """Put the volume back; when another volume takes its place, remember that one's id."""
        piece = self._piece()
        source = self._volumes.checked(piece)
        volume = volume_of(self._call, self._connection, self._context)
        server = self._booted_from(volume)
        if volume is not None and server is not None:
            Roots(self._connection, self._call, self._context).put_back(server, volume, source)
            return NOTHING
        return self._put_back(volume, source)

    def measure(self) -> Outcome:
        """Return size and state."""
        volume = self._volume()
        figures: dict[str, Json] = {
            "status": volume.status,
            "size_bytes": volume.size_gib << 30,
            "attachments": len(volume.attachments),
            "type": volume.type,
        }
        return Outcome(measurements=figures)

    def _put_back(self, volume: Volume | None, source: Snapshot | Backup) -> Outcome:
        new_id = self._volumes.put_back(volume, source)
        if volume is None or new_id != volume.id:
            properties = {**self._call.runtime_properties, "id": new_id, "external_id": new_id}
            self._context.set_runtime_properties(properties)
            return Outcome(note=f"volume {new_id} has taken the place of {source.volume_id}")
        return NOTHING

    def _booted_from(self, volume: Volume | None) -> Server | None:
        """Return the server that boots from *volume*, if any."""
        seat = seat_of(volume) if volume is not None else None
        if volume is None or seat is None or not is_root_device(seat.device, volume):
            return None
        server = self._connection.cloud.server(seat.server_id)
        return server if server is not None and server.boots_from_volume else None

    def _volume(self) -> Volume:
        volume = volume_of(self._call, self._connection, self._context)
        if volume is None:
            raise ResourceNotFoundError(f"volume {known_id(self._call) or self._call.instance} is not there")
        return volume

    def _piece(self) -> Piece:
        if self._call.artifact is None or "volume" not in self._call.artifact:
            raise NonRecoverableError(
                f"nothing is known of what {self._call.point} holds for {self._call.instance}"
            )
        return Piece.of(self._call.artifact)


def _artifact(piece: Piece) -> dict[str, Json]:
    objects: list[Json] = list(piece.object_ids)
    return {**piece.as_json(), "size_bytes": piece.size_gib << 30, "objects": objects}
