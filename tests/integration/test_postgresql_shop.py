"""The page "Protect a PostgreSQL shop", followed in an empty folder; quiesce killed in the middle of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql-server)")

from tests.labs.databases.server import reachable_directory, wait_until
from tests.labs.databases.slow_node import slow_node
from tests.labs.postgresql.server import PostgreSQLServer
from tests.on_path import path_with_quiesce
from tests.repository_objects import opened

pytestmark = pytest.mark.timeout(600)

PAGE = Path(__file__).parents[2] / "docs/postgresql-shop.md"
#: takes an order: its picture first, then its row; what is in the database has a picture
WEB = """
import os, pathlib, sys, time
import psycopg
here = pathlib.Path(sys.argv[1])
(here / "web.new").write_text(str(os.getpid()))
(here / "web.new").rename(here / "web.pid")
while True:
    try:
        login = {"host": sys.argv[2], "user": "postgres", "dbname": "postgres", "autocommit": True}
        with psycopg.connect(**login) as database:
            while True:
                [[number]] = database.execute("SELECT coalesce(max(n), 0) + 1 FROM orders").fetchall()
                (here / "uploads" / f"{number}.jpg").write_bytes(b"picture" * 100)
                database.execute("INSERT INTO orders VALUES (%s)", (number,))
                time.sleep(0.002)
    except psycopg.Error:
        time.sleep(0.1)
"""


class Shop:
    """A folder of an operator's, a server, and a web process that takes orders."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "folder"
        self.folder.mkdir()
        self.server = PostgreSQLServer(base=root / "server")
        self.server.start()
        self.server.query("CREATE TABLE orders (n bigint PRIMARY KEY); CREATE ROLE quiesce LOGIN SUPERUSER")
        (root / "uploads").mkdir()
        (root / "web.py").write_text(WEB)
        command = f"{sys.executable} {root}/web.py {root} {self.server.run_directory}"
        start = root / "start-web"
        start.write_text(f"#!/bin/sh\nsetsid {command} >/dev/null 2>&1 &\n")
        start.chmod(0o755)
        subprocess.run([str(start)], check=True)
        wait_until(lambda: (root / "web.pid").exists() and self.orders())

    def orders(self) -> set[int]:
        """Return the orders that the database holds."""
        return {int(line) for line in self.server.query("SELECT n FROM orders").split()}

    def pictures(self) -> set[int]:
        """Return the orders that have a picture."""
        return {int(path.stem) for path in (self.root / "uploads").glob("*.jpg")}

    def blueprint(self) -> str:
        """Return the page's blueprint, of this shop."""
        (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        places = {
            "/var/lib/postgresql/15/main": self.server.data,
            "/run/postgresql": self.server.run_directory,
            "/srv/shop": self.root,
        }
        for place, here in places.items():
            assert place in text
            text = text.replace(place, str(here))
        return text

    def environment(self) -> dict[str, str]:
        """Return what the page's commands are run with."""
        return {
            **os.environ,
            "PATH": path_with_quiesce(self.root),
            "QUIESCE_HOME": str(self.root / "home"),
            "QUIESCE_SECRET_POSTGRESQL_PASSWORD": "a-secret",
        }

    def run(self, commands: str, *, check: bool = True) -> str:
        """Run the page's commands in the folder."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout + done.stderr

    def end(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.root / "web.pid").read_text()), signal.SIGKILL)
        self.server.end()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with reachable_directory("shop") as root:
        found = Shop(root)
        try:
            yield found
        finally:
            found.end()


def test_the_page_is_followed_from_an_empty_folder(shop: Shop) -> None:
    """Every order that comes back has its picture, and the shop goes on selling."""
    (shop.folder / "shop.yaml").write_text(shop.blueprint())
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    save, restore, undo = blocks
    early = shop.orders()
    said = shop.run(save)
    later = max(shop.orders())
    wait_until(lambda: max(shop.orders()) > later + 20)
    too_late = max(shop.orders())
    shop.run(restore)
    restored = shop.orders()
    assert early <= restored
    wait_until(lambda: max(shop.orders()) > max(restored))
    assert shop.orders() <= shop.pictures()
    assert min(restored) == 1
    assert max(restored) < too_late + 1000
    assert shop.server.query("SELECT slot_name FROM pg_replication_slots") == ""
    shop.run(undo)
    assert shop.orders() >= set(range(1, later))
    assert "a-secret" not in said


def test_killed_in_the_window_nothing_is_left_in_the_server(shop: Shop) -> None:
    """The session that keeps the log ends with quiesce; the next backup starts from nothing."""
    (shop.folder / "shop.yaml").write_text(shop.blueprint() + slow_node(shop.folder))
    shop.run("quiesce init shop.yaml -b shop")
    backup = subprocess.Popen(
        [sys.executable, "-m", "quiesce.cli.main", "backup", "shop", "-p", "snapshot_name=dead"],
        cwd=shop.folder,
        env=shop.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until((shop.folder / "started").exists)
    assert shop.server.query("SELECT count(*) FROM pg_replication_slots") == "1"
    backup.send_signal(signal.SIGKILL)
    backup.wait()
    wait_until(lambda: shop.server.query("SELECT count(*) FROM pg_replication_slots") == "0")
    before = max(shop.orders())
    wait_until(lambda: max(shop.orders()) > before)  # nobody is held up any more
    (shop.folder / "slow").unlink()
    shop.run("quiesce backup shop -p snapshot_name=alive")
    home = shop.root / "home"
    with opened(home, home / "repository") as repository:
        stored = {point.key.point for point in repository.stored_points().points}
    assert stored == {"alive"}
    assert not list((home / "drafts").iterdir())
