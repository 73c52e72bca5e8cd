"""A deployment of two servers on the command line: saved, restored, undone; quiesce killed in the window."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")
pytest.importorskip("redis", reason="redis is not installed (extra redis-server)")

from tests.labs.databases.server import reachable_directory, wait_until
from tests.labs.databases.slow_node import slow_node
from tests.labs.mariadb.server import MariaDBServer, program
from tests.labs.redis.server import RedisServer

pytestmark = pytest.mark.timeout(600)

BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  sessions: {{type: quiesce.nodes.redis.Server, properties: {{host: {redis}{sessions}}}}}
  orders: {{type: quiesce.nodes.mariadb.Server, properties: {{host: {mariadb}, {orders}}}}}
"""


class TwoServers:
    """A folder of an operator's, and two servers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.orders = MariaDBServer(base=root / "mariadb")
        self.sessions = RedisServer(base=root / "redis", appends=True)

    def start(self) -> None:
        """Start both, and write to both."""
        self.orders.start()
        self.sessions.start()
        self.orders.ask("CREATE DATABASE shop")
        self.orders.ask("CREATE TABLE shop.orders (n BIGINT PRIMARY KEY)")
        self.write(1)

    def write(self, number: int) -> None:
        """Return when both servers have acknowledged a write."""
        self.orders.ask("REPLACE INTO shop.orders VALUES (%s)", number)
        self.sessions.ask("SADD", "orders", number)

    def read(self) -> tuple[set[int], set[int]]:
        """Return what both hold."""
        orders = {number for (number,) in self.orders.ask("SELECT n FROM shop.orders")}
        return orders, {int(each) for each in self.sessions.ask("SMEMBERS", "orders")}

    def declare(self, *, saved: bool) -> None:
        """Write the blueprint: of servers that save themselves, or are held."""
        text = BLUEPRINT.format(
            redis=self.sessions.socket,
            mariadb=self.orders.socket,
            sessions=f", data_directory: {self.sessions.data}" if saved else "",
            orders=f"data_directory: {self.orders.data}" if saved else "hold: true",
        )
        (self.root / "shop.yaml").write_text(text + ("" if saved else slow_node(self.root)))
        self.run("init", "shop.yaml", "-b", "shop")

    def command(self, *words: str) -> list[str]:
        """Return what runs quiesce."""
        return [sys.executable, "-m", "quiesce.cli.main", *words]

    @property
    def environment(self) -> dict[str, str]:
        """What it is run with."""
        return {**os.environ, "QUIESCE_HOME": str(self.root / "home")}

    def run(self, *words: str) -> None:
        """Run quiesce, which has to succeed."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def end(self) -> None:
        self.orders.end()
        self.sessions.end()


@pytest.fixture
def shop() -> Iterator[TwoServers]:
    program("mariadb-backup")
    with reachable_directory("two") as root:
        found = TwoServers(root)
        try:
            found.start()
            yield found
        finally:
            found.end()


def test_both_come_back_together_and_go_forth_again(shop: TwoServers) -> None:
    shop.declare(saved=True)
    shop.run("doctor", "shop")
    shop.run("backup", "shop", "-p", "snapshot_name=one", "--snapshot-incremental", "false")
    shop.run("backups", "verify", "shop", "one")
    shop.write(2)
    shop.run("restore", "shop", "-p", "snapshot_name=one")
    assert shop.read() == ({1}, {1})
    shop.run("restore", "--undo", "shop")
    assert shop.read() == ({1, 2}, {1, 2})


def test_killed_in_the_window_both_servers_go_on(shop: TwoServers) -> None:
    """Each answers within its client's time-out (10 and 20 s); the next backup finds nothing left."""
    shop.declare(saved=False)
    backup = subprocess.Popen(
        shop.command("backup", "shop", "-p", "snapshot_name=dead", "--snapshot-incremental", "false"),
        cwd=shop.root,
        env=shop.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until((shop.root / "started").exists)
    assert shop.orders.is_held("REPLACE INTO shop.orders VALUES (0)")
    backup.send_signal(signal.SIGKILL)
    backup.wait()
    shop.write(2)
    (shop.root / "slow").unlink()
    shop.run("backup", "shop", "-p", "snapshot_name=alive", "--snapshot-incremental", "false")
    shop.write(3)
    assert shop.read() == ({1, 2, 3}, {1, 2, 3})
