"""Repositories by the command line: made, filled, checked, cleaned up, copied, opened by several keys."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from quiesce.app.repository_access import read_key_file
from quiesce.errors import ExitStatus
from quiesce.repository import Point, PointKey, Repository
from quiesce.repository.points import point_name
from quiesce.storage import DirectoryStorage

from .shop import CommandLine

DAY_S = 86400.0


@pytest.fixture
def filled(quiesce: CommandLine, tmp_path: Path) -> Path:
    """A repository with six restore points of one instance, a day apart; ``safe.key`` opens it."""
    place = tmp_path / "repository"
    quiesce("repository", "init", str(place), "--grace", "1h")
    quiesce("repository", "keys", "export", str(place), "--output", str(tmp_path / "safe.key"))
    opened = Repository.open(DirectoryStorage(place), [read_key_file(tmp_path / "safe.key")])
    for age in range(6):
        save(opened, f"p{age}", time.time() - age * DAY_S, os.urandom(5000))
    return place


def save(opened: Repository, name: str, made_at: float, content: bytes) -> None:
    key = PointKey(deployment="shop", point=name, instance="db_1")
    with opened.write(threads=1) as session:
        items = {"data": session.add_stream([content, b"shared" * 5000])}
        session.commit(Point(key=key, made_at=made_at, items=items))
        whole = PointKey(deployment="shop", point=name)
        session.commit(Point(key=whole, made_at=made_at, instances=("db_1",)))


def names(quiesce: CommandLine, place: Path, *options: str) -> list[str]:
    told = quiesce("repository", "list", str(place), "--json", *options).json["points"]
    return sorted({point["point"] for point in told})


def test_a_repository_is_made_once_and_says_what_a_lost_key_means(
    quiesce: CommandLine, tmp_path: Path
) -> None:
    """The second time it is refused, and what is there stays."""
    told = quiesce("repository", "init", str(tmp_path / "r")).out
    assert "WITHOUT ONE OF ITS KEYS" in told
    assert "keys export" in told
    again = quiesce("repository", "init", str(tmp_path / "r"), status=ExitStatus.FAILED)
    assert "foreign-object" in again.err
    quiesce("repository", "check", str(tmp_path / "r"))


def test_what_is_there_is_listed_and_counted(quiesce: CommandLine, filled: Path) -> None:
    """In plain text and JSON; shared content is stored once."""
    assert names(quiesce, filled) == [f"p{age}" for age in range(6)]
    figures = quiesce("repository", "stats", str(filled), "--json").json["statistics"]
    assert figures["by_deployment"] == {"shop": 6 * 35000}
    assert figures["stored_bytes"] < 6 * 35000 / 2
    assert "p3" in quiesce("repository", "list", str(filled), "shop").out


def test_a_flipped_bit_is_found(quiesce: CommandLine, filled: Path) -> None:
    """By reading packs, and by reading what a point needs; which points are whole is told."""
    assert quiesce("repository", "verify", str(filled)).out.startswith("12 of 12 points are whole")
    pack = next(path for path in sorted(filled.glob("packs/*/*")))
    data = bytearray(pack.read_bytes())
    data[60] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    assert "damaged" in quiesce("repository", "check", str(filled), "--read", status=ExitStatus.DAMAGED).err
    found = quiesce("repository", "verify", str(filled), "--json", status=ExitStatus.DAMAGED)
    assert '"damages": {' in found.out
    quiesce("repository", "check", str(filled))


def test_parts_read_everything_once(quiesce: CommandLine, filled: Path) -> None:
    """A check of a part a day reads all in the end."""
    read = [
        quiesce("repository", "check", str(filled), "--read", "--part", f"{n}/3", "--json").json["check"]
        for n in (1, 2, 3)
    ]
    assert sum(each["packs_read"] for each in read) == read[0]["packs"]
    for wrong in ("4/3", "0/3", "x", "1/0"):
        quiesce("repository", "check", str(filled), "--read", "--part", wrong, status=ExitStatus.USAGE)


def test_pruning_is_shown_first_and_can_be_undone(quiesce: CommandLine, filled: Path) -> None:
    """Nothing is removed without --yes; what was can be brought back, and is whole then."""
    told = quiesce("repository", "prune", str(filled), "--keep-last", "4")
    assert "to remove 2, say --yes" in told.out
    assert len(names(quiesce, filled)) == 6
    quiesce("repository", "prune", str(filled), "--keep-last", "4", "--yes")
    assert names(quiesce, filled) == ["p0", "p1", "p2", "p3"]
    assert len(names(quiesce, filled, "--removed")) == 6
    quiesce("repository", "collect", str(filled))
    quiesce("repository", "undo", str(filled), "shop/p5")
    assert names(quiesce, filled) == ["p0", "p1", "p2", "p3", "p5"]
    quiesce("repository", "verify", str(filled), "shop/p5")
    quiesce("repository", "undo", str(filled), "shop/p5", status=ExitStatus.USAGE)


def test_most_of_it_is_not_removed_at_once(quiesce: CommandLine, filled: Path) -> None:
    """A wrong rule does not empty a repository, unless that is said."""
    prune = ("repository", "prune", str(filled), "--keep-last", "1", "--yes")
    refused = quiesce(*prune, status=ExitStatus.REFUSED)
    assert "mass-removal" in refused.err
    assert len(names(quiesce, filled)) == 6
    quiesce(*prune, "--most", "100")
    assert names(quiesce, filled) == ["p0"]


def test_a_point_that_somebody_deletes_is_missed(quiesce: CommandLine, filled: Path) -> None:
    """Although nothing in the repository tells; what was removed from here is not."""
    tamper = ("repository", "check", str(filled), "--tamper")
    quiesce(*tamper)
    quiesce("repository", "prune", str(filled), "--keep-last", "5", "--yes")
    quiesce(*tamper)
    opened = Repository.open(DirectoryStorage(filled), [read_key_file(filled.parent / "safe.key")])
    for point in list(opened.points()):
        if point.key.point == "p2":
            opened.remove(point.key)
    for path in filled.glob("removed/*"):
        path.unlink()
    opened.add_key(read_key_file(filled.parent / "safe.key"), label="somebody's")
    told = quiesce(*tamper, status=ExitStatus.DAMAGED)
    assert "tampered" in told.err
    for problem in (
        "the point shop/p2 is gone",
        "the point shop/p2/db_1 is gone",
        "(file somebody's) was added",
    ):
        assert problem in told.out
    quiesce(*tamper, "--accept")
    quiesce(*tamper)


def test_a_copy_has_all_points_and_keys_of_its_own(quiesce: CommandLine, filled: Path) -> None:
    """It is read when the first one is gone; copied again, nothing is stored."""
    copy = filled.with_name("copy")
    quiesce("repository", "init", str(copy), "--like", str(filled))
    quiesce("repository", "copy", str(filled), str(copy), "shop/p0", "shop/p1")
    quiesce("repository", "copy", str(filled), str(copy))
    assert "0 points copied" in quiesce("repository", "copy", str(filled), str(copy)).out
    filled.rename(filled.with_name("gone"))
    assert len(names(quiesce, copy)) == 6
    quiesce("repository", "verify", str(copy))


def test_a_stranger_cannot_be_copied_to(quiesce: CommandLine, filled: Path) -> None:
    """It was made by another home, and not like the other one."""
    other = filled.with_name("other")
    keys, safe, theirs = (quiesce.home / name for name in ("repository.keys", "safe", "theirs"))
    keys.rename(safe)
    quiesce("repository", "init", str(other))
    keys.rename(theirs)
    safe.rename(keys)
    quiesce("keys", "import", str(theirs))
    told = quiesce("repository", "copy", str(filled), str(other), status=ExitStatus.USAGE)
    assert "like" in told.err


def test_another_home_opens_it_by_a_key_that_was_exported(quiesce: CommandLine, filled: Path) -> None:
    """And not without."""
    quiesce.home = quiesce.home.with_name("another")
    quiesce.home.mkdir(mode=0o700)
    refused = quiesce("repository", "list", str(filled), status=ExitStatus.REFUSED)
    assert "wrong-key" in refused.err
    assert len(names(quiesce, filled, "--key-file", str(filled.parent / "safe.key"))) == 6
    quiesce("repository", "keys", "import", str(filled), str(filled.parent / "safe.key"))
    assert len(names(quiesce, filled)) == 6


def test_a_passphrase_opens_it_until_it_is_taken_away(quiesce: CommandLine, filled: Path) -> None:
    """It is named, never written on a command line or shown."""
    quiesce.environment = {"QUIESCE_SECRET_PW": "correct horse"}
    told = quiesce("repository", "keys", "add", str(filled), "--new-passphrase", "pw", "--json")
    listed = quiesce("repository", "keys", "list", str(filled)).out
    assert "the secret pw" in listed
    assert "correct horse" not in listed + told.out
    quiesce.home = quiesce.home.with_name("another")
    quiesce.home.mkdir(mode=0o700)
    assert len(names(quiesce, filled, "--passphrase", "pw")) == 6
    quiesce("repository", "keys", "remove", str(filled), told.json["key"]["id"], "--passphrase", "pw")
    quiesce("repository", "list", str(filled), "--passphrase", "pw", status=ExitStatus.REFUSED)


def damage(filled: Path, *, key: PointKey) -> str:
    """Change a bit of one point, and return the name of its object."""
    opened = Repository.open(DirectoryStorage(filled), [read_key_file(filled.parent / "safe.key")])
    name = point_name(opened._opened.keys, key)
    flip(filled / name)
    return name


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_one_damaged_point_hides_no_other(quiesce: CommandLine, filled: Path) -> None:
    """Each command goes on past it, and names it: by its own name, since the restore point's other tells."""
    tamper = ("repository", "check", str(filled), "--tamper")
    quiesce(*tamper)
    damage(filled, key=PointKey(deployment="shop", point="p2", instance="db_1"))
    listed = quiesce("repository", "list", str(filled), status=ExitStatus.DAMAGED)
    assert "p5" in listed.out
    assert "shop/p2/db_1" in listed.err
    verified = quiesce("repository", "verify", str(filled), status=ExitStatus.DAMAGED)
    assert "11 of 12 points are whole" in verified.out
    assert "damaged: shop/p2/db_1" in verified.out
    assert "1 points are damaged" in quiesce("repository", "stats", str(filled)).out
    assert "the point shop/p2/db_1 is damaged" in quiesce(*tamper, status=ExitStatus.DAMAGED).out


