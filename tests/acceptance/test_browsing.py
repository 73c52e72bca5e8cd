"""Files of restore points: listed, and taken out one at a time, byte for byte."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus
from tests.repository_objects import packs, spoil

from .shop import CommandLine, Shop, small_disk

KINDS = pytest.mark.parametrize("kind", [("--full",), ()], ids=["backup", "snapshot"])


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """A shop with files of every sort."""
    inner = shop.data / "inner"
    inner.mkdir()
    (inner / "small").write_bytes(b"small")
    (inner / "big").write_bytes(os.urandom(700_000))
    (inner / "again").hardlink_to(inner / "big")
    (inner / "leads").symlink_to("/etc/passwd")
    (inner / "empty").touch()
    with (inner / "holes").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"in the middle")
    (inner / os.fsdecode(b"no text \xff\x1b[2J")).write_bytes(b"odd")
    return shop


def raw(quiesce: CommandLine, *arguments: str) -> bytes:
    """Return what a command writes to standard output, as bytes."""
    environment = {**os.environ, "QUIESCE_HOME": str(quiesce.home)}
    command = [sys.executable, "-m", "quiesce.cli.main", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout


@KINDS
def test_every_file_comes_out_as_it_was(quiesce: CommandLine, filled: Shop, kind: Sequence[str]) -> None:
    quiesce("backup", "shop", *kind, "-p", "snapshot_name=one")
    inner = filled.data / "inner"
    was = {path: path.read_bytes() for path in inner.iterdir() if not path.is_symlink()}
    for path in was:
        path.write_bytes(b"lost")
    for number, (path, content) in enumerate(was.items()):
        out = quiesce.directory / f"out-{number}"
        where = f"inner/{path.name}"
        quiesce("backups", "extract", "shop", "one", "files", where, "-o", str(out))
        assert out.read_bytes() == content, path
        assert out.stat().st_mode & 0o777 == 0o600
    assert raw(quiesce, "backups", "extract", "shop", "latest", "files", "inner/small", "-o", "-") == b"small"


@KINDS
def test_a_directory_is_listed_and_odd_names_do_nothing(
    quiesce: CommandLine, filled: Shop, kind: Sequence[str]
) -> None:
    quiesce("backup", "shop", *kind, "-p", "snapshot_name=one")
    assert filled.instances["files"] in quiesce("backups", "ls", "shop", "one").out
    assert "inner/" in quiesce("backups", "ls", "shop", "one", "files").out
    told = quiesce("backups", "ls", "shop", "one", "files", "inner/").out
    assert "\x1b" not in told
    assert "leads -> /etc/passwd" in told
    assert "683.6 KiB" in told
    assert "the same file as inner/" in told
    found = quiesce("backups", "ls", "shop", "one", "files", "inner", "--json").json["entries"]["entries"]
    names = {os.fsencode(each["path"]) for each in found}
    assert names == {os.fsencode(path.relative_to(filled.data)) for path in (filled.data / "inner").iterdir()}


@pytest.mark.parametrize("path", ["inner/leads", "inner", "../here", "inner/../inner/small", "nothing"])
def test_what_is_no_file_in_it_is_not_taken_out(quiesce: CommandLine, filled: Shop, path: str) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    out = quiesce.directory / "out"
    quiesce("backups", "extract", "shop", "one", "files", path, "-o", str(out), status=ExitStatus.FAILED)
    assert not out.exists()


def test_nothing_is_written_over_and_of_what_is_damaged_nothing_comes(
    quiesce: CommandLine, filled: Shop
) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    out = quiesce.directory / "out"
    out.write_text("mine")
    asked = ("backups", "extract", "shop", "one", "files", "inner/big", "-o")
    quiesce(*asked, str(out), status=ExitStatus.FAILED)
    assert out.read_text() == "mine"
    spoil(packs(quiesce.home / "repository"))
    quiesce(*asked, str(quiesce.directory / "other"), status=ExitStatus.DAMAGED)
    assert not (quiesce.directory / "other").exists()


def test_a_database_within_comes_out_readable(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    out: Path = quiesce.directory / "orders.db"
    quiesce("backups", "extract", "shop", "latest", "files", "orders.db", "-o", str(out))
    database = sqlite3.connect(out)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_nothing_is_left_where_a_file_does_not_fit(quiesce: CommandLine, filled: Shop) -> None:
    (filled.data / "wide").write_bytes(os.urandom(20_000))
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    with small_disk(quiesce.directory / "disk", "16k") as disk:
        for name in ("wide", "inner/big"):
            asked = ("backups", "extract", "shop", "one", "files", name, "-o", str(disk / "out"))
            assert "No space left" in quiesce(*asked, status=ExitStatus.FAILED).err
            assert list(disk.iterdir()) == []
