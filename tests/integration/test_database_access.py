"""Databases that are reached encrypted, or by way of SSH; by each of the three providers, on real servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")
pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")
pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.integration import test_mariadb_servers, test_postgresql_servers, test_redis_servers
from tests.labs.databases.access import Certificates, certificates, ssh_properties
from tests.labs.databases.server import DatabaseServer, reachable_directory, wait_until
from tests.labs.databases.subjects import DeploymentSubject
from tests.labs.mariadb.server import MariaDBServer, program
from tests.labs.postgresql.server import PostgreSQLServer
from tests.labs.redis.server import RedisServer
from tests.sshd_on_loopback import needs_sshd, sshd

from quiesce.errors import NonRecoverableError, ProviderError
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.provider_kit.server_access import address, read_destination
from quiesce.testing.contexts import RecordingContext

pytestmark = pytest.mark.timeout(600)

KINDS = ["postgresql", "mariadb", "redis"]


@dataclass(kw_only=True)
class Reached:
    """A server that takes encrypted connections at a port, and a deployment of it."""

    root: Path
    server: Any
    port: int
    certificates: Certificates
    deployment: DeploymentSubject

    def at_port(self, **properties: Json) -> None:
        """Declare it by its port."""
        self.deployment.properties = {"host": "localhost", "port": self.port, **self.own, **properties}

    @property
    def own(self) -> dict[str, Json]:
        """What is declared besides."""
        return {"hold": True} if isinstance(self.server, MariaDBServer) else {}

    def work(self) -> None:
        """Hold or cut it."""
        operation = Operation.PREPARE if isinstance(self.server, PostgreSQLServer) else Operation.FREEZE
        try:
            self.deployment.do(operation, thaw_after_s=60.0)
            if operation is Operation.PREPARE:
                self.deployment.do(Operation.SNAPSHOT)
            else:
                assert self.deployment.is_frozen()
        finally:
            self.deployment.do(Operation.THAW if operation is Operation.FREEZE else Operation.DELETE)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def owner_of(kind: type[DatabaseServer]) -> tuple[int, int] | None:
    owner = kind.owner()
    return None if owner is None else (owner.pw_uid, owner.pw_gid)


def postgresql(root: Path, port: int, made: Certificates) -> tuple[Any, DeploymentSubject]:
    key = made.key_of("server", owner_of(PostgreSQLServer))
    settings = {"listen_addresses": "127.0.0.1", "port": str(port), "ssl": "on", "ssl_key_file": str(key)}
    settings |= {"ssl_cert_file": str(made.of("server")), "ssl_ca_file": str(made.authority)}
    server = PostgreSQLServer(base=root / "server", settings=settings)
    (server.data / "pg_hba.conf").write_text(
        "local all all trust\nlocal replication all trust\n"
        "hostssl all certified 127.0.0.1/32 cert map=ours\n"
        "hostssl all all 127.0.0.1/32 trust\nhostssl replication all 127.0.0.1/32 trust\n"
    )
    (server.data / "pg_ident.conf").write_text("ours quiesce certified\n")
    return server, test_postgresql_servers.Deployment(server)


def mariadb(root: Path, port: int, made: Certificates) -> tuple[Any, DeploymentSubject]:
    key = made.key_of("server", owner_of(MariaDBServer))
    settings = [f"--ssl-key={key}", f"--ssl-cert={made.of('server')}", f"--ssl-ca={made.authority}"]
    settings += ["--skip-skip-networking", f"--port={port}", "--bind-address=127.0.0.1"]
    server = MariaDBServer(base=root / "server", settings=[*settings, "--require-secure-transport=ON"])
    return server, test_mariadb_servers.Deployment.of(root, str(server.socket))


def redis(root: Path, port: int, made: Certificates) -> tuple[Any, DeploymentSubject]:
    key = made.key_of("server", owner_of(RedisServer))
    settings = {"tls-port": str(port), "tls-cert-file": str(made.of("server")), "tls-key-file": str(key)}
    settings |= {"tls-ca-cert-file": str(made.authority), "tls-auth-clients": "optional"}
    server = RedisServer(base=root / "server", settings={**settings, "bind": "127.0.0.1"})
    return server, test_redis_servers.Deployment.of(root, str(server.socket))


MAKERS: dict[str, Callable[[Path, int, Certificates], tuple[Any, DeploymentSubject]]] = {
    "postgresql": postgresql,
    "mariadb": mariadb,
    "redis": redis,
}


@pytest.fixture(params=KINDS)
def reached(request: pytest.FixtureRequest) -> Iterator[Reached]:
    with reachable_directory(request.param) as root:
        made, port = certificates(root / "certificates"), free_port()
        server, deployment = MAKERS[request.param](root, port, made)
        try:
            server.start()
            with contextlib.closing(deployment.provider_now):
                yield Reached(root=root, server=server, port=port, certificates=made, deployment=deployment)
        finally:
            server.end()


# -- encrypted ----------------------------------------------------------------------------------------------


def test_a_server_is_reached_by_its_certificate_and_ours(reached: Reached) -> None:
    files = reached.certificates
    reached.at_port(tls=True, tls_ca=str(files.authority))
    reached.work()
    shown = {"tls_certificate": str(files.of("client")), "tls_key": str(files.key_of("client"))}
    if isinstance(reached.server, PostgreSQLServer):
        reached.server.query("CREATE ROLE certified SUPERUSER LOGIN")
        reached.at_port(tls_ca=str(files.authority), user="certified")
        with pytest.raises(ProviderError, match="certificate"):
            reached.deployment.do(Operation.PREPARE)
        # its copy has no line in pg_hba.conf: the session is what is asked here
        reached.at_port(tls_ca=str(files.authority), user="certified", **shown)
        reached.deployment.do(Operation.MEASURE)
    elif isinstance(reached.server, MariaDBServer):
        reached.server.ask("CREATE USER certified@'%' REQUIRE X509")
        reached.server.ask("GRANT ALL ON *.* TO certified@'%'")
        reached.at_port(tls_ca=str(files.authority), user="certified")
        with pytest.raises(ProviderError, match="denied"):
            reached.work()
        reached.at_port(tls_ca=str(files.authority), user="certified", **shown)
        reached.work()
    else:
        reached.server.ask("CONFIG", "SET", "tls-auth-clients", "yes")
        reached.at_port(tls_ca=str(files.authority))
        with pytest.raises(ProviderError):
            reached.work()
        reached.at_port(tls_ca=str(files.authority), **shown)
        reached.work()


def test_another_authority_or_name_is_refused(reached: Reached) -> None:
    files = reached.certificates
    reached.at_port(tls=True, tls_ca=str(files.of("other")))
    with pytest.raises(ProviderError, match=r"(?i)certificate"):
        reached.work()
    reached.at_port(tls=True)  # the system's
    with pytest.raises(ProviderError, match=r"(?i)certificate"):
        reached.work()
    reached.at_port(tls=True, tls_ca=str(files.authority))
    reached.deployment.properties["host"] = "127.0.0.1"  # the certificate is localhost's
    with pytest.raises(ProviderError, match=r"(?i)certificate|not match"):
        reached.work()
    reached.at_port(tls_ca=str(reached.root / "nothing"))
    with pytest.raises(ProviderError):
        reached.work()


def test_a_server_that_offers_no_encryption_is_not_spoken_to(reached: Reached) -> None:
    """A password would be read by whoever stands between."""
    with socket.create_server(("127.0.0.1", 0)) as plain:
        reached.at_port(tls=True, tls_ca=str(reached.certificates.authority), password="vermilion")
        reached.deployment.properties["port"] = plain.getsockname()[1]
        heard = _heard(plain, reached.server)
        with pytest.raises(ProviderError):
            reached.work()
        assert b"vermilion" not in heard()


def _heard(plain: socket.socket, server: Any) -> Callable[[], bytes]:
    """Answer as a server without TLS does, and return what it was told."""
    heard = bytearray()
    greeting = b""
    if isinstance(server, MariaDBServer):
        capabilities = (0xF7FF & ~0x0800).to_bytes(2, "little")  # without SSL
        rest = b"\x01" + b"12345678\0" + capabilities + b"\x21\x02\0" + b"\x08\0" + b"\x15" + bytes(10)
        body = b"\x0a" + b"10.11.0-MariaDB\0" + rest[:1] + bytes(3) + rest[1:] + b"123456789012\0"
        body += b"mysql_clear_password\0"
        greeting = len(body).to_bytes(3, "little") + b"\0" + body

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = plain.accept()
                with client:
                    client.settimeout(5)
                    client.sendall(greeting)
                    while data := client.recv(4096):
                        heard.extend(data)
                        if isinstance(server, PostgreSQLServer):
                            client.sendall(b"N")

    threading.Thread(target=answer, daemon=True).start()
    return lambda: bytes(heard)


def test_mariadb_backup_is_not_sent_unencrypted_where_encryption_is_wanted() -> None:
    program("mariadb-backup")
    with reachable_directory("mariadb") as root:
        made, port = certificates(root / "certificates"), free_port()
        server, deployment = mariadb(root, port, made)
        try:
            server.start()
            deployment.properties = {"host": "localhost", "port": port, "tls_ca": str(made.authority)}
            deployment.properties["data_directory"] = str(server.data)
            with contextlib.closing(deployment.provider_now):
                with pytest.raises(NonRecoverableError, match="by its socket only"):
                    deployment.do(Operation.PREPARE)
                findings = deployment.provider_now.doctor(
                    deployment.call(Operation.MEASURE), RecordingContext()
                )
                assert any(not each.passed and "socket" in each.detail for each in findings)
        finally:
            server.end()


# -- by way of SSH ------------------------------------------------------------------------------------------


def tunnels(root: Path) -> list[int]:
    """Return the processes of ssh that were started with a configuration below *root*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0] == b"ssh" and any(word.startswith(str(root).encode()) for word in words):
                found.append(int(path.parent.name))
    return found