def test_a_damaged_point_is_left_out_of_a_copy(quiesce: CommandLine, filled: Path) -> None:
    """The others are copied, but not the restore point's own, which would look whole."""
    damage(filled, key=PointKey(deployment="shop", point="p2", instance="db_1"))
    copy = filled.with_name("copy")
    quiesce("repository", "init", str(copy), "--like", str(filled))
    told = quiesce("repository", "copy", str(filled), str(copy), status=ExitStatus.DAMAGED)
    assert "10 points copied" in told.out
    assert names(quiesce, copy) == ["p0", "p1", "p3", "p4", "p5"]
    quiesce("repository", "verify", str(copy))


def test_a_damaged_point_is_removed_by_the_name_of_its_object(quiesce: CommandLine, filled: Path) -> None:
    """Where nothing tells which one it was; afterwards the repository is whole, and can be collected."""
    lost = PointKey(deployment="shop", point="p2")
    quiesce("repository", "remove", str(filled), "shop/p2/db_1", "--yes")
    for path in filled.glob("removed/*"):
        path.unlink()
    name = damage(filled, key=lost)
    quiesce("repository", "collect", str(filled), status=ExitStatus.DAMAGED)
    prune = quiesce("repository", "prune", str(filled), "--keep-last", "1", status=ExitStatus.DAMAGED)
    assert name in prune.err
    assert name in quiesce("repository", "verify", str(filled), status=ExitStatus.DAMAGED).out
    assert "to remove these, say --yes" in quiesce("repository", "remove", str(filled), name).out
    assert (filled / name).exists()
    quiesce("repository", "remove", str(filled), name, "--yes")
    quiesce("repository", "collect", str(filled))
    assert quiesce("repository", "verify", str(filled)).out.startswith("10 of 10")


