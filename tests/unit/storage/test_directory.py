"""A directory as storage: power cuts, full disks, links, mounts, locks, and who may read it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quiesce.errors import (
    ObjectExistsError,
    ObjectLockedError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageFullError,
    UnreachableError,
    UntrustedPathError,
)
from quiesce.model.stored_object import object_name
from quiesce.storage import DirectoryStorage

NAME = object_name("packs/ab/abcd")
OTHER = object_name("packs/ab/other")

#: dies at the n-th call of one of these system calls; told by arguments: directory, exclusive, n
_CUT = """
import os, sys
from pathlib import Path
from quiesce.files import durable
from quiesce.model.stored_object import object_name
from quiesce.storage import DirectoryStorage
left = int(sys.argv[3])
def fused(function):
    def call(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **more)
    return call
storage = DirectoryStorage(Path(sys.argv[1]))
storage.prepare()
for name in ("mkdir", "fsync", "rename", "ftruncate", "fchmod", "link", "unlink"):
    setattr(os, name, fused(getattr(os, name)))
durable.write_all = fused(durable.write_all)
durable.renameat2 = fused(durable.renameat2)
storage.put(object_name("packs/ab/abcd"), b"new" * 10000, exclusive=sys.argv[2] == "exclusive")
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DirectoryStorage]:
    with closing(DirectoryStorage(tmp_path / "repository")) as storage:
        storage.prepare()
        yield storage


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    where = tmp_path / "mounted"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(where)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=False, capture_output=True)


@pytest.fixture
def chattr(tmp_path: Path) -> Iterator[Callable[[str, Path], None]]:
    def change(flags: str, path: Path) -> None:
        if subprocess.run(["chattr", flags, str(path)], check=False, capture_output=True).returncode:
            pytest.skip("this file system has no such flags, or you are not root")

    yield change
    subprocess.run(["chattr", "-R", "-f", "-i", "-a", str(tmp_path)], check=False, capture_output=True)


@pytest.mark.parametrize("how", ["replacing", "exclusive"])
def test_wherever_a_put_is_cut_the_object_is_whole_or_as_before(tmp_path: Path, how: str) -> None:
    """And the next put works, and nothing that was left stays after `remove_unfinished`."""
    for calls in range(40):
        place = tmp_path / f"{how}{calls}"
        with closing(DirectoryStorage(place)) as storage:
            storage.prepare()
            storage.put(OTHER, b"before")
            if how == "replacing":
                storage.put(NAME, b"old")
            cut = subprocess.run([sys.executable, "-c", _CUT, place, how, str(calls)], check=False)
            left = {found.name: storage.get(found.name) for found in storage.list()}
            before = {OTHER: b"before"} | ({NAME: b"old"} if how == "replacing" else {})
            assert left in (before, before | {NAME: b"new" * 10000})
            storage.put(NAME, b"next")
            storage.remove_unfinished()
            assert storage.get(NAME) == b"next"
            assert sorted(path.name for path in place.rglob("*") if path.is_file()) == ["abcd", "other"]
        if cut.returncode == 0:
            break
        assert cut.returncode == -signal.SIGKILL
    else:
        raise AssertionError("the put never came to its end")
    assert calls > 3, "the cuts must meet something"


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with closing(DirectoryStorage(tmp_path / "a" / "repository")) as storage:
            storage.prepare()
            storage.put(NAME, b"secret")
    finally:
        os.umask(old)
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_is_not_there_is_unreachable_and_is_not_made(tmp_path: Path) -> None:
    """An unmounted repository must not look like an empty one."""
    path = tmp_path / "mount" / "repository"
    with closing(DirectoryStorage(path)) as storage:
        for asked in (
            lambda: storage.put(NAME, b""),
            lambda: storage.get(NAME),
            lambda: list(storage.list()),
            lambda: storage.stat(NAME),
            lambda: storage.delete(NAME),
        ):
            with pytest.raises(UnreachableError, match="repository is not there"):
                asked()
    assert not path.parent.exists()


def test_a_file_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        DirectoryStorage(tmp_path / "file").prepare()


def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can do this")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(UntrustedPathError, match="link"):
        DirectoryStorage(tmp_path / "link").put(NAME, b"")
    assert list((tmp_path / "real").iterdir()) == []


def test_a_link_inside_is_an_error_and_never_looks_like_lost_data(
    tmp_path: Path, storage: DirectoryStorage
) -> None:
    storage.put(NAME, b"data")
    shutil.move(tmp_path / "repository" / "packs", tmp_path / "elsewhere")
    (tmp_path / "repository" / "packs").symlink_to(tmp_path / "elsewhere")
    for asked in (
        lambda: storage.get(NAME),
        lambda: storage.stat(NAME),
        lambda: storage.put(NAME, b"new"),
        lambda: storage.delete(NAME),
        lambda: list(storage.list()),
        lambda: list(storage.list("packs")),
    ):
        with pytest.raises(StorageError, match="link") as caught:
            asked()
        assert not isinstance(caught.value, ObjectNotFoundError)
    assert (tmp_path / "elsewhere" / "ab" / "abcd").read_bytes() == b"data"


