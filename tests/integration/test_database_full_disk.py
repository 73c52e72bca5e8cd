"""A database whose disk is full at a moment of the window: nobody waits beyond the bound, nothing is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")
pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")
pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.integration import test_mariadb_servers, test_postgresql_servers, test_redis_servers
from tests.labs.databases.server import reachable_directory
from tests.labs.databases.subjects import DeploymentSubject
from tests.labs.mariadb.server import MariaDBServer
from tests.labs.postgresql.server import PostgreSQLServer
from tests.labs.redis.server import RedisServer

from quiesce.errors import ProviderError
from quiesce.model.operation import Operation

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]

Found = tuple[Any, DeploymentSubject]


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk that is soon full."""
    with reachable_directory("full") as root:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160M,mode=755", "none", root], check=False
        )
        if mounted.returncode != 0:
            pytest.skip("nothing can be mounted here")
        try:
            yield root
        finally:
            subprocess.run(["umount", "--lazy", root], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    return path


def held(kind: str, small: Path) -> Found:
    """Return a server on the small disk; what is ours lies elsewhere."""
    ours = small.with_name(f"{small.name}-ours")
    ours.mkdir(exist_ok=True)
    ours.chmod(0o755)
    if kind == "mariadb":
        server: Any = MariaDBServer(base=small / "server")
        return server, test_mariadb_servers.Deployment.of(ours, str(server.socket))
    server = RedisServer(base=small / "server", appends=kind == "redis-appending")
    return server, test_redis_servers.Deployment.of(ours, str(server.socket))


def write(server: Any) -> None:
    """Return when a write is acknowledged, within the client's time-out."""
    if isinstance(server, MariaDBServer):
        server.ask("CREATE DATABASE IF NOT EXISTS shop")
        server.ask("CREATE TABLE IF NOT EXISTS shop.t (n INT)")
        server.ask("INSERT INTO shop.t VALUES (1)")
    else:
        server.ask("SET", "n", 1)


@pytest.mark.parametrize("moment", ["before", "within"])
@pytest.mark.parametrize("kind", ["mariadb", "redis", "redis-appending"])
def test_a_held_server_whose_disk_is_full_goes_on(kind: str, moment: str, small: Path) -> None:
    server, deployment = held(kind, small)
    try:
        server.start()
        write(server)
        with contextlib.closing(deployment.provider_now):
            if moment == "before":
                filler = fill(small)
                with contextlib.suppress(ProviderError):
                    deployment.freeze(5.0)
                    assert deployment.is_frozen()
            else:
                deployment.freeze(5.0)
                filler = fill(small)
                assert deployment.is_frozen()
            deployment.do(Operation.THAW)
            assert deployment.is_frozen() is False
            filler.unlink()
            write(server)
            deployment.freeze(5.0)
            assert deployment.is_frozen()
            deployment.do(Operation.THAW)
            write(server)
    finally:
        server.end()
        subprocess.run(["rm", "-rf", small.with_name(f"{small.name}-ours")], check=True)


@pytest.mark.parametrize("moment", ["prepared", "cut"])
def test_a_postgresql_whose_repository_is_full_keeps_no_log_for_us(moment: str, small: Path) -> None:
    """The base copy, or the log that is added to it, finds no room."""
    with PostgreSQLServer.started() as server:
        server.query("CREATE TABLE ledger (n bigint)")
        deployment = test_postgresql_servers.Deployment(server)
        deployment.properties["repository"] = str(small / "repository")
        with contextlib.closing(deployment.provider_now):
            if moment == "prepared":
                filler = fill(small)
                with pytest.raises(ProviderError, match=r"(?i)space|room"):
                    deployment.do(Operation.PREPARE)
            else:
                deployment.do(Operation.PREPARE)
                server.query("INSERT INTO ledger VALUES (1)")
                filler = fill(small)
                cut = deployment.do(Operation.SNAPSHOT)
                with pytest.raises(ProviderError, match=r"(?i)space|room"):
                    deployment.do(Operation.COPY, artifact=cut.artifact)
            deployment.do(Operation.DELETE)
            assert deployment.slots() == ""
            filler.unlink()
            saved = deployment.back_up(2)
            deployment.restore(saved.artifact, 2)
