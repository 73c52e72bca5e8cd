"""Servers stopped and volumes detached while volumes are put back, and how that is undone.

What must be undone is written onto the objects themselves before it is done, so that whoever runs the
operation again after a crash attaches the volume and starts the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

from quiesce.errors import NonRecoverableError, ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.openstack import power
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.ownership import PREFIX
from quiesce.providers.openstack.resources import Volume, VolumeAttachment

#: on a server: we have stopped it, so we start it again
RESTART: Final = f"{PREFIX}restart"
#: on a volume: where it was attached before we detached it: ``<server id> <device>``
ATTACHED_TO: Final = f"{PREFIX}attached-to"

#: what a START answers whose server is gone: nothing can be owed to it
NOT_THERE: Final = Outcome(note="the server is not there, so there is nothing to start")


def stopped(job: OpenStackJob, server_id: str) -> AbstractContextManager[None]:
    """Hold a server shut off; the last to leave starts it, if it was running before the first came."""
    return job.connection.holds.held(server_id, lambda: _stop(job, server_id), lambda: _start(job, server_id))


@contextmanager
def detached(job: OpenStackJob, volume: Volume) -> Iterator[list[str]]:
    """Hold a volume detached and its server shut off; what is in the list given is attached after.

    The list holds the volume's own id; replace it to have another volume attached in its place.
    """
    place = attachment_of(volume)
    if place is None:
        yield [volume.id]
        return
    with stopped(job, place.server_id):
        _detach(job, volume, place)
        taken = [volume.id]
        try:
            yield taken
        except BaseException:
            with suppress(ProviderError):
                _attach(job, volume.id, place)
            raise
        _attach(job, taken[0], place)
        job.cloud.remove_volume_metadata(volume.id, ATTACHED_TO)


def go_on(job: OpenStackJob, server_id: str) -> Outcome:
    """Undo what a restore that died has left: attach what it has detached, start what it has stopped."""
    server = power.settled(job, server_id)
    for volume in job.connection.volumes.listed(job).values():
        place = _marked_place(volume)
        if place is None or place.server_id != server_id:
            continue
        try:
            await_status(job, volume.id, "available", "in-use")
            _attach(job, volume.id, place)
            job.cloud.remove_volume_metadata(volume.id, ATTACHED_TO)
        except NonRecoverableError as error:
            job.warn(f"server {server.name} is started without volume {volume.id}: {error}")
    if RESTART not in server.metadata:
        return NOTHING
    _start(job, server_id)
    return Outcome(note=f"server {server.name} was shut off by a restore and runs again")


def attachment_of(volume: Volume) -> VolumeAttachment | None:
    """Return where *volume* is attached, or was before an interrupted restore detached it.

    Raises:
        UnsupportedError: when it is attached to several servers.
    """
    if len(volume.attachments) > 1:
        raise UnsupportedError(
            f"volume {volume.id} is attached to {len(volume.attachments)} servers",
            hint="Detach it from all but one, restore, and attach it again.",
        )
    if volume.attachments:
        return volume.attachments[0]
    return _marked_place(volume)


def await_status(job: OpenStackJob, volume_id: str, *wanted: str) -> Volume:
    """Return the volume once it is one of *wanted*.

    Raises:
        NonRecoverableError: when it ends in an error.
        ResourceNotFoundError: when it is gone.
    """

    def judge(volume: Volume | None) -> Volume | None:
        if volume is None:
            raise ResourceNotFoundError(f"volume {volume_id} is gone: somebody has deleted it")
        if volume.status.startswith("error"):
            raise NonRecoverableError(
                f"volume {volume_id} is {volume.status}",
                hint="Ask the cloud's operator (cinder's log says why), then restore again.",
            )
        return volume if volume.status in wanted else None

    what = f"volume {volume_id} to become {' or '.join(wanted)}"
    return job.connection.volumes.until(volume_id, judge, job, what)


def _marked_place(volume: Volume) -> VolumeAttachment | None:
    """Return from where a restore has detached *volume*, or was about to."""
    server_id, _, device = volume.metadata.get(ATTACHED_TO, "").partition(" ")
    return VolumeAttachment(server_id=server_id, device=device or None) if server_id else None


def _stop(job: OpenStackJob, server_id: str) -> None:
    if power.settled(job, server_id).status in (power.STOPPED, power.ERROR):
        return
    job.cloud.set_server_metadata(server_id, {RESTART: "yes"})
    power.bring(job, server_id, power.STOPPED)


def _start(job: OpenStackJob, server_id: str) -> None:
    if RESTART not in power.settled(job, server_id).metadata:
        return
    power.bring(job, server_id, power.ACTIVE)
    job.cloud.remove_server_metadata(server_id, RESTART)


def _detach(job: OpenStackJob, volume: Volume, place: VolumeAttachment) -> None:
    if not volume.attachments:
        return
    mark = f"{place.server_id} {place.device or ''}".strip()
    job.cloud.set_volume_metadata(volume.id, {ATTACHED_TO: mark})
    job.cloud.detach(place.server_id, volume.id)
    await_status(job, volume.id, "available")


def _attach(job: OpenStackJob, volume_id: str, place: VolumeAttachment) -> None:
    volume = job.connection.volumes.find(volume_id, job)
    if volume is not None and any(one.server_id == place.server_id for one in volume.attachments):
        return
    job.cloud.attach(place.server_id, volume_id, place.device)
    await_status(job, volume_id, "in-use")
