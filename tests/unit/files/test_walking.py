"""A walk sees every entry once, follows nothing, and ends."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.errors import TreeChangedError
from quiesce.files.content import data_ranges
from quiesce.files.walking import REPLACED, Entry, Walk, everything


def paths(root: int, wanted: Callable[[Entry], bool] = everything) -> list[bytes]:
    return [entry.path for entry in Walk(root, wanted=wanted)]


def test_every_entry_comes_once_in_a_fixed_order(kernel: bool, tmp_path: Path, directory: int) -> None:
    """The root first, a directory before its entries, names by their bytes."""
    (tmp_path / "b/x").mkdir(parents=True)
    (tmp_path / "b/x/deep").touch()
    (tmp_path / "b.txt").touch()
    (tmp_path / "a").symlink_to("b")
    assert paths(directory) == [b"", b"a", b"b", b"b/x", b"b/x/deep", b"b.txt"]


def test_a_link_to_a_directory_is_a_link(tmp_path: Path, directory: int) -> None:
    """Its target is told byte for byte."""
    os.symlink(b"./a//b/", os.fsencode(tmp_path) + b"/link")
    *_, link = Walk(directory)
    assert link.is_link
    targets = [entry.target() for entry in Walk(directory) if entry.is_link]
    assert targets == [b"./a//b/"]


def test_a_name_that_is_no_text_comes_as_it_is(tmp_path: Path, directory: int) -> None:
    """Names are bytes."""
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\n")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\n/\xc3\x28")
    assert paths(directory) == [b"", b"\xff\n", b"\xff\n/\xc3\x28"]


def test_a_tree_deeper_than_the_limit_of_descriptors_is_walked(kernel: bool, deep: int) -> None:
    """Descriptors in use do not grow with depth, nor does the stack."""
    below = os.dup(deep)
    for _ in range(1500):
        os.mkdir(b"d", dir_fd=below)
        os.close(os.open(b"f", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        below, above = os.open(b"d", os.O_RDONLY, dir_fd=below), below
        os.close(above)
    os.close(below)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, soft), hard))
    try:
        found = paths(deep)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found) == 3001
    assert found[-1] == b"f"


def test_what_is_not_wanted_is_left_out_with_all_that_is_in_it(tmp_path: Path, directory: int) -> None:
    """A directory that is not wanted is not even opened."""
    (tmp_path / "cache/x").mkdir(parents=True)
    (tmp_path / "kept").touch()
    walk = Walk(directory, wanted=lambda entry: entry.name != b"cache")
    assert [entry.path for entry in walk] == [b"", b"kept"]


def test_an_entry_is_opened_as_it_was_seen(kernel: bool, tmp_path: Path, directory: int) -> None:
    """A file that was replaced between the look and the opening is not opened."""
    (tmp_path / "file").write_bytes(b"seen")
    (tmp_path / "other").write_bytes(b"not to be seen")
    for entry in Walk(directory):
        if entry.name == b"file":
            descriptor = entry.open()
            assert os.read(descriptor, 10) == b"seen"
            os.close(descriptor)
            (tmp_path / "other").rename(tmp_path / "file")
            with pytest.raises(TreeChangedError):
                entry.open()


@pytest.mark.parametrize("what", ["link", "directory", "pipe"])
def test_a_directory_swapped_just_before_it_is_entered_is_not(
    kernel: bool, tmp_path: Path, directory: int, what: str
) -> None:
    """It is reported, and what took its place is not looked into."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").touch()

    def swaps(entry: Entry) -> bool:
        if entry.name == b"dir":
            (tmp_path / "dir").rename(tmp_path / "was")
            _put(tmp_path, what)
        return entry.name not in {b"secret", b"was"}

    walk = Walk(directory, wanted=swaps)
    assert [entry.path for entry in walk] == [b""]
    assert [(problem.path, problem.reason) for problem in walk.problems] == [(b"dir", REPLACED)]


