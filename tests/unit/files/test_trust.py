"""Trusted is what nobody else can replace; a declared path leads to the same directory every time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.errors import QuiesceError, ResourceNotFoundError, UntrustedPathError, UsageError
from quiesce.files.trust import (
    open_declared,
    open_declared_by_component,
    require_trusted,
    why_directory_not_trusted,
    why_entries_not_trusted,
    why_not_trusted,
)

from .attackers import NOBODY


@pytest.mark.parametrize("path", ["", "data", "./data", "/", "//", "/srv/../data", "/srv/a\0b"])
def test_a_path_that_means_different_things_is_refused(kernel: bool, path: str) -> None:
    """Absolute, and without a way up."""
    with pytest.raises(UsageError):
        open_declared(path)


def test_a_declared_directory_is_held_by_its_parent(kernel: bool, tmp_path: Path) -> None:
    """It can be opened, and its path is told without links."""
    (tmp_path / "data").mkdir()
    with open_declared(f"{tmp_path}//./data/") as declared:
        root = declared.open()
        assert os.path.samestat(os.fstat(root), (tmp_path / "data").stat())
        assert declared.path == os.fsencode(tmp_path / "data")
        assert os.path.samestat(os.fstat(declared.parent), tmp_path.stat())
        os.close(root)


def test_what_does_not_exist_can_be_declared(kernel: bool, tmp_path: Path) -> None:
    """As long as the directory exists that it is to be made in."""
    with open_declared(tmp_path / "new") as declared:
        assert declared.name == b"new"
        with pytest.raises(FileNotFoundError):
            declared.open()
    for missing in ("nothing/new", "file/new"):
        (tmp_path / "file").touch()
        with pytest.raises(ResourceNotFoundError):
            open_declared(tmp_path / missing)


def test_links_of_ours_lead_to_the_same_directory_both_ways(kernel: bool, tmp_path: Path) -> None:
    """In the path and at its end: the entry is that of the directory itself, which can be exchanged."""
    (tmp_path / "real/data").mkdir(parents=True)
    (tmp_path / "to").symlink_to("real")
    (tmp_path / "real/again").symlink_to(f"{tmp_path}/to/../real/data")
    for path in ("to/data", "real/again", "to/again"):
        with open_declared(tmp_path / path) as declared:
            assert declared.path == os.fsencode(tmp_path / "real/data")
    (tmp_path / "real/new").symlink_to("made later")
    with open_declared(tmp_path / "to/new") as declared:
        assert declared.path == os.fsencode(tmp_path / "real/made later")


def test_links_in_a_circle_are_refused(kernel: bool, tmp_path: Path) -> None:
    """Without end there is no directory."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        open_declared(tmp_path / "a/data")


def test_a_link_that_leads_to_the_root_is_refused(kernel: bool, tmp_path: Path) -> None:
    """It cannot be exchanged with anything."""
    (tmp_path / "a").symlink_to("/")
    with pytest.raises(UsageError):
        open_declared(tmp_path / "a")


def test_a_link_of_somebody_else_is_refused(kernel: bool, playground: Path) -> None:
    """Whoever owns the data could lead root anywhere."""
    (playground / "user/data").symlink_to("/etc")
    os.chown(playground / "user/data", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UntrustedPathError, match=f"user {NOBODY} made it"):
        open_declared(playground / "user/data")
    with pytest.raises(UntrustedPathError):
        open_declared(playground / "user/data/ssl")


def test_a_link_of_roots_is_refused_where_somebody_else_could_have_put_it(
    kernel: bool, playground: Path
) -> None:
    """Its directory belongs to the user, who can give it any name."""
    (playground / "user/data").symlink_to("/etc")
    with pytest.raises(UntrustedPathError, match=f"belongs to user {NOBODY}"):
        open_declared(playground / "user/data")


def test_a_link_put_there_after_the_look_is_not_opened(kernel: bool, tmp_path: Path) -> None:
    """The name has to be that of a directory."""
    (tmp_path / "data").mkdir()
    with open_declared(tmp_path / "data") as declared:
        (tmp_path / "data").rmdir()
        (tmp_path / "data").symlink_to("/etc")
        with pytest.raises(NotADirectoryError):
            declared.open()


