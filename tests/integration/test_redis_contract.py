"""The contract of providers on a real Redis server, with an append-only file and with dumps only."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.labs.redis.server import RedisServer

from quiesce.archives import MARK
from quiesce.errors import OperationTimeoutError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.providers import redis as redis_provider
from quiesce.providers.redis.provider import RedisProvider
from quiesce.testing import ProviderContract, Subject

pytestmark = pytest.mark.timeout(600)


class ForgetfulRedis(RedisProvider):
    """Does what it is asked to, but the answer to one operation is lost."""

    def __init__(self, settings: ProviderSettings, lost: list[Operation]) -> None:
        super().__init__(settings)
        self._lost = lost

    def perform(self, call: Call, context: Context) -> Outcome:
        outcome = super().perform(call, context)
        if call.operation in self._lost:
            self._lost.remove(call.operation)
            raise OperationTimeoutError("the answer was lost")
        return outcome


class RedisSubject(Subject):
    """A server of this machine."""

    provider_name = redis_provider.DESCRIPTION.name
    node_type = redis_provider.SERVER
    capabilities = redis_provider.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations

    def __init__(self, server: RedisServer, root: Path) -> None:
        self.server, self.root = server, root
        self.lost: list[Operation] = []
        self.providers: list[RedisProvider] = []
        self.properties: Mapping[str, Json] = {
            "host": str(server.socket),
            "data_directory": str(server.data),
        }

    def provider(self) -> RedisProvider:
        settings = ProviderSettings(
            state_dir=str(self.root / "state"),
            repository_dir=str(self.root / "repository"),
            keys_file=str(self.root / "keys"),
        )
        self.providers.append(ForgetfulRedis(settings, self.lost))
        return self.providers[-1]

    def write(self, token: str) -> None:
        self._be_running()
        self.server.ask("SET", "token", token)

    def read(self) -> str:
        self._be_running()
        return str(self.server.ask("GET", "token"))

    def _be_running(self) -> None:
        if not self.server.running:
            self.server.start()

    def running(self) -> bool:
        return self.server.running

    def frozen(self) -> bool:
        return is_paused(self.server)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def lose_answer(self, operation: Operation) -> None:
        self.lost.append(operation)

    def objects(self) -> frozenset[str]:
        stored = (path for path in (self.root / "repository").rglob("*") if path.name != MARK)
        kept = self.server.base.glob(".quiesce-*")
        return frozenset(str(path.relative_to(self.root)) for path in (*stored, *kept))

    def plant_foreign(self, point: str, *, full: bool) -> None:
        place = self.root / "repository" / "contract" / point / self.instance
        place.mkdir(parents=True)
        (place / "thesis.txt").write_text("theirs")

    def call(self, operation: Operation, **changes: object) -> Call:
        if operation in (Operation.APPLY, Operation.REVERT) and self.server.pids:
            self.server.stop()
        return super().call(operation, **changes)

    def close(self) -> None:
        for provider in self.providers:
            provider.close()


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
        with tempfile.TemporaryDirectory(prefix="quiesce-redis-") as name:
            root = Path(name)
            root.chmod(0o755)
            server = RedisServer(base=root / "server", appends=self.appends)
            subject = RedisSubject(server, root)
            try:
                server.start()
                yield subject
            finally:
                subject.close()
                server.end()


class TestAppendOnly(_Contract):
    appends = True


class TestDumpsOnly(_Contract):
    appends = False
