"""Damage what is stored, hundreds of times: each is found, and refused before a restore touches anything.

``make planted`` runs it. No good restore point is called damaged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.repository_objects import flip_content, opened, packs, point_object

from .world import FULL, World, WrongError, import_everything, world

#: the exit status of what is damaged, as documented
DAMAGED: Final = 11
_POINTS: Final = 4
_SEED: Final = 12


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One thing that went wrong."""

    name: str
    #: breaks something, and says what; None: there is nothing of that sort
    plant: Callable[[World, random.Random], str | None]
    full: bool = True


@dataclass(kw_only=True)
class Tally:
    """What was planted and what came of it."""

    good: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _cut_off(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def _lengthen(path: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, 600)))


def _zero(path: Path, chance: random.Random) -> None:
    size = path.stat().st_size
    at = chance.randrange(size)
    with path.open("r+b") as file:
        file.seek(at)
        # never what is there already
        file.write(bytes(each ^ 255 for each in file.read(64)) or b"x")


def _gone(path: Path, _: random.Random) -> None:
    path.unlink()


def _directory(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _linked(path: Path, _: random.Random) -> None:
    content = path.read_bytes()
    path.unlink()
    target = path.with_name("elsewhere.bin")
    target.write_bytes(content + b" ")
    path.symlink_to(target)


WAYS: Final = {
    "flipped": _flip,
    "cut off": _cut_off,
    "longer": _lengthen,
    "overwritten": _zero,
    "gone": _gone,
    "a directory": _directory,
    "a link": _linked,
}


def _points(given: World, name: str) -> list[Path]:
    """Return where the points of a restore point lie: of the whole, and of each instance."""
    home = given.root / "home"
    with opened(home, home / "repository") as repository:
        names = sorted(str(point.key) for point in repository.points() if point.key.point == name)
    return [point_object(home, home / "repository", each) for each in names]


def _to_point(way: str) -> Callable[[World, random.Random], str | None]:
    def plant(given: World, chance: random.Random) -> str | None:
        path = chance.choice(_points(given, "p0"))
        WAYS[way](path, chance)
        return f"{path.relative_to(given.root)} {way}"

    return plant


def _to_content(way: str) -> Callable[[World, random.Random], str | None]:
    """Harm every pack: the first restore point needs something of each that tells of its trees."""

    def plant(given: World, chance: random.Random) -> str | None:
        for path in packs(given.root / "home" / "repository"):
            WAYS[way](path, chance)
        return f"all packs {way}"

    return plant


def _content_flipped(given: World, _: random.Random) -> str | None:
    home = given.root / "home"
    with opened(home, home / "repository") as repository:
        names = sorted(str(point.key) for point in repository.points() if point.key.point == "p0")
    flip_content(home, home / "repository", names[-1])
    return f"content of {names[-1]}"


def _point_swapped(given: World, chance: random.Random) -> str | None:
    """Put the point of another restore point there."""
    number = chance.randrange(len(_points(given, "p0")))
    path = _points(given, "p0")[number]
    shutil.copyfile(_points(given, f"p{chance.randint(1, _POINTS - 1)}")[number], path)
    return f"{path.relative_to(given.root)} is that of another"


def _of_row(change: Callable[[dict[str, Any], random.Random], object]) -> Callable[..., str | None]:
    """Change what the catalog says, as valid JSON."""

    def plant(given: World, chance: random.Random) -> str | None:
        with _database(given) as rows:
            (body,) = rows.execute("SELECT body FROM restore_points WHERE name = 'p0'").fetchone()
            told = json.loads(body)
            change(told, chance)
            rows.execute("UPDATE restore_points SET body = ? WHERE name = 'p0'", (json.dumps(told),))
        return f"{change.__name__} in the catalog"

    return plant


def _row_flipped(given: World, chance: random.Random) -> str | None:
    with _database(given) as rows:
        (body,) = rows.execute("SELECT body FROM restore_points WHERE name = 'p0'").fetchone()
        at = chance.randrange(len(body))
        other = chance.choice([each for each in '0123456789abcdef"{},' if each != body[at]])
        spoilt = f"{body[:at]}{other}{body[at + 1 :]}"
        rows.execute("UPDATE restore_points SET body = ? WHERE name = 'p0'", (spoilt,))
    return f"character {at} of the catalog's entry"


def _artifact_forgotten(told: dict[str, Any], chance: random.Random) -> None:
    del told["artifacts"][chance.randrange(len(told["artifacts"]))]


def _digest_changed(told: dict[str, Any], chance: random.Random) -> None:
    chance.choice(told["artifacts"])["manifest_sha256"] = chance.randbytes(32).hex()


def _own_digest_changed(told: dict[str, Any], chance: random.Random) -> None:
    told["manifest_sha256"] = chance.randbytes(32).hex()


def _instance_changed(told: dict[str, Any], chance: random.Random) -> None:
    chance.choice(told["artifacts"])["instance"] += "x"


def _promise_raised(told: dict[str, Any], _: random.Random) -> None:
    told["consistency"] = 3


def _content_changed(told: dict[str, Any], chance: random.Random) -> None:
    chance.choice(told["artifacts"])["content"]["size_bytes"] = chance.randrange(10**9)


def _digests_forgotten(told: dict[str, Any], _: random.Random) -> None:
    told.pop("manifest_sha256", None)
    for artifact in told["artifacts"]:
        artifact.pop("manifest_sha256", None)


_ROWS: Final = (
    _artifact_forgotten,
    _digest_changed,
    _own_digest_changed,
    _instance_changed,
    _promise_raised,
    _content_changed,
    _digests_forgotten,
)


def _in_snapshot(given: World, pattern: str) -> list[Path]:
    found = [
        path
        for name in (".quiesce-one", ".quiesce-two")
        for path in sorted((given.root / name / "p0").glob(pattern))
    ]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _to_snapshot(pattern: str, way: str) -> Callable[[World, random.Random], str | None]:
    def plant(given: World, chance: random.Random) -> str | None:
        path = chance.choice(_in_snapshot(given, pattern))
        WAYS[way](path, chance)
        return f"{path.relative_to(given.root)} {way}"

    return plant


def _added_to_snapshot(given: World, chance: random.Random) -> str | None:
    path = chance.choice(_in_snapshot(given, "content/*")).parent / "added"
    path.write_text("x")
    return f"{path.relative_to(given.root)} was added"


def _snapshot_gone(given: World, chance: random.Random) -> str | None:
    path = given.root / chance.choice((".quiesce-one", ".quiesce-two")) / "p0"
    shutil.rmtree(path)
    return f"{path.relative_to(given.root)} is gone"


def _snapshot_link_changed(given: World, chance: random.Random) -> str | None:
    path = given.root / chance.choice((".quiesce-one", ".quiesce-two")) / "p0" / "content" / "to"
    path.unlink()
    path.symlink_to("./elsewhere")
    return f"{path.relative_to(given.root)} leads elsewhere"


def _mode_changed(given: World, chance: random.Random) -> str | None:
    path = chance.choice(_in_snapshot(given, "content/**/*"))
    path.chmod(0o4777)
    return f"{path.relative_to(given.root)} has another mode"


DAMAGES: Final = (
    # a link is refused by the storage, and called neither damaged nor a point
    *(Damage(name=f"a point {way}", plant=_to_point(way)) for way in WAYS if way != "a link"),
    *(Damage(name=f"packs {way}", plant=_to_content(way)) for way in ("cut off", "gone", "a directory")),
    Damage(name="content flipped", plant=_content_flipped),
    Damage(name="a point of another", plant=_point_swapped),
    *(Damage(name=change.__name__, plant=_of_row(change)) for change in _ROWS),
    Damage(name="catalog flipped", plant=_row_flipped),
    *(
        Damage(name=f"snapshot's {pattern} {way}", plant=_to_snapshot(pattern, way), full=False)
        for pattern in ("content/**/*", "mark.json", "raw/index")
        for way in ("flipped", "cut off", "longer", "overwritten", "gone")
    ),
    Damage(name="added to a snapshot", plant=_added_to_snapshot, full=False),
    Damage(name="a snapshot gone", plant=_snapshot_gone, full=False),
    Damage(name="a snapshot's link", plant=_snapshot_link_changed, full=False),
    Damage(name="a snapshot's mode", plant=_mode_changed, full=False),
    Damage(name="snapshot's catalog flipped", plant=_row_flipped, full=False),
)


@contextlib.contextmanager
def _database(given: World) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(given.root / "home" / "quiesce.db")) as rows, rows:
        yield rows


