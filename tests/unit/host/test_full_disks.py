"""A restore onto a real file system that has room for a part of it only, whichever part that is.

What was there stays, byte for byte; nothing half-made is left; with room, the next one succeeds.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.former_state import Side
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.providers import host

from .machine import Machine, Node

_SIZE = 1 << 20
#: how much room is left for the restore, in bytes
ROOMS = [0, 4096, 8192, 20_480, 61_440, 122_880, 245_760]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, with a limit on its files, too."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},nr_inodes=64,mode=755", "none", str(place)], check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def seen(place: Path) -> str:
    """What another program reads: names and checksums of everything that is no database's journal."""
    command = "find . -type f ! -name filler -print0 | sort -z | xargs -0 -r sha256sum"
    return subprocess.run(["sh", "-c", command], cwd=place, check=True, capture_output=True, text=True).stdout


def leave_room(disk: Path, size: int) -> None:
    """Fill the file system until *size* bytes are free."""
    space = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(max(0, space.f_bavail * space.f_frsize - size)))


@pytest.mark.parametrize("room", ROOMS)
def test_a_directory_is_as_it_was_or_restored(machine: Machine, disk: Path, room: int) -> None:
    data = disk / "data"
    data.mkdir()
    node = Node(host.DIRECTORY, path=str(data))
    for number in range(5):
        (data / f"file{number}").write_bytes(os.urandom(40_000))
    saved = seen(data)
    machine.save(node, full=True)
    (data / "file0").write_bytes(os.urandom(10_000))
    (data / "file4").unlink()
    former = seen(disk)
    _restore_twice(machine, node, disk, room, former)
    assert seen(data) == saved
    machine.do(node, Operation.CONFIRM, execution="restore1", parameters=Parameters())
    machine.do(node, Operation.REVERT, parameters=Parameters(undo_to=Side.FORMER))
    assert seen(data) == former.replace("./data/", "./")


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_is_as_it_was_or_restored(machine: Machine, disk: Path, room: int, mode: str) -> None:
    path = disk / "shop.db"
    node = Node(host.SQLITE_ALONE, path=str(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE words (word)")
        connection.executemany("INSERT INTO words VALUES (?)", [(f"saved {n}" * 20,) for n in range(900)])
    machine.save(node, full=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM words WHERE rowid > 450")
        connection.execute("UPDATE words SET word = 'former' WHERE rowid = 1")
    assert _words(path) == (450, "former")
    leave_room(disk, room)
    try:
        machine.do(node, Operation.APPLY, full=True, execution="restore1")
    except NonRecoverableError as error:
        _require_fitting(error)
        _nothing_half_made(disk)
        (disk / "filler").unlink()  # the reader needs room, too
        assert _words(path) == (450, "former")
    else:
        (disk / "filler").unlink()
    machine.do(node, Operation.APPLY, full=True, execution="restore1")
    assert _words(path)[0] == 900
    machine.do(node, Operation.CONFIRM, execution="restore1", parameters=Parameters())
    machine.do(node, Operation.REVERT, parameters=Parameters(undo_to=Side.FORMER))
    assert _words(path) == (450, "former")


def _restore_twice(machine: Machine, node: Node, disk: Path, room: int, former: str) -> None:
    leave_room(disk, room)
    try:
        machine.do(node, Operation.APPLY, full=True, execution="restore1")
    except NonRecoverableError as error:
        _require_fitting(error)
        assert seen(disk) == former
        _nothing_half_made(disk)
    else:
        assert room > 150_000
    (disk / "filler").unlink()
    machine.do(node, Operation.APPLY, full=True, execution="restore1")


def _require_fitting(error: NonRecoverableError) -> None:
    """Whoever restores has no choice of a repository."""
    assert "Make room" in error.hint
    assert "repository" not in error.hint


def _nothing_half_made(disk: Path) -> None:
    assert list(disk.glob(".quiesce-*")) == []


def _words(path: Path) -> tuple[int, str]:
    """How many words there are, and the first; the database is whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        [count] = connection.execute("SELECT count(*) FROM words").fetchone()
        [first] = connection.execute("SELECT word FROM words WHERE rowid = 1").fetchone()
        return count, str(first)
