"""The contract of providers on a real Redis server, with an append-only file and with dumps only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.labs.databases.subjects import ContractSubject
from tests.labs.redis.server import RedisServer

from quiesce.providers import redis as redis_provider
from quiesce.providers.redis.provider import RedisProvider
from quiesce.testing import ProviderContract

pytestmark = pytest.mark.timeout(600)


class RedisSubject(ContractSubject):
    """A server of this machine."""

    make = RedisProvider
    provider_name = redis_provider.DESCRIPTION.name
    node_type = redis_provider.SERVER
    capabilities = redis_provider.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations
    server: RedisServer

    def write(self, token: str) -> None:
        self.be_running()
        self.server.ask("SET", "token", token)

    def read(self) -> str:
        self.be_running()
        return str(self.server.ask("GET", "token"))

    def frozen(self) -> bool:
        return is_paused(self.server)


def is_paused(server: RedisServer) -> bool:
    """Tell whether a write has to wait: the server says so of its client."""
    with server.client(client_name="probe") as writing, server.client() as watching:
        connection = writing.connection_pool.get_connection()
        try:
            connection.send_command("SET", "probe", "1")
            while not connection.can_read(timeout=0.02):
                if any(each["name"] == "probe" and "b" in each["flags"] for each in watching.client_list()):
                    return True
            return False
        finally:
            connection.disconnect()


class _Contract(ProviderContract):
    appends: bool

    @pytest.fixture
    def subject(self) -> Iterator[RedisSubject]:
        with RedisServer.started(appends=self.appends) as server:
            subject = RedisSubject(server, host=str(server.socket))
            with contextlib.closing(subject):
                yield subject


class TestAppendOnly(_Contract):
    appends = True


class TestDumpsOnly(_Contract):
    appends = False