@needs_sshd
@pytest.mark.parametrize("beyond", ["port", "socket"])
def test_a_server_is_reached_by_way_of_ssh(reached: Reached, beyond: str, tmp_path: Path) -> None:
    """At its port on the other machine, or at its socket there."""
    with sshd(tmp_path) as way:
        local = dict(reached.deployment.properties)
        reached.at_port(**ssh_properties(way, tmp_path))
        if beyond == "socket":
            reached.deployment.properties["host"] = local["host"]
        if beyond == "port" and isinstance(reached.server, RedisServer):
            plain = free_port()
            reached.server.ask("CONFIG", "SET", "port", plain)
            reached.deployment.properties["port"] = plain
        if beyond == "port" and isinstance(reached.server, MariaDBServer):
            reached.server.ask("SET GLOBAL require_secure_transport = OFF")
        if beyond == "port" and isinstance(reached.server, PostgreSQLServer):
            hba = reached.server.data / "pg_hba.conf"
            hba.write_text(
                "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all all trust\n"
            )
            reached.server.stop()
            reached.server.start()
        reached.work()
        reached.deployment.do(Operation.MEASURE)
        wait_until(lambda: not tunnels(tmp_path))


@needs_sshd
def test_what_ssh_refuses_is_said_and_nothing_is_left(reached: Reached, tmp_path: Path) -> None:
    with sshd(tmp_path) as way:
        reached.at_port(**ssh_properties(way, tmp_path))
        (tmp_path / "authorized_keys").write_text("")
        with pytest.raises(ProviderError, match="Permission denied"):
            reached.work()
        shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
        (tmp_path / "known_hosts").write_text("")
        with pytest.raises(ProviderError, match=r"(?i)host key"):
            reached.work()
    with pytest.raises(ProviderError, match=r"(?i)refused"):
        reached.work()
    assert not tunnels(tmp_path)


