"""Answers the provider port for OpenStack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.connections import Connections
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.listing import Pace
from quiesce.provider_kit.options import read_options
from quiesce.providers.openstack import DESCRIPTION
from quiesce.providers.openstack.client import Client, SessionClient
from quiesce.providers.openstack.connection import CloudConnection
from quiesce.providers.openstack.credentials import (
    PROPERTIES,
    Credentials,
    credentials_of,
    read_credentials,
)
from quiesce.providers.openstack.discover import discover
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.network.definition import SORTS
from quiesce.providers.openstack.network.operations import NetworkOperations
from quiesce.providers.openstack.options import OpenStackOptions
from quiesce.providers.openstack.server.operations import ServerOperations
from quiesce.providers.openstack.volume.operations import VolumeOperations


class OpenStackProvider(PlatformProvider[OpenStackJob]):
    """Servers, volumes and network definitions of any number of clouds.

    Calls that log in alike share one connection, and what they wait for is looked up once for all of them.
    """

    def __init__(
        self,
        settings: ProviderSettings | None = None,
        connect: Callable[[Credentials], Client] = SessionClient,
        pace: Pace | None = None,
    ) -> None:
        self._connections: Connections[Credentials, CloudConnection] = Connections(
            lambda credentials: CloudConnection(connect(credentials), pace)
        )
        networks = {name: NetworkOperations(sort) for name, sort in SORTS.items()}
        super().__init__(
            DESCRIPTION, {"server": ServerOperations(), "volume": VolumeOperations(), **networks}
        )

    def job(self, call: Call, context: Context) -> OpenStackJob:
        """Return the call with its cloud and its options."""
        inputs = {name: value for name, value in call.inputs.items() if name not in PROPERTIES}
        return OpenStackJob(
            call=call,
            context=context,
            connection=self._connections.get(credentials_of(call)),
            options=read_options(OpenStackOptions, DESCRIPTION.name, replace(call, inputs=inputs)),
        )

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the project that *options* (as a ``client_config``) log in to."""
        given: dict[str, Json] = dict(options)
        return discover(self._connections.get(read_credentials(given)).cloud)

    def close(self) -> None:
        """Give connections back."""
        self._connections.close()
