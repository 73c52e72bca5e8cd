"""Whoever can write to a repository cannot make anybody restore from what they wrote (docs/security.md)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus
from quiesce.repository import PointKey
from quiesce.repository.points import point_name
from tests.repository_objects import opened

from .shop import CommandLine, Shop
from .test_checked_first import refused, saved_shop
from .test_rebuilding import init, init_again, lose_database, manifest

__all__ = ["saved_shop"]


def forge(quiesce: CommandLine, shop: Shop, name: str, other: str) -> None:
    """Let the point *name* hold what *other* holds of the files, as somebody does who has the keys."""
    files = shop.instances["files"]
    with opened(quiesce.home, quiesce.home / "repository") as repository:
        mine, theirs = (
            repository.point(PointKey(deployment="shop", point=point, instance=files))
            for point in (name, other)
        )
        told = {**theirs.content, "execution": mine.content["execution"]}
        forged = replace(mine, items=theirs.items, content=told)
        repository._opened.put_sealed(point_name(repository._opened.keys, mine.key), forged.as_bytes())


@pytest.mark.parametrize("mode", ["full", "quick", "none"])
def test_a_forged_copy_is_refused_although_the_point_was_just_proven(
    quiesce: CommandLine, saved_shop: Shop, mode: str
) -> None:
    """All of it is authentic, by whoever has a key; it is not what the catalog knows."""
    quiesce("backups", "verify", "shop", "two")
    forge(quiesce, saved_shop, "two", "one")
    assert "catalog" in refused(quiesce, saved_shop, "two", "--verify-first", mode)
    quiesce("backups", "verify", "shop", "two", status=ExitStatus.DAMAGED)


def test_points_that_changed_places_do_not_come_into_a_new_catalog(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    """Who has no key can move what there is; with the database lost, it is told by its place."""
    honest = manifest(quiesce, "two")
    lose_database(quiesce)
    shutil.copy(manifest(quiesce, "one"), honest)
    init_again(quiesce, saved_shop)
    quiesce("backups", "rebuild", "shop", status=ExitStatus.DAMAGED)
    assert set(quiesce.points("shop")) == {"one"}


def test_without_the_keys_nothing_is_believed_and_bringing_them_helps(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    """A home that is lost, keys and all, is another machine."""
    before = saved_shop.contents()
    lose_database(quiesce, keys=False)
    repository = str(quiesce.home / "repository")
    told = quiesce(
        *(
            "init",
            "shop.yaml",
            "-b",
            "shop",
            "-i",
            f"data={saved_shop.data}",
            "--from-repository",
            repository,
        ),
        status=ExitStatus.REFUSED,
    )
    assert "quiesce keys import" in told.err
    assert not quiesce.home.joinpath("repository.keys").exists()
    quiesce("keys", "import", str(quiesce.directory / "safe.keys"))
    init_again(quiesce, saved_shop)
    quiesce("backups", "rebuild", "shop")
    quiesce("restore", "shop", "-p", "snapshot_name=two")
    assert saved_shop.contents() == before


def test_without_the_keys_nothing_can_be_read(quiesce: CommandLine, saved_shop: Shop) -> None:
    (quiesce.home / "repository.keys").unlink()
    before = saved_shop.contents()
    quiesce("restore", "shop", "-p", "snapshot_name=two", status=ExitStatus.REFUSED)
    assert saved_shop.contents() == before


def test_the_keys_are_private_and_said_to_be_needed(quiesce: CommandLine, saved_shop: Shop) -> None:
    """They are made by init, which says what losing them means; a file that others can read is refused."""
    path = quiesce.home / "repository.keys"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert "untrusted-path" in quiesce("keys", "export", status=ExitStatus.REFUSED).err
    shutil.rmtree(quiesce.home)
    assert "quiesce keys export" in init(quiesce, saved_shop).out


def test_what_is_no_key_is_refused_and_what_is_known_stays(quiesce: CommandLine, tmp_path: Path) -> None:
    """Importing never takes a key away."""
    first = quiesce("keys", "export").out
    (tmp_path / "wrong").write_text("quiesce-key-1-short\n")
    quiesce("keys", "import", str(tmp_path / "wrong"), status=ExitStatus.USAGE)
    (tmp_path / "same").write_text(first)
    assert "0 new keys" in quiesce("keys", "import", str(tmp_path / "same")).out
    assert quiesce("keys", "export").out == first
