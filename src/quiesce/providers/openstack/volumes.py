"""One volume: cut, copied, put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.openstack import naming
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.resources import Backup, Snapshot, Volume
from quiesce.providers.openstack.rest import await_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What of one volume belongs to a restore point: a snapshot, later perhaps a backup of it instead."""

    volume_id: str
    size_gib: int = 0
    snapshot_id: str | None = None
    backup_id: str | None = None
    #: where the volume was attached at the cut
    device: str | None = None
    #: whether a server boots from it
    root: bool = False
    #: of an incremental backup: the restore point that it needs
    builds_on: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """Return it as an artifact keeps it."""
        return {
            "volume": self.volume_id,
            "size_gib": self.size_gib,
            "snapshot": self.snapshot_id,
            "backup": self.backup_id,
            "device": self.device,
            "root": self.root,
            "builds_on": list(self.builds_on),
        }

    @classmethod
    def of(cls, raw: Mapping[str, Json]) -> Piece:
        """Return the piece that `as_json` was called on."""
        size, snapshot, backup, device, builds_on = (
            raw.get(key) for key in ("size_gib", "snapshot", "backup", "device", "builds_on")
        )
        return cls(
            volume_id=str(raw["volume"]),
            size_gib=size if isinstance(size, int) else 0,
            snapshot_id=str(snapshot) if snapshot else None,
            backup_id=str(backup) if backup else None,
            device=str(device) if device else None,
            root=bool(raw.get("root")),
            builds_on=tuple(map(str, builds_on)) if isinstance(builds_on, list) else (),
        )

    @property
    def object_ids(self) -> list[str]:
        """The ids of the objects that hold the data."""
        return [found for found in (self.snapshot_id, self.backup_id) if found]