def plant_in_backups(given: World, damages: Iterator[Damage], tally: Tally, chance: random.Random) -> None:
    """Damage the first of some backups, again and again; what was damaged is put back by copying."""
    for number in range(_POINTS):
        given.fill("old" if number % 2 else "new")
        (given.root / "one" / "number").write_text(str(number))
        (given.root / "two" / "number").write_text(str(number))
        given.good("backup", "shop", "-p", f"snapshot_name=p{number}", *FULL)
    home, pristine = given.root / "home", given.root / "pristine"
    shutil.copytree(home, pristine, symlinks=True)
    for turn, damage in enumerate(damages):
        if turn % 4 == 0:  # a good proof of a moment ago does not cover what happens now
            _is_good(given, "p0", tally)
        if _is_found(given, damage, tally, chance):
            tally.planted["backup"] += 1
        shutil.rmtree(home)
        shutil.copytree(pristine, home, symlinks=True)
        home.chmod(0o700)
    for number in range(_POINTS):
        _is_good(given, f"p{number}", tally)


def plant_in_snapshots(given: World, damages: Iterator[Damage], tally: Tally, chance: random.Random) -> None:
    """Damage one snapshot after the other."""
    for damage in damages:
        given.fill("old")
        given.good("backup", "shop", "-p", "snapshot_name=p0")
        _is_good(given, "p0", tally)
        if _is_found(given, damage, tally, chance):
            tally.planted["snapshot"] += 1
        for directory in (".quiesce-one", ".quiesce-two"):
            shutil.rmtree(given.root / directory, ignore_errors=True)
        with _database(given) as rows:
            rows.execute("DELETE FROM restore_points")
            rows.execute("DELETE FROM proofs")


