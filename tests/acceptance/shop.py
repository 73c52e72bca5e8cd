"""quiesce as its users have it: a process with a home of its own, and a small real application."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from quiesce.cli.main import run

from .zygote import Zygote

#: how long anything may take before a test gives up; generous, never measured
PATIENCE_S = 60.0
#: so that a slow machine does not reach the bound of the frozen window where that is not what is tested
UNBOUNDED = ("--max-freeze", "10m")

SHOP = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}}
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}}
  orders:
    type: quiesce.nodes.host.SQLite
    properties: {path: {concat: [{get_input: data}, /orders.db]}}
    relationships: [{type: cloudify.relationships.contained_in, target: files}]
"""

#: as above, and a node that is cut and applied for as long as there is no file ``go``
SLOW_SHOP = (
    SHOP
    + """\
  slow:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: slow_cut.sh, apply: slow_cut.sh, delete: slow_delete.sh}
"""
)
#: as above, and a machine whose freeze and cut fail as long as there is a file ``broken_<operation>``
MOODY_SHOP = (
    SHOP
    + """\
  vm:
    type: cloudify.nodes.Compute
    interfaces:
      cloudify.interfaces.freeze: {fs_prepare: freeze.sh, fs_finalize: thaw.sh}
      cloudify.interfaces.snapshot: {create: cut.sh, delete: slow_delete.sh}
  till:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: till.sh, delete: till.sh}
"""
)
SCRIPTS = {
    "slow_cut.sh": "touch started made\nwhile [ ! -e go ]; do sleep 0.05; done\n",
    "slow_delete.sh": "rm -f made\n",
    "freeze.sh": "touch frozen\n[ ! -e broken_freeze ]\n",
    "thaw.sh": "rm -f frozen\n",
    "till.sh": "true\n",
    "cut.sh": "touch made\n[ ! -e broken_cut ]\n",
    "dump.sh": "touch applied-$QUIESCE_OPERATION\n",
    "check.sh": "true\n",
    "own.sh": "true\n",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents on standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(kw_only=True)
class CommandLine:
    """Runs quiesce in *directory*, with a home of its own."""

    home: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: str, status: int = 0, **options: Any) -> Answer:
        """Run one command and expect *status* of it."""
        if options:
            process = self.start(*arguments, **options)
            out, err = process.communicate(timeout=PATIENCE_S * 2)
            ended = process.returncode
        else:
            environment = {**os.environ, **self._environment()}
            ended, out, err = zygote().run(arguments, environment, self.directory, PATIENCE_S * 2)
        assert ended == status, f"quiesce {' '.join(arguments)}\n{out}\n{err}"
        assert "Traceback" not in err
        return Answer(status=ended, out=out, err=err)

    def start(self, *arguments: str, within: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """Begin one command in the background, *within* another program if any."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [*within, sys.executable, "-m", "quiesce.cli.main", *arguments],
            cwd=self.directory,
            env={**os.environ, **self._environment()},
            text=True,
            **{**streams, **options},
        )
        self.started.append(process)
        return process

    def look(self, *arguments: str) -> Any:
        """Return what a command that only reads answers; it runs in this process, which is quicker."""
        answer = io.StringIO()
        with (
            mock.patch.dict(os.environ, self._environment()),
            contextlib.redirect_stdout(answer),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            assert run([*arguments, "--json"]) == 0
        return json.loads(answer.getvalue())

    def executions(self) -> list[dict[str, Any]]:
        """Return every execution."""
        found: list[dict[str, Any]] = self.look("executions", "list")["executions"]
        return found

    def points(self, deployment: str) -> dict[str, dict[str, Any]]:
        """Return the restore points by name."""
        found = self.look("backups", "list", deployment)["restore_points"]
        return {point["name"]: point for point in found}

    def _environment(self) -> dict[str, str]:
        return {"QUIESCE_HOME": str(self.home), "NO_COLOR": "1", **self.environment}

    def end(self) -> None:
        """End what a test has left running, guards too: the next test may be given the same place."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        ends = time.monotonic() + 2.0
        while (left := self._at_home()) and time.monotonic() < ends:
            time.sleep(0.02)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self._at_home():
            time.sleep(0.02)

    def kill_everything(self) -> None:
        """Kill every process that works for this home at once, guards too."""
        stop_then_kill(lambda: {*self._at_home()} - {os.getpid()})
        for process in self.started:
            process.communicate()

    def _at_home(self) -> list[int]:
        """Return the processes that work for this home."""
        wanted = f"QUIESCE_HOME={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found


def stop_then_kill(find: Callable[[], set[int]], seed: int = 0) -> set[int]:
    """Kill all that *find* finds: stopped first, so that nobody who is still alive sees another one die."""
    doomed: set[int] = set()
    while found := find() - doomed:
        _signal(found, signal.SIGSTOP)
        doomed |= found
    order = sorted(doomed)
    random.Random(seed).shuffle(order)
    _signal(order, signal.SIGKILL)
    return doomed


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@cache
def zygote() -> Zygote:
    """Return the process that runs the commands of this worker's tests."""
    started = Zygote()
    atexit.register(started.close)
    return started


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A directory of files with a database in it, known to quiesce as the deployment ``shop``."""

    directory: Path
    instances: Mapping[str, str]

    @property
    def data(self) -> Path:
        """What is backed up."""
        return self.directory / "data"

    def order(self, item: str) -> None:
        """Commit one order."""
        with contextlib.closing(sqlite3.connect(self.data / "orders.db")) as connection, connection:
            connection.execute("INSERT INTO orders VALUES (?)", (item,))

    def orders(self) -> list[str]:
        """Return every order."""
        with contextlib.closing(sqlite3.connect(self.data / "orders.db")) as connection:
            return [item for (item,) in connection.execute("SELECT item FROM orders ORDER BY rowid")]

    def is_frozen(self) -> bool:
        """Tell whether orders cannot be taken now."""
        path = self.data / "orders.db"
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    def contents(self) -> dict[str, bytes]:
        """Return every file but the database's own passing ones."""
        files = [path for path in self.data.rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.data)): path.read_bytes()
            for path in files
            if not path.name.endswith(("-wal", "-shm", "-journal"))
        }


def open_shop(quiesce: CommandLine, blueprint: str) -> Shop:
    """Make the application and its deployment."""
    directory = quiesce.directory
    (directory / "data").mkdir()
    (directory / "data" / "hours.txt").write_text("nine to five")
    with contextlib.closing(sqlite3.connect(directory / "data" / "orders.db")) as connection:
        connection.execute("CREATE TABLE orders (item)")
    (directory / "shop.yaml").write_text(blueprint)
    for name, script in SCRIPTS.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}")
    made = quiesce("init", "shop.yaml", "-b", "shop", "-i", f"data={directory / 'data'}", "--json")
    instances = made.json["deployment"]["topology"]["instances"].values()
    return Shop(directory=directory, instances={entry["node"]: entry["id"] for entry in instances})


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until *condition* holds."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def small_disk(place: Path, size: str = "8m") -> Iterator[Path]:
    """Mount a file system of that *size* at *place*."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root (CAP_SYS_ADMIN)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def start_slow_backup(quiesce: CommandLine, shop: Shop, *options: str) -> subprocess.Popen[str]:
    """Begin a backup and return when it is in the middle of its frozen window."""
    process = quiesce.start("backup", "shop", "-p", "snapshot_name=slow", *(options or UNBOUNDED))
    eventually(
        lambda: (shop.directory / "started").exists() or process.poll() is not None, "the cut has begun"
    )
    assert process.poll() is None, process.communicate()
    assert shop.is_frozen()
    return process
