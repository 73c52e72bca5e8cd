"""The contract of providers on a real PostgreSQL server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")

from tests.labs.postgresql.server import PostgreSQLServer

from quiesce.archives import MARK
from quiesce.errors import OperationTimeoutError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.providers import postgresql
from quiesce.providers.postgresql.provider import PostgreSQLProvider
from quiesce.testing import ProviderContract, Subject

pytestmark = pytest.mark.timeout(600)


class ForgetfulServers(PostgreSQLProvider):
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


class ServerSubject(Subject):
    """A server of this machine."""

    provider_name = postgresql.DESCRIPTION.name
    node_type = postgresql.SERVER
    capabilities = postgresql.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations

    def __init__(self, server: PostgreSQLServer, root: Path) -> None:
        self.server, self.root = server, root
        self.lost: list[Operation] = []
        self.providers: list[PostgreSQLProvider] = []
        self.properties: Mapping[str, Json] = {
            "host": str(server.run_directory),
            "data_directory": str(server.data),
        }

    def provider(self) -> PostgreSQLProvider:
        settings = ProviderSettings(
            state_dir=str(self.root / "state"),
            repository_dir=str(self.root / "repository"),
            keys_file=str(self.root / "keys"),
        )
        self.providers.append(ForgetfulServers(settings, self.lost))
        return self.providers[-1]

    def write(self, token: str) -> None:
        self._let_recover()
        self.server.query("CREATE TABLE IF NOT EXISTS token (text text); DELETE FROM token")
        self.server.query(f"INSERT INTO token VALUES ('{token}')")

    def read(self) -> str:
        self._let_recover()
        return self.server.query("SELECT text FROM token")

    def _let_recover(self) -> None:
        if not self.server.running:
            self.server.start()
        while self.server.query("SELECT pg_is_in_recovery()") == "t":
            time.sleep(0.05)

    def running(self) -> bool:
        return self.server.running

    def lose_answer(self, operation: Operation) -> None:
        self.lost.append(operation)

    def objects(self) -> frozenset[str]:
        if not self.server.running:
            self.server.start()
        stored = (path for path in (self.root / "repository").rglob("*") if path.name != MARK)
        slots = self.server.query("SELECT slot_name FROM pg_replication_slots").split()
        return frozenset((*(str(path.relative_to(self.root)) for path in stored), *slots))

    def plant_foreign(self, point: str, *, full: bool) -> None:
        place = self.root / "repository" / "contract" / point / self.instance
        place.mkdir(parents=True)
        (place / "thesis.txt").write_text("theirs")

    def call(self, operation: Operation, **changes: object) -> Call:
        if operation in (Operation.APPLY, Operation.REVERT) and self.server.running:
            self.server.stop()
        return super().call(operation, **changes)

    def close(self) -> None:
        for provider in self.providers:
            provider.close()


class TestPostgreSQL(ProviderContract):
    @pytest.fixture
    def subject(self) -> Iterator[ServerSubject]:
        with tempfile.TemporaryDirectory(prefix="quiesce-postgresql-") as name:
            root = Path(name)
            root.chmod(0o755)
            server = PostgreSQLServer(base=root / "server")
            server.start()
            subject = ServerSubject(server, root)
            try:
                yield subject
            finally:
                subject.close()
                server.end()
