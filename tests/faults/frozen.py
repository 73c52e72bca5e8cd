"""A deployment in which everything is frozen that can be: a process, a database, a file system as root.

Its guard is a fork of the command that it guards: the program is the same, and is not imported anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from .world import Fault, Kind, Victim, World, WrongError, until

BLUEPRINT: Final = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {here: {type: string}}
node_templates:
  one:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: here}, /one]}}
  database:
    type: quiesce.nodes.host.SQLite
    properties: {path: {concat: [{get_input: here}, /one/shop.db]}}
    relationships: [{type: cloudify.relationships.contained_in, target: one}]
  web:
    type: quiesce.nodes.host.PausedProcess
    properties:
      pid_file: {concat: [{get_input: here}, /web.pid]}
      start: {concat: ["sleep 1000000 & echo $! > ", {get_input: here}, /web.pid]}
    relationships: [{type: cloudify.relationships.connected_to, target: database}]
  two:
    type: quiesce.nodes.host.Directory
    properties:
      path: {concat: [{get_input: here}, /disk/two]}
      snapshot_dir: {concat: [{get_input: here}, /.quiesce-two]}
"""
DISK: Final = """\
    relationships: [{type: cloudify.relationships.contained_in, target: disk}]
  disk:
    type: quiesce.nodes.host.FileSystem
    properties: {path: {concat: [{get_input: here}, /disk]}}
"""
_FIFREEZE: Final = 0xC0045877
_FITHAW: Final = 0xC0045878
#: what is there because processes are started and freezes are held, and is no leftover
_KEPT: Final = frozenset(
    {"disk", "web.pid", "home/guard.log", "home/providers", "home/providers/host"}
    | {"home/providers/host/holds", "home/providers/host/commands", "home/providers/host/suspended"}
    | {".quiesce-two/.stage.json"}
)


def can_freeze_disks() -> bool:
    """Tell whether file systems can be mounted and frozen here."""
    tools = ("mount", "umount", "mkfs.ext4", "losetup")
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in tools):
        return False
    return subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode == 0


