"""A MariaDB server of Debian's for one test, run as an unprivileged user, below a directory of its own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.labs.databases.server import PATIENCE_S, DatabaseServer, wait_until


def program(name: str) -> str:
    """Return where a program of the server's is; skip by name without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here (Debian's packages mariadb-server and mariadb-backup)")
    return found


@dataclass(kw_only=True)
class MariaDBServer(DatabaseServer):
    """A server, all of it below *base*."""

    user_name = "mysql"
    settings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.socket = self.run_directory / "mariadb.sock"
        _run(["cp", "-a", f"{_installed()}/.", str(self.data)])

    @property
    def command(self) -> list[str]:
        """What it is started by."""
        return [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            f"--pid-file={self.run_directory}/pid",
            f"--log-error={self.log}",
            f"--tmpdir={self.run_directory}",
            "--skip-networking",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            *self.settings,
        ]

    def start(self) -> None:
        """Start it."""
        # no child of ours
        command = ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *self.command]
        subprocess.run(command, check=True, cwd="/", start_new_session=True, **self.rights())
        wait_until(lambda: self.running, self.said)

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what it answers."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def connect(self, **options: object) -> Any:
        """Return a session of its own."""
        import pymysql

        told = {"unix_socket": str(self.socket), "user": "root", "autocommit": True, "read_timeout": 20}
        return pymysql.connect(**(told | options))

    @property
    def running(self) -> bool:
        """Whether it answers."""
        import pymysql

        with socket.socket(socket.AF_UNIX) as probe:  # pymysql leaves it open when it fails
            if probe.connect_ex(str(self.socket)) != 0:
                return False
        with contextlib.suppress(pymysql.Error):
            return self.ask("SELECT 1") == [(1,)]
        return False

    def stop(self) -> None:
        """Stop it."""
        self.ask("SHUTDOWN")
        wait_until(lambda: not self.pids, self.said)

    def is_held(self, statement: str) -> bool:
        """Tell whether *statement*, which writes, has to wait."""
        import pymysql

        with contextlib.closing(self.connect(init_command="SET lock_wait_timeout = 1")) as session:
            try:
                with session.cursor() as cursor:
                    cursor.execute(statement)
            except pymysql.OperationalError as error:
                return error.args[0] == pymysql.constants.ER.LOCK_WAIT_TIMEOUT
            return False


@functools.cache
def _installed() -> Path:
    """Return a directory of a server that was never started: it takes long to make."""
    place = Path(tempfile.mkdtemp(prefix="quiesce-mariadb-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    data = place / "data"
    for path in (place, data):
        path.mkdir(exist_ok=True)
        MariaDBServer.own(path)
    install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--tmpdir={place}"]
    _run([*install, "--auth-root-authentication-method=normal", "--skip-test-db"])
    return data


def _run(command: list[str]) -> None:
    rights = MariaDBServer.rights()
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", timeout=PATIENCE_S, **rights
    )
    assert done.returncode == 0, done.stdout + done.stderr
