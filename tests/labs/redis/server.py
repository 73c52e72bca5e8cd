"""A Redis server for one test, run as an unprivileged user, below a directory of its own.

It is Debian's, or the program that QUIESCE_REDIS_SERVER names (Valkey's, say), which that user has to reach.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0


def program() -> str:
    """Return where the server's program is; skip by name without one."""
    found = os.environ.get("QUIESCE_REDIS_SERVER") or shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no Redis server here (Debian's package redis-server)")
    return found


@dataclass(kw_only=True)
class RedisServer:
    """A server, all of it below *base*."""

    base: Path
    appends: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = program()
        self.data = self.base / "data"
        self.data.mkdir(parents=True)
        self.run_directory = self.base / "run"
        self.run_directory.mkdir()
        self.socket = self.run_directory / "redis.sock"
        self.log = self.run_directory / "log"
        self.config = self.run_directory / "redis.conf"
        told = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "777",
            "dir": str(self.data),
            "logfile": str(self.log),
            "daemonize": "yes",
            "save": '""',
            "appendonly": "yes" if self.appends else "no",
            **self.settings,
        }
        self.config.write_text("".join(f"{name} {value}\n" for name, value in told.items()))
        for path in (self.base, self.data, self.run_directory, self.config):
            self.own(path)
        self.base.chmod(0o755)
        self.run_directory.chmod(0o755)

    def own(self, path: Path) -> None:
        """Give *path* to the server's user."""
        if (owner := _user()) is not None:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """Start it."""
        owner = _user()
        rights = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        command = [self.program, str(self.config)]
        done = subprocess.run(command, check=False, cwd="/", timeout=PATIENCE_S, **rights)  # type: ignore[call-overload]
        assert done.returncode == 0, self.said()
        wait_until(lambda: self.running)

    def ask(self, *words: object) -> Any:
        """Return what it answers."""
        with self.client() as client:
            return client.execute_command(*words)

    def client(self, **options: object) -> Any:
        """Return a client of its own; what is not answered within ten seconds is not asked again."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        told = {"decode_responses": True, "socket_timeout": 10.0, "retry": Retry(NoBackoff(), 0)}
        return redis.Redis(unix_socket_path=str(self.socket), **(told | options))

    @property
    def running(self) -> bool:
        """Whether it answers."""
        import redis

        with contextlib.suppress(redis.RedisError):
            return bool(self.ask("PING"))
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
        return self.log.read_text()[-2000:] if self.log.exists() else ""

    def stop(self) -> None:
        """Stop it, everything saved."""
        with self.client() as client:
            client.shutdown(save=not self.appends, nosave=self.appends)
        wait_until(lambda: not self.pids)

    def end(self) -> None:
        """End it at once."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.pids)


def wait_until(condition: Any) -> None:
    """Return when *condition* holds."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def _user() -> pwd.struct_passwd | None:
    """Return who runs servers; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("redis")
    except KeyError:
        return pwd.getpwnam("nobody")
