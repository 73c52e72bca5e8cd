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
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import CloudImage, Server

#: how often to look whether Nova still works on an image that does not come
_LOOK_EVERY_S: Final = 10.0
_HINT: Final = "'openstack server event list' and Nova's log say why; then run it again."


def begin_image(job: OpenStackJob, server: Server, images: Iterable[CloudImage]) -> str:
    """Ask for an image of *server*, unless this step's is among *images* already; return its id."""
    name = ownership.object_name(ownership.SERVER, server.id, job.call)
    own = ownership.claimed(images, name, job.call)
    if own is not None:
        return own.id
    if server.task_state is not None:
        raise RecoverableError(f"server {server.name} is busy: {server.task_state}")
    mark = ownership.mark_of(job.call, ownership.SERVER, server.id)
    if not job.call.full or server.boots_from_volume:
        return job.cloud.create_server_image(server.id, name, mark)
    _announce_rotation(job, server, images)
    type_, rotation = job.call.parameters.snapshot_type, job.call.parameters.snapshot_rotation
    return job.cloud.create_server_backup(server.id, name, mark, type_=type_, rotation=rotation)


def await_image_cut(job: OpenStackJob, image_id: str, server_id: str) -> None:
    """Return when the image's point in time is fixed.

    Nova's task state is no proof of that: it says "uploading" for a moment before the disk is even read.
    The image leaves ``queued`` when the first piece of the finished cut arrives.
    """
    begun = frozenset({"saving", "importing", "active"})
    _await_image(job, image_id, server_id, begun, RecoverableError, urgent=True)


def await_upload(job: OpenStackJob, image_id: str, server_id: str) -> CloudImage:
    """Return the image when all its data is there."""
    return _await_image(job, image_id, server_id, frozenset({"active"}), NonRecoverableError)


def await_rotation(job: OpenStackJob, server_id: str) -> None:
    """Return when Nova has removed what the rotation does not keep; it does so after everything else."""
    type_, rotation = job.call.parameters.snapshot_type, job.call.parameters.snapshot_rotation

    def judge(listing: Mapping[str, CloudImage]) -> bool | None:
        return True if len(_of_type(listing.values(), server_id, type_)) <= rotation else None

    what = f"Nova to keep {rotation} backups of server {server_id}"
    job.connection.images.until_listed(judge, job, what)


def check_rotation(job: OpenStackJob) -> None:
    """Refuse what Nova would take for "remove everything", before anything is touched.

    Raises:
        UnsupportedError: for a rotation below 1.
    """
    rotation = job.call.parameters.snapshot_rotation
    if job.call.full and rotation < 1:
        raise UnsupportedError(
            f"snapshot_rotation {rotation} would leave no backup at all",
            hint="Give how many backups of this type to keep: 1 or more.",
        )


def _announce_rotation(job: OpenStackJob, server: Server, images: Iterable[CloudImage]) -> None:
    """Say which images Nova is about to remove; refuse when one of them is not ours."""
    type_, rotation = job.call.parameters.snapshot_type, job.call.parameters.snapshot_rotation
    newest_first = sorted(_of_type(images, server.id, type_), key=lambda i: i.created_at, reverse=True)
    for image in newest_first[rotation - 1 :]:
        if ownership.owner_of(image) is None:
            raise ForeignObjectError(
                f"with rotation {rotation}, Nova would remove image {image.name} ({image.id}) of type "
                f"{type_}, which quiesce did not make",
                hint="Choose another snapshot_type, or a higher snapshot_rotation.",
            )
        job.warn(f"rotation {rotation}: Nova removes {image.name} ({image.id})")


def _await_image(
    job: OpenStackJob,
    image_id: str,
    server_id: str,
    wanted: frozenset[str],
    lost: type[ProviderError],
    *,
    urgent: bool = False,
) -> CloudImage:
    next_look = time.monotonic() + _LOOK_EVERY_S

    def judge(image: CloudImage | None) -> CloudImage | None:
        nonlocal next_look
        if image is None or image.status in ("killed", "deleted"):
            raise _why_lost(job, image_id, server_id, lost)
        if image.status in wanted:
            return image
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_EVERY_S
            _refuse_given_up(job, image, server_id)
        return None

    what = f"image {image_id} of server {server_id} to become {' or '.join(sorted(wanted))}"
    return job.connection.images.until(image_id, judge, job, what, urgent=urgent)


def _why_lost(job: OpenStackJob, image_id: str, server_id: str, lost: type[ProviderError]) -> ProviderError:
    if job.cloud.server(server_id) is None:
        return _deleted(server_id)
    text = f"image {image_id} of server {server_id} has vanished: its upload failed, or it was deleted"
    return lost(text, hint=_HINT)


def _refuse_given_up(job: OpenStackJob, image: CloudImage, server_id: str) -> None:
    """Nova tells nobody when it stops working on an image (it was restarted): see whether it has."""
    now = job.connection.servers.find(server_id, job)
    if now is None:
        raise _deleted(server_id)
    if now.task_state is not None:
        return
    current = job.cloud.image(image.id)
    if current is not None and current.status == image.status:
        raise NonRecoverableError(
            f"Nova has given up image {image.name} ({image.id}), which stays {image.status}", hint=_HINT
        )


def _deleted(server_id: str) -> ProviderError:
    return ResourceNotFoundError(f"server {server_id} was deleted during its backup")


def _of_type(images: Iterable[CloudImage], server_id: str, type_: str) -> list[CloudImage]:
    """Return the images that Nova counts for a rotation."""
    return [
        image
        for image in images
        if image.metadata.get("image_type") == "backup"
        and image.metadata.get("backup_type") == type_
        and image.metadata.get("instance_uuid") == server_id
    ]