class Volumes:
    """Works on one connection's volumes, for one call."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context

    # -- the cut ----------------------------------------------------------------------------------------

    def begun_cut(self, volume: Volume) -> Piece:
        """Ask for a snapshot, unless this step has asked before (or has finished its backup already)."""
        name = naming.object_name(naming.VOLUME, volume.id, self._call)
        snapshots = self._connection.snapshots.now(self._context, what="the list of snapshots")
        snapshot = self._without_error(naming.claimed(snapshots.values(), name, self._call))
        backup = self._own_backup(name) if self._call.full else None
        if snapshot is None and (backup is None or backup.status != "available"):
            snapshot = self._cloud.create_snapshot(
                volume.id,
                name,
                naming.mark_of(self._call, naming.VOLUME, volume.id),
                description=self._call.parameters.snapshot_type,
            )
        return Piece(
            volume_id=volume.id,
            size_gib=volume.size_gib,
            snapshot_id=snapshot.id if snapshot else None,
            backup_id=backup.id if backup and not snapshot else None,
            device=volume.attachments[0].device if volume.attachments else None,
        )

    def await_cut(self, piece: Piece) -> None:
        """Return when the piece's snapshot holds its point in time."""
        if piece.snapshot_id is None:
            return
        snapshot_id = piece.snapshot_id

        def judge(listing: Mapping[str, Snapshot]) -> Snapshot | None:
            found = listing.get(snapshot_id)
            if found is None:
                raise RecoverableError(f"snapshot {snapshot_id} of volume {piece.volume_id} has vanished")
            if found.status.startswith("error"):
                raise RecoverableError(
                    f"snapshot {snapshot_id} of volume {piece.volume_id} ended as {found.status}",
                    hint="Cinder's scheduler or volume service refused it; its log says why.",
                )
            return found if found.status == "available" else None

        what = f"snapshot {snapshot_id} of volume {piece.volume_id}"
        self._connection.snapshots.until(judge, self._context, what=what, only=snapshot_id)

    def _without_error(self, snapshot: Snapshot | None) -> Snapshot | None:
        """Remove our own snapshot of an earlier attempt when it has failed."""
        if snapshot is None or not snapshot.status.startswith("error"):
            return snapshot
        self.remove_snapshot(snapshot.id)
        return None

    # -- the copy ---------------------------------------------------------------------------------------

    def copied(self, piece: Piece) -> Piece:
        """Make a backup of the piece's snapshot, wait for it, and remove the snapshot."""
        backup_id = self.begun_copy(piece)
        return self.await_copy(piece, backup_id)

    def begun_copy(self, piece: Piece) -> str:
        """Ask for the backup, unless this step has asked before; return its id."""
        if piece.backup_id is not None:
            return piece.backup_id
        name = naming.object_name(naming.VOLUME, piece.volume_id, self._call)
        own = self._own_backup(name)
        if own is not None and own.status.startswith("error"):
            self._remove_backup(own.id)
            own = None
        return own.id if own else self._new_backup(piece, name)

    def await_copy(self, piece: Piece, backup_id: str) -> Piece:
        """Return the piece as a backup alone, once that is complete."""

        def judge(listing: Mapping[str, Backup]) -> Backup | None:
            found = listing.get(backup_id)
            if found is None:
                raise NonRecoverableError(f"backup {backup_id} of volume {piece.volume_id} has vanished")
            if found.status.startswith("error"):
                why = found.fail_reason or found.status
                raise RecoverableError(f"backup {backup_id} of volume {piece.volume_id} failed: {why}")
            return found if found.status == "available" else None

        what = f"backup {backup_id} of volume {piece.volume_id}"
        backup = self._connection.backups.until(judge, self._context, what=what, only=backup_id)
        if piece.snapshot_id is not None:
            self.remove_snapshot(piece.snapshot_id)
        return Piece(
            volume_id=piece.volume_id,
            size_gib=piece.size_gib,
            backup_id=backup_id,
            device=piece.device,
            root=piece.root,
            builds_on=naming.foundations(backup),
        )

    def _own_backup(self, name: str) -> Backup | None:
        backups = self._connection.backups.now(self._context, what="the list of backups")
        return naming.claimed(backups.values(), name, self._call)

    def _new_backup(self, piece: Piece, name: str) -> str:
        if piece.snapshot_id is None:
            raise NonRecoverableError(f"volume {piece.volume_id} has no snapshot to copy from")
        snapshot = self._snapshot(piece.snapshot_id)
        parent = self._parent(piece.volume_id) if asked(self._call, "incremental_backup") else None
        return self._cloud.create_backup(
            snapshot,
            name,
            naming.mark_of(self._call, naming.VOLUME, piece.volume_id) | self._mark_of_parent(parent),
            description=self._call.parameters.snapshot_type,
            incremental=parent is not None,
        )

    def _mark_of_parent(self, parent: Backup | None) -> dict[str, str]:
        if parent is None or parent.metadata.get(naming.DEPLOYMENT) != self._call.deployment:
            return {}
        return {naming.BUILDS_ON: parent.metadata[naming.POINT]}

    def _parent(self, volume_id: str) -> Backup | None:
        """Return what an incremental backup would build on (Cinder takes the newest), when it is ours."""
        backups = self._connection.backups.now(self._context, what="the list of backups").values()
        finished = [b for b in backups if b.volume_id == volume_id and b.status == "available"]
        newest = max(finished, key=lambda backup: backup.created_at, default=None)
        if newest is None or naming.is_ours(newest):
            return newest
        self._context.log(
            Level.WARNING,
            f"the newest backup of volume {volume_id} ({newest.name or newest.id}) is not quiesce's, "
            "so this backup is a full one",
        )
        return None

    # -- putting back -----------------------------------------------------------------------------------

    def checked(self, piece: Piece) -> Snapshot | Backup:
        """Return the object that holds the piece's data, found fit to be put back.

        Raises:
            ResourceNotFoundError: when it is gone.
            DamagedArtifactError: when Cinder says that it is not usable.
        """
        found: Snapshot | Backup | None
        if piece.backup_id is not None:
            what, found = f"backup {piece.backup_id}", self._cloud.backup(piece.backup_id)
        else:
            what, found = f"snapshot {piece.snapshot_id}", self._cloud.snapshot(str(piece.snapshot_id))
        if found is None:
            raise ResourceNotFoundError(f"{what} of volume {piece.volume_id} is not there any more")
        if found.status not in ("available", "restoring", "backing-up"):
            raise DamagedArtifactError(f"{what} of volume {piece.volume_id} is {found.status}")
        return found

    def put_back(self, volume: Volume | None, source: Snapshot | Backup) -> str:
        """Give the volume the content of *source*; return its id, new when another took its place."""
        if volume is None:
            return self._renewed(source)
        how = self._way_back(volume, source)
        with self._connection.rest.detached(volume, self._context) as taken:
            await_status(self._connection.volumes, volume.id, "available", self._context)
            taken[0] = how()
        return taken[0]

    def _way_back(self, volume: Volume, source: Snapshot | Backup) -> Callable[[], str]:
        """Choose before anything is touched."""
        if isinstance(source, Backup):
            return lambda: self._restored_over(volume, source)
        why = self._why_no_revert(volume, source)
        if why is None:
            return lambda: self._reverted(volume, source)
        if not asked(self._call, "swap_volume"):
            raise UnsupportedError(
                f"volume {volume.id} cannot be reverted to snapshot {source.id}: {why}",
                hint="To have a new volume take its place: -p swap_volume=true --allow-custom-parameters",
            )
        return lambda: self._swapped(volume, source)

    def _why_no_revert(self, volume: Volume, snapshot: Snapshot) -> str | None:
        snapshots = self._connection.snapshots.now(self._context, what="the list of snapshots")
        newer = [
            other
            for other in snapshots.values()
            if other.volume_id == volume.id and other.created_at > snapshot.created_at
        ]
        if newer:
            names = ", ".join(other.name or other.id for other in newer)
            return f"Cinder reverts to the latest snapshot only, and newer ones exist: {names}"
        if volume.size_gib != snapshot.size_gib:
            return f"the volume has {volume.size_gib} GiB now, and had {snapshot.size_gib} GiB then"
        return None

    def _reverted(self, volume: Volume, snapshot: Snapshot) -> str:
        self._cloud.revert(volume.id, snapshot.id)
        await_status(self._connection.volumes, volume.id, "available", self._context)
        return volume.id

    def _swapped(self, volume: Volume, snapshot: Snapshot) -> str:
        new_id = self._cloud.create_volume(volume.name, snapshot, _kept(volume), like=volume)
        await_status(self._connection.volumes, new_id, "available", self._context)
        self._context.log(
            Level.WARNING,
            f"volume {new_id} takes the place of volume {volume.id}, which is kept: remove it when you wish",
        )
        return new_id

    def _restored_over(self, volume: Volume, backup: Backup) -> str:
        if volume.size_gib < backup.size_gib:
            raise UnsupportedError(
                f"volume {volume.id} has {volume.size_gib} GiB, its backup needs {backup.size_gib} GiB"
            )
        self._cloud.restore_backup(backup.id, volume_id=volume.id)
        await_status(self._connection.volumes, volume.id, "available", self._context)
        return volume.id

    def _renewed(self, source: Snapshot | Backup) -> str:
        if isinstance(source, Snapshot):
            raise ResourceNotFoundError(f"volume {source.volume_id} is gone, its snapshot cannot be used")
        new_id = self._cloud.restore_backup(source.id, name=f"restored-{source.volume_id}")
        await_status(self._connection.volumes, new_id, "available", self._context)
        self._context.log(Level.WARNING, f"volume {source.volume_id} was gone; volume {new_id} replaces it")
        return new_id

    # -- small things -----------------------------------------------------------------------------------

    def remove_snapshot(self, snapshot_id: str) -> None:
        """Remove one of our snapshots and wait until it is gone."""
        self._cloud.delete_snapshot(snapshot_id)
        self._connection.snapshots.until(
            lambda listing: None if snapshot_id in listing else True,
            self._context,
            what=f"snapshot {snapshot_id} to be gone",
            only=snapshot_id,
        )

    def _snapshot(self, snapshot_id: str) -> Snapshot:
        found = self._cloud.snapshot(snapshot_id)
        if found is None:
            raise NonRecoverableError(f"snapshot {snapshot_id} has vanished before it was copied")
        return found

    def _remove_backup(self, backup_id: str) -> None:
        self._cloud.delete_backup(backup_id)
        self._connection.backups.until(
            lambda listing: None if backup_id in listing else True,
            self._context,
            what=f"backup {backup_id} to be gone",
            only=backup_id,
        )


def asked(call: Call, parameter: str) -> bool:
    """Tell whether an extra workflow parameter or operation input is switched on."""
    for source in (call.inputs, call.parameters.raw):
        value = source.get(parameter)
        if value is not None:
            return value is True or str(value).lower() in ("true", "yes", "1")
    return False


def _kept(volume: Volume) -> dict[str, str]:
    """Return the volume's own metadata, ours left out."""
    return {key: value for key, value in volume.metadata.items() if not key.startswith("quiesce:")}
