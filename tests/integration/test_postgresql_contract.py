"""The contract of providers on a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")

from tests.labs.databases.subjects import ContractSubject
from tests.labs.postgresql.server import PostgreSQLServer

from quiesce.providers import postgresql
from quiesce.providers.postgresql.provider import PostgreSQLProvider
from quiesce.testing import ProviderContract

pytestmark = pytest.mark.timeout(600)


class ServerSubject(ContractSubject):
    """A server of this machine."""

    make = PostgreSQLProvider
    provider_name = postgresql.DESCRIPTION.name
    node_type = postgresql.SERVER
    capabilities = postgresql.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations
    server: PostgreSQLServer

    def write(self, token: str) -> None:
        self._let_recover()
        self.server.query("CREATE TABLE IF NOT EXISTS token (text text); DELETE FROM token")
        self.server.query(f"INSERT INTO token VALUES ('{token}')")

    def read(self) -> str:
        self._let_recover()
        return self.server.query("SELECT text FROM token")

    def _let_recover(self) -> None:
        self.be_running()
        while self.server.query("SELECT pg_is_in_recovery()") == "t":
            time.sleep(0.05)

    def objects(self) -> frozenset[str]:
        self.be_running()
        slots = self.server.query("SELECT slot_name FROM pg_replication_slots").split()
        return super().objects().union(slots)


class TestPostgreSQL(ProviderContract):
    @pytest.fixture
    def subject(self) -> Iterator[ServerSubject]:
        with PostgreSQLServer.started() as server:
            subject = ServerSubject(server, host=str(server.run_directory))
            with contextlib.closing(subject):
                yield subject
