"""One call with the cloud that it is about and what was chosen for it."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.provider_kit.job import Job
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.connection import CloudConnection
from quiesce.providers.openstack.options import OpenStackOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStackJob(Job):
    """A call to one cloud."""

    connection: CloudConnection
    options: OpenStackOptions

    @property
    def cloud(self) -> Cloud:
        """The cloud, for single requests."""
        return self.connection.cloud
