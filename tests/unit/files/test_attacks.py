"""A local user of no rights races root, who works on the user's tree: nothing outside is read or changed.

Each race lasts a second; `QUIESCE_RACE_S` makes it longer.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from quiesce.errors import QuiesceError, TreeChangedError, UntrustedPathError
from quiesce.files.descriptors import Identity
from quiesce.files.exchange import Named, exchange, move
from quiesce.files.metadata import Metadata
from quiesce.files.removal import remove_tree
from quiesce.files.trust import open_declared, why_not_trusted
from quiesce.files.walking import Walk
from quiesce.files.writing import Sync, TreeWriter, make_directory

from .attackers import NOBODY, as_user, racing
from .trees import Facts, facts

LASTS_S = float(os.environ.get("QUIESCE_RACE_S", "1"))
pytestmark = pytest.mark.timeout(LASTS_S + 120)
SECRET = b"only root may read this"

#: a tree with doubles of everything, and what they lead to
_PREPARE = """
outside = os.path.join(os.path.dirname(os.getcwd()), "outside")
os.makedirs("data/dir/sub/deep"); os.makedirs("twin/sub/deep")
for name in ("data", "data/dir", "data/dir/sub", "data/dir/sub/deep", "twin", "twin/sub"):
    with open(name + "/file", "w") as file: file.write("the user's own")
os.mkdir("doubles")
os.symlink(outside, "doubles/dir"); os.symlink(outside + "/file", "doubles/file")
os.symlink(outside + "/sub", "doubles/sub"); os.mkfifo("doubles/pipe")
os.mkdir("doubles/empty")
"""

#: one after the other, as quick as it goes
_SWAP = """
exchange("data/dir", "doubles/dir")
exchange("data/file", "doubles/file")
exchange("data/dir/sub", "doubles/sub")
exchange("data/dir/file", "doubles/pipe")
exchange("data/dir/sub/deep", "doubles/empty")
exchange("data/dir", "twin")
exchange("data/dir", "data/file")
"""


@pytest.fixture
def outside(playground: Path) -> Iterator[Path]:
    """Give a directory of root's that nobody else may enter; it has to be as it was when the test is over."""
    path = playground / "outside"
    (path / "sub/deep").mkdir(parents=True)
    for name in ("file", "sub/file", "sub/deep/file"):
        (path / name).write_bytes(SECRET)
    path.chmod(0o700)
    before = _everything(path)
    yield path
    assert _everything(path) == before


@pytest.fixture
def user(playground: Path, outside: Path) -> Path:
    """Give the user's directory, with ``data`` and what it is to be swapped for."""
    as_user(_PREPARE, playground / "user")
    return playground / "user"


def for_a_while(action: Callable[[], object]) -> int:
    """Do it again and again; return how often it went well."""
    went_well = 0
    end = time.monotonic() + LASTS_S
    while time.monotonic() < end:
        with suppress(QuiesceError, OSError):
            action()
            went_well += 1
    return went_well


def test_a_walk_reads_nothing_outside(kernel: bool, user: Path, outside: Path) -> None:
    """Directories, files, links and pipes change places all the time."""
    foreign = {Identity.of(path.lstat()) for path in (outside, *outside.rglob("*"))}
    read: list[bytes] = []
    seen: set[Identity] = set()

    def walks() -> None:
        with open_declared(user / "data") as declared:
            root = declared.open()
        try:
            for entry in Walk(root):
                seen.add(entry.identity)
                if entry.is_regular:
                    with suppress(QuiesceError, FileNotFoundError):
                        read.append(_content(entry.open()))
        finally:
            os.close(root)

    with racing(_SWAP, user, count=2):
        assert for_a_while(walks)
    assert read.count(b"the user's own") == len(read) > 0
    assert not seen & foreign


