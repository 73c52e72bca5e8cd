"""Mounts are found by their ids, and never crossed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quiesce.errors import MountInsideError
from quiesce.files.mounts import (
    Mount,
    is_at_or_below,
    joined,
    mount_of,
    mounts_below,
    parse_mounts,
    read_mounts,
    require_no_mounts_below,
)

TABLE = rb"""21 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
35 21 254:0 /srv/a\040b /data/with\040space\011and\134\012 rw - ext4 /dev/vda rw
36 35 0:40 / /data/with\040space\011and\134\012/in rw - tmpfs none rw
"""


def test_a_table_is_read_with_its_escapes() -> None:
    """Spaces, tabs, newlines and backslashes in paths; any number of optional fields."""
    root, bind, inner = parse_mounts(TABLE.splitlines(keepends=True))
    assert bind == Mount(35, 21, b"254:0", b"/srv/a b", b"/data/with space\tand\\\n", b"ext4")
    assert root.file_system == b"ext4"
    assert inner.parent_id == bind.mount_id
    assert bind.inside(b"/data/with space\tand\\\n/x/y") == b"/srv/a b/x/y"
    assert bind.inside(bind.point) == b"/srv/a b"
    assert root.inside(b"/etc") == b"/etc"


def test_this_systems_table_is_read(directory: int) -> None:
    """Every line; the test's own directory lies on one of the mounts."""
    with open("/proc/self/mountinfo", "rb") as table:
        assert len(read_mounts()) == len(table.readlines())
    assert mount_of(directory, read_mounts()) is not None


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        (b"/a", b"/a", True),
        (b"/a/b", b"/a", True),
        (b"/ab", b"/a", False),
        (b"/", b"/", True),
        (b"/a", b"/", True),
        (b"/", b"/a", False),
    ],
)
def test_what_is_below_is_told_by_components(path: bytes, directory: bytes, expected: bool) -> None:
    """Not by the first letters."""
    assert is_at_or_below(path, directory) is expected


def test_paths_are_joined_without_a_second_slash() -> None:
    """Whatever the root is."""
    assert joined(b"/", b"/x") == b"/x"
    assert joined(b"/a", b"") == b"/a"
    assert joined(b"/", b"") == b"/"


def test_no_mounts_are_no_mounts(directory: int) -> None:
    """An ordinary directory has none inside."""
    assert mounts_below(directory) == ()
    require_no_mounts_below(directory)


_IN_A_NAMESPACE = """
import os, subprocess, sys
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
top = sys.argv[1]
def mount(*words): subprocess.run(["mount", *words], check=True)
for name in ("data/a/bound", "data/tmp", "data/b", "precious/deep"): os.makedirs(f"{top}/{name}")
for name in ("precious/file", "precious/deep/file", "data/file", "data/b/file", "data/a/one"):
    open(f"{top}/{name}", "w").close()
mount("--bind", f"{top}/precious", f"{top}/data/a/bound")
mount("--bind", f"{top}/precious/file", f"{top}/data/b/file")
mount("-t", "tmpfs", "none", f"{top}/data/tmp")
open(f"{top}/data/tmp/kept", "w").close()
root = os.open(f"{top}/data", os.O_RDONLY)
above = os.open(top, os.O_RDONLY)
"""


def _in_a_namespace(top: Path, code: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c"]
    if subprocess.run([*command[:-2], "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own to be had")
    subprocess.run([*command, _IN_A_NAMESPACE + code, str(top)], check=True)


def test_bind_mounts_of_the_same_device_are_seen(tmp_path: Path) -> None:
    """Directories, single files, other file systems."""
    _in_a_namespace(
        tmp_path,
        """
from quiesce.files.mounts import mounts_below, require_no_mounts_below
from quiesce.errors import MountInsideError
found = [os.path.relpath(path, os.fsencode(top)) for path in mounts_below(root)]
assert found == [b"data/a/bound", b"data/b/file", b"data/tmp"], found
assert mounts_below(os.open(f"{top}/data/a/bound", os.O_RDONLY)) == ()
assert mounts_below(os.open(f"{top}/precious", os.O_RDONLY)) == ()
try: require_no_mounts_below(root)
except MountInsideError as error: assert "data/a/bound" in str(error)
else: raise AssertionError
""",
    )


@pytest.mark.parametrize("openat2", [True, False])
def test_a_walk_crosses_no_mount(tmp_path: Path, openat2: bool) -> None:
    """What is mounted is listed; a bound file cannot be read."""
    _in_a_namespace(
        tmp_path,
        f"""
from quiesce.files import descriptors
descriptors.has_openat2 = lambda: {openat2}
from quiesce.files.walking import Walk
from quiesce.errors import MountInsideError
walk = Walk(root)
found = []
for entry in walk:
    found.append(entry.path)
    if entry.path == b"b/file":
        try: entry.open()
        except MountInsideError: continue
        raise AssertionError
assert found == [b"", b"a", b"a/one", b"b", b"b/file", b"file"], found
assert walk.mounts == [b"a/bound", b"tmp"], walk.mounts
assert not walk.problems
""",
    )


@pytest.mark.parametrize("openat2", [True, False])
def test_a_removal_crosses_no_mount(tmp_path: Path, openat2: bool) -> None:
    """What is mounted stays, with all that is in it, and is named."""
    _in_a_namespace(
        tmp_path,
        f"""
from quiesce.files import descriptors
descriptors.has_openat2 = lambda: {openat2}
from quiesce.files.removal import remove_tree
removal = remove_tree(above, b"data", unlock=True)
assert sorted(p.path for p in removal.left) == [b"data/a/bound", b"data/b/file", b"data/tmp"], removal.left
assert sorted(os.listdir(top + "/data")) == ["a", "b", "tmp"]
assert os.listdir(top + "/data/tmp") == ["kept"]
assert sorted(os.listdir(top + "/precious")) == ["deep", "file"]
assert os.listdir(top + "/precious/deep") == ["file"]
""",
    )


def test_nothing_is_exchanged_with_a_mount(tmp_path: Path) -> None:
    """Neither a mount point, nor across mounts."""
    _in_a_namespace(
        tmp_path,
        """
from quiesce.files.exchange import Named, exchange, move
from quiesce.errors import MountInsideError
os.mkdir(f"{top}/data/tmp/other")
tmp = os.open(f"{top}/data/tmp", os.O_RDONLY)
for one, other in (
    (Named.now(root, b"tmp"), Named.now(root, b"b")),
    (Named.now(above, b"precious"), Named.now(tmp, b"other")),
):
    for action, *arguments in ((exchange, one, other), (exchange, other, one), (move, one, tmp, b"new")):
        try: action(*arguments)
        except MountInsideError: continue
        raise AssertionError
""",
    )


def test_require_names_the_mounts(monkeypatch: pytest.MonkeyPatch, directory: int) -> None:
    """The first five, and how many more."""
    monkeypatch.setattr("quiesce.files.mounts.mounts_below", lambda _: tuple(b"/m%d" % n for n in range(8)))
    with pytest.raises(MountInsideError, match="/m0, /m1, /m2, /m3, /m4 and 3 more"):
        require_no_mounts_below(directory)
