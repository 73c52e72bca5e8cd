"""A PostgreSQL server of Debian's for one test, run as an unprivileged user, below a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

PATIENCE_S = 60.0


def programs() -> Path:
    """Return QUIESCE_POSTGRESQL_PROGRAMS, or where Debian has the newest server's; skip by name without."""
    if named := os.environ.get("QUIESCE_POSTGRESQL_PROGRAMS"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL server here (Debian's package postgresql)")
    return found[-1].parent


def user() -> pwd.struct_passwd | None:
    """Return who runs servers; None: whoever runs the tests. Skip by name where that is impossible."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres here, and PostgreSQL does not run as root")


@dataclass(kw_only=True)
class PostgreSQLServer:
    """A server, all of it below *base*."""

    base: Path
    #: where its log lies, when not in its own directory
    log_directory: Path | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = programs()
        self.data = self.base / "data"
        self.data.mkdir(parents=True)
        self.base.chmod(0o755)
        self.run_directory = self.base / "run"
        self.run_directory.mkdir()
        self._own(self.base, self.run_directory, self.data)
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

    def start(self) -> None:
        """Start it."""
        log = self.base / "run" / "server.log"
        self.run("pg_ctl", "-w", "-D", self.data, "-l", log, "start")

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
        return ["-h", str(self.run_directory), "-U", "postgres"]

    @property
    def running(self) -> bool:
        """Whether it answers."""
        command = [self.bin / "pg_isready", "-q", "-t", "2", "-h", self.run_directory]
        return subprocess.run([str(word) for word in command], check=False, cwd="/").returncode == 0

    @property
    def pid(self) -> int:
        """The first of its processes."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def end(self) -> None:
        """End it at once, whatever state it is in."""
        try:
            pid = self.pid
            if Path(f"/proc/{pid}/cwd").resolve() == self.data:
                os.kill(pid, signal.SIGQUIT)
        except (OSError, ValueError, IndexError):
            return

    def run(self, name: str, *words: object) -> str:
        """Run one of its programs as its user."""
        return self._run([self.bin / name, *words])

    def own(self, *paths: Path) -> None:
        """Give *paths* to its user."""
        self._own(*paths)

    def _own(self, *paths: Path) -> None:
        if (owner := user()) is not None:
            for path in paths:
                shutil.chown(path, owner.pw_uid, owner.pw_gid)
                path.chmod(0o700)
            self.base.chmod(0o755)

    def _said(self) -> str:
        log = self.run_directory / "server.log"
        return log.read_text()[-2000:] if log.exists() else ""

    def _run(self, command: list[object]) -> str:
        owner = user()
        rights = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=PATIENCE_S * 2,
            **rights,  # type: ignore[arg-type]
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr}{done.stdout}{self._said()}"
        return done.stdout


class Ledger:
    """Writers of numbers, and which of them were acknowledged, in the order in which that happened."""

    def __init__(self, server: PostgreSQLServer, writers: int = 4) -> None:
        import psycopg

        self._lock = threading.Lock()
        self._next = 0
        self._stop = threading.Event()
        self.tried: set[int] = set()
        self.acknowledged: set[int] = set()
        self._connect = lambda: psycopg.connect(
            host=str(server.run_directory), user="postgres", dbname="postgres", autocommit=True
        )
        server.query("CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY, filler text)")
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(writers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def now(self) -> tuple[frozenset[int], frozenset[int]]:
        """Return what was acknowledged, and what was tried, until now."""
        with self._lock:
            return frozenset(self.acknowledged), frozenset(self.tried)

    def _write(self) -> None:
        import psycopg

        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    self._write_until_it_breaks(connection)
            except psycopg.Error:
                self._stop.wait(0.02)

    def _write_until_it_breaks(self, connection: object) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._next += 1
                number = self._next
                self.tried.add(number)
            connection.execute("INSERT INTO ledger VALUES (%s, repeat('x', 200))", (number,))  # type: ignore[attr-defined]
            with self._lock:
                self.acknowledged.add(number)


def written(server: PostgreSQLServer) -> frozenset[int]:
    """Return the numbers that the server holds."""
    return frozenset(int(line) for line in server.query("SELECT n FROM ledger").split())
