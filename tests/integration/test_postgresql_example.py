"""The examples of shops, run on real servers: cut under load, and restored beside the shop that goes on.

The judge is a ledger of what the web process has acknowledged, and PostgreSQL's own checker.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")
pytest.importorskip("redis", reason="redis-py is not installed (extra redis-server)")

from tests.labs.postgresql.server import PostgreSQLServer
from tests.labs.redis.server import RedisServer

pytestmark = pytest.mark.timeout(3600)

EXAMPLES = Path(__file__).parents[2] / "examples"
#: how many cuts are made under load, each restored and judged
CUTS = int(os.environ.get("QUIESCE_CUTS", "2"))
CLIENTS = 4
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order, as its client knows it; *answered* is None when nobody has."""

    sent: float
    answered: float | None
    number: int | None


class Place:
    """The servers, pictures and web process of one shop, all of it below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        root.chmod(0o755)
        self.database = PostgreSQLServer(base=root / "postgresql")
        self.redis = RedisServer(base=root / "redis", appends=True)
        self.uploads = root / "uploads"
        self.uploads.mkdir()
        self.port = _free_port()
        web = [sys.executable, EXAMPLES / "postgresql-shop/web.py", self.uploads, root / "web.pid", self.port]
        words = " ".join(str(word) for word in [*web, self.database.run_directory, self.redis.socket])
        self.start_web = root / "start-web"
        self.start_web.write_text(f"#!/bin/sh\nsetsid {words} >/dev/null 2>&1 &\n")
        self.start_web.chmod(0o755)

    def begin(self) -> None:
        # as Debian starts it: what is particular to this server stands on its command line
        options = f"-k {self.database.run_directory}"
        log = self.database.run_directory / "server.log"
        self.database.run("pg_ctl", "-w", "-D", self.database.data, "-l", log, "-o", options, "start")
        self.database.query(
            "CREATE TABLE orders (n bigint PRIMARY KEY); CREATE SEQUENCE order_numbers;"
            "CREATE ROLE quiesce LOGIN SUPERUSER; CREATE EXTENSION amcheck"
        )
        self.redis.start()
        subprocess.run([str(self.start_web)], check=True)
        wait_until(self.answers)

    def inputs(self) -> Mapping[str, object]:
        """Return what the example's blueprint is told of this place."""
        return {
            "postgresql_data": self.database.data,
            "postgresql_socket": self.database.run_directory,
            "redis_data": self.redis.data,
            "redis_socket": self.redis.socket,
            "uploads": self.uploads,
            "web_pid_file": self.root / "web.pid",
            "web_start": self.start_web,
            "web_probe": f"http://127.0.0.1:{self.port}/",
        }

    def answers(self) -> bool:
        """Tell whether the web process can be asked."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask(self.port, "GET", "/")[0] == 200
        return False

    def end(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.root / "web.pid").read_text()), signal.SIGKILL)
        self.redis.end()
        self.database.end()


class Ledger:
    """Customers that order one thing after the other, and what they know."""

    def __init__(self, port: int) -> None:
        self._port, self._stop, self._lock = port, threading.Event(), threading.Lock()
        self._orders: list[Order] = []
        self._threads = [threading.Thread(target=self._order, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def orders(self) -> list[Order]:
        """Return all orders until now."""
        with self._lock:
            return list(self._orders)

    def wait_for_more(self) -> None:
        """Return when more was acknowledged."""
        wanted = len(self.orders()) + 20
        wait_until(lambda: len(self.orders()) > wanted)

    def _order(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            while not self._stop.is_set():
                sent = time.time()
                try:
                    connection.request("POST", "/orders", body=b"picture" * 50)
                    answer = connection.getresponse()
                    body = json.loads(answer.read())
                except (OSError, http.client.HTTPException):
                    connection.close()
                    continue
                if answer.status == 200:
                    with self._lock:
                        self._orders.append(Order(sent=sent, answered=time.time(), number=body))
                self._stop.wait(0.05)


class Operator:
    """Quiesce's command line."""

    def __init__(self, root: Path) -> None:
        self._environment = {
            **os.environ,
            "QUIESCE_HOME": str(root / "home"),
            "QUIESCE_SECRET_POSTGRESQL_PASSWORD": "a-secret",
            "QUIESCE_SECRET_REDIS_PASSWORD": "another",
        }

    def __call__(self, *words: object) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "quiesce.cli.main", *map(str, words)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"quiesce {words}: {done.stdout[-4000:]}{done.stderr}"
        return done.stdout

    def window(self, point: str) -> tuple[float, float]:
        """Return when the first freeze had been made, and when the first thaw was begun."""
        execution = json.loads(self("backups", "show", "shop", point, "--json"))["restore_point"]["execution"]
        events = [json.loads(line)["event"] for line in self("events", execution, "--json").splitlines()]

        def times(message: str, context: str = "") -> list[float]:
            return [e["at"] for e in events if message in e["message"] and context in e["context"]]

        began = min(times("Starting to cloudify.interfaces.freeze.fs_prepare"))
        return began, max(times("Task succeeded", ".fs_finalize"))


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="quiesce-example-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def places(root: Path) -> Iterator[tuple[Place, Place]]:
    """The shop, and servers beside it for a copy of it."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in ("shop", "copy"):
            made.append(Place(root / name))
            stack.callback(made[-1].end)
            made[-1].begin()
        yield made[0], made[1]


def test_cuts_of_the_shop_under_load_restored_beside_it(root: Path, places: tuple[Place, Place]) -> None:
    shop, copy = places
    quiesce = Operator(root)
    make_deployments(quiesce, shop, copy)
    quiesce("doctor", "shop")
    windows, judged, orders = [], 0, list[Order]()
    for number in range(1, CUTS + 1):
        point = f"p{number}"
        with Ledger(shop.port) as ledger:  # nobody orders while it is restored: each order is one more file
            ledger.wait_for_more()
            quiesce("backup", "shop", "-p", f"snapshot_name={point}", "-p", "snapshot_incremental=false")
            ledger.wait_for_more()
        orders += ledger.orders()
        began, ended = quiesce.window(point)
        windows.append(ended - began)
        quiesce("restore", "shop", "-p", f"snapshot_name={point}", "--to", "copy")
        judged += judge(copy, orders, began, ended)
        quiesce("remove-backup", "shop", "-p", f"snapshot_name={point}")
    assert shop.answers()
    assert shop.database.query("SELECT count(*) FROM pg_replication_slots") == "0"
    print(f"{CUTS} cuts, {judged} orders looked for; longest window {max(windows) * 1000:.0f} ms")


def test_tablespaces_are_not_restored_beside_themselves(root: Path, places: tuple[Place, Place]) -> None:
    """They would be the running server's own."""
    shop, copy = places
    quiesce = Operator(root)
    make_deployments(quiesce, shop, copy)
    (root / "space").mkdir()
    shop.database.own(root / "space")
    shop.database.query(f"CREATE TABLESPACE space LOCATION '{root}/space'")
    shop.database.query("CREATE TABLE kept TABLESPACE space AS SELECT 1 AS n")
    quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    copy.database.query("CREATE TABLE of_copy (n int)")
    with pytest.raises(
        AssertionError, match=r"the tablespaces of database_\w+ can be restored to where they"
    ):
        quiesce("restore", "shop", "-p", "snapshot_name=one", "--to", "copy")
    assert copy.database.query("SELECT count(*) FROM of_copy") == "0"
    assert shop.database.query("SELECT n FROM kept") == "1"


