"""A server's image: begun, waited for, and why it may never come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.openstack import naming
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.resources import Image, Server

#: how often to look whether Nova still works on an image that does not come
_LOOK_EVERY_S: Final = 10.0
_HINT: Final = "'openstack server event list' and Nova's log say why; then run it again."


class Images:
    """Makes images of servers, for one call."""

    def __init__(self, connection: Connection, call: Call, context: Context) -> None:
        self._connection = connection
        self._cloud = connection.cloud
        self._call = call
        self._context = context

    def begun(self, server: Server, images: Mapping[str, Image]) -> str:
        """Ask for an image of *server*, unless this step's is in *images* already; return its id."""
        name = naming.object_name(naming.SERVER, server.id, self._call)
        own = naming.claimed(images.values(), name, self._call)
        if own is not None:
            return own.id
        if server.task_state is not None:
            raise RecoverableError(f"server {server.name} is busy: {server.task_state}")
        mark = naming.mark_of(self._call, naming.SERVER, server.id)
        if not self._call.full or server.boots_from_volume:
            return self._cloud.create_server_image(server.id, name, mark)
        self._announce_rotation(server, images.values())
        type_, rotation = self._call.parameters.snapshot_type, self._call.parameters.snapshot_rotation
        return self._cloud.create_server_backup(server.id, name, mark, type_=type_, rotation=rotation)

    def await_cut(self, image_id: str, server: Server) -> Image:
        """Return when the image's point in time is fixed.

        Nova's task state is no proof of that: it says "uploading" for a moment before the disk is even read.
        The image leaves ``queued`` when the first piece of the finished cut arrives.
        """
        begun = frozenset({"saving", "importing", "active"})
        return self._awaited(image_id, server, begun, RecoverableError, frozen=True)

    def await_upload(self, image_id: str, server: Server) -> Image:
        """Return the image when all its data is there."""
        return self._awaited(image_id, server, frozenset({"active"}), NonRecoverableError)

    def await_rotation(self, server: Server) -> None:
        """Return when Nova has removed what the rotation does not keep; it does so after everything else."""
        parameters = self._call.parameters

        def judge(listing: Mapping[str, Image]) -> bool | None:
            kept = _of_type(listing.values(), server.id, parameters.snapshot_type)
            return True if len(kept) <= parameters.snapshot_rotation else None

        what = f"Nova to keep {parameters.snapshot_rotation} backups of server {server.name}"
        self._connection.images.until(judge, self._context, what=what)

    def _announce_rotation(self, server: Server, images: Iterable[Image]) -> None:
        """Say which images Nova is about to remove; refuse when one of them is not ours."""
        type_, rotation = self._call.parameters.snapshot_type, self._call.parameters.snapshot_rotation
        newest_first = sorted(_of_type(images, server.id, type_), key=lambda i: i.created_at, reverse=True)
        for image in newest_first[rotation - 1 :]:
            if not naming.is_ours(image):
                raise ForeignObjectError(
                    f"with rotation {rotation}, Nova would remove image {image.name} ({image.id}) of type "
                    f"{type_}, which quiesce did not make",
                    hint="Choose another snapshot_type, or a higher snapshot_rotation.",
                )
            self._context.log(Level.WARNING, f"rotation {rotation}: Nova removes {image.name} ({image.id})")

    def _awaited(
        self,
        image_id: str,
        server: Server,
        wanted: frozenset[str],
        lost: type[ProviderError],
        *,
        frozen: bool = False,
    ) -> Image:
        next_look = time.monotonic() + _LOOK_EVERY_S

        def judge(listing: Mapping[str, Image]) -> Image | None:
            nonlocal next_look
            image = listing.get(image_id)
            if image is None or image.status in ("killed", "deleted"):
                raise self._why_lost(image_id, server, lost)
            if image.status in wanted:
                return image
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_EVERY_S
                self._refuse_given_up(image, server)
            return None

        what = f"image {image_id} of server {server.name} to become {' or '.join(sorted(wanted))}"
        return self._connection.images.until(judge, self._context, what=what, only=image_id, frozen=frozen)

    def _why_lost(self, image_id: str, server: Server, lost: type[ProviderError]) -> ProviderError:
        if self._cloud.server(server.id) is None:
            return ResourceNotFoundError(f"server {server.name} ({server.id}) was deleted during its backup")
        text = f"image {image_id} of server {server.name} has vanished: its upload failed, or it was deleted"
        return lost(text, hint=_HINT)

    def _refuse_given_up(self, image: Image, server: Server) -> None:
        """Nova tells nobody when it stops working on an image (it was restarted): see whether it has."""
        look = self._connection.servers.now(self._context, what=f"server {server.name}", only=server.id)
        now = look.get(server.id)
        if now is not None and now.task_state is not None:
            return
        if now is None:
            raise ResourceNotFoundError(f"server {server.name} ({server.id}) was deleted during its backup")
        current = self._cloud.image(image.id)
        if current is not None and current.status == image.status:
            raise NonRecoverableError(
                f"Nova has given up image {image.name} ({image.id}), which stays {image.status}", hint=_HINT
            )


def check_rotation(call: Call) -> None:
    """Refuse what Nova would take for "remove everything", before anything is touched.

    Raises:
        UnsupportedError: for a rotation below 1.
    """
    rotation = call.parameters.snapshot_rotation
    if call.full and rotation < 1:
        raise UnsupportedError(
            f"snapshot_rotation {rotation} would leave no backup at all",
            hint="Give how many backups of this type to keep: 1 or more.",
        )


def _of_type(images: Iterable[Image], server_id: str, type_: str) -> list[Image]:
    """Return the images that Nova counts for a rotation."""
    return [
        image
        for image in images
        if image.metadata.get("image_type") == "backup"
        and image.metadata.get("backup_type") == type_
        and image.metadata.get("instance_uuid") == server_id
    ]