def test_what_is_gone_when_its_turn_comes_is_left_out(tmp_path: Path, directory: int) -> None:
    """On a live tree that is no problem."""
    for name in "abc":
        (tmp_path / name).touch()
    walk = Walk(directory)
    found = []
    for entry in walk:
        found.append(entry.path)
        if entry.name == b"a":
            (tmp_path / "b").unlink()
    assert found == [b"", b"a", b"c"]
    assert not walk.problems


def test_a_directory_moved_from_under_a_deep_walk_is_left_for_the_right_one(
    tmp_path: Path, directory: int
) -> None:
    """The directory above is never mistaken for the one that it is in now."""
    tmp_path.joinpath(*["d"] * 60).mkdir(parents=True)
    (tmp_path / "d/z").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/not to be seen twice").touch()
    found = []
    for entry in Walk(directory, wanted=lambda entry: entry.name != b"elsewhere"):
        found.append(entry.path)
        if entry.path.count(b"/") == 58:
            (tmp_path / "d/d/d").rename(tmp_path / "elsewhere/d")
    assert len(found) == 62
    assert found[-1] == b"d/z"


def test_a_walk_that_cannot_find_back_is_an_error(tmp_path: Path, directory: int) -> None:
    """When the directory above was renamed as well, nobody knows what was left out."""
    tmp_path.joinpath(*["d"] * 60).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()

    def renames(entry: Entry) -> bool:
        if entry.path.count(b"/") == 58:
            (tmp_path / "d/d/d").rename(tmp_path / "elsewhere/d")
            (tmp_path / "d").rename(tmp_path / "renamed")
        return entry.name != b"elsewhere"

    with pytest.raises(TreeChangedError):
        paths(directory, renames)


def test_a_walk_that_ends_early_leaves_nothing_open(tmp_path: Path, directory: int) -> None:
    """Whoever leaves the loop owes nothing but to close the generator."""
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError):
        _stops_at(Walk(directory), b"a/b/c/d")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_parts_of_a_file_that_hold_data_are_known(tmp_path: Path) -> None:
    """Reading them alone is reading all."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(8 << 20)
        file.write(b"x" * 5000)
        file.truncate(64 << 20)
    descriptor = os.open(path, os.O_RDONLY)
    found = list(data_ranges(descriptor, 64 << 20))
    os.close(descriptor)
    assert sum(length for _, length in found) < 1 << 20
    assert any(offset <= 8 << 20 < offset + length for offset, length in found)


_NAMES = st.binary(max_size=20).map(lambda raw: b"n" + raw.replace(b"\0", b"0").replace(b"/", b"|"))
_TREES = st.recursive(st.none(), lambda below: st.dictionaries(_NAMES, below, max_size=4), max_leaves=15)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tree=st.dictionaries(_NAMES, _TREES, max_size=5))
def test_any_tree_is_walked_whole(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object]
) -> None:
    """Every name that was made is seen, once, in order."""
    top = tmp_path_factory.mktemp("tree")
    made = sorted(_made(os.fsencode(top), b"", tree), key=lambda path: path.split(b"/"))
    descriptor = os.open(top, os.O_RDONLY)
    try:
        assert paths(descriptor)[1:] == made
    finally:
        os.close(descriptor)


def _made(top: bytes, prefix: bytes, tree: dict[bytes, object]) -> list[bytes]:
    made = []
    for name, below in tree.items():
        path = prefix + name
        made.append(path)
        if isinstance(below, dict):
            os.mkdir(top + b"/" + path)
            made += _made(top, path + b"/", below)
        else:
            os.close(os.open(top + b"/" + path, os.O_CREAT | os.O_WRONLY))
    return made


def _put(root: Path, what: str) -> None:
    if what == "link":
        (root / "dir").symlink_to("secret")
    elif what == "directory":
        (root / "secret").rename(root / "dir")
    else:
        os.mkfifo(root / "dir")


def _stops_at(walk: Walk, path: bytes) -> None:
    for entry in walk:
        if entry.path == path:
            raise RuntimeError