def test_named_points_are_removed_and_brought_back(quiesce: CommandLine, filled: Path) -> None:
    """Nothing else; without --yes nothing at all."""
    quiesce("repository", "remove", str(filled), "shop/p1")
    assert "p1" in names(quiesce, filled)
    quiesce("repository", "remove", str(filled), "shop/p1", "--yes")
    assert names(quiesce, filled) == ["p0", "p2", "p3", "p4", "p5"]
    quiesce("repository", "remove", str(filled), "shop/p1", "--yes", status=ExitStatus.USAGE)
    quiesce("repository", "undo", str(filled), "shop/p1")
    quiesce("repository", "verify", str(filled), "shop/p1")


def test_a_damaged_index_keeps_nobody_from_reading(quiesce: CommandLine, filled: Path) -> None:
    """The packs tell what it told; it is said anew by a command, and the damaged one goes."""
    for path in filled.glob("index/*"):
        flip(path)
    assert quiesce("repository", "verify", str(filled)).out.startswith("12 of 12")
    assert "index/" in quiesce("repository", "check", str(filled), status=ExitStatus.DAMAGED).out
    told = quiesce("repository", "rebuild-index", str(filled)).out
    assert told.startswith("6 packs are told of again; 6 damaged indexes are deleted")
    quiesce("repository", "check", str(filled), "--read")
    assert quiesce("repository", "rebuild-index", str(filled)).out.startswith("0 packs")


def test_a_damaged_key_hides_no_other(quiesce: CommandLine, filled: Path) -> None:
    """It is listed as damaged, and can be taken away; the last whole one cannot."""
    told = quiesce("repository", "keys", "list", str(filled), "--json").json["keys"]
    safe, home = sorted(told, key=lambda key: key["label"] != "for the safe")
    (path,) = filled.glob(f"keys/*-{safe['id']}")
    path.chmod(0o600)
    path.write_text("{")
    listed = quiesce("repository", "keys", "list", str(filled), status=ExitStatus.DAMAGED)
    assert home["id"] in listed.out
    assert safe["id"] in listed.err
    quiesce("repository", "keys", "remove", str(filled), home["id"], status=ExitStatus.USAGE)
    quiesce("repository", "keys", "remove", str(filled), safe["id"])
    quiesce("repository", "keys", "list", str(filled))
