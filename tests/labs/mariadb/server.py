"""A MariaDB server of Debian's for one test, run as an unprivileged user, below a directory of its own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 90.0


def program(name: str) -> str:
    """Return where a program of the server's is; skip by name without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here (Debian's packages mariadb-server and mariadb-backup)")
    return found


@dataclass(kw_only=True)
class MariaDBServer:
    """A server, all of it below *base*."""

    base: Path
    settings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.base / "data"
        self.data.mkdir(parents=True)
        self.run_directory = self.base / "run"
        self.run_directory.mkdir()
        self.socket = self.run_directory / "mariadb.sock"
        for path in (self.base, self.data, self.run_directory):
            self.own(path)
            path.chmod(0o755)
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
            f"--log-error={self.run_directory}/log",
            f"--tmpdir={self.run_directory}",
            "--skip-networking",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            *self.settings,
        ]

    def own(self, path: Path) -> None:
        """Give *path* to the server's user."""
        if (owner := _user()) is not None:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """Start it."""
        # no child of ours
        command = ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *self.command]
        subprocess.run(command, check=True, cwd="/", start_new_session=True, **_rights())
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

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.data:
                    found.append(int(link.parent.name))
        return found

    def said(self) -> str:
        """Return the end of its log."""
        log = self.run_directory / "log"
        return log.read_text()[-3000:] if log.exists() else ""

    def stop(self) -> None:
        """Stop it."""
        self.ask("SHUTDOWN")
        wait_until(lambda: not self.pids, self.said)

    def end(self) -> None:
        """End it at once."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.pids, self.said)


@functools.cache
def _installed() -> Path:
    """Return a directory of a server that was never started: it takes long to make."""
    place = Path(tempfile.mkdtemp(prefix="quiesce-mariadb-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    data = place / "data"
    for path in (place, data):
        path.mkdir(exist_ok=True)
        if (owner := _user()) is not None:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)
    install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--tmpdir={place}"]
    _run([*install, "--auth-root-authentication-method=normal", "--skip-test-db"])
    return data


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", timeout=PATIENCE_S, **_rights()
    )
    assert done.returncode == 0, done.stdout + done.stderr


def wait_until(condition: Any, said: Any = lambda: "") -> None:
    """Return when *condition* holds."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"it did not happen in time {said()}"
        time.sleep(0.05)


def _rights() -> dict[str, Any]:
    owner = _user()
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _user() -> pwd.struct_passwd | None:
    """Return who runs servers; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("mysql")
    except KeyError:
        return pwd.getpwnam("nobody")
