"""A blueprint that was discovered on this machine is one that the rest of quiesce understands."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shop import CommandLine, eventually

WEB = """
import sqlite3, sys, time
log = open(sys.argv[1] + "/log", "a")
database = sqlite3.connect(sys.argv[1] + "/orders.db", isolation_level=None, timeout=60)
database.execute("CREATE TABLE IF NOT EXISTS orders (item)")
while True:
    database.execute("INSERT INTO orders VALUES (1)")
    time.sleep(0.02)
"""


@pytest.fixture
def shop_of_somebody(tmp_path: Path) -> Iterator[Path]:
    """A program that somebody runs here, unknown to quiesce."""
    data = tmp_path / "somebody" / "shop"
    data.mkdir(parents=True)
    orders = data / "orders.db"
    process = subprocess.Popen([sys.executable, "-c", WEB, str(data)], start_new_session=True)
    try:
        # as long as it is empty, nothing tells that it is a database
        eventually(lambda: orders.exists() and orders.stat().st_size > 0, "it has written")
        yield data
    finally:
        process.kill()
        process.wait()


def test_what_was_discovered_can_be_backed_up_and_restored(
    quiesce: CommandLine, shop_of_somebody: Path
) -> None:
    found = quiesce("discover", "host", "-o", f"below={shop_of_somebody.parent}")
    assert found.out.startswith("# Written by 'quiesce discover host'")
    assert "Files that are opened only now and then" in found.err
    (quiesce.directory / "found.yaml").write_text(found.out)
    quiesce("init", "found.yaml", "-b", "somebody")
    assert "shop" in quiesce("plan", "backup", "somebody").out
    quiesce("backup", "somebody", "-p", "snapshot_name=one", "-p", "min_consistency=application")
    quiesce("restore", "somebody", "-p", "snapshot_name=one", "--target", str(quiesce.directory / "look"))
    (copy,) = (quiesce.directory / "look").glob("*/orders.db")
    with contextlib.closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone()[0] > 0


def test_where_nothing_is_written_it_says_what_to_do(quiesce: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = quiesce("discover", "host", "-o", f"below={tmp_path / 'empty'}", status=6).err
    assert "writes anything" in told
