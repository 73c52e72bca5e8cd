"""Servers that are killed in the middle, and begin again: whatever was answered is there, and whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from quiesce.model.stored_object import ObjectName, object_name
from quiesce.ports import Storage
from quiesce.storage import DirectoryStorage, Patience

pytest.importorskip("obstore", reason="obstore is not installed: make test-storage")

from ..labs.storage.servers import BucketPlace, SftpPlace, moto, radosgw  # noqa: TID252
from ..sshd_on_loopback import needs_sshd, sshd  # noqa: TID252

PATIENT = Patience(first_pause_s=0.05, longest_pause_s=0.5, give_up_after_s=120)
SIZE = 1 << 20


def content(name: ObjectName) -> bytes:
    return name.encode() * (SIZE // len(name))


class Model:
    """What was answered: has to be there, has to be gone. What was on its way may be either, but whole."""

    def __init__(self) -> None:
        self.put: set[ObjectName] = set()
        self.deleted: set[ObjectName] = set()

    def work(self, storage: Storage, names: list[ObjectName], *, stop: Callable[[], bool]) -> None:
        """Put everything, delete every third, and list now and then, until it is done or *stop* says so."""
        for number, name in enumerate(names):
            if stop():
                return
            storage.put(name, content(name), exclusive=bool(number % 2))
            self.put.add(name)
            if number % 3 == 0:
                self.put.discard(name)
                storage.delete(name)
                self.deleted.add(name)
            if number % 5 == 0:
                assert self.put <= {found.name for found in storage.list()}

    def check(self, storage: Storage) -> None:
        found = {one.name: one.size_bytes for one in storage.list()}
        assert self.put <= set(found), "what was answered is there"
        assert not self.deleted & set(found), "what was deleted is not"
        for name in found:
            assert storage.get(name) == content(name), "and whole"


@contextmanager
def killed_now_and_then(kill: Callable[[], int], every_s: float) -> Iterator[list[int]]:
    """Call *kill* again and again until the block ends; gives how many each killed."""
    ended = threading.Event()
    killed: list[int] = []

    def loop() -> None:
        while not ended.wait(every_s):
            killed.append(kill())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def names(count: int) -> list[ObjectName]:
    return [object_name(f"packs/{number % 4}/{number:04}") for number in range(count)]


@needs_sshd
def test_sftp_sessions_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "sshd").mkdir()
    with sshd(tmp_path / "sshd", "Subsystem sftp internal-sftp") as server:
        (tmp_path / "repository").mkdir()
        place = SftpPlace(server, tmp_path / "repository")
        model = Model()
        with (
            closing(place.through(server.port, PATIENT)) as storage,
            killed_now_and_then(lambda: _kill_children(server.process.pid), 0.8) as killed,
        ):
            model.work(storage, names(2000), stop=lambda: len(killed) > 9)
        assert sum(killed) > 3, "sessions must have been killed"
        with closing(place.storage()) as storage:
            model.check(storage)


def test_a_gateway_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    with radosgw(tmp_path / "ceph") as s3:
        place = BucketPlace(s3, s3.make_bucket())
        model = Model()
        pid = tmp_path / "ceph" / "gateway.pid"
        storage = s3.open(place.bucket, patience=PATIENT)
        with killed_now_and_then(lambda: _kill(int(pid.read_text())), 1.5) as killed:
            model.work(storage, names(400), stop=lambda: len(killed) > 4)
        assert sum(killed) > 2, "the gateway must have been killed"
        s3.server.wait_for_http()
        model.check(place.storage())


def test_a_stand_in_that_is_killed_and_forgets_everything_is_unreachable(tmp_path: Path) -> None:
    """A server that begins again with nothing has no bucket: that is not the same as an empty one."""
    from quiesce.errors import UnreachableError

    with moto(tmp_path) as s3:
        storage = s3.open(s3.make_bucket(), patience=PATIENT)
        storage.put(object_name("config"), b"kept")
        s3.server.kill()
        s3.server.start()
        for asked in (
            lambda: storage.get(object_name("config")),
            lambda: list(storage.list()),
            lambda: storage.put(object_name("config"), b"new"),
        ):
            with pytest.raises(UnreachableError):
                asked()


_WRITER = """
import sys
from pathlib import Path
from quiesce.model.stored_object import object_name
from quiesce.storage import DirectoryStorage
storage = DirectoryStorage(Path(sys.argv[1]))
storage.prepare()
for number in range(100000):
    name = object_name(f"packs/{number % 4}/{number:04}")
    storage.put(name, name.encode() * (int(sys.argv[2]) // len(name)), exclusive=bool(number % 2))
    print(name, flush=True)
"""


def test_writers_that_are_killed_leave_nothing_half(tmp_path: Path) -> None:
    """Judged by plain reading of files: each name that was said is there, and each file is whole."""
    repository = tmp_path / "repository"
    for attempt in range(6):
        command = [sys.executable, "-c", _WRITER, str(repository), str(SIZE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(5 + attempt * 7):
                writer.stdout.readline()
            time.sleep(0.003 * attempt)
            writer.kill()
            said = writer.stdout.read().split()
        for name in said:
            assert (repository / name).exists()
        for path in repository.rglob("*"):
            name = str(path.relative_to(repository))
            if path.is_file() and not path.name.startswith("."):
                assert path.read_bytes() == content(ObjectName(name))
        subprocess.run(["rm", "-rf", str(repository)], check=True)
    with closing(DirectoryStorage(repository)) as storage:
        storage.prepare()
        assert list(storage.list()) == []


def _kill_children(parent: int) -> int:
    """Kill the sessions of a server, which are its children and theirs."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
    children = [int(pid) for pid in found.stdout.split()]
    return sum(_kill_children(child) + _kill(child) for child in children)


def _kill(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1
