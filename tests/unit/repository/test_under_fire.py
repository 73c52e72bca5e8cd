"""Trees are stored while programs write to them: at each cut, what is stored is what is there."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import random
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.files.metadata import EVERYTHING
from quiesce.repository import FileKey, Point, PointItem, PointKey, Repository, TreeEntry, TreeSaved
from quiesce.storage import MemoryStorage

#: 200 for the large size
CUTS = int(os.environ.get("QUIESCE_CUTS", "3"))
WRITERS = 2
SIZES = (0, 10, 5000, 20_000, 1_100_000)
MOST_DIRECTORIES = 15


class Fire:
    """Threads that create, rename, link, map, truncate, replace and remove, and can be held."""

    def __init__(self, tree: Path, seed: int) -> None:
        self.tree = tree
        self._may = threading.Event()
        self._held = threading.Semaphore(0)
        self._ended = False
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(seed * WRITERS + n),), daemon=True)
            for n in range(WRITERS)
        ]
        self._may.set()
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody write meanwhile."""
        self._may.clear()
        for _ in self._threads:
            self._held.acquire()
        yield
        self._may.set()

    def end(self) -> None:
        self._ended = True
        self._may.set()
        for thread in self._threads:
            thread.join()

    def _write(self, chance: random.Random) -> None:
        maps: list[mmap.mmap] = []
        while not self._ended:
            if not self._may.is_set():
                self._held.release()
                self._may.wait()
            with contextlib.suppress(OSError):
                self._do_something(chance, maps)
            for mapped in maps:
                mapped[100:108] = chance.randbytes(8)
            time.sleep(0.001)

    def _do_something(self, chance: random.Random, maps: list[mmap.mmap]) -> None:
        directories, files = self._there()
        directory, number = chance.choice(directories), chance.randrange(60)
        file = chance.choice(files) if files else directory / "none"
        if len(directories) > MOST_DIRECTORIES:
            shutil.rmtree(directories[1], ignore_errors=True)  # else it grows, and with it each look at it
        match chance.randrange(11):
            case 0:
                (directory / f"d{number}").mkdir()
            case 1 | 2:
                (directory / f"f{number}").write_bytes(chance.randbytes(chance.choice(SIZES)))
            case 3:
                file.rename(directory / f"f{number}")
            case 4:
                (directory / f"l{number}").hardlink_to(file)
            case 5:
                file.unlink()
            case 6:
                os.truncate(file, chance.randrange(400_000))
            case 7:
                self._replace_unseen(file, chance)
            case 8:
                chance.choice(directories[1:] or [directory / "none"]).rename(directory / f"d{number}")
            case 9:
                (directory / f"s{number}").symlink_to(f"f{number}")
            case _:
                self._map(maps)

    def _there(self) -> tuple[list[Path], list[Path]]:
        directories, files = [self.tree], []
        for place, inner, names in os.walk(self.tree):
            directories += [Path(place) / name for name in inner]
            files += [Path(place) / name for name in names]
        # who writes to a part of a map that is cut off is killed, so what is mapped is left alone
        return directories, [path for path in files if not path.is_symlink() and "mapped" not in path.name]

    def _replace_unseen(self, file: Path, chance: random.Random) -> None:
        """Put another file of the same size and time in its place."""
        before, other = file.stat(), file.with_name("other")
        other.write_bytes(chance.randbytes(before.st_size))
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.rename(file)

    def _map(self, maps: list[mmap.mmap]) -> None:
        if len(maps) >= 3:
            return
        path = self.tree / f"mapped-{threading.get_ident()}-{len(maps)}"
        path.write_bytes(bytes(8192))
        with path.open("r+b") as opened:
            maps.append(mmap.mmap(opened.fileno(), 8192))


class Copier:
    """Stores the tree again and again, each time knowing what it stored last."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._repository = Repository.create(MemoryStorage(), FileKey.new())
        self._last: PointItem | None = None
        self._count = 0

    def save(self) -> TreeSaved:
        self._count += 1
        descriptor = os.open(self._tree, os.O_RDONLY)
        with self._repository.write(threads=1) as session:
            self._last, saved = session.add_tree(descriptor, previous=self._last)
            session.commit(Point(key=self._key, made_at=1.0, items={"data": self._last}))
        os.close(descriptor)
        return saved

    def restored(self) -> dict[str, object]:
        target = self._tree.with_name("restored")
        target.mkdir()
        descriptor = os.open(target, os.O_RDONLY)
        self._repository.reader(self._key, threads=1).restore_tree("data", descriptor, allowed=EVERYTHING)
        os.close(descriptor)
        found = looked_at(target)
        shutil.rmtree(target)
        return found

    @property
    def _key(self) -> PointKey:
        return PointKey(deployment="shop", point=str(self._count), instance="web_1")


def looked_at(root: Path) -> dict[str, object]:
    """Return what is there: the judge, which shares no code with what is judged."""
    found: dict[str, object] = {}
    for place, directories, files in os.walk(root):
        for path in (Path(place) / name for name in directories + files):
            status, content = path.lstat(), ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            links = 0 if path.is_dir() else status.st_nlink
            found[str(path.relative_to(root))] = status.st_mode, status.st_mtime_ns, links, content
    return found


@pytest.fixture(params=["tmp_path", "/dev/shm"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return an empty directory, on a disk and in memory."""
    if request.param != "tmp_path" and not os.access(request.param, os.W_OK):
        pytest.skip(f"there is no {request.param}")
    where = None if request.param == "tmp_path" else request.param
    with tempfile.TemporaryDirectory(dir=where or tmp_path) as directory:
        (Path(directory) / "tree").mkdir()
        yield Path(directory) / "tree"


def test_each_cut_is_what_was_there(tree: Path) -> None:
    """Whatever was stored of it while all wrote, and although what seems unchanged is not read."""
    fire, copier = Fire(tree, seed=1), Copier(tree)
    try:
        for _ in range(CUTS):
            time.sleep(0.2)
            copier.save()
            copier.restored()  # of a tree in motion: some state of each file, and always one that comes back
            with fire.held():
                assert not copier.save().problems
                assert copier.restored() == looked_at(tree)
    finally:
        fire.end()


def test_the_judge_notices_when_changes_are_missed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be worth nothing: here a file is unchanged by size and inode, whatever its times say."""

    def is_same(_: object, found: TreeEntry, status: os.stat_result) -> bool:
        return (found.size_bytes, found.inode) == (status.st_size, status.st_ino)

    monkeypatch.setattr("quiesce.repository.session.times_tell", lambda _root: True)
    monkeypatch.setattr("quiesce.repository.saving_trees.PreviousTree._is_same", is_same)
    fire, copier = Fire(tree, seed=2), Copier(tree)
    try:
        assert any(is_noticed(fire, copier) for _ in range(20))
    finally:
        fire.end()


def is_noticed(fire: Fire, copier: Copier) -> bool:
    time.sleep(0.2)
    with fire.held():
        copier.save()
        return copier.restored() != looked_at(fire.tree)
