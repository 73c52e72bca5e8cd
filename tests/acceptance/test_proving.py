"""Proofs by a restore on trial, and copies in a second place, on the command line."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus
from tests.repository_objects import flip_content

from .shop import CommandLine, Shop, eventually

CHECK = 'test -s files_*/orders.db && test "$QUIESCE_DEPLOYMENT/$QUIESCE_POINT" = shop/one'


def tree(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*")}


def test_a_backup_is_proven_and_nothing_of_the_trial_is_left(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    before = tree(shop.data)
    told = quiesce("backups", "prove", "shop", "--check", CHECK).out
    assert told.startswith("one is proven: 1 of 1 instances restored and checked in ")
    assert list((quiesce.home / "proofs").iterdir()) == []
    assert tree(shop.data) == before
    assert "restored passed" in quiesce("backups", "show", "shop", "one").out


def test_a_check_that_fails_fails_the_proof_and_calls_nothing_damaged(
    quiesce: CommandLine, shop: Shop
) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    told = quiesce("backups", "prove", "shop", "--check", "echo no orders; false", status=ExitStatus.FAILED)
    assert "exit status 1: no orders [proof-failed]" in told.err
    assert quiesce.points("shop")["one"]["proofs"] == []
    quiesce("restore", "shop", "-p", "snapshot_name=one")


def test_what_a_killed_trial_has_left_is_removed_by_the_next(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    process = quiesce.start("backups", "prove", "shop", "--check", "sleep 600")
    proofs = quiesce.home / "proofs"
    eventually(lambda: any(proofs.glob("*/restored/*/orders.db")), "it is restored")
    process.kill()
    process.communicate()
    assert len(list(proofs.iterdir())) == 1
    quiesce("backups", "prove", "shop")
    assert list(proofs.iterdir()) == []


def test_a_trial_in_a_directory_of_somebodys_removes_nothing_there(
    quiesce: CommandLine, shop: Shop, tmp_path: Path
) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    for name in ("documents", "shop-abcdefghij", ".quiesce-trial-of-somebody"):
        (mine / name).mkdir()
        (mine / name / "precious").touch()
    (mine / ".quiesce-trial-left").mkdir(mode=0o700)
    quiesce("backups", "prove", "shop", "--in", str(mine))
    assert {path.name for path in mine.iterdir()} == {
        "documents",
        "shop-abcdefghij",
        ".quiesce-trial-of-somebody",
    }
    assert all((path / "precious").exists() for path in mine.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's directory")
def test_nobody_else_can_look_at_a_trial(quiesce: CommandLine, shop: Shop, tmp_path: Path) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    told = quiesce("backups", "prove", "shop", "--in", str(open_to_all), status=ExitStatus.REFUSED).err
    assert "untrusted-path" in told


def copy_to(quiesce: CommandLine, second: Path, *rules: str) -> None:
    """Have backups of the type nightly copied to *second* by a policy that makes none itself for years."""
    given = ("schedule=0 0 29 2 *", "kind=backup", f"copy_to={second}", *rules)
    quiesce("policy", "set", "shop", "nightly", *given)


def back_up(quiesce: CommandLine, name: str) -> str:
    """Make what the policy has to copy, let it, and return what it says to have done."""
    quiesce("backup", "shop", "--full", "-p", f"snapshot_name={name}", "-p", "snapshot_type=nightly")
    told = re.search(r"copied: \d+ to", quiesce("run-due").out)
    assert told is not None
    return told[0]


def damage(quiesce: CommandLine, name: str) -> None:
    """Let a backup be found damaged."""
    (artifact,) = quiesce.points("shop")[name]["artifacts"]
    flip_content(quiesce.home, quiesce.home / "repository", f"shop/{name}/{artifact['instance']}")
    quiesce("backups", "verify", "shop", name, status=ExitStatus.DAMAGED)


def test_a_copy_stays_whose_backup_is_damaged_and_a_damaged_one_is_not_copied(
    quiesce: CommandLine, shop: Shop, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    quiesce("repository", "init", str(second))
    copy_to(quiesce, second, "keep_last=9")
    assert back_up(quiesce, "one") == "copied: 1 to"
    damage(quiesce, "one")
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=two", "-p", "snapshot_type=nightly")
    damage(quiesce, "two")
    assert back_up(quiesce, "three") == "copied: 1 to"
    listed = quiesce("repository", "list", str(second), "--json").json["points"]
    assert {point["point"] for point in listed} == {"one", "three"}


def test_a_lost_machine_is_restored_from_the_copies(quiesce: CommandLine, shop: Shop, tmp_path: Path) -> None:
    second, safe, fetched = tmp_path / "second", tmp_path / "safe.keys", quiesce.home / "repository"
    quiesce("keys", "export", "--output", str(safe))
    quiesce("repository", "init", str(second))
    copy_to(quiesce, second)
    assert back_up(quiesce, "one") == "copied: 1 to"
    quiesce("policy", "remove", "shop", "nightly")
    was = (shop.data / "orders.db").read_bytes()
    shutil.rmtree(quiesce.home)
    shutil.rmtree(shop.data)
    quiesce("keys", "import", str(safe))
    assert "1 restore points are in" in quiesce("repository", "fetch", str(second)).out
    given = ("-b", "shop", "-i", f"data={shop.data}")
    quiesce("init", "shop.yaml", *given, "--from-repository", str(fetched))
    quiesce("backups", "rebuild", "shop")
    (name,) = quiesce.points("shop")
    quiesce("restore", "shop", "-p", f"snapshot_name={name}")
    assert (shop.data / "orders.db").read_bytes() == was
