"""A PostgreSQL server of Debian's for one test, run as an unprivileged user, below a directory of its own."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.labs.databases.ledger import Ledger
from tests.labs.databases.server import PATIENCE_S, DatabaseServer


def programs() -> Path:
    """Return QUIESCE_POSTGRESQL_PROGRAMS, or where Debian has the newest server's; skip by name without."""
    if named := os.environ.get("QUIESCE_POSTGRESQL_PROGRAMS"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL server here (Debian's package postgresql)")
    return found[-1].parent


@dataclass(kw_only=True)
class PostgreSQLServer(DatabaseServer):
    """A server, all of it below *base*."""

    user_name = "postgres"
    end_signal = signal.SIGQUIT  # it takes its shared memory with it
    #: where its log lies, when not in its own directory
    log_directory: Path | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = programs()
        super().__post_init__()
        options = [] if self.log_directory is None else ["-X", str(self.log_directory)]
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", *options)
        told = {
            "unix_socket_directories": str(self.run_directory),
            "listen_addresses": "",
            "shared_buffers": "16MB",
            "max_wal_size": "64MB",
            **self.settings,
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in told.items())

    @classmethod
    def owner(cls) -> pwd.struct_passwd | None:
        """Return who runs it; None: whoever runs the tests. Skip by name where that is impossible."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(cls.user_name)
        except KeyError:
            pytest.skip("there is no user postgres here, and PostgreSQL does not run as root")

    def start(self) -> None:
        """Start it."""
        self.run("pg_ctl", "-w", "-D", self.data, "-l", self.log, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it."""
        self.run("pg_ctl", "-w", "-D", self.data, "-m", mode, "stop")

    def query(self, sql: str, database: str = "postgres") -> str:
        """Return what it answers."""
        command = [self.bin / "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *self.connection, "-d", database]
        return self._run([*command, "-c", sql]).strip()

    @property
    def connection(self) -> list[str]:
        """How clients find it."""
        return ["-h", str(self.run_directory), "-p", self.settings.get("port", "5432"), "-U", "postgres"]

    @property
    def running(self) -> bool:
        """Whether it answers."""
        command = [self.bin / "pg_isready", "-q", "-t", "2", *self.connection]
        return subprocess.run([str(word) for word in command], check=False, cwd="/").returncode == 0

    def run(self, name: str, *words: object) -> str:
        """Run one of its programs as its user."""
        return self._run([self.bin / name, *words])

    def _run(self, command: list[object]) -> str:
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=PATIENCE_S * 2,
            **self.rights(),
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr}{done.stdout}{self.said()}"
        return done.stdout


class PostgreSQLLedger(Ledger):
    """Writers that connect anew when the server was away."""

    def __init__(self, server: PostgreSQLServer) -> None:
        super().__init__(server)
        server.query("CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY, filler text)")

    def work(self, writer: int) -> None:
        import psycopg

        insert = "INSERT INTO ledger VALUES (%s, repeat('x', 200))"
        login = {"host": str(self.server.run_directory), "user": "postgres", "dbname": "postgres"}
        while not self.stopped.is_set():
            try:
                with psycopg.connect(**login, autocommit=True) as connection:
                    self.write(lambda number, to=connection: to.execute(insert, (number,)))
            except psycopg.Error:
                self.stopped.wait(0.02)


def written(server: PostgreSQLServer) -> frozenset[int]:
    """Return the numbers that the server holds."""
    return frozenset(int(line) for line in server.query("SELECT n FROM ledger").split())