@dataclass(kw_only=True)
class FrozenWorld(World):
    """The deployment ``shop`` with all that freezes; its second directory is on another file system."""

    blueprint: str = BLUEPRINT
    has_disk: bool = field(default_factory=can_freeze_disks)
    _databases: ClassVar[dict[str, bytes]] = {}

    def __post_init__(self) -> None:
        self.root.mkdir(mode=0o700)
        self._disk.mkdir()
        try:
            if self.has_disk:
                self.blueprint += DISK
                self._mount()
            self._start_web()
            super().__post_init__()
        except BaseException:
            self._release()
            raise

    def end(self) -> None:
        """Let everything go on, and remove it."""
        self._kill_guards()
        self._release()
        super().end()

    @property
    def _disk(self) -> Path:
        return self.root / "disk"

    def _release(self) -> None:
        """Leave no process, no freeze and no mount behind, however far it has come."""
        if self._web_state():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._web(), signal.SIGKILL)
        if os.path.ismount(self._disk):
            with self._open_disk() as disk, contextlib.suppress(OSError):  # it is not frozen
                fcntl.ioctl(disk, _FITHAW, 0)
            subprocess.run(["umount", "--lazy", self._disk], check=False)

    @property
    def directories(self) -> tuple[Path, Path]:
        """What is backed up."""
        return self.root / "one", self._disk / "two"

    def fill(self, state: str) -> None:
        """Write the data that is called *state*, a database among them."""
        super().fill(state)
        one, _ = self.directories
        (one / "shop.db").write_bytes(self._database(state))
        for path in (one / "shop.db", one):
            os.utime(path, ns=(1, 1_234_567_890_123_456_789))

    def names(self) -> str:
        """Return every name that there would be in a world without freezes."""
        shown = []
        for line in super().names().splitlines():
            path, _, kind = line.rpartition(" ")
            kept = path in _KEPT or path.startswith(("home/providers/host/commands/", "disk/lost+found"))
            if not kept and path != "disk/two" and not path.startswith("disk/two/"):
                shown.append(f"{path.removeprefix('disk/')} {kind}")
        return "\n".join(sorted(shown))

    def settled(self, fault: Fault) -> None:
        """Raise when something stays frozen although nobody runs a command, or the guard does not end."""
        with contextlib.suppress(WrongError):
            until(lambda: not self.frozen(), "")
        if frozen := self.frozen():
            raise WrongError(f"nobody thaws {', '.join(frozen)}")
        if fault.victim is Victim.GUARD:
            # it may never be able to write what it did, and then must not end
            with contextlib.suppress(WrongError):
                until(lambda: not self._guards(), "", patience_s=2)
            self._kill_guards()
        until(lambda: not self._guards(), "the guard does not end")

    def running(self) -> None:
        """Raise unless the process runs after the next command."""
        self.run("executions", "list")
        until(lambda: self._web_state() not in {"", "T", "Z"}, "the process does not run")

    def frozen(self) -> list[str]:
        """Return what is frozen now."""
        looks = {
            "the process": self._web_state() == "T",
            "the file system": self.has_disk and self._is_disk_frozen(),
            "the database": self._is_locked(),
        }
        return [name for name, is_frozen in looks.items() if is_frozen]

    def prepare_child(self, fault: Fault, dies_at: int) -> None:
        """Let the guard be forked, and the holders' calls fail."""
        import quiesce.guard

        how, number, _ = fault.kind.value
        told = f"{how} {fault.call} {number} {self.root} {self.log or ''}"
        if fault.victim is Victim.HOLDERS:
            os.environ |= {"INJECT_INTO": fault.victim.value, "INJECT_HOW": told}
            os.environ["LD_PRELOAD"] = os.environ.pop("FAULT_LAYER")
        note, log = self._scratch / "guards", self.log

        def forked(*_: object, **options: Any) -> _ForkedGuard:
            arming = (self.root, fault, log) if fault.victim is Victim.GUARD else None
            guard = _ForkedGuard(options["env"], options["stderr"], arming)
            with note.open("a") as file:
                file.write(f"{guard.pid}\n")
            return guard

        stand_in = types.SimpleNamespace(
            PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired, Popen=forked
        )
        quiesce.guard.subprocess = stand_in  # type: ignore[assignment, attr-defined]
        if dies_at:
            arm(self.root, Fault(kind=Kind.KILL, call=dies_at), None)
        elif fault.victim is Victim.ENGINE and (fault.kind is not Kind.COUNT or log is not None):
            arm(self.root, fault, log)

    def _mount(self) -> None:
        with tempfile.NamedTemporaryFile(prefix="quiesce-disk-") as image:  # the loop device holds it
            os.truncate(image.fileno(), 16 << 20)
            subprocess.run(["mkfs.ext4", "-q", image.name], check=True)
            subprocess.run(["mount", "-o", "loop", image.name, self._disk], check=True)

    def _database(self, state: str) -> bytes:
        if state not in self._databases:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "shop.db"
                with contextlib.closing(sqlite3.connect(path)) as rows, rows:
                    rows.execute("CREATE TABLE orders (item)")
                    rows.executemany("INSERT INTO orders VALUES (?)", [(state,)] * 400)
                self._databases[state] = path.read_bytes()
        return self._databases[state]

    def _start_web(self) -> None:
        command = f"sleep 1000000 & echo $! > '{self.root}/web.pid'"
        shell = ["setsid", "sh", "-c", f"umask 077; exec >/dev/null 2>&1; {command}"]
        subprocess.run(shell, check=True, cwd="/")

    def _web(self) -> int:
        return int((self.root / "web.pid").read_text())

    def _web_state(self) -> str:
        try:
            told = Path(f"/proc/{self._web()}/stat").read_text()
        except (OSError, ValueError):
            return ""
        return told.rpartition(")")[2].split()[0] if "(sleep)" in told else ""

    def _is_disk_frozen(self) -> bool:
        """Tell by freezing it, which only one can; never what lies below, when it is not mounted."""
        if not os.path.ismount(self._disk):
            raise WrongError("the file system is not mounted any more")
        with self._open_disk() as disk:
            try:
                fcntl.ioctl(disk, _FIFREEZE, 0)
            except OSError:
                return True
            with contextlib.suppress(OSError):  # whoever thaws what was frozen before has thawed this, too
                fcntl.ioctl(disk, _FITHAW, 0)
            return False

    @contextlib.contextmanager
    def _open_disk(self) -> Iterator[int]:
        descriptor = os.open(self._disk, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_locked(self) -> bool:
        path = self.directories[0] / "shop.db"
        # in a process of its own: closing any descriptor of a database gives all its locks back
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        looked = [sys.executable, "-I", "-S", "-c", code, str(path)]
        return subprocess.run(looked, env=environment, capture_output=True, check=False).returncode != 0

    def _guards(self) -> list[int]:
        note = self._scratch / "guards"
        noted = [int(line) for line in note.read_text().split()] if note.exists() else []
        return [pid for pid in noted if _lives(pid)]

    def _kill_guards(self) -> None:
        for pid in self._guards():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class _ForkedGuard:
    """A guard as `subprocess.Popen` would give it, in a fork of this process."""

    def __init__(
        self, environment: Mapping[str, str], errors: int, arming: tuple[Path, Fault, Path | None] | None
    ) -> None:
        orders, to_guard = os.pipe()
        from_guard, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be_guard((orders, answers, errors), environment, arming)
        os.close(orders)
        os.close(answers)
        self.stdin = os.fdopen(to_guard, "wb")
        self.stdout = os.fdopen(from_guard, "rb")

    def wait(self, timeout: float) -> int:
        """Return its exit status."""
        try:
            until(lambda: not _lives(self.pid), "", patience_s=timeout)
        except WrongError:
            raise subprocess.TimeoutExpired("guard", timeout) from None
        return 0


def arm(root: Path, fault: Fault, log: Path | None) -> None:
    """Let one of this process's calls fail."""
    how, number, _ = fault.kind.value
    told = b"" if log is None else os.fsencode(log)
    ctypes.CDLL(None).inject_arm(os.fsencode(root), how, fault.call, number, told)


def _be_guard(
    streams: tuple[int, int, int],
    environment: Mapping[str, str],
    arming: tuple[Path, Fault, Path | None] | None,
) -> NoReturn:
    status = 1
    try:
        os.setsid()
        os.chdir("/")
        ctypes.CDLL(None).inject_disarm()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(len(streams), 256)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.clear()
        os.environ.update(environment)
        if arming is not None:
            arm(*arming)
        from quiesce.cli import guard

        guard.main()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _lives(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"
