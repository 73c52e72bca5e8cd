"""Who writes to the application, and remembers what was acknowledged, and when."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from tests.drill.application import Application, run

#: one write after another, so fast at most, in seconds
_PAUSE_S: Final = 0.01
_ANSWER_S: Final = 20.0


class Writer(ABC):
    """Writes 1, 2, 3 … one after the other, each when the one before was acknowledged."""

    def __init__(self, application: Application) -> None:
        self.application = application
        #: by number: when it was sent, and when it was acknowledged
        self.sent: dict[int, float] = {}
        self.acknowledged: dict[int, float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Go on after the last number that the application holds, in the background."""
        first = max(self.held(), default=0) + 1
        self._stopping.clear()
        self._thread = threading.Thread(target=self._write_on, args=(first,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop, and return when nothing is on its way any more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    @abstractmethod
    def held(self) -> list[int]:
        """Return the numbers that the application holds, read in another way than they were written."""

    @abstractmethod
    def session(self) -> contextlib.AbstractContextManager[object]:
        """Hold a connection."""

    @abstractmethod
    def write(self, session: object, number: int) -> None:
        """Return when *number* was acknowledged; raise `OSError` when it was not."""

    def _write_on(self, number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException), self.session() as session:
            while not self._stopping.is_set():
                self.sent[number] = time.time()
                self.acknowledged.pop(number, None)
                self.write(session, number)
                self.acknowledged[number] = time.time()
                number += 1
                time.sleep(_PAUSE_S)


class RowWriter(Writer):
    """Commits rows in PostgreSQL."""

    def held(self) -> list[int]:
        """Ask PostgreSQL."""
        return [int(line) for line in self.application.query("SELECT n FROM ledger ORDER BY n").split()]

    @contextlib.contextmanager
    def session(self) -> Iterator[subprocess.Popen[str]]:
        """Hold psql."""
        psql = subprocess.Popen(
            ["psql", "-X", *self.application.connection],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        try:
            yield psql
        finally:
            psql.kill()
            psql.communicate()

    def write(self, session: object, number: int) -> None:
        """Insert one row."""
        assert isinstance(session, subprocess.Popen)
        session.stdin.write(f"INSERT INTO ledger VALUES ({number});\n")
        if session.stdout.readline() != "INSERT 0 1\n":
            raise ConnectionError("PostgreSQL did not acknowledge it")


class ListWriter(Writer):
    """Appends to a list in Redis."""

    def held(self) -> list[int]:
        """Ask Redis."""
        return [int(word) for word in self.application.redis("LRANGE", "ledger", "0", "-1").split()]

    @contextlib.contextmanager
    def session(self) -> Iterator[socket.socket]:
        """Hold a connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(os.fspath(self.application.base / "run/redis.sock"))
            yield connection

    def write(self, session: object, number: int) -> None:
        """Push one number."""
        assert isinstance(session, socket.socket)
        session.sendall(f"RPUSH ledger {number}\r\n".encode())
        if not session.recv(100).startswith(b":"):
            raise ConnectionError("Redis did not acknowledge it")


class UploadWriter(Writer):
    """Uploads files over the web."""

    def held(self) -> list[int]:
        """Look at the files, and whether each is whole."""
        found = []
        for path in sorted((self.application.base / "data/uploads").iterdir()):
            if path.name.startswith("."):
                continue  # it was not acknowledged yet
            number = int(path.name)
            assert path.read_bytes() == content_of(number), f"the upload {number} is not what was uploaded"
            found.append(number)
        return sorted(found)

    @contextlib.contextmanager
    def session(self) -> Iterator[http.client.HTTPConnection]:
        """Hold a connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.application.port, timeout=_ANSWER_S)
        try:
            yield connection
        finally:
            connection.close()

    def write(self, session: object, number: int) -> None:
        """Upload one file."""
        assert isinstance(session, http.client.HTTPConnection)
        session.request("PUT", f"/{number}", body=content_of(number))
        answer = session.getresponse()
        answer.read()
        if answer.status != 201:
            raise ConnectionError("the web did not acknowledge it")


class Pgbench:
    """The load of PostgreSQL."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Run until `end`, or until the server goes away."""
        self._process = subprocess.Popen(
            ["pgbench", "-n", "-c", "3", "-R", "100", "-T", "600", *self._application.connection],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def require_balanced(self) -> None:
        """Raise unless every transaction is there as a whole, or not at all."""
        sums = {
            self._application.query(f"SELECT coalesce(sum({column}), 0) FROM {table}")
            for column, table in (
                ("abalance", "pgbench_accounts"),
                ("tbalance", "pgbench_tellers"),
                ("bbalance", "pgbench_branches"),
                ("delta", "pgbench_history"),
            )
        }
        assert len(sums) == 1, f"half of a transaction is there: {sorted(sums)}"
        run(
            [
                self._application.programs / "pg_amcheck",
                "--install-missing",
                *self._application.connection[:-1],
                "-d",
                "postgres",
            ]
        )


def content_of(number: int) -> bytes:
    """Return what the upload *number* holds."""
    return hashlib.sha256(str(number).encode()).digest() * (1 + number % 300)