def test_a_removal_removes_nothing_outside(kernel: bool, user: Path, outside: Path) -> None:
    """The user makes the tree anew while it is removed, and swaps its many directories for links."""
    descriptor = os.open(user, os.O_RDONLY)
    makes = """
os.makedirs("data/0", exist_ok=True)
for number in range(1, 40):
    with contextlib.suppress(OSError): os.mkdir(f"data/{number}")
link, outside = f"doubles/{os.getpid()}", os.path.dirname(os.getcwd()) + "/outside"
for number in range(40):
    with contextlib.suppress(OSError): os.rmdir(link)
    with contextlib.suppress(OSError): os.symlink(outside, link)
    exchange(f"data/{number}", link)
"""
    with racing(makes, user, count=2):
        done = for_a_while(lambda: remove_tree(descriptor, b"data", unlock=True))
    os.close(descriptor)
    assert done


def test_a_restore_writes_nothing_outside(kernel: bool, user: Path, outside: Path) -> None:
    """The user owns the directory that the tree is made in, and swaps it for links and for his own."""
    descriptor = os.open(user, os.O_RDONLY)
    lures = """
os.makedirs("lure/dir", exist_ok=True)
exchange("new", "doubles/dir"); exchange("new", "lure")
exchange("new", "doubles/sub"); exchange("new", "twin")
"""
    folder = Metadata(mode=stat.S_IFDIR | 0o777, uid=NOBODY, gid=NOBODY, mtime_ns=0)
    file_ = Metadata(mode=stat.S_IFREG | 0o666, uid=NOBODY, gid=NOBODY, mtime_ns=0)

    def restores() -> None:
        remove_tree(descriptor, b"new")
        target = make_directory(descriptor, b"new")
        try:
            writer = TreeWriter(target, sync=Sync.LATER)
            writer.directory(b"dir", folder)
            writer.directory(b"sub", folder)
            for path in (b"file", b"dir/file", b"sub/file"):
                with writer.file(path, file_, 4) as file:
                    file.write(b"evil")
            writer.hard_link(b"sub/second", b"dir/file")
            writer.finish()
        finally:
            os.close(target)

    with racing(lures, user, count=2):
        done = for_a_while(restores)
    os.close(descriptor)
    assert done


def test_an_exchange_moves_nothing_outside(kernel: bool, user: Path, outside: Path, playground: Path) -> None:
    """Where it says that it is done, each is the expected one; the user can lose but what is his."""
    above, private = os.open(user, os.O_RDONLY), os.open(playground, os.O_RDONLY)

    def exchanges() -> None:
        remove_tree(private, b"made")
        os.close(make_directory(private, b"made"))
        target, new = Named.now(above, b"data"), Named.now(private, b"made")
        exchange(target, new)
        assert Identity.of_name(private, b"made") == target.identity

    with racing('exchange("data", "doubles/dir"); exchange("data", "twin")', user, count=2):
        for_a_while(exchanges)
    for descriptor in (above, private):
        os.close(descriptor)


def test_a_move_puts_nothing_over_what_is_there(kernel: bool, user: Path, outside: Path) -> None:
    """The user makes the name, again and again, just before it is used."""
    above = os.open(user, os.O_RDONLY)
    (user / "ours").mkdir(mode=0o700)
    ours = Named.now(above, b"ours")

    def moves() -> None:
        moved = move(ours, above, b"place")
        assert moved.identity == ours.identity
        move(moved, above, b"ours")

    with racing(
        'os.symlink("/etc", "place"); os.unlink("place"); os.mkdir("place"); os.rmdir("place")', user
    ):
        for_a_while(moves)
    os.close(above)


def test_a_state_directory_that_the_user_made_is_not_trusted(user: Path) -> None:
    """Nor one of root's that the user put there, nor one behind his link."""
    as_user('os.mkdir(".quiesce-data", 0o700); os.symlink("/root", ".quiesce-link")', user)
    assert f"belongs to user {NOBODY}" in why_not_trusted(user / ".quiesce-data")
    assert f"user {NOBODY} made it" in why_not_trusted(user / ".quiesce-link/x")
    with pytest.raises(UntrustedPathError):
        open_declared(user / ".quiesce-link")
    (user / "roots").mkdir(mode=0o700)
    as_user('os.rename("roots", ".quiesce-other")', user)
    assert f"{user} belongs to user {NOBODY}" in why_not_trusted(user / ".quiesce-other")


