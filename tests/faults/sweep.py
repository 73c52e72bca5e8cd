"""Let every call that changes files fail, one after the other, in every way: nothing half-made may stay.

``make sweep`` runs it. For each scene the calls below the world's directory are counted in a run without a
fault; then each of them fails once for each `Kind`, and after each fault the scene says what must hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .world import FULL, Answer, Fault, Kind, World, WrongError, build, import_everything, world

KINDS: Final = (
    Kind.EIO,
    Kind.EIO_ONCE,
    Kind.ENOSPC,
    Kind.FULL,
    Kind.GONE,
    Kind.SHORT,
    Kind.KILL,
    Kind.KILL_AFTER,
)
#: of the database's pages, which SQLite writes, only so many are looked at
_OF_DATABASE: Final = 8


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One command, from the same state each time, and what must hold whatever becomes of it."""

    name: str
    command: tuple[str, ...]
    #: brings the state about from which the command is run
    before: Callable[[World], object]
    #: judges what is there, lets the next command clean up, and judges again
    after: Callable[[World, Answer], object]


def restore_point(name: str, *more: str) -> Callable[[World], object]:
    """Return what makes a restore point of the old state, unless it is there."""

    def make(given: World) -> None:
        if name not in given.points():
            given.fill("old")
            given.good("backup", "shop", "-p", f"snapshot_name={name}", *more)

    return make


def restored_over(name: str, *more: str) -> Callable[[World], object]:
    """Return what makes a restore point of the old state, and then a new state."""
    make = restore_point(name, *more)

    def make_and_change(given: World) -> None:
        make(given)
        given.fill("new")

    return make_and_change


def backed_up(name: str, *more: str) -> Callable[[World, Answer], object]:
    """Return what judges a backup: data untouched; complete when listed so; else nothing stays."""

    def judge(given: World, answer: Answer) -> None:
        before = judged_data(given)
        point = given.points().get(name)
        _require(answer.status != 0 or (point or {}).get("state") == "complete", f"it is not there: {answer}")
        # the next command takes up or removes what was begun, under the very name
        again = ("backup", "shop", "-p", f"snapshot_name={name}", *more)
        unfinished = point is None or point["state"] != "complete"
        if unfinished and given.run(*again).status != 0:
            given.good("remove-backup", "shop", "-p", f"snapshot_name={name}")
            given.good(*again)
        given.good("backups", "verify", "shop", name)
        _require(judged_data(given) == before, "a backup changed the data")
        given.fill("new")
        given.good("restore", "shop", "-p", f"snapshot_name={name}")
        _require(_same(given.data(), before), f"{name} is listed as good and restores something else")
        given.good("remove-backup", "shop", "-p", f"snapshot_name={name}")
        _nothing_left(given, names=())

    return judge


def restored(name: str) -> Callable[[World, Answer], object]:
    """Return what judges a restore: each directory is the old or the new one, and it can be run again."""

    def judge(given: World, answer: Answer) -> None:
        now = given.data()
        for directory, found in zip(given.directories, now, strict=True):
            whose = (directory / "small").read_text().partition(" ")[0]
            _require(found == given.known[directory.name, whose], f"{directory.name} is neither old nor new")
            _require(answer.status != 0 or whose == "old", f"not restored: {answer}")
        given.good("restore", "shop", "-p", f"snapshot_name={name}")
        for directory, found in zip(given.directories, given.data(), strict=True):
            _require(found == given.known[directory.name, "old"], f"{directory.name} is not restored")
        given.good("backups", "verify", "shop", name)
        _nothing_left(given, names=(name,))

    return judge


def over_and_back(name: str, *more: str) -> Callable[[World], object]:
    """Return what restores the old state over a new one, so that there is a former state."""
    make = restored_over(name, *more)

    def make_and_restore(given: World) -> None:
        make(given)
        given.good("restore", "shop", "-p", f"snapshot_name={name}")

    return make_and_restore


def undone(name: str) -> Callable[[World, Answer], object]:
    """Return what judges an undo: each directory is the old or the new one, and it can be gone on with."""

    def judge(given: World, answer: Answer) -> None:
        for directory, found in zip(given.directories, given.data(), strict=True):
            whose = (directory / "small").read_text().partition(" ")[0]
            _require(found == given.known[directory.name, whose], f"{directory.name} is neither old nor new")
            _require(answer.status != 0 or whose == "new", f"not undone: {answer}")
        for wanted, state in (("former", "new"), ("restored", "old")):
            given.good("restore", "shop", "--undo", "--undo-to", wanted)
            for directory, found in zip(given.directories, given.data(), strict=True):
                _require(found == given.known[directory.name, state], f"{directory.name} is not {wanted}")
        _nothing_left(given, names=(name,))

    return judge


