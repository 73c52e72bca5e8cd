"""Copies that are begun before the window: whatever changes, the cut is the tree as it is at the end."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quiesce.errors import TreeChangedError
from quiesce.files.content import nobody
from quiesce.files.mounts import times_tell
from quiesce.files.walking import Entry
from quiesce.providers.host import cuts, tree_copies
from quiesce.providers.host.taking import CutTally, Taker
from quiesce.providers.host.tree_copies import TreeCopy

from .test_directory import fill, picture

BIG = 300_000


class Copying:
    """A tree and the copy of it that is brought up to date."""

    def __init__(self, base: Path) -> None:
        self.data, self.cut, self._stack = base / "data", base / "cut", contextlib.ExitStack()
        self.data.mkdir()
        self.cut.mkdir()

    def begin(self) -> TreeCopy:
        with opened(self.data) as source, opened(self.cut) as directory:
            copy = TreeCopy(source, directory, b"raw", nobody)
        self._stack.callback(copy.close)
        return copy

    def built(self) -> Path:
        """Return the tree that comes of the cut."""
        shutil.rmtree(self.cut / "content", ignore_errors=True)
        with opened(self.cut) as directory, opened(self.cut / "raw") as raw:
            cuts.settle(raw)
            assert not cuts.assemble(raw, directory, b"content", nobody)
        return self.cut / "content"

    def names(self) -> list[bytes]:
        with opened(self.cut / "raw") as raw:
            return [entry.path for entry in cuts.entries_of(raw)]

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def copying(tmp_path: Path) -> Iterator[Copying]:
    made = Copying(tmp_path)
    yield made
    made.close()


@pytest.fixture
def believing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is unchanged be believed at once, as if it were old."""
    monkeypatch.setattr(tree_copies, "_YOUNG_S", -3600.0)


def wait_for_a_tick() -> None:
    time.sleep(0.03)


def finished(copying: Copying, change: Callable[[Path], object]) -> CutTally:
    copy = copying.begin()
    copy.copy_beforehand()
    wait_for_a_tick()
    change(copying.data)
    return copy.finish(nobody)


def rename_directory(data: Path) -> None:
    (data / "deep").rename(data / "moved")


def replace_directory(data: Path) -> None:
    shutil.rmtree(data / "deep")
    (data / "deep").write_text("a file now")


def replace_file(data: Path) -> None:
    (data / ("long" * 30)).unlink()
    (data / ("long" * 30)).mkdir()
    (data / ("long" * 30) / "in it").write_text("x")


def exchange(data: Path) -> None:
    """Let two directories change places: all their entries have stayed the same."""
    (data / "deep").rename(data / "aside")
    (data / "empty").rename(data / "deep")
    (data / "aside").rename(data / "empty")


def remake(data: Path) -> None:
    """Remove a tree, and make another of the same name."""
    shutil.rmtree(data / "deep")
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "other").write_text("y")


