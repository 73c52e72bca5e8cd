"""The repository beside restic and borg, both encrypting: CPU seconds (children too) and wall, as ratios.

    data_path.py [--files N] [--mib N] [--rounds N] [--cold]

The same trees for all: N files of 1 to 16 KiB, two large files, each full, with 1 % changed, and restored.
Before each backup the whole tree is read into the page cache, or with --cold thrown out of it: borg lets go of
what it has read, so that whoever came after it would have met another machine.
The command lines are printed. A busy machine disturbs wall more than CPU; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORDS_SEED, CHANGED = 7, 0.01
OURS = """
import os, sys, time
from pathlib import Path
from quiesce.files.metadata import EVERYTHING
from quiesce.repository import FileKey, Point, PointKey, Repository
from quiesce.storage import DirectoryStorage
what, repository, name, tree = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
storage, secret = DirectoryStorage(repository), FileKey(bytes(32))
key = PointKey(deployment="bench", point=name, instance="one")
if what == "init":
    Repository.create(storage, secret)
    sys.exit()
opened = Repository.open(storage, [secret])
if what == "backup":
    last = max(opened.points(), key=lambda point: point.made_at, default=None)
    with opened.write() as session:
        root = os.open(tree, os.O_RDONLY)
        item, saved = session.add_tree(root, previous=last and last.items["data"])
        session.commit(Point(key=key, made_at=time.time(), items={"data": item}))
else:
    os.mkdir(tree)
    opened.reader(key).restore_tree("data", os.open(tree, os.O_RDONLY), allowed=EVERYTHING)
"""


def text(chance: random.Random, words: list[bytes], length: int) -> bytes:
    return b" ".join(chance.choices(words, k=length // 5 + 1))[:length]


def content(chance: random.Random, words: list[bytes], length: int) -> bytes:
    """Return something of which a good half can be compressed, as of most trees."""
    return text(chance, words, length) if chance.random() < 0.7 else chance.randbytes(length)


def make_small(root: Path, count: int) -> None:
    chance = random.Random(WORDS_SEED)
    words = [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)
    ]
    for number in range(count):
        directory = root / f"{number // 10000}" / f"{number // 100}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}").write_bytes(content(chance, words, chance.randint(1024, 16384)))


def make_large(root: Path, mib: int) -> None:
    chance = random.Random(WORDS_SEED)
    words = [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)
    ]
    root.mkdir(parents=True)
    for name in "ab":
        with (root / name).open("wb") as file:
            for _ in range(mib // 2):
                file.write(content(chance, words, 1 << 20))


def change_small(root: Path) -> None:
    chance = random.Random(WORDS_SEED + 1)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in chance.sample(files, int(len(files) * CHANGED)):
        path.write_bytes(chance.randbytes(path.stat().st_size))


def change_large(root: Path) -> None:
    chance = random.Random(WORDS_SEED + 1)
    for path in sorted(root.iterdir()):
        blocks = path.stat().st_size >> 20
        with path.open("r+b") as file:
            for block in chance.sample(range(blocks), max(1, int(blocks * CHANGED))):
                file.seek((block << 20) + 1000)
                file.write(chance.randbytes(4096))


def run(command: list[str], cwd: Path | None = None) -> tuple[float, float]:
    """Return the CPU and wall seconds of *command*; whoever fails ends the run."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begun
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def set_cache(tree: Path, *, cold: bool) -> None:
    """Let the page cache hold all of *tree*, or none of it; what was written before is nobody's to write out."""
    os.sync()
    for path in tree.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                if cold:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                else:
                    while file.read(1 << 20):
                        pass


