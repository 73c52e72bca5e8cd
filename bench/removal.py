"""100,000 files removed as restore points are: seconds beside ``rm -rf`` of the same tree, in turn.

Two shapes: a thousand directories, and everything in one. Medians of the rounds; a ratio below 1 is quicker
than ``rm -rf``.

    python bench/removal.py [--files 100000] [--rounds 5] [--place /var/tmp]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quiesce.files.removal import remove_tree


def main() -> None:
    """Measure both shapes and print one line for each."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.place) as directory:
        for shape, folders in (("in 1,000 directories", 1000), ("in one directory", 1)):
            ours, theirs = _rounds(Path(directory), options.files, folders, options.rounds)
            print(
                f"{options.files:,} files {shape}: {ours:.2f} s, rm -rf {theirs:.2f} s, "
                f"ratio {ours / theirs:.2f}"
            )


def _rounds(top: Path, files: int, folders: int, rounds: int) -> tuple[float, float]:
    ours, theirs = [], []
    for _ in range(rounds):
        for took, remove in ((ours, _remove), (theirs, _rm)):
            _make(top / "tree", files, folders)
            took.append(_seconds(lambda remove=remove: remove(top)))  # type: ignore[misc]
    return statistics.median(ours), statistics.median(theirs)


def _make(tree: Path, files: int, folders: int) -> None:
    for folder in range(folders):
        (tree / f"{folder:04}").mkdir(parents=True)
        for number in range(files // folders):
            (tree / f"{folder:04}/{number:06}").write_bytes(b"x" * (number % 4096))
    os.sync()


def _remove(top: Path) -> None:
    directory = os.open(top, os.O_RDONLY)
    try:
        if not remove_tree(directory, b"tree").complete:
            raise RuntimeError("something is left")
    finally:
        os.close(directory)


def _rm(top: Path) -> None:
    subprocess.run(["rm", "-rf", "tree"], cwd=top, check=True)


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--place", default="/var/tmp")
    return parser.parse_args()


if __name__ == "__main__":
    main()