def forgotten(name: str) -> Callable[[World, Answer], object]:
    """Return what judges a former state's removal: the data are untouched, and nothing of it stays."""

    def judge(given: World, answer: Answer) -> None:
        for directory, found in zip(given.directories, given.data(), strict=True):
            _require(found == given.known[directory.name, "old"], f"the removal changed {directory.name}")
        if answer.status != 0:
            # what is given up is removed by the next restore, if not at once
            given.good("restore", "shop", "-p", f"snapshot_name={name}")
            given.good("restore", "shop", "--forget-undo")
        _nothing_left(given, names=(name,), undo=False)

    return judge


def removed(name: str, *more: str) -> Callable[[World, Answer], object]:
    """Return what judges a removal: what is not listed is gone, and what is listed can be removed."""

    def judge(given: World, answer: Answer) -> None:
        before = judged_data(given)
        _require(answer.status != 0 or name not in given.points(), f"it is still listed: {answer}")
        # the next command goes on with it; the name is free then
        given.run("backup", "shop", "-p", "snapshot_name=next", *more)
        if name in given.points():
            given.good("remove-backup", "shop", "-p", f"snapshot_name={name}")
        given.good("remove-backup", "shop", "-p", "snapshot_name=next")
        _require(judged_data(given) == before, "a removal changed the data")
        _nothing_left(given, names=())

    return judge


SCENES: Final = tuple(
    scene
    for kind, more in (("backup", FULL), ("snapshot", ()))
    for scene in (
        Scene(
            name=f"make a {kind}",
            command=("backup", "shop", "-p", "snapshot_name=p", *more),
            before=lambda given: given.fill("old"),
            after=backed_up("p", *more),
        ),
        Scene(
            name=f"restore a {kind}",
            command=("restore", "shop", "-p", "snapshot_name=p"),
            before=restored_over("p", *more),
            after=restored("p"),
        ),
        Scene(
            name=f"undo the restore of a {kind}",
            command=("restore", "shop", "--undo"),
            before=over_and_back("p", *more),
            after=undone("p"),
        ),
        Scene(
            name=f"forget what a {kind} replaced",
            command=("restore", "shop", "--forget-undo"),
            before=over_and_back("p", *more),
            after=forgotten("p"),
        ),
        Scene(
            name=f"remove a {kind}",
            command=("remove-backup", "shop", "-p", "snapshot_name=p"),
            before=restore_point("p", *more),
            after=removed("p", *more),
        ),
    )
)


@dataclass(kw_only=True)
class Tally:
    """What a sweep has done and found."""

    injections: int = 0
    #: the command succeeded all the same, failed, was killed
    came_of_it: Counter[str]
    wrong: list[str]


def sweep(scene: Scene, *, share: float, tally: Tally, log: Path) -> None:
    """Try *share* of all faults of *scene*."""
    with world() as given:
        calls = _rehearsed(given, scene, log)
    stride = max(1, round(1 / share))
    wanted = [
        Fault(kind=kind, call=call)
        for position, call in enumerate(calls)
        for turn, kind in enumerate(KINDS)
        if (position * (len(KINDS) + 1) + turn) % stride == 0
        and (kind is not Kind.SHORT or call in calls.writing)
    ]
    left = iter(wanted)
    while fault := next(left, None):
        # a world is used again until something is wrong with it: what is left behind would be met again
        with world() as given:
            given.note_known()
            while fault and _tried(given, scene, fault, tally):
                fault = next(left, None)


def _tried(given: World, scene: Scene, fault: Fault, tally: Tally) -> bool:
    try:
        scene.before(given)
        retries = ("--task-retries", str(fault.kind.retries), "--task-retry-interval", "0.01")
        answer = given.run(*scene.command, *retries, fault=fault)
        tally.injections += 1
        came = "killed" if answer.status < 0 else "succeeded" if answer.status == 0 else "failed"
        tally.came_of_it[came] += 1
        if tally.injections % 100 == 0:
            print(f"{tally.injections} injections, {len(tally.wrong)} wrong", flush=True)
        _require(answer.status != 70, f"a bug: {answer}")
        scene.after(given, answer)
    except WrongError as error:
        where = answer.met or "killed" if "answer" in locals() else "before"
        tally.wrong.append(f"{scene.name}, {fault.kind.name} at call {fault.call} ({where}): {error}")
        print(f"WRONG: {tally.wrong[-1]}", flush=True)
        return False
    return True


