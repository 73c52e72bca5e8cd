"""Nothing is restored from what is damaged, and no word claims more than was read (docs/catalog.md)."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus
from tests.repository_objects import flip_content

from .conftest import Opener
from .shop import SHOP, CommandLine, Shop
from .test_rebuilding import FULL, init_again, lose_database, manifest, with_two_backups


@pytest.fixture
def saved_shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A shop with an order for tea in the backup ``one`` and coffee too in ``two``."""
    return opened(quiesce, SHOP, with_two_backups)


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_data(quiesce: CommandLine, shop: Shop, name: str, node: str) -> None:
    """Change one byte of a node's stored data."""
    repository, instance = quiesce.home / "repository", shop.instances[node]
    flip_content(quiesce.home, repository, f"shop/{name}/{instance}")


def refused(quiesce: CommandLine, shop: Shop, name: str, *more: str, code: str = "damaged") -> str:
    """Restore *name*, see it refused before anything is touched, and return why."""
    before, executions = shop.contents(), quiesce.executions()
    status = ExitStatus.REFUSED if code == "unreachable" else ExitStatus.DAMAGED
    answer = quiesce("restore", "shop", "-p", f"snapshot_name={name}", *more, status=status)
    assert f"[{code}]" in answer.err
    assert shop.contents() == before
    assert quiesce.executions() == executions
    return answer.err


def test_everything_damaged_is_told_before_anything_is_touched(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    flip_data(quiesce, saved_shop, "one", "files")
    flip(manifest(quiesce, "one"))
    told = refused(quiesce, saved_shop, "one")
    assert "files" in told
    assert "manifest" in told
    assert "DAMAGED" in quiesce("backups", "list", "shop").out
    assert "DAMAGED" in quiesce("backups", "show", "shop", "one").out
    assert quiesce.points("shop")["one"]["trust"] == "damaged"


@pytest.mark.parametrize("mode", ["full", "quick", "none"])
def test_a_point_whose_last_check_failed_is_refused(
    quiesce: CommandLine, saved_shop: Shop, mode: str
) -> None:
    flip_data(quiesce, saved_shop, "one", "files")
    quiesce("backups", "verify", "shop", "one", status=ExitStatus.DAMAGED)
    assert "last check" in refused(quiesce, saved_shop, "one", "--verify-first", mode)
    quiesce("plan", "restore", "shop", "-p", "snapshot_name=one", status=ExitStatus.DAMAGED)


@pytest.mark.parametrize(
    "spoil",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    ],
    ids=["flipped", "cut off", "empty", "gone", "longer"],
)
@pytest.mark.parametrize("whose", ["point", "instance"])
def test_damage_to_a_manifest_is_found(
    quiesce: CommandLine, saved_shop: Shop, spoil: Callable[[Path], object], whose: str
) -> None:
    inside = () if whose == "point" else (saved_shop.instances["files"],)
    spoil(manifest(quiesce, "one", *inside))
    told = refused(quiesce, saved_shop, "one")
    assert "manifest" in told
    assert ("files" in told) == (whose == "instance")


@pytest.mark.parametrize("whose", ["point", "instance"])
def test_a_manifest_of_another_point_in_its_place_is_found(
    quiesce: CommandLine, saved_shop: Shop, whose: str
) -> None:
    inside = () if whose == "point" else (saved_shop.instances["files"],)
    shutil.copy(manifest(quiesce, "two", *inside), manifest(quiesce, "one", *inside))
    assert "manifest" in refused(quiesce, saved_shop, "one")


def test_an_older_point_of_a_name_used_again_is_found(quiesce: CommandLine, saved_shop: Shop) -> None:
    places = [manifest(quiesce, "one"), manifest(quiesce, "one", saved_shop.instances["files"])]
    older = {path: path.read_bytes() for path in places}
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL)
    for path, data in older.items():
        path.write_bytes(data)
    quiesce("backups", "verify", "shop", "one", status=ExitStatus.DAMAGED)
    assert "manifest" in refused(quiesce, saved_shop, "one")


def test_a_backup_of_a_name_that_the_repository_knows_leaves_what_is_there(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    before = manifest(quiesce, "one").read_bytes()
    lose_database(quiesce)
    init_again(quiesce, saved_shop)
    told = quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL, status=ExitStatus.REFUSED).err
    assert "which the catalog does not know" in told
    assert manifest(quiesce, "one").read_bytes() == before
    quiesce("backups", "rebuild", "shop")
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert saved_shop.orders() == ["tea"]


def test_what_was_read_is_proven_and_not_read_again(quiesce: CommandLine, saved_shop: Shop) -> None:
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert quiesce.points("shop")["one"]["trust"] == "proven"
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert len(quiesce.points("shop")["one"]["proofs"]) == 1


