"""Removes what one step made for one restore point, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context
from quiesce.providers.openstack import naming
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.resources import Backup, Image, Snapshot, Volume
from quiesce.providers.openstack.waiting import Watch

T = TypeVar("T", Snapshot, Backup, Volume)

#: states in which Cinder refuses to delete; they pass
_BUSY: Final = frozenset(
    {"creating", "backing-up", "restoring", "restoring-backup", "uploading", "downloading", "unmanaging"}
)


class Removal:
    """One DELETE."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context

    def of_server(self) -> Outcome:
        """Remove images, and everything of the volumes that the server's step took along."""
        images = self._images()
        mapped = {
            str(device["snapshot_id"]) for i in images for device in i.mapping if device.get("snapshot_id")
        }
        self._refuse_protected(images)
        self._remove_volume_objects(mapped)
        for image in images:
            self._cloud.delete_image(image.id)
        return NOTHING

    def of_volume(self) -> Outcome:
        """Remove snapshots and backups of the volume, made for this point only."""
        images = self._images()
        self._remove_volume_objects(set())
        for image in images:
            self._cloud.delete_image(image.id)
        return NOTHING

    def of_scratch(self, volume_id: str) -> None:
        """Remove what earlier restores of *volume_id* left when they were given up half-way."""
        images = self._connection.images.now(self._context, what="the list of images")
        for image in naming.left_over(images.values(), volume_id, self._call):
            self._cloud.delete_image(image.id)
        volumes = self._connection.volumes.now(self._context, what="the list of volumes")
        left = naming.left_over(volumes.values(), volume_id, self._call)
        self._remove(self._connection.volumes, left, self._cloud.delete_volume)

    def _images(self) -> list[Image]:
        images = self._connection.images.now(self._context, what="the list of images")
        return naming.removable(images.values(), self._call)

    def _remove_volume_objects(self, mapped: set[str]) -> None:
        backups = self._ours(self._connection.backups)
        self._refuse_dependents(backups)
        snapshots = self._connection.snapshots.now(self._context, what="the list of snapshots")
        own = {found.id: found for found in naming.removable(snapshots.values(), self._call)}
        own |= {found.id: found for found in snapshots.values() if found.id in mapped}
        volumes = self._ours(self._connection.volumes)
        self._remove(self._connection.backups, backups, self._cloud.delete_backup)
        self._remove(self._connection.volumes, volumes, self._cloud.delete_volume)
        self._remove(self._connection.snapshots, own.values(), self._cloud.delete_snapshot)

    def _ours(self, watch: Watch[T]) -> list[T]:
        listing = watch.now(self._context, what="a list")
        return naming.removable(listing.values(), self._call)

    def _remove(self, watch: Watch[T], things: Iterable[T], delete: Callable[[str], None]) -> None:
        ids = [thing.id for thing in things]
        for thing_id in ids:
            self._until(watch, thing_id, lambda found: found is None or found.status not in _BUSY, "at rest")
            delete(thing_id)
        for thing_id in ids:
            self._until(watch, thing_id, _gone, "gone")

    def _until(self, watch: Watch[T], thing_id: str, judge: Callable[[T | None], bool], state: str) -> None:
        watch.until(
            lambda listing: judge(listing.get(thing_id)) or None,
            self._context,
            what=f"{thing_id} to be {state}",
            only=thing_id,
        )

    def _refuse_dependents(self, backups: list[Backup]) -> None:
        held = [found for found in backups if found.has_dependents]
        if held:
            names = ", ".join(f"{found.name} ({found.id})" for found in held)
            raise NonRecoverableError(
                f"incremental backups build on {names}",
                hint="Remove the newer restore points of this volume first.",
            )

    def _refuse_protected(self, images: list[Image]) -> None:
        held = [image for image in images if image.protected]
        if held:
            names = ", ".join(f"{image.name} ({image.id})" for image in held)
            raise NonRecoverableError(
                f"somebody has protected {names}", hint="Unprotect it: openstack image set --unprotected ID"
            )


def _gone(found: Snapshot | Backup | Volume | None) -> bool:
    if found is None:
        return True
    if found.status.startswith("error"):
        raise NonRecoverableError(
            f"{found.name} ({found.id}) could not be removed: it is {found.status}",
            hint="Ask the cloud's operator; then remove the restore point again.",
        )
    return False
