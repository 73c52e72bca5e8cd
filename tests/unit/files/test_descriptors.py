"""Opening below a directory: names only, no link, no other mount, nothing special."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.errors import TreeChangedError, UnsafeNameError
from quiesce.files.descriptors import (
    DIRECTORY,
    Identity,
    checked_name,
    checked_path,
    open_below,
    open_by_component,
    open_directory,
    open_regular,
    path_of,
)
from quiesce.files.system_calls import _fdinfo_mount_id, has_openat2, mount_id


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"x" * 256])
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    """What does not name an entry of a directory is no name."""
    with pytest.raises(UnsafeNameError):
        checked_name(name)


@pytest.mark.parametrize("path", [b"", b"/etc/passwd", b"a//b", b"a/", b"a/../../b", b"./a", b"a/.", b".."])
def test_a_path_that_could_lead_out_is_refused(path: bytes) -> None:
    """A path of a tree consists of names, all the way."""
    with pytest.raises(UnsafeNameError):
        checked_path(path)


@given(st.lists(st.sampled_from([b"a", b"..", b"", b".", b"b\xff"]), min_size=1, max_size=5))
def test_a_checked_path_never_leads_up(names: list[bytes]) -> None:
    """Whatever is accepted stays below, when it is looked at as text."""
    path = b"/".join(names)
    try:
        checked_path(path)
    except UnsafeNameError:
        return
    assert os.path.normpath(b"/top/" + path) == b"/top/" + path


def test_what_is_below_is_opened(kernel: bool, tmp_path: Path, directory: int) -> None:
    """A file several directories down is opened by one call."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"content")
    descriptor = open_below(directory, b"a/b/c", os.O_RDONLY)
    assert os.read(descriptor, 100) == b"content"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY], ids=str)
@pytest.mark.parametrize("path", [b"link/file", b"sub/link/file", b"link", b"file_link", b"dangling"])
def test_no_link_is_followed(kernel: bool, tmp_path: Path, directory: int, path: bytes, flags: int) -> None:
    """A link on the way, or at its end, is an error, wherever it leads."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("sub")
    (tmp_path / "sub/link").symlink_to(tmp_path)
    (tmp_path / "file_link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(OSError) as error:
        open_below(directory, path, flags)
    assert error.value.errno in {errno.ELOOP, errno.ENOTDIR}


def test_a_path_longer_than_the_kernel_takes_is_opened(kernel: bool, deep: int) -> None:
    """Depth has no limit."""
    parts = [b"d" * 200] * 60
    below = os.dup(deep)
    for name in parts:
        os.mkdir(name, dir_fd=below)
        below, above = os.open(name, DIRECTORY, dir_fd=below), below
        os.close(above)
    descriptor = open_below(deep, b"/".join(parts), DIRECTORY)
    assert Identity.of_descriptor(descriptor) == Identity.of_descriptor(below)
    os.close(descriptor)
    os.close(below)


def test_only_the_expected_directory_is_opened(kernel: bool, tmp_path: Path, directory: int) -> None:
    """One that took the other's name is not opened."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    expected = Identity.of_name(directory, b"one")
    os.close(open_directory(directory, b"one", expected))
    (tmp_path / "one").rename(tmp_path / "away")
    (tmp_path / "other").rename(tmp_path / "one")
    with pytest.raises(TreeChangedError):
        open_directory(directory, b"one", expected)


def test_a_pipe_in_place_of_a_file_is_not_opened(kernel: bool, tmp_path: Path, directory: int) -> None:
    """A writer that waits for somebody to open a pipe goes on waiting."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TreeChangedError):
        open_regular(directory, b"pipe")
    with pytest.raises(OSError) as error:
        os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    assert error.value.errno == errno.ENXIO


def test_no_descriptor_is_left_open(kernel: bool, tmp_path: Path, directory: int) -> None:
    """Neither success nor failure leaves a descriptor behind."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("sub")
    before = len(os.listdir("/proc/self/fd"))
    os.close(open_regular(directory, b"file"))
    for opener, name in ((open_regular, b"sub"), (open_directory, b"file"), (open_directory, b"link")):
        with pytest.raises(TreeChangedError):
            opener(directory, name)
    for path in (b"sub/nothing", b"file/x", b"nothing/x"):
        with pytest.raises(OSError):
            open_below(directory, path, os.O_RDONLY)
    assert len(os.listdir("/proc/self/fd")) == before


def test_both_ways_to_the_mount_id_agree(directory: int) -> None:
    """What statx says is what /proc says."""
    assert mount_id(directory) == _fdinfo_mount_id(directory)


def test_an_open_directory_tells_where_it_is(tmp_path: Path, directory: int) -> None:
    """By the kernel's word, after a rename too."""
    assert path_of(directory) == os.fsencode(tmp_path)


_NAMES = st.sampled_from([b"dir", b"file", b"link", b"up", b"pipe", b"none"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    path=st.lists(_NAMES, min_size=1, max_size=4).map(b"/".join), flags=st.sampled_from([0, os.O_DIRECTORY])
)
def test_both_kernels_open_the_same(tmp_path: Path, path: bytes, flags: int) -> None:
    """Component by component leads where openat2 leads, or fails where it fails."""
    if not has_openat2():
        pytest.skip("this kernel has no openat2")
    _tree_of_every_kind(tmp_path)
    flags |= os.O_RDONLY | os.O_NONBLOCK
    top = os.open(tmp_path, DIRECTORY)
    try:
        assert _outcome(open_by_component, top, path, flags) == _outcome(open_below, top, path, flags)
    finally:
        os.close(top)


def _tree_of_every_kind(root: Path) -> None:
    for place in (root, root / "dir", root / "dir/dir"):
        place.mkdir(exist_ok=True)
        (place / "file").touch()
        if not (place / "link").is_symlink():
            (place / "link").symlink_to("dir")
            (place / "up").symlink_to("..")
            os.mkfifo(place / "pipe")


def _outcome(opener: object, top: int, path: bytes, flags: int) -> object:
    assert callable(opener)
    try:
        descriptor = opener(top, path, flags)
    except OSError as error:
        return "refused" if error.errno in {errno.ELOOP, errno.ENOTDIR} else error.errno
    try:
        return Identity.of_descriptor(descriptor)
    finally:
        os.close(descriptor)