def keep_time(data: Path) -> None:
    path = data / "deep" / "er" / "ümläut \n file"
    status = path.stat()
    path.write_bytes(os.urandom(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_through_map(data: Path) -> None:
    with (data / "deep" / "er" / "ümläut \n file").open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        page[:5] = b"12345"


CHANGES: list[Callable[[Path], object]] = [
    lambda data: None,
    lambda data: (data / "new").write_bytes(b"n" * BIG),
    lambda data: (data / "deep" / "er" / "new").write_text("n"),
    lambda data: (data / "same").unlink(),
    lambda data: (data / "run.sh").unlink(),
    lambda data: (data / "third").hardlink_to(data / "run.sh"),
    lambda data: (data / "deep" / "linked").hardlink_to(data / "deep" / "er" / "ümläut \n file"),
    lambda data: (data / "run.sh").write_text("#!/bin/bash\n"),
    lambda data: (data / "run.sh").chmod(0o600),
    lambda data: (data / "deep").chmod(0o700),
    lambda data: (data / "empty").rmdir(),
    lambda data: (data / "to nowhere").unlink(),
    lambda data: data.chmod(0o711),
    keep_time,
    write_through_map,
    rename_directory,
    replace_directory,
    replace_file,
    exchange,
    remake,
]


@pytest.mark.usefixtures("believing")
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_the_copy_is_in_the_cut(
    copying: Copying, change: Callable[[Path], object]
) -> None:
    fill(copying.data)

    finished(copying, change)

    assert picture(copying.built()) == picture(copying.data)


@pytest.mark.usefixtures("believing")
def test_the_window_takes_only_what_has_changed(copying: Copying) -> None:
    for number in range(200):
        (copying.data / f"{number}").write_text("x" * number)

    tally = finished(copying, lambda data: (data / "7").write_text("changed"))

    assert tally.taken == 1
    assert (tally.entries, tally.changed) == (201, [])
    assert tally.size_bytes == sum(path.stat().st_size for path in copying.data.iterdir())


@pytest.mark.usefixtures("believing")
def test_moving_a_directory_takes_the_other_names_of_what_is_in_it(copying: Copying) -> None:
    """The inode has not changed, but the name under which its content was listed is gone."""
    (copying.data / "a").mkdir()
    (copying.data / "a" / "x").write_text("content")
    (copying.data / "b").mkdir()
    (copying.data / "b" / "x").hardlink_to(copying.data / "a" / "x")

    finished(copying, lambda data: (data / "a").rename(data / "c"))

    built = copying.built()
    assert picture(built) == picture(copying.data)
    assert (built / "b" / "x").samefile(built / "c" / "x")


def change_places(data: Path) -> None:
    (data / "a").rename(data / "aside")
    (data / "b").rename(data / "a")
    (data / "aside").rename(data / "b")


def move_below_another(data: Path) -> None:
    (data / "n").mkdir()
    (data / "a").rename(data / "n" / "a")
    (data / "n").rename(data / "c")
    (data / "c" / "a").rename(data / "a")


def make_anew_above(data: Path) -> None:
    (data / "n").mkdir()
    (data / "top" / "sub").rename(data / "n" / "sub")
    (data / "top").rmdir()
    (data / "n").rename(data / "top")


@pytest.mark.usefixtures("believing")
@pytest.mark.parametrize("change", [change_places, move_below_another, make_anew_above])
def test_files_of_several_names_are_not_lost_with_directories_that_move(
    copying: Copying, change: Callable[[Path], object]
) -> None:
    """Their inodes and all of their names are as before, but what was listed of the directories is not."""
    for names in (("a/f", "b/f"), ("top/sub/x", "top/sub/y")):
        for name in names:
            (copying.data / name).parent.mkdir(parents=True, exist_ok=True)
        (copying.data / names[0]).write_text(names[0])
        (copying.data / names[1]).hardlink_to(copying.data / names[0])

    finished(copying, change)

    assert picture(copying.built()) == picture(copying.data)


@pytest.mark.usefixtures("believing")
@pytest.mark.parametrize("beforehand", [False, True])
def test_no_name_is_a_link_to_one_that_vanished_while_it_was_taken(
    copying: Copying, monkeypatch: pytest.MonkeyPatch, beforehand: bool
) -> None:
    copy, take = copying.begin(), Taker.take
    if beforehand:
        copy.copy_beforehand()
    (copying.data / "a").write_text("content")
    for name in ("b", "c"):
        (copying.data / name).hardlink_to(copying.data / "a")

    def vanishing(taker: Taker, entry: Entry) -> bool:
        if entry.path == b"a":
            (copying.data / "a").unlink()
        return take(taker, entry)

    monkeypatch.setattr(Taker, "take", vanishing)
    tally = copy.finish(nobody)

    assert b"a" in tally.changed
    built = copying.built()
    assert sorted(path.name for path in built.iterdir()) == ["b", "c"]
    assert (built / "c").read_text() == "content"
    assert (built / "b").samefile(built / "c")


@pytest.mark.usefixtures("believing")
def test_a_big_file_that_could_not_be_taken_again_is_not_in_the_cut(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied of it before was let go: nothing may name that any more."""
    (copying.data / "big").write_bytes(b"1" * BIG)
    (copying.data / "other").write_text("kept")
    copy, take = copying.begin(), Taker.take
    copy.copy_beforehand()
    (copying.data / "big").write_bytes(b"2" * BIG)

    def failing(taker: Taker, entry: Entry) -> bool:
        if entry.path == b"big":
            raise TreeChangedError("a file became shorter while it was copied")
        return take(taker, entry)

    monkeypatch.setattr(Taker, "take", failing)
    copy.copy_beforehand()
    tally = copy.finish(nobody)

    assert tally.changed == [b"big"]
    assert [path.name for path in copying.built().iterdir()] == ["other"]


def test_what_is_young_is_taken_again_although_it_looks_the_same(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick a file can be written to twice, and have one time."""
    monkeypatch.setattr(tree_copies.time, "sleep", lambda _: None)
    monkeypatch.setattr(tree_copies, "_version", lambda status: status.st_ino)
    (copying.data / "file").write_text("before")

    finished(copying, lambda data: (data / "file").write_text("after!"))

    assert (copying.built() / "file").read_text() == "after!"


def test_the_pass_before_the_window_waits_until_what_was_written_is_old(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a tree that was just unpacked would be taken whole within the window."""
    for number in range(600):
        (copying.data / f"{number}").write_text("x")
    rested: list[float] = []
    monkeypatch.setattr(TreeCopy, "_rest", lambda _self, seconds: rested.append(seconds))

    copy = copying.begin()
    copy.copy_beforehand()

    assert rested


def test_no_pass_lists_by_a_descriptor_that_was_listed_before(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On btrfs it lists what was there when it was listed last: new files would not be in the cut."""
    copy, list_directory, listed = copying.begin(), os.listdir, []

    def listing(directory: int) -> list[str]:
        listed.append(directory)
        return list_directory(directory)

    monkeypatch.setattr(os, "listdir", listing)
    copy.finish(nobody)
    assert listed
    assert copy.source not in listed


@pytest.mark.usefixtures("believing")
def test_an_interrupted_settlement_is_repeated(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(copying.data)
    finished(copying, rename_directory)

    with opened(copying.cut / "raw") as raw, monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cuts.settle(raw)

    assert picture(copying.built()) == picture(copying.data)


@pytest.mark.usefixtures("believing")
@pytest.mark.parametrize("seed", range(20))
def test_any_history_of_passes_ends_in_the_tree_as_it_is(copying: Copying, seed: int) -> None:
    """The judge is a copy that was not begun before."""
    dice = random.Random(seed)
    world = World(copying.data, dice)
    for _ in range(30):
        world.change()
    copy = copying.begin()
    for _ in range(dice.randrange(1, 4)):
        copy.copy_beforehand()
        wait_for_a_tick()
        for _ in range(dice.randrange(12)):
            world.change()
    tally = copy.finish(nobody)

    assert picture(copying.built()) == picture(copying.data)
    with opened(copying.data) as source, opened(copying.cut) as directory:
        judge = tree_copies.cut_tree(source, directory, b"judge", nobody)
    assert (tally.entries, tally.size_bytes, tally.privileged) == (
        judge.entries,
        judge.size_bytes,
        judge.privileged,
    )
    with opened(copying.cut / "judge") as raw:
        assert copying.names() == [entry.path for entry in cuts.entries_of(raw)]


class World:
    """A tree in which anything happens."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self._root, self._dice = root, dice
        often = (self.make, self.write, self.move, self.make_directory)
        self._changes = (*often, *often, self.link, self.remove, self.set_mode, self.make_symbolic_link)

    def change(self) -> None:
        with contextlib.suppress(OSError, shutil.Error):
            self._dice.choice(self._changes)()

    def make(self) -> None:
        path = self._directory() / self._name()
        path.write_bytes(self._dice.randbytes(self._dice.choice((0, 5, 4000, BIG))))

    def write(self) -> None:
        path = self._file()
        status = path.stat()
        path.write_bytes(self._dice.randbytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def link(self) -> None:
        (self._directory() / self._name()).hardlink_to(self._file())

    def make_symbolic_link(self) -> None:
        (self._directory() / self._name()).symlink_to(self._name())

    def move(self) -> None:
        self._anything().rename(self._directory() / self._name())

    def remove(self) -> None:
        path = self._anything()
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()

    def make_directory(self) -> None:
        (self._directory() / self._name()).mkdir()

    def set_mode(self) -> None:
        self._anything().chmod(self._dice.choice((0o600, 0o755, 0o4755)))

    def _name(self) -> str:
        return self._dice.choice("abcdefgh") + self._dice.choice(("", "-", ".x", "ö"))

    def _directory(self) -> Path:
        return self._dice.choice([self._root, *(path for path in self._all() if path.is_dir())])

    def _file(self) -> Path:
        files = [path for path in self._all() if stat.S_ISREG(path.lstat().st_mode)]
        return self._dice.choice(files or [self._root / "none"])

    def _anything(self) -> Path:
        return self._dice.choice(self._all() or [self._root / "none"])

    def _all(self) -> list[Path]:
        return sorted(self._root.rglob("*"))


def test_only_file_systems_whose_times_tell_are_copied_beforehand(tmp_path: Path) -> None:
    with opened(Path("/dev/shm")) as shared:
        assert not times_tell(shared)