def _is_good(given: World, name: str, tally: Tally) -> None:
    answer = given.run("backups", "verify", "shop", name)
    tally.good += 1
    if answer.status != 0:
        tally.wrong.append(f"false alarm: {answer}")


def _is_found(given: World, damage: Damage, tally: Tally, chance: random.Random) -> bool:
    """Plant *damage*: a restore is refused before it touches anything, a check finds it. False: no damage."""
    given.fill("new")
    what = damage.plant(given, chance)
    if what is None:
        return False
    before = given.data()
    restored = given.run("restore", "shop", "-p", "snapshot_name=p0")
    untouched = given.data() == before
    verified = given.run("backups", "verify", "shop", "p0")
    for holds, wrong in (
        (verified.status == DAMAGED, f"not found: {verified}"),
        (restored.status == DAMAGED, f"not refused: {restored}"),
        (untouched, "the data were touched"),
    ):
        if not holds:
            tally.wrong.append(f"{damage.name} ({what}): {wrong}")
            print(f"WRONG: {tally.wrong[-1]}", flush=True)
    return True


def main() -> int:
    """Plant; return 1 when something was not found or not refused, or a good point was called damaged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="how many are planted")
    options = parser.parse_args()
    import_everything()
    chance, tally = random.Random(_SEED), Tally()
    turns = [DAMAGES[number % len(DAMAGES)] for number in range(options.size + options.size // 50)]
    try:
        for full, planting in ((True, plant_in_backups), (False, plant_in_snapshots)):
            with world() as given:
                planting(given, iter([each for each in turns if each.full is full]), tally, chance)
    except WrongError as error:
        tally.wrong.append(str(error))
    planted = sum(tally.planted.values())
    print(f"{planted} planted ({dict(tally.planted)}), {tally.good} good ones: {len(tally.wrong)} wrong")
    for wrong in tally.wrong:
        print(wrong)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