class Calls(list[int]):
    """The numbers of the calls that are looked at, and which of them write."""

    writing: frozenset[int] = frozenset()


def _rehearsed(given: World, scene: Scene, log: Path) -> Calls:
    """Run *scene* without a fault, and tell which calls are worth a fault."""
    given.note_known()
    scene.before(given)
    given.log = log
    answer = given.run(*scene.command)
    given.log = None
    _require(answer.status == 0, f"the rehearsal failed: {answer}")
    scene.after(given, answer)
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    pages = [int(n) for n, call, path in lines if "/home/quiesce.db" in path]
    few = set(pages[:: max(1, len(pages) // _OF_DATABASE)])
    found = Calls(int(n) for n, _, path in lines if "/home/quiesce.db" not in path or int(n) in few)
    found.writing = frozenset(int(n) for n, call, _ in lines if "write" in call or "copy" in call)
    return found


def judged_data(given: World) -> tuple[str, str]:
    """Return the two directories' states."""
    return given.data()


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    return list(one) == list(other)


def _nothing_left(given: World, names: Sequence[str], *, undo: bool = True) -> None:
    """Raise when there is any name that a run without faults would not have left."""
    found = set(given.names().splitlines())
    allowed = {line for line in found if _is_expected(line, names, undo=undo)}
    _require(found == allowed, f"left behind: {sorted(found - allowed)[:8]}")


def _is_expected(line: str, names: Sequence[str], *, undo: bool) -> bool:
    path = line.rpartition(" ")[0]
    if path in _ALWAYS:
        return True
    parts = path.split("/")
    if parts[0] in {".quiesce-one", ".quiesce-two"}:
        inside = parts[1:]
        if not inside:
            return True
        if inside[0] == ".undo" and undo:
            # what an interrupted restore had put there is kept as long as the former state is
            kept = inside[1:2] in ([], ["content"]) or inside[1].startswith("replaced-by-")
            return kept or inside[1:] == ["mark.json"]
        return inside[0] in names and inside[1:2] in ([], ["content"], ["raw"], ["mark.json"])
    if parts[:2] == ["home", "repository"]:
        return parts[2:3] == ["shop"] and (len(parts) == 3 or parts[3] in names) and _is_stored(parts[4:])
    return False


def _is_stored(parts: Sequence[str]) -> bool:
    stored = {"manifest.json", "index.gz", "tree.tar.gz"}
    return not parts or list(parts) == ["manifest.json"] or len(parts) == 1 or parts[1] in stored


_ALWAYS: Final = frozenset(
    {"", "shop.yaml", "home", "home/leases", "home/leases/shop", "home/repository"}
    | {"home/repository/.quiesce-repository", "home/repository.keys"}
)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongError(what)


def chosen(words: Sequence[str]) -> Iterator[Scene]:
    """Give the scenes whose names hold one of *words*; all without any."""
    return (scene for scene in SCENES if not words or any(word in scene.name for word in words))


def main() -> int:
    """Sweep; return 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="which part of all faults is tried")
    parser.add_argument("scenes", nargs="*", help="words of the scenes' names")
    options = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        with tempfile.TemporaryDirectory(prefix="quiesce-inject-") as scratch:
            environment = os.environ | {"LD_PRELOAD": str(build(Path(scratch)))}
            command = [sys.executable, "-m", "tests.faults.sweep", *sys.argv[1:]]
            return os.spawnve(os.P_WAIT, sys.executable, command, environment)
    import_everything()
    tally = Tally(came_of_it=Counter(), wrong=[])
    with tempfile.TemporaryDirectory(prefix="quiesce-sweep-") as scratch:
        for scene in chosen(options.scenes):
            began, before = time.monotonic(), tally.injections
            sweep(scene, share=options.share, tally=tally, log=Path(scratch) / "calls")
            took = time.monotonic() - began
            print(f"{scene.name}: {tally.injections - before} injections in {took:.0f} s", flush=True)
    came = ", ".join(f"{number} {what}" for what, number in sorted(tally.came_of_it.items()))
    print(f"{tally.injections} injections ({came}): {len(tally.wrong)} wrong")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
