"""Restore a real application again and again while parts of quiesce are killed. `make drill`.

Usage: python -m tests.drill.drill [RESTORES]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.drill.application import Application, free_port, missing
from tests.drill.writers import ListWriter, Pgbench, RowWriter, UploadWriter, Writer

#: after the next command the application must answer within so many seconds
BOUND_S: Final = 30.0
#: how many restores are made from one backup
_RESTORES_OF_ONE: Final = 5
_LONGEST_S: Final = 300.0
#: what nothing may change beside the application and quiesce's own home
_REST_OF_THE_MACHINE: Final = ("/etc", "/srv", "/opt", "/usr/local", "/var/spool", "/root/.ssh")


@dataclass(kw_only=True)
class Figures:
    """What is reported in the end."""

    killed: dict[str, int] = field(default_factory=dict)
    up_after_s: list[float] = field(default_factory=list)
    interrupted: int = 0
    checked_writes: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.killed.items()))
        slowest, usual = max(self.up_after_s), statistics.median(self.up_after_s)
        return (
            f"{len(self.up_after_s)} restores, {self.interrupted} of them cut off; killed: {kills}\n"
            f"running after the next command: at most {slowest:.1f} s, usually {usual:.1f} s\n"
            f"{self.checked_writes} acknowledged writes looked for: 0 lost, 0 too many; nothing else changed"
        )


class Drill:
    """One application, and quiesce beside it."""

    def __init__(self, application: Application, seed: int) -> None:
        self.base = application.base
        self.random = random.Random(seed)
        self.figures = Figures()
        self.application = application
        self.writers: Sequence[Writer] = [
            RowWriter(self.application),
            ListWriter(self.application),
            UploadWriter(self.application),
        ]
        self.load = Pgbench(self.application)
        self._usual_s = 2.0

    def run(self, restores: int) -> None:
        """Make a backup now and then, and restore it, again and again."""
        (self.base / "shop.yaml").write_text(self.application.blueprint())
        self.command("init", "shop.yaml", "-b", "shop")
        held: Sequence[int] = ()
        for number in range(restores):
            if number % _RESTORES_OF_ONE == 0:
                point, bounds = f"point-{number}", self._back_up(f"point-{number}")
                held = ()
            with self._traffic():
                time.sleep(self.random.uniform(0.2, 1.0))
                before = self._rest_of_the_machine()
                self._kill_a_restore(point)
            self._expect_it_up_after_the_next_command()
            self._restore(point)
            held = self._judge(bounds, held)
            assert self._rest_of_the_machine() == before, "something else on the machine was changed"
            print(f"{number + 1}: {', '.join(map(str, held))} writes held", flush=True)

    # -- what quiesce is asked ------------------------------------------------------------------------------

    def command(self, *words: str) -> str:
        """Run quiesce to its end, and expect that it succeeds."""
        done = self._start(*words)
        out, err = done.communicate(timeout=_LONGEST_S)
        assert done.returncode == 0, (
            f"quiesce {' '.join(words)}: status {done.returncode}\n{out[-3000:]}\n{err}"
        )
        return out

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "quiesce.cli.main", *words],
            cwd=self.base,
            env={**os.environ, "QUIESCE_HOME": str(self.base / "home")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _back_up(self, point: str) -> Sequence[tuple[int, int]]:
        """Back up under load; return for each writer the least and the most that the cut may hold."""
        for writer in self.writers:
            writer.sent.clear()
            writer.acknowledged.clear()
        before = [max(writer.held(), default=0) for writer in self.writers]
        with self._traffic():
            time.sleep(1.0)
            self.command("backup", "shop", "-p", f"snapshot_name={point}", "--max-freeze", "5m")
            time.sleep(0.3)
        frozen, thawed = self._window()
        return [
            (
                max([n for n, at in writer.acknowledged.items() if at < frozen], default=least),
                max([n for n, at in writer.sent.items() if at < thawed], default=least),
            )
            for writer, least in zip(self.writers, before, strict=True)
        ]

    def _window(self) -> tuple[float, float]:
        """Return when the last backup began to freeze, and when it began to thaw."""
        executions = json.loads(self.command("executions", "list", "--json"))["executions"]
        last = max((e for e in executions if e["workflow"] == "backup"), key=lambda e: e["created_at"])
        events = [
            json.loads(line)["event"] for line in self.command("events", last["id"], "--json").splitlines()
        ]

        def first(interface: str) -> float:
            told = f"Starting to cloudify.interfaces.freeze.{interface}"
            return min(event["at"] for event in events if event["message"].startswith(told))

        return first("fs_prepare"), first("fs_finalize")

    def _restore(self, point: str) -> None:
        began = time.monotonic()
        self.command("restore", "shop", "-p", f"snapshot_name={point}")
        self._usual_s = time.monotonic() - began

    # -- killing --------------------------------------------------------------------------------------------

    def _kill_a_restore(self, point: str) -> None:
        restoring = self._start("restore", "shop", "-p", f"snapshot_name={point}")
        time.sleep(self.random.uniform(0.0, self._usual_s * 1.1))
        parts = self._parts(restoring.pid)
        if parts:
            whole = self.random.random() < 0.2
            for pid in parts if whole else [self.random.choice(sorted(parts))]:
                name = "everything" if whole else parts[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.figures.killed.setdefault(name, 0)
                self.figures.killed[name] += not whole
            if whole:
                self.figures.killed["everything"] += 1
        restoring.communicate(timeout=_LONGEST_S)
        self.figures.interrupted += restoring.returncode < 0

    def _parts(self, engine: int) -> Mapping[int, str]:
        """Return the processes of quiesce, by what they are; what it has started is none of it."""
        mark = f"QUIESCE_HOME={self.base / 'home'}".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    found[int(process.name)] = _name(words, int(process.name) == engine)
        return found

    # -- judging --------------------------------------------------------------------------------------------

    def _expect_it_up_after_the_next_command(self) -> None:
        began = time.monotonic()
        next_one = self._start("recover")
        self.application.wait_until_it_answers(BOUND_S)
        self.figures.up_after_s.append(time.monotonic() - began)
        out, err = next_one.communicate(timeout=_LONGEST_S)
        assert next_one.returncode == 0, f"quiesce recover: status {next_one.returncode}\n{out}\n{err}"

    def _judge(self, bounds: Sequence[tuple[int, int]], before: Sequence[int]) -> Sequence[int]:
        assert self.application.why_not() == "", "it does not answer although the restore has succeeded"
        held = []
        for writer, (least, most) in zip(self.writers, bounds, strict=True):
            numbers = writer.held()
            name = type(writer).__name__
            assert numbers == list(range(1, len(numbers) + 1)), f"{name}: something in between is missing"
            assert least <= len(numbers) <= most, f"{name}: holds {len(numbers)}, not {least} to {most}"
            held.append(len(numbers))
        assert not before or held == list(before), f"the same point gives {held}, and gave {before}"
        self.load.require_balanced()
        self.figures.checked_writes += sum(held)
        return held

    def _rest_of_the_machine(self) -> Sequence[str]:
        roots = [*_REST_OF_THE_MACHINE, str(self.base), str(self.base / "data")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in mounts if str(self.base) in line] + [
            f"{path} {status.st_mode:o} {status.st_uid} {status.st_size} {status.st_mtime_ns}"
            for root in roots
            for path in sorted(_files_below(Path(root), self.base))
            for status in [path.lstat()]
        ]

    @contextmanager
    def _traffic(self) -> Iterator[None]:
        self.load.begin()
        for writer in self.writers:
            writer.begin()
        try:
            yield
        finally:
            for writer in self.writers:
                writer.end()
            self.load.end()

    def end(self) -> None:
        """Stop the application."""
        self.load.end()
        self.application.end()


def _files_below(root: Path, base: Path) -> Iterator[Path]:
    """Yield what is not the application's data, nor quiesce's home; of the base only what lies in it."""
    if root.is_relative_to(base):
        own = ("home", "run", "data", "pgdata", "redis", "uploads")
        yield from (path for path in root.iterdir() if path.name not in own and path.name[:9] != ".quiesce-")
        return
    yield from (path for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def _name(words: Sequence[bytes], is_engine: bool) -> str:
    if is_engine:
        return "engine"
    known = {b"quiesce.cli.guard": "guard", b"freeze_daemon": "holder", b"reaper": "reaper"}
    return next((name for word, name in known.items() if any(word in each for each in words)), "other")


def drill(restores: int, seed: int) -> Figures:
    """Run the drill in a directory of its own, which is removed when it has succeeded."""
    base = Path(tempfile.mkdtemp(prefix="quiesce-drill-"))
    application = Application(base=base, port=free_port())
    made = Drill(application, seed)
    try:
        application.begin()
        made.run(restores)
    finally:
        made.end()
    shutil.rmtree(base)
    return made.figures


def main() -> int:
    """Run the large drill and print its figures."""
    if lacking := missing():
        print(f"the drill needs {lacking}: apt-get install postgresql redis-server")
        return 75
    seed = int(os.environ.get("QUIESCE_DRILL_SEED", "0")) or int(time.time())
    print(f"seed {seed}", flush=True)
    print(drill(int(sys.argv[1]) if sys.argv[1:] else 50, seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
