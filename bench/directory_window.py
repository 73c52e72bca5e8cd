"""The cut of a directory within the window, copied beforehand and not: seconds, and how they grow with it.

A few files change after the copy. The baseline is the cut of the same tree of which nothing was copied before;
both are measured in turn, and again for ten times as many files. Medians of the rounds.

    python bench/directory_window.py [--files 10000] [--rounds 3] [--place /var/tmp]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from quiesce.files.content import nobody
from quiesce.providers.host.tree_copies import TreeCopy

_CHANGED = 20


def main() -> None:
    """Measure both sizes and print one line for each."""
    options = _options()
    windows = []
    for files in (options.files, 10 * options.files):
        with tempfile.TemporaryDirectory(dir=options.place) as directory:
            whole, window = _medians(Path(directory), files, options.rounds)
        windows.append(window)
        print(f"{files:,} files: {window:.3f} s, without a copy {whole:.3f} s, ratio {window / whole:.3f}")
    print(f"ten times the files: {windows[1] / windows[0]:.2f} times the window")


def _medians(top: Path, files: int, rounds: int) -> tuple[float, float]:
    tree = top / "tree"
    _make(tree, files)
    whole = [_window_s(top, beforehand=False) for _ in range(rounds)]
    window = [_window_s(top, beforehand=True) for _ in range(rounds)]
    return statistics.median(whole), statistics.median(window)


def _make(tree: Path, files: int) -> None:
    for number in range(files):
        folder = tree / f"{number // 100:05}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 100:02}").write_bytes(b"x" * (1024 + number % 4096))
    os.sync()


def _window_s(top: Path, *, beforehand: bool) -> float:
    cut = top / "cut"
    shutil.rmtree(cut, ignore_errors=True)
    cut.mkdir()
    source, directory = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (top / "tree", cut))
    copy = TreeCopy(source, directory, b"raw", nobody)
    try:
        if beforehand:
            copy.copy_beforehand()
        for folder in sorted((top / "tree").iterdir())[:_CHANGED]:
            (folder / "00").write_bytes(b"changed")
        began = time.perf_counter()
        copy.finish(nobody)
        return time.perf_counter() - began
    finally:
        copy.close()
        os.close(source)
        os.close(directory)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", default="/var/tmp")
    return parser.parse_args()


if __name__ == "__main__":
    main()
