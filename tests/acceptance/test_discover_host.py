"""A blueprint that was discovered on this machine is one that the rest of quiesce understands."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from .shop import CommandLine


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
