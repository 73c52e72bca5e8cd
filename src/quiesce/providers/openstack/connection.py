"""One logged-in cloud with what all its calls share: shared requests, and the servers held shut off."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.listing import Pace
from quiesce.providers.openstack.client import Client
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.collection import Collection


class CloudConnection:
    """Shared by all calls that log in the same way."""

    def __init__(self, client: Client, pace: Pace | None = None) -> None:
        cloud = Cloud(client)
        self.cloud = cloud
        self.servers = Collection("servers", cloud.servers, cloud.server, pace)
        self.volumes = Collection("volumes", cloud.volumes, cloud.volume, pace)
        self.snapshots = Collection("snapshots", cloud.snapshots, cloud.snapshot, pace)
        self.group_snapshots = Collection(
            "group snapshots", cloud.group_snapshots, cloud.group_snapshot, pace
        )
        self.backups = Collection("backups", cloud.backups, cloud.backup, pace)
        self.images = Collection("images", cloud.images, cloud.image, pace)
        self.holds = ServerHolds()
        #: held while one is looked for and then begun or deleted: volumes of one group come side by side
        self.changes_group_snapshots = threading.Lock()
        #: executions and names of those that Cinder has refused: it is not asked again for the next volume
        self.refused_group_cuts: set[str] = set()
        self._group_specs: dict[str, Mapping[str, Json] | None] = {}

    def specs_of_group(self, group_id: str) -> Mapping[str, Json] | None:
        """Return what the type of a group of volumes promises, asked once; None: this user is not told."""
        if group_id not in self._group_specs:
            self._group_specs[group_id] = self.cloud.specs_of_group(group_id)
        return self._group_specs[group_id]

    def close(self) -> None:
        """Give the connection back."""
        self.cloud.client.close()


class ServerHolds:
    """Counts how many restores hold each server shut off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._holders: Counter[str] = Counter()

    @contextmanager
    def held(self, server_id: str, stop: Callable[[], None], start: Callable[[], None]) -> Iterator[None]:
        """Call *stop* for the first to come and *start* for the last to leave."""
        with self._lock_of(server_id):
            if self._holders[server_id] == 0:
                stop()
            self._holders[server_id] += 1
        try:
            yield
        except BaseException:
            with suppress(ProviderError):
                self._leave(server_id, start)
            raise
        self._leave(server_id, start)

    def _leave(self, server_id: str, start: Callable[[], None]) -> None:
        with self._lock_of(server_id):
            self._holders[server_id] -= 1
            if self._holders[server_id] == 0:
                start()

    def _lock_of(self, server_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(server_id, threading.Lock())
