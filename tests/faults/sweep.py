"""Let every call that changes files fail, one after the other, in every way: nothing half-made may stay.

``make sweep`` runs it. For each scene the calls below the world's directory are counted in a run without a
fault; then each of them fails once for each `Kind`, and after each fault the scene says what must hold.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from .frozen import FrozenWorld
from .world import FULL, Answer, Fault, Kind, Victim, World, WrongError, build, import_everything, world

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
#: how many faults one process tries before it takes up others
_AT_ONCE: Final = 10


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One command, from the same state each time, and what must hold whatever becomes of it."""

    name: str
    command: tuple[str, ...]
    #: brings the state about from which the command is run
    before: Callable[[World], object]
    #: judges what is there, lets the next command clean up, and judges again
    after: Callable[[World, Answer], object]
    kind: type[World] = World
    #: which part of its faults is tried where all of the others' are
    weight: float = 1.0
    victim: Victim = Victim.ENGINE
    #: the command dies before it changes what holds this in its path, so that others must act
    dies_at: str = ""


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


_CALM: Final = tuple(
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

#: the same with all that can be frozen
_FROZEN: Final = tuple(
    # ten times as slow, and most of its calls are those of the calm scene
    replace(scene, name=f"{scene.name} of what is frozen", kind=FrozenWorld, weight=0.2)
    for scene in _CALM
    if scene.name.split()[0] in {"make", "restore", "undo"}
)


def _frozen_scene(start: str) -> Scene:
    return next(scene for scene in _FROZEN if scene.name.startswith(start))


SCENES: Final = (
    *_CALM,
    *_FROZEN,
    *(
        replace(
            _frozen_scene(start),
            name=f"{start}, its {'guard' if victim is Victim.GUARD else 'holders'} under faults",
            victim=victim,
            weight=0.5,
            dies_at=dies_at if victim is Victim.GUARD else "",
        )
        for start, dies_at in (("make a snapshot", "/.quiesce-one/p/"), ("restore a snapshot", "/.incoming/"))
        for victim in (Victim.GUARD, Victim.HOLDERS)
    ),
)


@dataclass(kw_only=True)
class Tally:
    """What a sweep has done and found."""

    injections: int = 0
    #: the command succeeded all the same, failed, was killed
    came_of_it: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count in what *other* has done."""
        self.injections += other.injections
        self.came_of_it += other.came_of_it
        self.wrong += other.wrong

    def __str__(self) -> str:
        came = ", ".join(f"{number} {what}" for what, number in sorted(self.came_of_it.items()))
        return f"{self.injections} injections ({came}): {len(self.wrong)} wrong"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some faults of one scene."""

    scene: int
    faults: tuple[Fault, ...]
    dies_at: int


def rehearse(share: float, number: int) -> list[Piece]:
    """Return *share* of all faults of a scene."""
    scene = SCENES[number]
    with tempfile.TemporaryDirectory(prefix="quiesce-sweep-") as scratch:
        log = Path(scratch) / "calls"
        with world(scene.kind) as given:
            dies_at = _death(given, scene, log) if scene.dies_at else 0
        with world(scene.kind) as given:
            calls = _rehearsed(given, scene, log, dies_at)
    stride = max(1, round(1 / (share * scene.weight)))
    wanted = [
        Fault(kind=kind, call=call, victim=scene.victim)
        for position, call in enumerate(calls)
        for turn, kind in enumerate(KINDS)
        if (position * (len(KINDS) + 1) + turn) % stride == 0
        and (kind is not Kind.SHORT or call in calls.writing)
    ]
    print(f"{scene.name}: {len(wanted)} faults of {len(calls)} calls", flush=True)
    return [
        Piece(scene=number, faults=tuple(wanted[first : first + _AT_ONCE]), dies_at=dies_at)
        for first in range(0, len(wanted), _AT_ONCE)
    ]


def sweep(piece: Piece) -> Tally:
    """Try the faults of *piece*."""
    tally, scene, left = Tally(), SCENES[piece.scene], iter(piece.faults)
    while fault := next(left, None):
        # a world is used again until something is wrong with it: what is left behind would be met again
        with world(scene.kind) as given:
            given.note_known()
            while fault and _tried(given, scene, fault, piece.dies_at, tally):
                fault = next(left, None)
    return tally


def _tried(given: World, scene: Scene, fault: Fault, dies_at: int, tally: Tally) -> bool:
    try:
        scene.before(given)
        retries = ("--task-retries", str(fault.kind.retries), "--task-retry-interval", "0.01")
        answer = given.run(*scene.command, *retries, fault=fault, dies_at=dies_at)
        tally.injections += 1
        came = "killed" if answer.status < 0 else "succeeded" if answer.status == 0 else "failed"
        tally.came_of_it[came] += 1
        _require(answer.status != 70, f"a bug: {answer}")
        _judged(given, scene, fault, answer)
    except WrongError as error:
        where = answer.met or "killed" if "answer" in locals() else "before"
        tally.wrong.append(f"{scene.name}, {fault.kind.name} at call {fault.call} ({where}): {error}")
        print(f"WRONG: {tally.wrong[-1]}", flush=True)
        return False
    return True


def _judged(given: World, scene: Scene, fault: Fault, answer: Answer) -> None:
    given.settled(fault)
    given.running()
    scene.after(given, answer)
    given.settled(Fault(kind=Kind.COUNT))
    given.running()


def _death(given: World, scene: Scene, log: Path) -> int:
    """Return the call at which the command of *scene* is to die."""
    _, calls = _logged(given, scene, log, Fault(kind=Kind.COUNT))
    there = [int(number) for number, _, path in calls if scene.dies_at in path]
    return there[len(there) // 2]


def _logged(
    given: World, scene: Scene, log: Path, fault: Fault, dies_at: int = 0
) -> tuple[Answer, list[list[str]]]:
    """Run *scene*'s command without a fault; return what came of it, and the victim's calls."""
    log.unlink(missing_ok=True)
    given.note_known()
    scene.before(given)
    given.log = log
    answer = given.run(*scene.command, fault=fault, dies_at=dies_at)
    given.log = None
    _require(bool(dies_at) or answer.status == 0, f"the rehearsal failed: {answer}")
    given.settled(Fault(kind=Kind.COUNT))
    return answer, [line.split(" ", 2) for line in log.read_text().splitlines()]


class Calls(list[int]):
    """The numbers of the calls that are looked at, and which of them write."""

    writing: frozenset[int] = frozenset()


def _rehearsed(given: World, scene: Scene, log: Path, dies_at: int) -> Calls:
    """Run *scene* without a fault, and tell which calls are worth a fault."""
    fault = Fault(kind=Kind.COUNT, victim=scene.victim)
    answer, lines = _logged(given, scene, log, fault, dies_at)
    _judged(given, scene, fault, answer)
    pages = [int(n) for n, call, path in lines if "/home/quiesce.db" in path]
    few = set(pages[:: max(1, len(pages) // _OF_DATABASE)])
    # of several holders each counts from one
    found = Calls(sorted({int(n) for n, _, path in lines if "/home/quiesce.db" not in path or int(n) in few}))
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
    # whose points are there the command line tells; content that nobody needs waits to be collected
    return parts[:2] == ["home", "repository"] or (parts[:2] == ["home", "drafts"] and len(parts) == 2)


_ALWAYS: Final = frozenset(
    {"", "shop.yaml", "home", "home/leases", "home/leases/shop", "home/repository"} | {"home/repository.keys"}
)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongError(what)


def _is_chosen(scene: Scene, words: Sequence[str]) -> bool:
    return not words or any(word in scene.name for word in words)


def main() -> int:
    """Sweep; return 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="which part of all faults is tried")
    parser.add_argument("--jobs", type=int, default=1, help="how many are tried side by side")
    parser.add_argument("scenes", nargs="*", help="words of the scenes' names")
    options = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        with tempfile.TemporaryDirectory(prefix="quiesce-inject-") as scratch:
            environment = os.environ | {"LD_PRELOAD": str(build(Path(scratch)))}
            # what is mounted is gone when it ends, however it ends
            own = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
            command = [*own, sys.executable, "-m", "tests.faults.sweep", *sys.argv[1:]]
            return os.spawnvpe(os.P_WAIT, command[0], command, environment)
    import_everything()
    chosen = [number for number, scene in enumerate(SCENES) if _is_chosen(scene, options.scenes)]
    total = Tally()
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        pieces: list[Piece] = []
        for rehearsed in [pool.submit(rehearse, options.share, number) for number in chosen]:
            try:
                pieces += rehearsed.result()
            except WrongError as error:
                total.wrong.append(f"without any fault: {error}")
                print(f"WRONG: {total.wrong[-1]}", flush=True)
        # in any order: a run that is cut short has seen something of each scene
        random.Random(0).shuffle(pieces)
        for done in as_completed([pool.submit(sweep, piece) for piece in pieces]):
            total.add(done.result())
            print(total, flush=True)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