class Tool:
    """One of the three, by its command lines."""

    def __init__(self, name: str, repository: Path) -> None:
        self.name, self.repository = name, repository
        shutil.rmtree(repository, ignore_errors=True)
        run(self.command("init", "", Path()))

    def command(self, what: str, point: str, tree: Path) -> list[str]:
        place = str(self.repository)
        if self.name == "quiesce":
            return [sys.executable, "-c", OURS, what, place, point, str(tree)]
        if self.name == "restic":
            words = {"init": ["init", "--repository-version", "2"], "backup": ["backup", "."]}
            return [
                "restic",
                "-r",
                place,
                "--no-cache",
                *words.get(what, ["restore", "latest", "--target", str(tree)]),
            ]
        words = {"init": ["init", "-e", "repokey", place], "backup": ["create", f"{place}::{point}", "."]}
        return ["borg", *words.get(what, ["extract", f"{place}::{point}"])]

    def backup(self, point: str, tree: Path) -> tuple[float, float]:
        return run(self.command("backup", point, tree), cwd=tree)

    def restore(self, point: str, target: Path) -> tuple[float, float]:
        if self.name == "borg":
            target.mkdir()
        figures = run(self.command("restore", point, target), cwd=target if self.name == "borg" else None)
        shutil.rmtree(target)
        return figures

    def stored_mib(self) -> float:
        return sum(path.stat().st_size for path in self.repository.rglob("*") if path.is_file()) / 2**20


def measure(
    base: Path,
    title: str,
    make: Callable[[Path], None],
    change: Callable[[Path], None],
    asked: argparse.Namespace,
) -> None:
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    stored: dict[str, float] = {}
    for round_ in range(asked.rounds):
        tree = base / "tree"
        make(tree)
        tools = [Tool(name, base / name) for name in ("restic", "borg", "quiesce")]
        for phase in ("full", "1 % changed", "restore"):
            if phase == "1 % changed":
                time.sleep(1)
                change(tree)
            for tool in tools:
                if phase != "restore":
                    set_cache(tree, cold=asked.cold)
                if not round_ and title.startswith("small"):
                    print(
                        "$",
                        *(
                            w if "\n" not in w else "'…'"
                            for w in tool.command(
                                "backup" if phase != "restore" else phase, phase.split()[0], tree
                            )
                        ),
                    )
                figures = (
                    tool.restore("1", base / "out")
                    if phase == "restore"
                    else tool.backup(phase.split()[0], tree)
                )
                results.setdefault((phase, tool.name), []).append(figures)
        stored = {tool.name: tool.stored_mib() for tool in tools}
        shutil.rmtree(tree)
    report(title, results, stored)


def report(
    title: str, results: dict[tuple[str, str], list[tuple[float, float]]], stored: dict[str, float]
) -> None:
    print(f"\n{title}: CPU s / wall s, medians; ours as a ratio of the better of the two")
    for phase in ("full", "1 % changed", "restore"):
        found = {
            name: [statistics.median(figures) for figures in zip(*results[phase, name], strict=True)]
            for name in ("restic", "borg", "quiesce")
        }
        ratios = [found["quiesce"][n] / min(found["restic"][n], found["borg"][n]) for n in (0, 1)]
        shown = "  ".join(f"{name} {cpu:.1f} / {wall:.1f}" for name, (cpu, wall) in found.items())
        print(f"  {phase:12} {shown}  ratio {ratios[0]:.2f} / {ratios[1]:.2f}")
    print("  stored MiB  ", "  ".join(f"{name} {mib:.0f}" for name, mib in stored.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="throw the tree out of the page cache first")
    asked = parser.parse_args()
    for tool in ("restic", "borg"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not there: apt-get install restic borgbackup")
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        os.environ.update(
            RESTIC_PASSWORD="x",
            BORG_PASSPHRASE="x",
            BORG_BASE_DIR=str(base / "home"),
            BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
        )
        measure(
            base,
            f"small: {asked.files} files",
            lambda root: make_small(root, asked.files),
            change_small,
            asked,
        )
        measure(
            base,
            f"large: {asked.mib} MiB in 2 files",
            lambda root: make_large(root, asked.mib),
            change_large,
            asked,
        )


if __name__ == "__main__":
    main()
