"""A Redis server for one test, run as an unprivileged user, below a directory of its own.

It is Debian's, or the program that QUIESCE_REDIS_SERVER names (Valkey's, say), which that user has to reach.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.labs.databases.server import PATIENCE_S, DatabaseServer, wait_until


def program() -> str:
    """Return where the server's program is; skip by name without one."""
    found = os.environ.get("QUIESCE_REDIS_SERVER") or shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no Redis server here (Debian's package redis-server)")
    return found


@dataclass(kw_only=True)
class RedisServer(DatabaseServer):
    """A server, all of it below *base*."""

    user_name = "redis"
    appends: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = program()
        super().__post_init__()
        self.socket = self.run_directory / "redis.sock"
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
        self.own(self.config)

    def start(self) -> None:
        """Start it."""
        command = [self.program, str(self.config)]
        done = subprocess.run(command, check=False, cwd="/", timeout=PATIENCE_S, **self.rights())
        assert done.returncode == 0, self.said()
        wait_until(lambda: self.running, self.said)

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

    def stop(self) -> None:
        """Stop it, everything saved."""
        with self.client() as client:
            client.shutdown(save=not self.appends, nosave=self.appends)
        wait_until(lambda: not self.pids, self.said)
