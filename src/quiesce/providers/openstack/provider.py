"""Answers the provider port for OpenStack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from quiesce.errors import UnsupportedError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.openstack.client import Client, SessionClient
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.credentials import Credentials, credentials_of, read_credentials
from quiesce.providers.openstack.cutting import Cutting
from quiesce.providers.openstack.discovery import discovered
from quiesce.providers.openstack.examining import Examination
from quiesce.providers.openstack.freezing import Freezing
from quiesce.providers.openstack.networks import SORTS, Networks
from quiesce.providers.openstack.removing import Removal
from quiesce.providers.openstack.servers import Servers
from quiesce.providers.openstack.verifying import verified
from quiesce.providers.openstack.volume_steps import VolumeSteps
from quiesce.providers.openstack.waiting import Pace


class OpenStackProvider:
    """Servers, volumes and network definitions of any number of clouds.

    Calls that log in alike share one connection, and what they wait for is looked up once for all of them.
    """

    def __init__(
        self,
        settings: ProviderSettings | None = None,
        connect: Callable[[Credentials], Client] = SessionClient,
        pace: Pace | None = None,
    ) -> None:
        self._connect = connect
        self._pace = pace
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        connection = self._connection(credentials_of(call))
        sort = _sort(call)
        if sort == "Server":
            return self._perform_on_server(connection, call, context)
        if sort == "Volume":
            return self._perform_on_volume(connection, call, context)
        return self._perform_on_network(connection, call, context)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Return None: Nova freezes a guest for a moment of its own choosing, and does not tell."""
        return None

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return what was found out about rights, quotas, agent and backends; changes nothing."""
        return Examination(self._connection(credentials_of(call)), call, context).of(_sort(call))

    def verify(self, call: Call, context: Context) -> Proof:
        """Read an image back and compare checksums; ask Cinder about snapshots and backups."""
        return verified(self._connection(credentials_of(call)), call, context)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the project that *options* (as a ``client_config``) log in to."""
        given: dict[str, Json] = dict(options)
        return discovered(self._connection(read_credentials(given)).cloud)

    def close(self) -> None:
        """Give connections back."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()

    def _connection(self, credentials: Credentials) -> Connection:
        with self._lock:
            if credentials.key not in self._connections:
                self._connections[credentials.key] = Connection(self._connect(credentials), self._pace)
            return self._connections[credentials.key]

    def _perform_on_server(self, connection: Connection, call: Call, context: Context) -> Outcome:
        ways: dict[Operation, Callable[[], Outcome]] = {
            Operation.FREEZE: Freezing(connection, call, context).freeze,
            Operation.THAW: Freezing(connection, call, context).thaw,
            Operation.SUSPEND: Servers(connection, call, context).suspend,
            Operation.RESUME: Servers(connection, call, context).resume,
            Operation.SNAPSHOT: Cutting(connection, call, context).cut,
            Operation.COPY: Cutting(connection, call, context).copy,
            Operation.APPLY: Servers(connection, call, context).apply,
            Operation.DELETE: Removal(connection, call, context).of_server,
            Operation.MEASURE: Servers(connection, call, context).measure,
        }
        return _one_of(ways, call)

    def _perform_on_volume(self, connection: Connection, call: Call, context: Context) -> Outcome:
        steps = VolumeSteps(connection, call, context)
        ways: dict[Operation, Callable[[], Outcome]] = {
            Operation.SNAPSHOT: steps.cut,
            Operation.COPY: steps.copy,
            Operation.APPLY: steps.apply,
            Operation.DELETE: Removal(connection, call, context).of_volume,
            Operation.MEASURE: steps.measure,
        }
        return _one_of(ways, call)

    def _perform_on_network(self, connection: Connection, call: Call, context: Context) -> Outcome:
        networks = Networks(connection, call, context)
        ways: dict[Operation, Callable[[], Outcome]] = {
            Operation.SNAPSHOT: networks.save,
            Operation.COPY: lambda: NOTHING,
            Operation.APPLY: networks.apply,
            Operation.DELETE: networks.delete,
        }
        return _one_of(ways, call)


def _one_of(ways: Mapping[Operation, Callable[[], Outcome]], call: Call) -> Outcome:
    if call.operation not in ways:
        raise UnsupportedError(f"{call.operation} means nothing for {call.node.type}")
    return ways[call.operation]()


def _sort(call: Call) -> str:
    """Return what the node is: ``Server``, ``Volume``, or one of the network objects."""
    known = {"Server", "Volume", *SORTS}
    for type_ in reversed(call.node.type_hierarchy):
        last = type_.rsplit(".", 1)[-1]
        if ".openstack." in type_ and last in known:
            return last
    if ".server." in call.function:
        return "Server"
    if ".volume." in call.function:
        return "Volume"
    raise UnsupportedError(f"{call.node.type} is none of OpenStack's servers, volumes and network objects")