def test_a_snapshot_that_is_only_looked_at_is_partly_proven(quiesce: CommandLine, saved_shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=here")
    assert "partly proven" in quiesce("backups", "verify", "shop", "here").out
    assert quiesce.points("shop")["here"]["trust"] == "partly"
    assert "partly" in quiesce("backups", "list", "shop").out


def test_a_repository_that_is_not_mounted_is_unreachable_and_nothing_is_removed_from_it(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    repository, away = quiesce.home / "repository", quiesce.home / "away"
    repository.rename(away)
    repository.mkdir()
    told = quiesce("backups", "verify", "shop", "one", status=ExitStatus.REFUSED).err
    assert "[unreachable]" in told
    refused(quiesce, saved_shop, "one", code="unreachable")
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one", status=ExitStatus.FAILED)
    points = quiesce.points("shop")
    assert points["one"]["state"] == "complete", "nothing of it was removed"
    assert points["two"]["trust"] == "never"
    assert list(repository.iterdir()) == []

    told = quiesce("backup", "shop", "-p", "snapshot_name=three", *FULL, status=ExitStatus.REFUSED).err
    assert "[unreachable]" in told
    assert "may not be mounted" in told
    assert list(repository.iterdir()) == []

    repository.rmdir()
    away.rename(repository)
    for name in ("one", "two"):
        quiesce("backups", "verify", "shop", name)
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    assert "one" not in quiesce.points("shop")


def test_a_repository_that_is_not_mounted_any_more_after_a_good_check_is_unreachable(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    quiesce("backups", "verify", "shop", "one")
    (quiesce.home / "repository").rename(quiesce.home / "away")
    (quiesce.home / "repository").mkdir()
    refused(quiesce, saved_shop, "one", code="unreachable")


def test_something_else_in_the_place_of_the_repository_after_a_good_check_is_unreachable(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    quiesce("backups", "verify", "shop", "one")
    (quiesce.home / "repository").rename(quiesce.home / "away")
    (quiesce.home / "repository").touch()
    refused(quiesce, saved_shop, "one", code="unreachable")


def test_another_repository_in_its_place_is_no_damage_and_nothing_is_removed_from_it(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    """Two disks take turns at one mount point, and both hold restore points of the same names."""
    repository = quiesce.home / "repository"
    away, other = quiesce.directory / "away", quiesce.directory / "other"
    lose_database(quiesce)
    init_again(quiesce, saved_shop)
    repository.rename(away)
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL)
    repository.rename(other)
    away.rename(repository)
    (quiesce.directory / "safe.keys").unlink()
    lose_database(quiesce)
    init_again(quiesce, saved_shop)
    quiesce("backups", "rebuild", "shop")
    other_before = sorted(path for path in other.rglob("*"))

    repository.rename(away)
    other.rename(repository)
    for name in ("one", "two"):
        told = quiesce("backups", "verify", "shop", name, status=ExitStatus.REFUSED).err
        assert "[unreachable]" in told
        assert "another repository" in told
        for mode in ("full", "quick", "none"):
            refused(quiesce, saved_shop, name, "-p", f"verify_first={mode}", code="unreachable")
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one", status=ExitStatus.FAILED)
    assert {name: point["state"] for name, point in quiesce.points("shop").items()} == {
        "one": "complete",
        "two": "complete",
    }
    repository.rename(other)
    assert sorted(path for path in other.rglob("*")) == other_before

    away.rename(repository)
    quiesce("backups", "verify", "shop", "one")
    quiesce("backups", "verify", "shop", "two")
    quiesce("restore", "shop", "-p", "snapshot_name=two")
    assert saved_shop.orders() == ["tea", "coffee"]
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    assert "one" not in quiesce.points("shop")


def _spoil_entry(quiesce: CommandLine) -> None:
    with contextlib.closing(sqlite3.connect(quiesce.home / "quiesce.db")) as rows, rows:
        rows.execute("UPDATE restore_points SET body = substr(body, 1, 99) WHERE name = 'one'")


def test_a_damaged_entry_of_the_catalog_is_refused_and_brought_back(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    _spoil_entry(quiesce)
    assert "DAMAGED" in quiesce("backups", "list", "shop").out
    assert "catalog" in refused(quiesce, saved_shop, "one")
    quiesce("backups", "verify", "shop", "one", status=ExitStatus.DAMAGED)
    assert quiesce.points("shop")["two"]["trust"] == "never"
    quiesce("backups", "rebuild", "shop")
    quiesce("backups", "verify", "shop", "one")
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert saved_shop.orders() == ["tea"]


def test_what_a_damaged_entry_stands_for_is_removed_with_it(quiesce: CommandLine, saved_shop: Shop) -> None:
    before = manifest(quiesce, "one")
    _spoil_entry(quiesce)
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    assert "one" not in quiesce.points("shop")
    assert not before.exists()


def test_a_good_check_does_not_cover_what_is_damaged_after_it(quiesce: CommandLine, saved_shop: Shop) -> None:
    quiesce("backups", "verify", "shop", "one")
    flip_data(quiesce, saved_shop, "one", "files")
    refused(quiesce, saved_shop, "one")


def test_a_terminal_is_told_how_far_a_check_is(quiesce: CommandLine, saved_shop: Shop) -> None:
    for command in (("backups", "verify", "shop", "two"), ("restore", "shop", "-p", "snapshot_name=one")):
        terminal, inside = pty.openpty()
        process = quiesce.start(*command, stdout=inside, stderr=inside, within=("env", "TERM=xterm"))
        os.close(inside)
        told = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(terminal, 4096):
                told += data
        os.close(terminal)
        assert process.wait(60) == 0, told
        assert b"checking: " in told
        assert b"(100 %)" in told
