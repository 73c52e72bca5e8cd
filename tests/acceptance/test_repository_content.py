"""What points hold, by the command line: listed, compared, taken out, without a deployment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from quiesce.app.repository_access import read_key_file
from quiesce.errors import ExitStatus
from quiesce.repository import Point, PointKey, Repository
from quiesce.storage import DirectoryStorage

from .shop import CommandLine


@pytest.fixture
def filled(quiesce: CommandLine, tmp_path: Path) -> Path:
    """A repository with two points of a tree, and one of a stream and a disk."""
    place, source = tmp_path / "repository", tmp_path / "source"
    quiesce("repository", "init", str(place))
    quiesce("repository", "keys", "export", str(place), "--output", str(tmp_path / "safe.key"))
    opened = Repository.open(DirectoryStorage(place), [read_key_file(tmp_path / "safe.key")])
    (source / "etc" / "nginx").mkdir(parents=True)
    (source / "etc" / "nginx" / "site.conf").write_text("listen 80\n")
    (source / "etc" / "evil\x1b[2J").symlink_to("/etc/shadow")
    save(opened, source, "one")
    (source / "etc" / "nginx" / "site.conf").write_text("listen 443\n")
    (source / "new").touch()
    save(opened, source, "two")
    with opened.write(threads=1) as session:
        items = {"log": session.add_stream([b"streamed"]), "vda": session.add_disk(9 << 20, read_disk)}
        key = PointKey(deployment="shop", point="two", instance="db_1")
        session.commit(Point(key=key, made_at=time.time(), items=items))
    return place


def read_disk(offset: int, length: int) -> bytes:
    return (b"data" if offset == 0 else b"").ljust(length, b"\0")


def save(opened: Repository, source: Path, name: str) -> None:
    descriptor = os.open(source, os.O_RDONLY)
    with opened.write(threads=1) as session:
        item, _ = session.add_tree(descriptor)
        key = PointKey(deployment="shop", point=name, instance="web_1")
        session.commit(Point(key=key, made_at=time.time(), items={"data": item}))
    os.close(descriptor)


def test_entries_are_listed_below_a_path(quiesce: CommandLine, filled: Path) -> None:
    """One level, or all of them; a name cannot act upon the terminal."""
    listing = ("repository", "ls", str(filled), "shop/one/web_1")
    told = quiesce(*listing, "etc").out
    assert "etc/nginx" in told
    assert "site.conf" not in told
    assert "evil\\x1b[2J -> /etc/shadow" in told
    everything = quiesce(*listing, "-R", "--json").out.splitlines()
    entries = [json.loads(line)["entry"] for line in everything]
    assert [entry["path"] for entry in entries if entry["type"] == "file"] == ["etc/nginx/site.conf"]
    assert "not-found" in quiesce(*listing, "etc/none", status=ExitStatus.FAILED).err


def test_two_points_are_compared(quiesce: CommandLine, filled: Path) -> None:
    """By what came, went, and has other content; by more when that is asked for."""
    diff = ("repository", "diff", str(filled), "shop/one/web_1", "shop/two/web_1")
    assert quiesce(*diff).out.splitlines() == ["M etc/nginx/site.conf", "+ new"]
    assert "m ." in quiesce(*diff, "--metadata").out.splitlines()
    assert quiesce(*diff, "etc").out.splitlines() == ["M etc/nginx/site.conf"]


def test_a_part_is_taken_out_where_nothing_is(quiesce: CommandLine, filled: Path, tmp_path: Path) -> None:
    """What is there already is left alone."""
    target = tmp_path / "out"
    take = ("repository", "extract", str(filled), "shop/two/web_1", "etc/nginx", "--target", str(target))
    quiesce(*take)
    assert (target / "nginx" / "site.conf").read_text() == "listen 443\n"
    assert "foreign-object" in quiesce(*take, status=ExitStatus.FAILED).err
    assert sorted(path.name for path in tmp_path.iterdir() if "extract" in path.name) == []


def test_streams_and_disks_become_files(quiesce: CommandLine, filled: Path, tmp_path: Path) -> None:
    """A disk's zeros become holes; of several items, one is named."""
    take = ("repository", "extract", str(filled), "shop/two/db_1", "--target")
    assert "--item log, vda" in quiesce(*take, str(tmp_path / "x"), status=ExitStatus.USAGE).err
    quiesce(*take, str(tmp_path / "log"), "--item", "log")
    quiesce(*take, str(tmp_path / "vda"), "--item", "vda")
    assert (tmp_path / "log").read_bytes() == b"streamed"
    disk = tmp_path / "vda"
    assert disk.read_bytes() == b"data".ljust(9 << 20, b"\0")
    assert disk.stat().st_blocks * 512 < 4 << 20
    assert "vda" in quiesce("repository", "ls", str(filled), "shop/two/db_1", "--item", "vda").out


def test_nothing_of_what_is_damaged_is_left(quiesce: CommandLine, filled: Path, tmp_path: Path) -> None:
    """Neither the target nor what was begun of it."""
    for pack in filled.glob("packs/*/*"):
        data = bytearray(pack.read_bytes())
        data[40] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    target = str(tmp_path / "out")
    quiesce(
        "repository", "extract", str(filled), "shop/two/web_1", "--target", target, status=ExitStatus.DAMAGED
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_point_that_is_not_clear_is_asked_for(quiesce: CommandLine, filled: Path) -> None:
    """All that could be meant are named."""
    told = quiesce("repository", "ls", str(filled), "shop/two", status=ExitStatus.USAGE).err
    assert "shop/two/db_1" in told
    assert "shop/two/web_1" in told