@needs_sshd
@pytest.mark.parametrize("reached", ["mariadb", "redis"], indirect=True)
@pytest.mark.parametrize("lost", ["tunnel", "holder"])
def test_a_tunnel_that_is_lost_holds_nobody(reached: Reached, lost: str, tmp_path: Path) -> None:
    with sshd(tmp_path) as way:
        local = dict(reached.deployment.properties)
        reached.at_port(**ssh_properties(way, tmp_path))
        reached.deployment.properties["host"] = local["host"]
        reached.deployment.do(Operation.FREEZE, thaw_after_s=60.0)
        assert reached.deployment.is_frozen()
        found = tunnels(tmp_path) if lost == "tunnel" else [reached.deployment.holder()]
        assert found
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: reached.deployment.is_frozen() is False)
        if isinstance(reached.server, MariaDBServer):
            reached.server.ask("CREATE DATABASE answered")  # within the client's time-out of 20 s
        else:
            reached.server.ask("SET", "answered", 1)
        wait_until(lambda: not tunnels(tmp_path))


def test_what_ssh_would_take_for_an_option_is_refused() -> None:
    for wrong in ("-oProxyCommand=touch /tmp/x", "a b", ""):
        with pytest.raises(ValueError, match="is not"):
            read_destination(wrong)
    assert address("fe80::1", 22) == "[fe80::1]:22"
