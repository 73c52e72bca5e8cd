"""The cut through one server's disks, and the copy that follows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.ports import Context
from quiesce.providers.openstack import naming, power
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.images import Images, check_rotation
from quiesce.providers.openstack.locating import server_of, volumes_with_a_node
from quiesce.providers.openstack.resources import Server, Volume
from quiesce.providers.openstack.volumes import Piece, Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What of one server belongs to a restore point."""

    server_id: str
    #: of a server that boots from an image: its root disk; else Nova's list of snapshots, while it is needed
    image_id: str | None = None
    size_bytes: int | None = None
    checksum: str | None = None
    hash_algorithm: str | None = None
    pieces: tuple[Piece, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """Return it as an artifact keeps it."""
        objects: list[Json] = [self.image_id] if self.image_id else []
        objects += [object_id for piece in self.pieces for object_id in piece.object_ids]
        return {
            "server": self.server_id,
            "image": self.image_id,
            "size_bytes": self.size_bytes,
            "checksum": self.checksum,
            "hash_algorithm": self.hash_algorithm,
            "volumes": [piece.as_json() for piece in self.pieces],
            "objects": objects,
            "builds_on": [name for piece in self.pieces for name in piece.builds_on],
        }

    @classmethod
    def of(cls, call: Call) -> Content:
        """Return the content that the call's artifact describes.

        Raises:
            NonRecoverableError: when there is no artifact, or none of a server.
        """
        raw: Mapping[str, Any] = call.artifact or {}
        if not isinstance(raw.get("server"), str):
            raise NonRecoverableError(f"nothing is known of what {call.point} holds for {call.instance}")
        return cls(
            server_id=raw["server"],
            image_id=raw.get("image"),
            size_bytes=raw.get("size_bytes"),
            checksum=raw.get("checksum"),
            hash_algorithm=raw.get("hash_algorithm"),
            pieces=tuple(Piece.of(piece) for piece in raw.get("volumes") or ()),
        )


class Cutting:
    """SNAPSHOT and COPY of one server."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context
        self._images = Images(connection, call, context)
        self._volumes = Volumes(connection, call, context)

    # -- the cut ----------------------------------------------------------------------------------------

    def cut(self) -> Outcome:
        """Fix the point in time of the root disk and of the attached volumes that have no node."""
        check_rotation(self._call)
        server = server_of(self._call, self._connection, self._context)
        volumes = self._attached(server)
        if server.boots_from_volume:
            return self._cut_of_volumes(server, volumes)
        image_id = self._images.begun(server)
        pieces = [self._volumes.begun_cut(volume) for volume in self._without_node(volumes)]
        self._images.await_cut(image_id, server)
        self._await_cuts(pieces)
        content = Content(server_id=server.id, image_id=image_id, pieces=tuple(pieces))
        note = f"the disks of {server.name} were cut one after the other" if pieces else ""
        return Outcome(artifact=content.as_json(), note=note)

    def _cut_of_volumes(self, server: Server, volumes: list[Volume]) -> Outcome:
        """Nova snapshots every volume, frozen around all of them where it can; the image holds no data."""
        done = self._copied_before(server, volumes)
        if done is not None:
            return Outcome(artifact=done.as_json())
        image_id = self._images.begun(server)
        pieces = self._mapped(image_id, volumes)
        self._await_cuts(pieces)
        content = Content(server_id=server.id, image_id=image_id, pieces=tuple(pieces))
        at_rest = server.status != power.ACTIVE
        return Outcome(
            artifact=content.as_json(),
            consistency=Consistency.CRASH if at_rest else None,
            note=f"server {server.name} was {server.status}, so Nova froze nothing" if at_rest else "",
        )

    def _await_cuts(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._volumes.await_cut(piece)

    def _attached(self, server: Server) -> list[Volume]:
        if not server.volume_ids:
            return []
        listing = self._connection.volumes.now(self._context, what="the list of volumes")
        return [listing[volume_id] for volume_id in server.volume_ids if volume_id in listing]

    def _without_node(self, volumes: list[Volume]) -> list[Volume]:
        apart = volumes_with_a_node(self._call, volumes)
        return [volume for volume in volumes if volume.id not in apart]

    def _copied_before(self, server: Server, volumes: list[Volume]) -> Content | None:
        """Return what this step has already made full copies of, when it has done so for every volume."""
        if not self._call.full:
            return None
        backups = self._connection.backups.now(self._context, what="the list of backups").values()
        pieces = []
        for volume in self._without_node(volumes):
            name = naming.object_name(naming.VOLUME, volume.id, self._call)
            own = naming.claimed(backups, name, self._call)
            if own is None or own.status != "available":
                return None
            pieces.append(replace(_piece(volume), backup_id=own.id))
        return Content(server_id=server.id, pieces=tuple(pieces)) if pieces else None

    def _mapped(self, image_id: str, volumes: list[Volume]) -> list[Piece]:
        """Return the snapshots that Nova's image names."""
        image = self._cloud.image(image_id)
        if image is None:
            raise RecoverableError(f"image {image_id} has vanished")
        snapshots = self._connection.snapshots.now(self._context, what="the list of snapshots")
        own = {volume.id: volume for volume in volumes}
        pieces = []
        for device in image.mapping:
            snapshot = snapshots.get(str(device.get("snapshot_id")))
            if snapshot is not None and snapshot.volume_id in own:
                piece = _piece(own[snapshot.volume_id])
                root = device.get("boot_index") == 0
                pieces.append(replace(piece, snapshot_id=snapshot.id, root=root))
        return pieces

    # -- the copy ---------------------------------------------------------------------------------------

    def copy(self) -> Outcome:
        """Wait until the image is complete; turn snapshots into backups when a full copy is asked for."""
        content = Content.of(self._call)
        if content.image_id is None:
            return Outcome(artifact=content.as_json())
        server = Server(id=content.server_id, name=content.server_id, status=power.ACTIVE)
        image = self._images.await_upload(content.image_id, server)
        if image.mapping:
            return self._copy_of_volumes(content)
        if self._call.full:
            self._images.await_rotation(server)
        pieces = self._backed_up(content.pieces) if self._call.full else content.pieces
        self._context.progress(image.size_bytes or 0, image.size_bytes)
        copied = replace(
            content,
            size_bytes=image.size_bytes,
            checksum=image.checksum,
            hash_algorithm=image.hash_algorithm,
            pieces=tuple(pieces),
        )
        return Outcome(artifact=copied.as_json())

    def _copy_of_volumes(self, content: Content) -> Outcome:
        """Keep what has no step of its own: as marked snapshots, or as backups and without Nova's image."""
        listing = self._connection.volumes.now(self._context, what="the list of volumes")
        apart = volumes_with_a_node(self._call, listing.values())
        for piece in content.pieces:
            if piece.volume_id in apart and piece.snapshot_id:
                self._volumes.remove_snapshot(piece.snapshot_id)
        own = [piece for piece in content.pieces if piece.volume_id not in apart]
        if not self._call.full:
            self._mark(content, own)
            return Outcome(artifact=replace(content, pieces=tuple(own)).as_json())
        copied = self._backed_up(own)
        self._cloud.delete_image(str(content.image_id))
        return Outcome(artifact=replace(content, image_id=None, pieces=tuple(copied)).as_json())

    def _backed_up(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Let Cinder work on all of them at once."""
        begun = [(piece, self._volumes.begun_copy(piece)) for piece in pieces]
        return [self._volumes.await_copy(piece, backup_id) for piece, backup_id in begun]

    def _mark(self, content: Content, pieces: Iterable[Piece]) -> None:
        """Nova's snapshots outlive its image: mark them, so that they are found without it."""
        mark = naming.mark_of(self._call, naming.SERVER, content.server_id)
        for piece in pieces:
            if piece.snapshot_id:
                self._cloud.set_snapshot_metadata(piece.snapshot_id, mark)


def _piece(volume: Volume) -> Piece:
    device = volume.attachments[0].device if volume.attachments else None
    return Piece(
        volume_id=volume.id, size_gib=volume.size_gib, device=device, root=is_root_device(device, volume)
    )


def is_root_device(device: str | None, volume: Volume) -> bool:
    """Tell whether a server boots from *volume*, as far as a device name can tell."""
    return volume.bootable and device is not None and device.rstrip("0123456789").endswith("da")