def test_a_mount_inside_is_an_error_and_never_looks_like_lost_data(mounted: Path) -> None:
    with closing(DirectoryStorage(mounted.parent)) as storage:
        with pytest.raises(StorageError, match="mounted"):
            list(storage.list())
        with pytest.raises(StorageError, match="mounted"):
            storage.put(object_name("mounted/object"), b"")


def test_a_link_under_an_objects_name_is_replaced_and_its_target_is_not(
    tmp_path: Path, storage: DirectoryStorage
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    storage.put(OTHER, b"")
    planted = tmp_path / "repository" / NAME
    planted.symlink_to(victim)
    with pytest.raises(StorageError, match="link"):
        storage.get(NAME)
    with pytest.raises(ObjectExistsError):
        storage.put(NAME, b"ours", exclusive=True)
    storage.put(NAME, b"ours")
    assert storage.get(NAME) == b"ours"
    assert victim.read_bytes() == b"theirs"


def test_a_pipe_under_an_objects_name_keeps_nobody_waiting(tmp_path: Path, storage: DirectoryStorage) -> None:
    os.mkfifo(tmp_path / "repository" / "pipe")
    with pytest.raises(ObjectNotFoundError):
        storage.get(object_name("pipe"))
    with pytest.raises(ObjectNotFoundError):
        storage.stat(object_name("pipe"))
    assert list(storage.list()) == []


def test_a_full_disk_is_said_so_and_nothing_is_left(mounted: Path) -> None:
    with closing(DirectoryStorage(mounted)) as storage:
        storage.put(NAME, b"kept")
        for exclusive in (False, True):
            with pytest.raises(StorageFullError, match="No space"):
                storage.put(object_name(f"packs/big{exclusive}"), bytes(4 << 20), exclusive=exclusive)
        assert [found.name for found in storage.list()] == [NAME]
        assert [path.name for path in mounted.rglob("*") if path.is_file()] == ["abcd"]
        storage.put(OTHER, b"still works")


def test_a_file_size_limit_is_said_so(storage: DirectoryStorage) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
        with pytest.raises(StorageFullError):
            storage.put(NAME, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(storage.list()) == []


def test_a_read_only_disk_is_denied_and_can_still_be_read(mounted: Path) -> None:
    with closing(DirectoryStorage(mounted)) as storage:
        storage.put(NAME, b"kept")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with closing(DirectoryStorage(mounted)) as storage:
        assert storage.get(NAME) == b"kept"
        for asked in (
            lambda: storage.put(NAME, b"new"),
            lambda: storage.put(OTHER, b"new", exclusive=True),
            lambda: storage.delete(NAME),
        ):
            with pytest.raises(StorageDeniedError, match="Read-only"):
                asked()


def test_an_open_storage_keeps_its_disk_when_it_is_unmounted(mounted: Path) -> None:
    """What is put then is on that disk, and not below the mount point."""
    with closing(DirectoryStorage(mounted)) as storage:
        storage.put(NAME, b"one")
        assert subprocess.run(["umount", str(mounted)], check=False, capture_output=True).returncode
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)
        storage.put(OTHER, b"two")
        assert storage.get(NAME) == b"one"
    assert list(mounted.iterdir()) == []


def test_what_is_immutable_is_locked(
    tmp_path: Path, storage: DirectoryStorage, chattr: Callable[[str, Path], None]
) -> None:
    storage.put(NAME, b"kept")
    chattr("+i", tmp_path / "repository" / NAME)
    for asked in (lambda: storage.put(NAME, b"new"), lambda: storage.delete(NAME)):
        with pytest.raises(ObjectLockedError, match="immutable"):
            asked()
    assert storage.get(NAME) == b"kept"
    assert [path.name for path in (tmp_path / "repository").rglob("*") if path.is_file()] == ["abcd"]


def test_what_a_living_writer_has_is_not_removed(tmp_path: Path, storage: DirectoryStorage) -> None:
    import fcntl

    storage.put(OTHER, b"")
    unfinished = tmp_path / "repository" / "packs" / "ab" / ".abcd.quiesce-new"
    with unfinished.open("wb") as held:
        unfinished.chmod(0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        storage.remove_unfinished()
        assert unfinished.exists()
    storage.remove_unfinished()
    assert not unfinished.exists()
