"""Servers stopped and volumes detached while volumes are put back, and how that is undone.

What must be undone is written onto the objects themselves before it is done, so that whoever runs the
operation again after a crash attaches the volume and starts the server.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from quiesce.errors import NonRecoverableError, ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.ports import Context
from quiesce.providers.openstack import power
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.resources import Attachment, Server, Volume
from quiesce.providers.openstack.waiting import Watch

#: on a server: we have stopped it, so we start it again
RESTART: Final = "quiesce:restart"
#: on a volume: where it was attached before we detached it: ``<server id> <device>``
SEAT: Final = "quiesce:seat"


class Rest:
    """Holds servers and volumes at rest, for several volumes of one server at once."""

    def __init__(self, cloud: Cloud, servers: Watch[Server], volumes: Watch[Volume]) -> None:
        self._cloud = cloud
        self._servers = servers
        self._volumes = volumes
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._holders: Counter[str] = Counter()

    @contextmanager
    def stopped(self, server_id: str, context: Context) -> Iterator[None]:
        """Hold a server shut off; the last to leave starts it, if it was running before the first came."""
        self._enter(server_id, context)
        try:
            yield
        except BaseException:
            with suppress(ProviderError):
                self._leave(server_id, context)
            raise
        self._leave(server_id, context)

    @contextmanager
    def detached(self, volume: Volume, context: Context) -> Iterator[list[str]]:
        """Hold a volume detached and its server shut off; what is in the list given is attached after.

        The list holds the volume's own id; replace it to have another volume attached in its place.
        """
        seat = seat_of(volume)
        if seat is None:
            yield [volume.id]
            return
        with self.stopped(seat.server_id, context):
            self._detach(volume, seat, context)
            taken = [volume.id]
            try:
                yield taken
            except BaseException:
                with suppress(ProviderError):
                    self._attach(volume.id, seat, context)
                raise
            self._attach(taken[0], seat, context)
            self._cloud.remove_volume_metadata(volume.id, SEAT)

    def _enter(self, server_id: str, context: Context) -> None:
        with self._lock_of(server_id):
            if self._holders[server_id] == 0:
                self._stop(server_id, context)
            self._holders[server_id] += 1

    def _leave(self, server_id: str, context: Context) -> None:
        with self._lock_of(server_id):
            self._holders[server_id] -= 1
            if self._holders[server_id] == 0:
                self._start(server_id, context)

    def _stop(self, server_id: str, context: Context) -> None:
        states = power.Power(self._cloud, self._servers, context)
        if states.settled(server_id).status in (power.STOPPED, power.ERROR):
            return
        self._cloud.set_server_metadata(server_id, {RESTART: "yes"})
        states.bring(server_id, power.STOPPED)

    def _start(self, server_id: str, context: Context) -> None:
        states = power.Power(self._cloud, self._servers, context)
        if RESTART not in states.settled(server_id).metadata:
            return
        states.bring(server_id, power.ACTIVE)
        self._cloud.remove_server_metadata(server_id, RESTART)

    def _detach(self, volume: Volume, seat: Attachment, context: Context) -> None:
        if not volume.attachments:
            return
        self._cloud.set_volume_metadata(volume.id, {SEAT: f"{seat.server_id} {seat.device or ''}".strip()})
        self._cloud.detach(seat.server_id, volume.id)
        await_status(self._volumes, volume.id, "available", context)

    def _attach(self, volume_id: str, seat: Attachment, context: Context) -> None:
        volume = self._volumes.now(context, what=f"volume {volume_id}", only=volume_id).get(volume_id)
        if volume is not None and any(place.server_id == seat.server_id for place in volume.attachments):
            return
        self._cloud.attach(seat.server_id, volume_id, seat.device)
        await_status(self._volumes, volume_id, "in-use", context)

    def _lock_of(self, server_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(server_id, threading.Lock())


def seat_of(volume: Volume) -> Attachment | None:
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
    server_id, _, device = volume.metadata.get(SEAT, "").partition(" ")
    return Attachment(server_id=server_id, device=device or None) if server_id else None


def await_status(volumes: Watch[Volume], volume_id: str, wanted: str, context: Context) -> Volume:
    """Return the volume once it is *wanted*.

    Raises:
        NonRecoverableError: when it ends in an error.
        ResourceNotFoundError: when it is gone.
    """

    def judge(listing: Mapping[str, Volume]) -> Volume | None:
        volume = listing.get(volume_id)
        if volume is None:
            raise ResourceNotFoundError(f"volume {volume_id} is gone: somebody has deleted it")
        if volume.status.startswith("error"):
            raise NonRecoverableError(
                f"volume {volume_id} is {volume.status}",
                hint="Ask the cloud's operator (cinder's log says why), then restore again.",
            )
        return volume if volume.status == wanted else None

    return volumes.until(judge, context, what=f"volume {volume_id} to become {wanted}", only=volume_id)
