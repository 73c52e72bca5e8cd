"""The contract of providers on a real MariaDB server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")

from tests.labs.databases.subjects import ContractSubject
from tests.labs.mariadb.server import MariaDBServer, program

from quiesce.providers import mariadb
from quiesce.providers.mariadb.provider import MariaDBProvider
from quiesce.testing import ProviderContract

pytestmark = pytest.mark.timeout(600)


class MariaDBSubject(ContractSubject):
    """A server of this machine."""

    make = MariaDBProvider
    provider_name = mariadb.DESCRIPTION.name
    node_type = mariadb.SERVER
    capabilities = mariadb.DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations
    server: MariaDBServer

    def write(self, token: str) -> None:
        self.be_running()
        self.server.ask("DELETE FROM shop.token")
        self.server.ask("INSERT INTO shop.token VALUES (%s)", token)

    def read(self) -> str:
        self.be_running()
        return str(self.server.ask("SELECT text FROM shop.token")[0][0])

    def frozen(self) -> bool:
        return self.server.is_held("INSERT INTO shop.probe VALUES (1)")


class TestMariaDB(ProviderContract):
    @pytest.fixture
    def subject(self) -> Iterator[MariaDBSubject]:
        program("mariadb-backup")
        with MariaDBServer.started() as server:
            server.ask("CREATE DATABASE shop")
            server.ask("CREATE TABLE shop.probe (n INT)")
            server.ask("CREATE TABLE shop.token (text TEXT)")
            subject = MariaDBSubject(server, host=str(server.socket), hold=True)
            with contextlib.closing(subject):
                yield subject
