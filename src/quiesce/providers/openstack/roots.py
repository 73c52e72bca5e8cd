"""Putting back the disk that a server boots from.

Nova rebuilds from an image. For a server that boots from a volume there is none with data in it (Nova's own
has size 0 and names snapshots), and a root volume cannot be detached: so an image is made of the snapshot
or backup, by way of a scratch volume, and Nova writes it over the root volume.
"""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.ports import Context
from quiesce.providers.openstack import naming, power
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.removing import Removal
from quiesce.providers.openstack.resources import Backup, Image, Server, Snapshot, Volume
from quiesce.providers.openstack.rest import await_status


class Roots:
    """Works on root disks of one connection, for one call."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context

    def rebuilt(self, server: Server, image_id: str) -> None:
        """Rebuild *server* from an image; it is shut off afterwards if it was so before, else running."""
        server = self._fit(server.id)
        self._cloud.rebuild_server(server, image_id)
        wanted = power.STOPPED if server.status == power.STOPPED else power.ACTIVE

        def judge(listing: Mapping[str, Server]) -> bool | None:
            now = power.there(listing, server.id)
            if now.task_state is not None:
                return None
            if now.status == power.ERROR:
                raise _failed(now)
            return True if now.status == wanted else None

        self._connection.servers.until(
            judge, self._context, what=f"server {server.id} to be rebuilt", only=server.id
        )

    def put_back(self, server: Server, volume: Volume, source: Snapshot | Backup) -> None:
        """Write the content of *source* over the root volume of *server*."""
        Removal(self._connection, self._call, self._context).of_scratch(volume.id)
        scratch = self._scratch_volume(volume, source)
        image_id = self._scratch_image(volume, scratch)
        self.rebuilt(server, image_id)
        self._cloud.delete_image(image_id)
        self._cloud.delete_volume(scratch.id)
        self._connection.volumes.until(
            lambda listing: None if scratch.id in listing else True,
            self._context,
            what=f"scratch volume {scratch.id} to be gone",
            only=scratch.id,
        )

    def _fit(self, server_id: str) -> Server:
        """Bring the server to a state that Nova rebuilds from; after a failed rebuild, ERROR is one."""
        states = power.Power(self._cloud, self._connection.servers, self._context)
        server = states.settled(server_id)
        fit = server.status in (power.STOPPED, power.ERROR)
        return server if fit else states.bring(server_id, power.ACTIVE)

    def _scratch_volume(self, volume: Volume, source: Snapshot | Backup) -> Volume:
        volumes = self._connection.volumes.now(self._context, what="the list of volumes")
        own = naming.own_scratch(volumes.values(), volume.id, self._call)
        if own is None:
            name = naming.object_name(naming.SCRATCH, volume.id, self._call)
            mark = naming.mark_of(self._call, naming.SCRATCH, volume.id)
            own_id = self._cloud.create_volume(name, source, mark, like=volume)
        else:
            own_id = own.id
        ready = await_status(self._connection.volumes, own_id, "available", self._context)
        if isinstance(source, Backup):
            self._cloud.restore_backup(source.id, volume_id=own_id)
            ready = await_status(self._connection.volumes, own_id, "available", self._context)
        return ready

    def _scratch_image(self, volume: Volume, scratch: Volume) -> str:
        """Return an image of the scratch volume."""
        images = self._connection.images.now(self._context, what="the list of images")
        own = naming.own_scratch(images.values(), volume.id, self._call)
        image_id = own.id if own else self._begun_image(volume, scratch)

        def judge(listing: Mapping[str, Image]) -> bool | None:
            image = listing.get(image_id)
            if image is None:
                raise ResourceNotFoundError(f"image {image_id} has vanished while it was made")
            return True if image.status == "active" else None

        self._connection.images.until(
            judge, self._context, what=f"image {image_id} of volume {scratch.id}", only=image_id
        )
        return image_id

    def _begun_image(self, volume: Volume, scratch: Volume) -> str:
        """Cinder takes no properties for an image, so the mark is put on it afterwards."""
        name = naming.object_name(naming.SCRATCH, volume.id, self._call)
        image_id = self._cloud.upload_volume(scratch.id, name)
        self._cloud.set_image_properties(image_id, naming.mark_of(self._call, naming.SCRATCH, volume.id))
        return image_id


def _failed(server: Server) -> ProviderError:
    text = f"rebuilding server {server.name} ({server.id}) failed: {server.fault or 'no reason given'}"
    if not server.boots_from_volume:
        return NonRecoverableError(text)
    return RecoverableError(
        text,
        hint="If Cinder needs longer to write the root volume than Nova waits, have its operator raise "
        "reimage_timeout_per_gb; then restore again.",
    )
