"""The contract of providers on a real MariaDB server."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")

from tests.labs.mariadb.server import MariaDBServer, program

from quiesce.archives import MARK
from quiesce.errors import OperationTimeoutError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.providers import mariadb
from quiesce.providers.mariadb.provider import MariaDBProvider
from quiesce.testing import ProviderContract, Subject

pytestmark = pytest.mark.timeout(600)


class ForgetfulMariaDB(MariaDBProvider):
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


class MariaDBSubject(Subject):
    """A server of this machine."""

    provider_name = mariadb.DESCRIPTION.name
    node_type = mariadb.SERVER
    capabilities = mariadb.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations

    def __init__(self, server: MariaDBServer, root: Path) -> None:
        self.server, self.root = server, root
        self.lost: list[Operation] = []
        self.providers: list[MariaDBProvider] = []
        self.properties: Mapping[str, Json] = {
            "host": str(server.socket),
            "data_directory": str(server.data),
            "hold": True,
        }

    def provider(self) -> MariaDBProvider:
        settings = ProviderSettings(
            state_dir=str(self.root / "state"),
            repository_dir=str(self.root / "repository"),
            keys_file=str(self.root / "keys"),
        )
        self.providers.append(ForgetfulMariaDB(settings, self.lost))
        return self.providers[-1]

    def write(self, token: str) -> None:
        self._be_running()
        self.server.ask("DELETE FROM shop.token")
        self.server.ask("INSERT INTO shop.token VALUES (%s)", token)

    def read(self) -> str:
        self._be_running()
        return str(self.server.ask("SELECT text FROM shop.token")[0][0])

    def _be_running(self) -> None:
        if not self.server.running:
            self.server.start()

    def running(self) -> bool:
        return self.server.running

    def frozen(self) -> bool:
        return is_held(self.server)

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


def is_held(server: MariaDBServer) -> bool:
    """Tell whether a commit has to wait."""
    import pymysql

    with contextlib.closing(server.connect(init_command="SET lock_wait_timeout = 1")) as session:
        try:
            with session.cursor() as cursor:
                cursor.execute("INSERT INTO shop.probe VALUES (1)")
        except pymysql.OperationalError as error:
            return error.args[0] == pymysql.constants.ER.LOCK_WAIT_TIMEOUT
        return False


class TestMariaDB(ProviderContract):
    @pytest.fixture
    def subject(self) -> Iterator[MariaDBSubject]:
        program("mariadb-backup")
        with tempfile.TemporaryDirectory(prefix="quiesce-mariadb-") as name:
            root = Path(name)
            root.chmod(0o755)
            server = MariaDBServer(base=root / "server")
            subject = MariaDBSubject(server, root)
            try:
                server.start()
                server.ask("CREATE DATABASE shop")
                server.ask("CREATE TABLE shop.probe (n INT)")
                server.ask("CREATE TABLE shop.token (text TEXT)")
                yield subject
            finally:
                subject.close()
                server.end()
