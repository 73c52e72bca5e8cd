"""A small deployment in a directory of its own, commands that can be made to fail, and who judges them.

The judge shares no code with quiesce: it is find(1) and sha256sum(1).
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: makes a backup, not a snapshot
FULL: Final = ("-p", "snapshot_incremental=false")
BLUEPRINT: Final = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {here: {type: string}}
node_templates:
  one:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: here}, /one]}}
  two:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: here}, /two]}}
"""
#: what a command may take before it counts as hanging, in seconds
PATIENCE_S: Final = 240
SOURCE: Final = Path(__file__).with_name("inject.c")
#: the database's files: its rows are looked at by commands
_DATABASE: Final = (
    "home/quiesce.db",
    "home/quiesce.db-wal",
    "home/quiesce.db-shm",
    "home/quiesce.db-journal",
)


class Kind(enum.Enum):
    """What happens at the chosen call: how `inject.c` calls it, an error number, and retries of quiesce's."""

    COUNT = 0, 0, 0
    EIO = 1, errno.EIO, 0
    EIO_ONCE = 1, errno.EIO, 2
    ENOSPC = 1, errno.ENOSPC, 0
    #: from then on there is no room
    FULL = 2, errno.ENOSPC, 0
    SHORT = 3, 0, 0
    KILL = 4, 0, 0
    KILL_AFTER = 5, 0, 0
    #: from then on nothing can be written any more
    GONE = 6, errno.EIO, 0

    @property
    def retries(self) -> int:
        """How often quiesce may try again."""
        return int(self.value[2])


class Victim(enum.Enum):
    """Whose call fails."""

    ENGINE = "engine"
    #: of a fork of the engine, which has everything imported
    GUARD = "guard"
    #: each process that holds a freeze, and the one that forks them
    HOLDERS = "freeze_daemon.py"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One call that fails."""

    kind: Kind
    #: which call below the world's directory, counted from one
    call: int = 0
    victim: Victim = Victim.ENGINE


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one command."""

    arguments: tuple[str, ...]
    #: negative: killed by that signal
    status: int
    out: str
    err: str
    #: which call failed; not known of who was killed
    met: str = ""

    def __str__(self) -> str:
        return f"quiesce {' '.join(self.arguments)}: status {self.status}: {self.err.strip()[-600:]}"


class WrongError(AssertionError):
    """An invariant does not hold."""


def build(directory: Path) -> Path:
    """Return the compiled fault layer."""
    target = directory / "inject.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", target, SOURCE, "-ldl"], check=True)
    return target


