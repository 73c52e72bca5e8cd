"""One logged-in cloud with what all its calls share: the watches, and the servers held at rest."""

from __future__ import annotations

from quiesce.providers.openstack.client import Client
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.resources import Backup, Image, Server, Snapshot, Volume
from quiesce.providers.openstack.rest import Rest
from quiesce.providers.openstack.waiting import Pace, Watch


class Connection:
    """Shared by all calls that log in the same way."""

    def __init__(self, client: Client, pace: Pace | None = None) -> None:
        cloud = Cloud(client)
        self.cloud = cloud
        self.servers: Watch[Server] = Watch(cloud.servers, cloud.server, pace)
        self.volumes: Watch[Volume] = Watch(cloud.volumes, cloud.volume, pace)
        self.snapshots: Watch[Snapshot] = Watch(cloud.snapshots, cloud.snapshot, pace)
        self.backups: Watch[Backup] = Watch(cloud.backups, cloud.backup, pace)
        self.images: Watch[Image] = Watch(cloud.images, cloud.image, pace)
        self.rest = Rest(cloud, self.servers, self.volumes)

    def close(self) -> None:
        """Give the connection back."""
        self.cloud.client.close()