def test_a_directory_made_for_a_restore_is_not_the_users(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped between the making and the opening, by one of his own or one that is not empty."""
    descriptor = os.open(user, os.O_RDONLY)
    (user / "roots").mkdir(mode=0o700)
    (user / "roots/file").touch()
    real = os.mkdir
    for swapped in ("twin", "roots"):

        def swaps(*arguments: object, swapped: str = swapped, **more: object) -> None:
            real(*arguments, **more)  # type: ignore[arg-type]
            as_user(f'exchange("new", "{swapped}")', user)

        monkeypatch.setattr(os, "mkdir", swaps)
        with pytest.raises(TreeChangedError):
            make_directory(descriptor, b"new")
        monkeypatch.undo()
        remove_tree(descriptor, b"new")
    os.close(descriptor)


_MOUNTING = """
import ctypes, os, sys, threading, time
from contextlib import suppress
from quiesce.errors import QuiesceError
from quiesce.files import descriptors
from quiesce.files.removal import remove_tree
from quiesce.files.walking import Walk
top, lasts_s, openat2 = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "True"
descriptors.has_openat2 = lambda: openat2
libc = ctypes.CDLL(None)
precious = os.fsencode(top) + b"/precious"
places = [os.fsencode(top) + b"/tree/" + name for name in (b"a", b"a/b", b"c")]
going = True
def mounts():
    while going:
        for place in places:
            with suppress(OSError): os.makedirs(place)
            libc.mount(precious, place, None, 4096, None)
        for place in reversed(places):
            while libc.umount2(place, 2) == 0: pass
thread = threading.Thread(target=mounts); thread.start()
above = os.open(top, os.O_RDONLY)
mine = {os.stat(precious).st_ino, os.stat(precious + b"/file").st_ino, os.stat(precious + b"/deep").st_ino}
end, met = time.monotonic() + lasts_s, 0
while time.monotonic() < end:
    with suppress(QuiesceError, OSError):
        root = os.open(b"tree", os.O_RDONLY, dir_fd=above)
        walk = Walk(root)
        seen = {entry.status.st_ino for entry in walk}
        os.close(root)
        met += len(walk.mounts)
        assert not seen & mine, "walked into a mount"
    removal = remove_tree(above, b"tree", unlock=True)
    met += removal.left.count
going = False
thread.join()
assert met, "the race was no race"
assert sorted(os.listdir(precious)) == [b"b", b"deep", b"file"]
assert os.listdir(precious + b"/deep") == [b"file"]
"""


@pytest.mark.parametrize("openat2", [True, False])
def test_what_is_mounted_meanwhile_is_neither_walked_nor_removed(
    root_only: None, tmp_path: Path, openat2: bool
) -> None:
    """Bind mounts of the same device come and go inside a tree that is walked and removed."""
    alone = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own to be had")
    (tmp_path / "precious/deep").mkdir(parents=True)
    (tmp_path / "precious/file").touch()
    (tmp_path / "precious/deep/file").touch()
    # made through the mount by who mounts
    (tmp_path / "precious/b").mkdir()
    (tmp_path / "tree/a/b").mkdir(parents=True)
    command = [*alone, sys.executable, "-c", _MOUNTING, str(tmp_path), str(LASTS_S), str(openat2)]
    subprocess.run(command, check=True, timeout=LASTS_S + 60)


def _content(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1000)
    finally:
        os.close(descriptor)


def _everything(path: Path) -> tuple[Facts, set[tuple[int, int]]]:
    links = {(entry.lstat().st_ino, entry.lstat().st_nlink) for entry in path.rglob("*")}
    return facts(path), links