@dataclass(kw_only=True)
class World:
    """The deployment ``shop``; *root* holds everything that quiesce writes to."""

    root: Path
    blueprint: str = BLUEPRINT
    log: Path | None = None
    #: the judge's words for each directory in each state
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    _scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="quiesce-faults-")))

    def __post_init__(self) -> None:
        self.root.mkdir(mode=0o700, exist_ok=True)
        (self.root / "shop.yaml").write_text(self.blueprint)
        self.fill("old")
        self.good("init", str(self.root / "shop.yaml"), "-b", "shop", "-i", f"here={self.root}")

    def end(self) -> None:
        """Remove everything."""
        for path in (self.root, self._scratch):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def directories(self) -> tuple[Path, Path]:
        """What is backed up."""
        return self.root / "one", self.root / "two"

    def fill(self, state: str) -> None:
        """Write the data that is called *state*: hard and symbolic links, a big file, attributes."""
        for directory in self.directories:
            directory.mkdir(exist_ok=True)
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            (directory / "small").write_text(f"{state} {directory.name}")
            (directory / state).mkdir()
            (directory / state / "big").write_bytes(f"{state}-{directory.name}.".encode() * 30000)
            os.link(directory / "small", directory / state / "linked")
            (directory / "to").symlink_to(f"./{state}//big")
            os.mkfifo(directory / "pipe")
            for path in (*directory.rglob("*"), directory):
                os.utime(path, ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)

    def settled(self, fault: Fault) -> None:
        """Raise when something stays frozen although nobody runs a command: here nothing ever is."""

    def running(self) -> None:
        """Raise unless every process runs that is to run: here there is none."""

    def run(self, *arguments: str, fault: Fault | None = None, dies_at: int = 0) -> Answer:
        """Run one command in a child of this process, which has everything imported already.

        It may have to die at a call, for somebody else to meet the *fault*.
        """
        fault = fault or Fault(kind=Kind.COUNT)
        out, err, met = (self._scratch / name for name in ("out", "err", "met"))
        met.unlink(missing_ok=True)
        with out.open("w") as to_out, err.open("w") as to_err:
            pid = os.fork()
            if pid == 0:
                self._child(arguments, (to_out.fileno(), to_err.fileno()), fault, dies_at, met)
            status = _waited(pid, arguments)
        return Answer(
            arguments=arguments,
            status=status,
            out=out.read_text(errors="replace"),
            err=err.read_text(errors="replace"),
            met=met.read_text() if met.exists() else "",
        )

    def good(self, *arguments: str) -> Answer:
        """Run a command that must succeed."""
        answer = self.run(*arguments)
        if answer.status != 0:
            raise WrongError(f"it does not work any more: {answer}")
        return answer

    def points(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what the catalog lists."""
        found = json.loads(self.good("backups", "list", "shop", "--json").out)["restore_points"]
        return {point["name"]: point for point in found}

    def data(self) -> tuple[str, str]:
        """Return what tells the states of the two directories apart."""
        one, two = self.directories
        return judged(one), judged(two)

    def note_known(self) -> None:
        """Remember what both states look like to the judge."""
        for state in ("new", "old"):
            self.fill(state)
            for directory in self.directories:
                self.known[directory.name, state] = judged(directory)

    def names(self) -> str:
        """Return every name below the root, but those of data and database."""
        left_out = [*_DATABASE, "one", "one/*", "two", "two/*"]
        options = [each for name in left_out for each in ("!", "-path", f"./{name}")]
        listed = _shell(["find", ".", *options, "-printf", "%P %y\\n"], self.root)
        return "\n".join(sorted(listed.splitlines()))

    def prepare_child(self, fault: Fault, dies_at: int) -> None:
        """Let the calls of this process fail; nothing is ever frozen, so no guard is needed."""
        from quiesce.cli import session

        assert not dies_at
        session.start_guard = lambda _settings: _NoGuard()  # type: ignore[assignment, return-value, attr-defined]
        if fault.kind is Kind.COUNT and self.log is None:
            return
        how, number, _ = fault.kind.value
        log = b"" if self.log is None else os.fsencode(self.log)
        ctypes.CDLL(None).inject_arm(os.fsencode(self.root), how, fault.call, number, log)

    def _child(
        self,
        arguments: tuple[str, ...],
        streams: tuple[int, int],
        fault: Fault,
        dies_at: int,
        met: Path,
    ) -> None:
        status = 70
        try:
            os.umask(0o077)
            for number, file in enumerate(streams, 1):
                os.dup2(file, number)
            os.environ["QUIESCE_HOME"] = str(self.root / "home")
            os.environ["FAULT_LAYER"] = os.environ.pop("LD_PRELOAD", "")
            status = self._called(arguments, fault, dies_at, met)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(status)

    def _called(self, arguments: tuple[str, ...], fault: Fault, dies_at: int, met: Path) -> int:
        from quiesce.cli.main import run

        _look_at_few_processes()
        self.prepare_child(fault, dies_at)
        if fault.kind is Kind.COUNT and self.log is None:
            return run([*arguments])
        layer = ctypes.CDLL(None)
        layer.inject_met.restype = ctypes.c_char_p
        try:
            return run([*arguments])
        finally:
            layer.inject_disarm()
            met.write_bytes(layer.inject_met())


def _look_at_few_processes() -> None:
    """Let this process ask only those about their use of data that share its mounts: others are many."""
    from quiesce.files import usage

    every, ours = usage._processes, Path("/proc/self/ns/mnt").readlink()

    def few() -> Iterator[int]:
        for pid in every():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/ns/mnt").readlink() == ours:
                    yield pid

    usage._processes = few


class _NoGuard:
    """Stands where nothing is ever frozen; a real one takes longer to start than everything else."""

    def prepare(self, execution: str) -> None:
        raise AssertionError(execution)

    def dismiss(self) -> None:
        """There is none."""


def judged(directory: Path) -> str:
    """Return every name, kind, mode, owner, time and target below *directory*, and every file's checksum."""
    listed = _shell(["find", ".", "-printf", "%P %y %m %U %G %T@ %n %l\\n"], directory)
    sums = _shell(
        ["sh", "-c", "find . -type f -print0 | sort -z | xargs -0 --no-run-if-empty sha256sum"], directory
    )
    return "\n".join((*sorted(listed.splitlines()), sums))


@contextlib.contextmanager
def world(kind: type[World] | None = None) -> Iterator[World]:
    """Give a world in a new directory, and remove it."""
    parent = Path(tempfile.mkdtemp(prefix="quiesce-world-"))
    try:
        made = (kind or World)(root=parent / "world")
        try:
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def import_everything() -> None:
    """Import what commands need: the children inherit it."""
    with world() as given:
        _ = given
    import quiesce.blueprint
    import quiesce.cli.commands.backups
    import quiesce.cli.commands.workflows
    import quiesce.provider_kit.installed
    import quiesce.providers.host.provider

    quiesce.provider_kit.installed.installed_providers()


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until *condition* holds."""
    import time

    ends = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > ends:
            raise WrongError(what)
        time.sleep(0.02)


def _shell(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout


def _waited(pid: int, arguments: tuple[str, ...]) -> int:
    def hanging(*_: object) -> None:
        os.kill(pid, signal.SIGKILL)
        raise WrongError(f"quiesce {' '.join(arguments)} hangs")

    before = signal.signal(signal.SIGALRM, hanging)
    signal.alarm(PATIENCE_S)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
