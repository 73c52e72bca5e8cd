"""A database server for one test, run as an unprivileged user, below a directory of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

PATIENCE_S = 90.0


@dataclass(kw_only=True)
class DatabaseServer:
    """A server, all of it below *base*."""

    #: who runs it where the tests are root's; without that user it is nobody
    user_name: ClassVar[str]
    #: what ends it at once
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL
    base: Path

    def __post_init__(self) -> None:
        self.data = self.base / "data"
        self.data.mkdir(parents=True)
        self.run_directory = self.base / "run"
        self.run_directory.mkdir()
        self.log = self.run_directory / "log"
        for path in (self.base, self.data, self.run_directory):
            path.chmod(0o755)
            self.own(path)

    @classmethod
    @contextlib.contextmanager
    def started(cls, **settings: object) -> Iterator[Self]:
        """Return a server that runs, in a directory of its own; `root` is that directory."""
        with reachable_directory(cls.user_name) as root:
            server = cls(base=root / "server", **settings)
            try:
                server.start()
                yield server
            finally:
                server.end()

    @property
    def root(self) -> Path:
        """The directory of the test."""
        return self.base.parent

    @classmethod
    def owner(cls) -> pwd.struct_passwd | None:
        """Return who runs it; None: whoever runs the tests."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(cls.user_name)
        except KeyError:
            return pwd.getpwnam("nobody")

    @classmethod
    def own(cls, path: Path) -> None:
        """Give *path* to its user."""
        if (owner := cls.owner()) is not None:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)

    @classmethod
    def rights(cls) -> dict[str, Any]:
        """Return the options of a process that is its user's."""
        owner = cls.owner()
        return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it, everything saved."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.data:
                    found.append(int(link.parent.name))
        return found

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def end(self) -> None:
        """End it at once."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self.end_signal)
        wait_until(lambda: not self.pids, self.said)


@contextlib.contextmanager
def reachable_directory(name: str) -> Iterator[Path]:
    """Return a new directory that the users of servers reach."""
    with tempfile.TemporaryDirectory(prefix=f"quiesce-{name}-", ignore_cleanup_errors=True) as made:
        root = Path(made)
        root.chmod(0o755)
        yield root


def wait_until(condition: Callable[[], object], said: Callable[[], str] = str) -> None:
    """Return when *condition* holds."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"it did not happen in time {said()}"
        time.sleep(0.02)
