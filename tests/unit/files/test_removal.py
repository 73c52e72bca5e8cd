"""A tree is removed whole, or what is left is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quiesce.errors import TreeChangedError, UnsafeNameError
from quiesce.files.descriptors import Identity
from quiesce.files.metadata import IMMUTABLE
from quiesce.files.removal import remove_tree
from quiesce.files.system_calls import inode_flags

Chattr = Callable[[str, Path], None]


def test_everything_goes_and_is_counted(kernel: bool, tmp_path: Path, directory: int) -> None:
    """Links go, not what they lead to."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    top = tmp_path / "tree"
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/b/file").touch()
    (top / "a/link").symlink_to(tmp_path / "outside")
    os.mkfifo(top / "pipe")
    heard: list[int] = []
    removal = remove_tree(directory, b"tree", progress=heard.append)
    assert removal.complete
    assert removal.removed == 7
    assert sum(heard) == 3
    assert os.listdir(tmp_path) == ["outside"]
    assert (tmp_path / "outside/file").exists()


@pytest.mark.parametrize("what", ["file", "link", "pipe", "nothing"])
def test_anything_else_than_a_tree_is_removed_as_well(tmp_path: Path, directory: int, what: str) -> None:
    """And nothing at all is fine."""
    if what == "file":
        (tmp_path / "x").touch()
    elif what == "link":
        (tmp_path / "x").symlink_to("/")
    elif what == "pipe":
        os.mkfifo(tmp_path / "x")
    assert remove_tree(directory, b"x").complete
    assert os.listdir(tmp_path) == []


def test_a_tree_deeper_than_the_limit_of_descriptors_is_removed(kernel: bool, deep: int) -> None:
    """By the same few descriptors as a flat one."""
    below = os.dup(deep)
    for _ in range(1300):
        os.mkdir(b"d", dir_fd=below)
        below, above = os.open(b"d", os.O_RDONLY, dir_fd=below), below
        os.close(above)
    os.close(below)
    assert remove_tree(deep, b"d").removed == 1300


def test_only_the_expected_tree_is_removed(tmp_path: Path, directory: int) -> None:
    """What has its name by now is not touched."""
    (tmp_path / "ours").mkdir()
    expected = Identity.of_name(directory, b"ours")
    (tmp_path / "ours").rename(tmp_path / "away")
    (tmp_path / "ours").mkdir()
    with pytest.raises(TreeChangedError):
        remove_tree(directory, b"ours", expected)
    assert (tmp_path / "ours").exists()


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b""])
def test_only_a_name_is_removed(directory: int, name: bytes) -> None:
    """No path leads out of the directory."""
    with pytest.raises(UnsafeNameError):
        remove_tree(directory, name)


def test_what_is_locked_stays_and_is_named(chattr: Chattr, tmp_path: Path, directory: int) -> None:
    """All else goes; another call with *unlock* removes the rest."""
    top = tmp_path / "tree"
    (top / "a/locked").mkdir(parents=True)
    (top / "a/locked/file").touch()
    (top / "a/free").touch()
    (top / "b").mkdir()
    (top / "b/log").touch()
    chattr("+i", top / "a/locked")
    chattr("+a", top / "b/log")
    removal = remove_tree(directory, b"tree")
    assert not removal.complete
    assert sorted((problem.path, problem.errno) for problem in removal.left) == [
        (b"tree/a/locked/file", errno.EPERM),
        (b"tree/b/log", errno.EPERM),
    ]
    assert not (top / "a/free").exists()
    assert remove_tree(directory, b"tree", unlock=True).complete
    assert os.listdir(tmp_path) == []


def test_an_empty_locked_directory_is_removed(chattr: Chattr, tmp_path: Path, directory: int) -> None:
    """Its own flags keep it, nothing that is in it."""
    (tmp_path / "tree/empty").mkdir(parents=True)
    chattr("+i", tmp_path / "tree/empty")
    assert not remove_tree(directory, b"tree").complete
    assert remove_tree(directory, b"tree", unlock=True).complete


def test_another_name_of_a_locked_file_stays_locked(chattr: Chattr, tmp_path: Path, directory: int) -> None:
    """Only ours goes."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "theirs").touch()
    (tmp_path / "tree/ours").hardlink_to(tmp_path / "theirs")
    chattr("+i", tmp_path / "theirs")
    assert remove_tree(directory, b"tree", unlock=True).complete
    descriptor = os.open(tmp_path / "theirs", os.O_RDONLY)
    try:
        assert inode_flags(descriptor) & IMMUTABLE
    finally:
        os.close(descriptor)


def test_what_comes_meanwhile_goes_too(tmp_path: Path, directory: int) -> None:
    """A directory that somebody still writes to is listed again, for a while."""
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/file").touch()
    late = iter(range(3))

    def adds(_: int) -> None:
        for number in late:
            (tmp_path / f"tree/a/{number}").touch()
            return

    assert remove_tree(directory, b"tree", progress=adds).complete


def test_who_never_stops_adding_is_not_waited_for(tmp_path: Path, directory: int) -> None:
    """The directory stays, and is named."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    removal = remove_tree(directory, b"tree", progress=lambda _: (tmp_path / "tree/more").touch())
    assert [(problem.path, problem.errno) for problem in removal.left] == [(b"tree", errno.ENOTEMPTY)]


def test_directories_of_ours_without_permissions_are_removed(tmp_path: Path, directory: int) -> None:
    """For anybody but root that takes *unlock*."""
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/file").touch()
    (tmp_path / "tree/a/b").chmod(0o000)
    (tmp_path / "tree/a").chmod(0o555)
    assert remove_tree(directory, b"tree", unlock=True).complete


def test_an_interrupted_removal_is_taken_up(tmp_path: Path, directory: int) -> None:
    """Whoever stops it may call it again."""
    for number in range(10):
        (tmp_path / f"tree/{number}").mkdir(parents=True)
        (tmp_path / f"tree/{number}/file").touch()

    def stops(removed: int) -> None:
        if removed:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        remove_tree(directory, b"tree", progress=stops)
    before = len(os.listdir("/proc/self/fd"))
    assert remove_tree(directory, b"tree").complete
    assert len(os.listdir("/proc/self/fd")) == before
