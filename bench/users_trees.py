"""A tree of many small files walked, read, hashed and removed: CPU seconds beside `tar` and `rm`.

Usage: python bench/users_trees.py [DIRECTORY] [FILES]. The tree is made below DIRECTORY (default: /tmp) and removed.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quiesce.files.metadata import Metadata
from quiesce.files.removal import remove_tree
from quiesce.files.walking import Walk

FOLDERS = 1000


def main() -> int:
    """Measure and print one line each."""
    place = sys.argv[1] if len(sys.argv) > 1 else "/tmp"
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with tempfile.TemporaryDirectory(dir=place) as directory:
        top = Path(directory)
        make(top / "tree", files)
        measure("walk", lambda: walk(top / "tree"))
        measure("walk, metadata", lambda: walk(top / "tree", metadata=True))
        measure("walk, read, sha256", lambda: walk(top / "tree", content=True))
        measure("walk, metadata, read, sha256", lambda: walk(top / "tree", metadata=True, content=True))
        measure("tar cf - | cat", lambda: shell("tar cf - tree | cat > /dev/null", top))
        measure(
            "find -type f | sha256sum",
            lambda: shell("find tree -type f -print0 | xargs -0 sha256sum > /dev/null", top),
        )
        measure("remove_tree", lambda: remove(top, b"tree"))
        make(top / "tree", files)
        measure("rm -rf", lambda: shell("rm -rf tree", top))
    return 0


def make(top: Path, files: int) -> None:
    content = os.urandom(8192)
    for folder in range(FOLDERS):
        (top / f"{folder:04}").mkdir(parents=True)
        for number in range(files // FOLDERS):
            size = 1000 + (folder * 31 + number * 977) % 15000
            (top / f"{folder:04}/file{number:04}").write_bytes((content * 2)[:size])
    os.sync()


def walk(top: Path, *, metadata: bool = False, content: bool = False) -> None:
    root = os.open(top, os.O_RDONLY)
    for entry in Walk(root):
        if not (metadata or (content and entry.is_regular)):
            continue
        descriptor = entry.open()
        if metadata:
            Metadata.of_descriptor(descriptor)
        if content and entry.is_regular:
            digest = hashlib.sha256()
            while data := os.read(descriptor, 1 << 20):
                digest.update(data)
            digest.digest()
        os.close(descriptor)
    os.close(root)


def remove(top: Path, name: bytes) -> None:
    directory = os.open(top, os.O_RDONLY)
    assert remove_tree(directory, name).complete
    os.close(directory)


def shell(command: str, top: Path) -> None:
    subprocess.run(["sh", "-c", command], cwd=top, check=True)


def measure(what: str, action: Callable[[], object]) -> None:
    before, began = spent(), time.perf_counter()
    action()
    user, system = (after - was for after, was in zip(spent(), before, strict=True))
    wall = time.perf_counter() - began
    print(f"{what:34} {user + system:6.2f} s CPU ({user:5.2f} user, {system:5.2f} system), {wall:6.2f} s")


def spent() -> tuple[float, float]:
    ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + theirs.ru_utime, ours.ru_stime + theirs.ru_stime


if __name__ == "__main__":
    sys.exit(main())
