"""A small file is the old one or the new one, whatever happens, and nothing is left beside it."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.files import durable
from quiesce.files.durable import (
    is_unfinished,
    make_private_directory,
    remove_unfinished,
    storage_errors,
    write_durably,
)

_KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from quiesce.files import durable
def dies(*arguments, **more): os.kill(os.getpid(), 9)
setattr(os, sys.argv[2], dies)
durable.write_durably(Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_file_is_replaced_and_private(tmp_path: Path) -> None:
    """Whatever the mode of what was there, and whatever the umask."""
    path = tmp_path / "file"
    path.touch(mode=0o666)
    old = os.umask(0)
    try:
        write_durably(path, b"one")
        os.umask(0o777)
        write_durably(path, b"two")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_what_a_killed_writer_left_is_used_up_by_the_next(tmp_path: Path, call: str) -> None:
    """The old file is there until then, and one leftover at most, known by its name."""
    path = tmp_path / "file"
    write_durably(path, b"old")
    for _ in range(3):
        command = [sys.executable, "-c", _KILLED_WHILE_WRITING, str(path), call]
        assert subprocess.run(command, check=False).returncode == -9
    assert path.read_bytes() == b"old"
    [left] = set(os.listdir(tmp_path)) - {"file"}
    assert is_unfinished(left)
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_leftovers_of_names_that_are_not_written_again_are_removed(tmp_path: Path) -> None:
    """But not what is being written just now."""
    command = [sys.executable, "-c", _KILLED_WHILE_WRITING, str(tmp_path / "file"), "rename"]
    subprocess.run(command, check=False)
    (tmp_path / ".kept").touch()
    with durable._unfinished_file(os.open(tmp_path, os.O_RDONLY), b".busy.quiesce-new"):
        remove_unfinished(tmp_path)
        assert sorted(os.listdir(tmp_path)) == [".busy.quiesce-new", ".kept"]


def test_many_writers_of_one_file_wait_for_each_other(tmp_path: Path) -> None:
    """What is there in the end is one writer's, whole."""
    path = tmp_path / "file"
    contents = [bytes([letter]) * 5000 for letter in b"abcdefgh"]

    def writes(content: bytes) -> None:
        for _ in range(20):
            write_durably(path, content)
            assert path.read_bytes() in contents

    threads = [threading.Thread(target=writes, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_a_short_write_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing beside it; the error says that there is no room."""
    path = tmp_path / "file"
    write_durably(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(NonRecoverableError, match="cannot write it"), storage_errors("write it"):
            write_durably(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("what", ["link", "pipe", "open to others", "another name"])
def test_what_others_put_in_its_way_is_not_written_to(tmp_path: Path, what: str) -> None:
    """Neither through a link, nor into a file that somebody else holds or reads."""
    victim, trap = tmp_path / "victim", tmp_path / ".file.quiesce-new"
    victim.write_bytes(b"untouched")
    if what == "link":
        trap.symlink_to(victim)
    elif what == "pipe":
        os.mkfifo(trap)
    elif what == "another name":
        trap.hardlink_to(victim)
    else:
        trap.touch(mode=0o666)
        trap.chmod(0o666)
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert victim.read_bytes() == b"untouched"


@pytest.mark.parametrize("below", ["nope", "nope/deep"])
def test_where_no_directory_can_be_made_it_is_said(below: str) -> None:
    """The kernel says of /proc what it says when a parent was just removed, which is tried again."""
    with pytest.raises((OSError, ResourceNotFoundError)):
        make_private_directory(Path("/proc", below))


def test_a_directory_is_made_while_others_remove_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = [], os.mkdir

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        made.append(name)
        if len(made) == 2:
            (tmp_path / "parent").rmdir()
        make(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir)
    make_private_directory(tmp_path / "parent" / "child")
    assert (tmp_path / "parent" / "child").is_dir()
    assert len(made) == 4