def make_deployments(quiesce: Operator, shop: Place, copy: Place) -> None:
    for name, place in (("shop", shop), ("copy", copy)):
        inputs = [word for key, value in place.inputs().items() for word in ("-i", f"{key}={value}")]
        quiesce("init", EXAMPLES / "postgresql-shop/shop.yaml", "-b", name, *inputs)


def judge(copy: Place, orders: list[Order], began: float, ended: float) -> int:
    """See that the copy is the shop of one instant between *began* and *ended*; return how many it holds."""
    rows = {int(line) for line in copy.database.query("SELECT n FROM orders").split()}
    pictures = {int(path.stem) for path in copy.uploads.glob("*.jpg")}
    keys = {int(key.partition(":")[2]) for key in copy.redis.ask("KEYS", "order:*")}
    before = {order.number for order in orders if order.answered is not None and order.answered < began}
    after = {order.number for order in orders if order.sent > ended}
    assert before, "nothing was acknowledged before the cut"
    assert after, "nothing was ordered after the cut"
    assert before <= rows, f"lost: {sorted(before - rows)[:5]}"
    assert not rows & after, f"of later: {sorted(rows & after)[:5]}"
    acknowledged = {order.number for order in orders}
    assert len(rows - acknowledged) <= CLIENTS
    # one instant: what is written first is there wherever what follows it is, and nothing is far ahead
    assert rows <= keys <= pictures
    assert len(pictures - rows) <= CLIENTS
    copy.database.run("pg_amcheck", *copy.database.connection, "-d", "postgres", "--heapallindexed")
    return len(rows)


def test_the_shop_in_a_guest_is_held_and_cut_as_one(root: Path) -> None:
    """The blueprint is loaded and planned; it asks neither the guest nor its servers."""
    quiesce = Operator(root)
    told = quiesce("init", EXAMPLES / "libvirt-guest/shop.yaml", "-b", "shop", "-i", "domain=other")
    assert "2 nodes, 2 instances" in told
    plan = json.loads(quiesce("plan", "backup", "shop", "-p", "snapshot_incremental=false", "--json"))
    text = quiesce("plan", "backup", "shop", "-p", "snapshot_incremental=false")
    order = [text.index(words) for words in ("prepare: sessions", "freeze services: sessions")]
    order += [text.index(words) for words in ("freeze computes: guest", "cut: guest", "thaw computes: guest")]
    assert order == sorted(order)
    assert "consistency that can be reached: application: guest" in text
    assert plan


def ask(port: int, method: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def wait_until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