def test_a_declared_directory_may_be_a_mount_point(kernel: bool) -> None:
    """Whoever declares it means what is mounted there."""
    with open_declared("/proc") as declared:
        root = declared.open()
        assert "self" in os.listdir(root)
        os.close(root)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(names=st.lists(st.sampled_from(["dir", "link", "up", "file", "none", "lost"]), min_size=1, max_size=5))
def test_both_kernels_declare_the_same(tmp_path: Path, names: list[str]) -> None:
    """Component by component leads where openat2 leads, and fails where it fails."""
    top = tmp_path / "top"
    if not top.exists():
        for place in (top, top / "dir", top / "dir/dir"):
            place.mkdir()
            (place / "link").symlink_to("dir")
            (place / "up").symlink_to("../top/dir")
            (place / "lost").symlink_to("nowhere")
            (place / "file").touch()
    path = top.joinpath(*names)
    assert _declared(open_declared, path) == _declared(open_declared_by_component, path)


def test_what_is_ours_is_trusted(tmp_path: Path) -> None:
    """Owner, mode and all directories above: `/tmp` is sticky."""
    (tmp_path / "file").touch(mode=0o600)
    assert why_not_trusted(tmp_path / "file", private=True) == ""
    assert why_not_trusted(tmp_path / "not yet there") == ""
    require_trusted(tmp_path)


@pytest.mark.parametrize(
    ("mode", "why"), [(0o660, "written"), (0o602, "written"), (0o640, "read"), (0o604, "read")]
)
def test_a_file_that_others_can_write_or_read_is_not(tmp_path: Path, mode: int, why: str) -> None:
    """Reading counts for what is private only."""
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    assert f"can be {why} by others (mode {mode:04o})" in why_not_trusted(tmp_path / "file", private=True)
    assert bool(why_not_trusted(tmp_path / "file")) == (why == "written")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_to_is_not(tmp_path: Path, mode: int) -> None:
    """Above something of ours it may be sticky."""
    (tmp_path / "open/inner").mkdir(parents=True)
    (tmp_path / "open").chmod(mode)
    assert "can be written by others" in why_not_trusted(tmp_path / "open")
    assert bool(why_not_trusted(tmp_path / "open/inner")) == (mode != 0o1777)
    descriptor = os.open(tmp_path / "open/inner", os.O_RDONLY)
    assert bool(why_directory_not_trusted(descriptor)) == (mode != 0o1777)
    os.close(descriptor)
    descriptor = os.open(tmp_path / "open", os.O_RDONLY)
    assert bool(why_entries_not_trusted(descriptor)) == (mode != 0o1777)
    os.close(descriptor)
    with pytest.raises(UntrustedPathError, match="is not used"):
        require_trusted(tmp_path / "open")


def test_what_belongs_to_somebody_else_is_not_trusted(playground: Path) -> None:
    """Nor what is in it, whoever owns that."""
    (playground / "user/ours").mkdir()
    for path in ("user", "user/ours", "user/ours/new"):
        assert f"belongs to user {NOBODY}" in why_not_trusted(playground / path)
    (playground / "safe").mkdir()
    (playground / "safe/theirs").touch()
    os.chown(playground / "safe/theirs", NOBODY, NOBODY)
    assert f"belongs to user {NOBODY}" in why_not_trusted(playground / "safe/theirs")


def test_a_link_on_the_way_is_looked_at(playground: Path) -> None:
    """What it leads to may be ours, but the user could lead us elsewhere tomorrow."""
    (playground / "safe").mkdir()
    (playground / "user/link").symlink_to(playground / "safe")
    assert f"belongs to user {NOBODY}" in why_not_trusted(playground / "user/link")
    (playground / "link").symlink_to(playground / "safe")
    assert why_not_trusted(playground / "link") == ""


def _declared(opener: object, path: Path) -> object:
    assert callable(opener)
    try:
        with opener(path) as declared:
            return declared.path
    except QuiesceError as error:
        return type(error)
