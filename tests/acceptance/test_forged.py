"""Whoever can write to a repository cannot make anybody restore from what they wrote (docs/security.md)."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ExitStatus

from .shop import CommandLine, Shop
from .test_checked_first import refused, saved_shop, stored
from .test_rebuilding import init, init_again, lose_database, manifest

__all__ = ["saved_shop"]


def written_with_checksum(body: dict[str, Any]) -> str:
    """Return a manifest as anybody can write it who has read the format."""
    plain = {name: value for name, value in body.items() if name not in {"checksum", "code"}}
    told = plain.get("body", plain)
    checksum = hashlib.sha256(json.dumps(told, sort_keys=True, indent=1).encode()).hexdigest()
    known = {name: body[name] for name in ("code",) if name in body}
    return json.dumps({**plain, **known, "checksum": checksum}, sort_keys=True, indent=1) + "\n"


def forge(quiesce: CommandLine, name: str, other: str) -> None:
    """Let the copy of the files in *name* hold what *other* holds, all checksums made to agree."""
    mine, theirs = stored(quiesce, name, "files"), stored(quiesce, other, "files")
    own = json.loads((mine / "manifest.json").read_bytes())
    given = json.loads((theirs / "manifest.json").read_bytes())
    for path in theirs.iterdir():
        shutil.copy(path, mine / path.name)
    told = {
        **given,
        **{key: own[key] for key in {"point", "execution", "made_at", "cut_at", "code"} & own.keys()},
    }
    (mine / "manifest.json").write_text(written_with_checksum(told))
    digest = hashlib.sha256((mine / "manifest.json").read_bytes()).hexdigest()
    point = json.loads(manifest(quiesce, name).read_bytes())
    for artifact in point["body"]["point"]["artifacts"]:
        if artifact["instance"] == own["instance"]:
            artifact |= {"content": told["content"], "manifest_sha256": digest}
    manifest(quiesce, name).write_text(written_with_checksum(point))


@pytest.mark.parametrize("mode", ["full", "quick", "none"])
def test_a_forged_copy_is_refused_although_the_point_was_just_proven(
    quiesce: CommandLine, saved_shop: Shop, mode: str
) -> None:
    """Each byte of it agrees with its manifest; a check that was good an hour ago does not help it."""
    quiesce("backups", "verify", "shop", "two")
    forge(quiesce, "two", "one")
    assert "catalog" in refused(quiesce, saved_shop, "two", "--verify-first", mode)
    quiesce("backups", "verify", "shop", "two", status=ExitStatus.DAMAGED)


def test_a_forged_point_does_not_come_into_a_new_catalog(quiesce: CommandLine, saved_shop: Shop) -> None:
    """With the database lost, nothing but the key can tell."""
    lose_database(quiesce)
    forge(quiesce, "two", "one")
    init_again(quiesce, saved_shop)
    told = quiesce("backups", "rebuild", "shop", status=ExitStatus.DAMAGED).out
    assert "was not written by anybody who has a key" in told
    assert set(quiesce.points("shop")) == {"one"}


def test_a_forged_copy_below_an_honest_manifest_is_left_out(quiesce: CommandLine, saved_shop: Shop) -> None:
    """The restore point's own manifest is signed, the copy below it is not."""
    honest = manifest(quiesce, "two").read_bytes()
    forge(quiesce, "two", "one")
    manifest(quiesce, "two").write_bytes(honest)
    lose_database(quiesce)
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
        status=ExitStatus.DAMAGED,
    )
    assert "quiesce keys import" in told.err
    assert not quiesce.home.joinpath("repository.keys").exists()
    quiesce("keys", "import", str(quiesce.directory / "safe.keys"))
    init_again(quiesce, saved_shop)
    quiesce("backups", "rebuild", "shop")
    quiesce("restore", "shop", "-p", "snapshot_name=two")
    assert saved_shop.contents() == before


def test_the_catalog_is_enough_where_the_keys_are_lost(quiesce: CommandLine, saved_shop: Shop) -> None:
    """Its digests are the first judge."""
    before = saved_shop.contents()
    (quiesce.home / "repository.keys").unlink()
    quiesce("restore", "shop", "-p", "snapshot_name=two")
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
