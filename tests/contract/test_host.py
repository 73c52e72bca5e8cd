"""The host provider keeps the contract, for each kind of node, on real processes and files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from quiesce.backups import BackupHome
from quiesce.model.capabilities import Capabilities
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers import host
from quiesce.providers.host.provider import HostProvider
from quiesce.testing import ProviderContract, Subject
from tests.forgetful import forgetful
from tests.repository_objects import left_in, plant_foreign


class HostSubject(Subject):
    """One thing of this machine."""

    provider_name = host.DESCRIPTION.name

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lost: list[Operation] = []
        self.providers: list[HostProvider] = []
        kind = next(kind for kind in host.DESCRIPTION.kinds if self.node_type in kind.types)
        self.capabilities: Capabilities = kind.capabilities
        self.operations = kind.capabilities.operations
        if Operation.SNAPSHOT not in self.operations:
            self.modes = ()

    @property
    def settings(self) -> ProviderSettings:
        return ProviderSettings(
            state_dir=str(self.root / "state"),
            repository=str(self.root / "repository"),
            keys_file=str(self.root / "keys"),
        )

    def provider(self) -> HostProvider:
        self.providers.append(forgetful(HostProvider(self.settings), self.lost))
        return self.providers[-1]

    def home(self) -> BackupHome:
        return BackupHome.of(self.settings)

    def lose_answer(self, operation: Operation) -> None:
        self.lost.append(operation)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def objects(self) -> frozenset[str]:
        shelves = self.root.glob("data/.quiesce-*/**/*")
        stored = left_in(self.root / "repository", self.root / "drafts")
        return frozenset(str(path.relative_to(self.root)) for path in (*shelves, *stored))

    def plant_foreign(self, point: str, *, full: bool) -> None:
        shelf = self.root / "data" / f".quiesce-{Path(str(self.properties['path'])).name}" / point
        if full:
            plant_foreign(self.settings, point, self.instance)
            return
        shelf.mkdir(parents=True)
        (shelf / "thesis.txt").write_text("theirs")

    def close(self) -> None:
        for provider in self.providers:
            provider.close()


class DirectorySubject(HostSubject):
    node_type = host.DIRECTORY

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.path = root / "data" / "files"
        self.path.mkdir(parents=True)
        self.properties: Mapping[str, Json] = {"path": str(self.path)}

    def write(self, token: str) -> None:
        (self.path / "token").write_text(token)

    def read(self) -> str:
        return (self.path / "token").read_text()


class DatabaseSubject(HostSubject):
    node_type = host.SQLITE_ALONE
    mode = "wal"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "data").mkdir()
        self.path = root / "data" / "shop.db"
        self.properties: Mapping[str, Json] = {"path": str(self.path)}
        with self.connected() as connection:
            connection.execute(f"PRAGMA journal_mode={self.mode}")
            connection.execute("CREATE TABLE token (text)")

    def connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=0)

    def write(self, token: str) -> None:
        connection = self.connected()
        with connection:
            connection.execute("DELETE FROM token")
            connection.execute("INSERT INTO token VALUES (?)", (token,))
        connection.close()

    def read(self) -> str:
        connection = self.connected()
        [[token]] = connection.execute("SELECT text FROM token")
        connection.close()
        return str(token)

    def frozen(self) -> bool:
        try:
            self.write("probe")
        except sqlite3.OperationalError:
            return True
        return False


class OldDatabaseSubject(DatabaseSubject):
    mode = "delete"


class ServiceSubject(DatabaseSubject):
    node_type = host.SQLITE


class ProcessSubject(HostSubject):
    node_type = host.PROCESS

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        child = (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
        )
        self.process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
        pid_file = root / "service.pid"
        pid_file.write_text(f"{self.process.pid}\n")
        self.properties: Mapping[str, Json] = {"pid_file": str(pid_file)}
        wait_until(lambda: len(self.tree()) == 2)

    def tree(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *(int(pid) for pid in children)]

    def suspended(self) -> bool:
        states = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in self.tree()}
        assert states == {"T"} or "T" not in states, "all of it or none of it"
        return states == {"T"}

    def frozen(self) -> bool:
        return self.suspended()

    def close(self) -> None:
        super().close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class PausedProcessSubject(ProcessSubject):
    node_type = host.PAUSED_PROCESS


def wait_until(condition: object, timeout_s: float = 10.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "kind",
    [
        DirectorySubject,
        DatabaseSubject,
        OldDatabaseSubject,
        ServiceSubject,
        ProcessSubject,
        PausedProcessSubject,
    ],
)
class TestHostProvider(ProviderContract):
    @pytest.fixture
    def subject(self, kind: type[HostSubject], tmp_path: Path) -> Iterator[HostSubject]:
        subject = kind(tmp_path)
        yield subject
        subject.close()
