"""The freeze daemon and the processes that hold freezes. It runs by itself and imports nothing of quiesce.

The provider starts one daemon ahead of time. For each freeze the daemon forks a *holder*, in a
session of its own, which arms its timer, freezes, writes its state file and then does nothing but wait.
It thaws, whatever comes first: when it is asked to (SIGTERM), when its timer fires, or when the process
that asked for the freeze dies (end of file on its socket) without having handed the watch over.

A lock on the state file lasts as long as the holder: whoever gets that lock knows that it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

LONGEST_MESSAGE: Final = 1 << 17
FIFREEZE: Final = 0xC0045877
FITHAW: Final = 0xC0045878
_LOCK_ALL_MEMORY: Final = 3
_NEVER_KILLED: Final = "-1000"
_THAW_RETRY_S: Final = 0.05
#: somebody who only looks at the state holds its lock for an instant
_STATE_TRIES: Final = 20
_STATE_PAUSE_S: Final = 0.005
_COPY_RETRY_S: Final = 0.02
_FORGOTTEN_WITHIN_S: Final = 1.0
#: input, output, errors
_STANDARD: Final = range(3)


class FreezeRefusedError(Exception):
    """The freeze cannot be had; *code* is the caller's word for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hold(Protocol):
    """One kind of freeze."""

    def freeze(self) -> None:
        """Freeze; what raises has frozen nothing."""

    def thaw(self) -> None:
        """Thaw; returns when it is thawed."""

    def extend(self, message: dict[str, Any]) -> None:
        """Take more under the freeze."""


def main(daemon: socket.socket) -> None:
    """Fork a holder for each request until the provider's process closes the socket."""
    os.setsid()
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    rescue = RescueLink()
    while True:
        data, descriptors, _, _ = socket.recv_fds(daemon, LONGEST_MESSAGE, 1)
        if not descriptors:
            return
        request = json.loads(data)
        if request["kind"] in _OUTLIVING:
            rescue.be_there()
        if os.fork() == 0:
            daemon.close()
            _serve(request, socket.socket(fileno=descriptors[0]), rescue)
            os._exit(0)
        os.close(descriptors[0])


class RescueLink:
    """The way to the rescue process, which thaws when all of us are killed; see `freeze_rescue`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._key = ""

    def be_there(self) -> None:
        """Start it unless it runs; what is told before it listens is kept for it."""
        if self._socket is not None:
            poll = select.poll()
            poll.register(self._socket, 0)
            if not poll.poll(0):
                return
            self._socket.close()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _start_rescue(theirs)

    def begin(self, request: dict[str, Any]) -> None:
        """Say what is going to be frozen, by this process."""
        if request["kind"] not in _OUTLIVING:
            self._socket = None
            return
        self._key = request["state"]
        told: dict[str, Any] = {
            name: request[name] for name in ("path", "members", "thaw_after_s") if name in request
        }
        pid, asker = os.getpid(), request["asker"]
        self._tell({**told, "holder": [pid, start_time(pid)], "asker": [asker, start_time(asker) or 0]})

    def extend(self, members: list[list[int]]) -> None:
        """Say what else is going to be stopped."""
        self._tell({"members": members})

    def thawed(self) -> None:
        """Say that nothing is held any more; returns when nothing of it is open there, or after a second.

        Otherwise, who unmounts the file system next would be told that it is busy.
        """
        forgotten, telling = os.pipe2(os.O_CLOEXEC)
        try:
            self._tell({"thawed": True}, [telling])
        finally:
            os.close(telling)
        select.select([forgotten], [], [], _FORGOTTEN_WITHIN_S)
        os.close(forgotten)

    def _tell(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._socket is None:
            return
        try:
            socket.send_fds(self._socket, [json.dumps({"key": self._key, **message}).encode()], descriptors)
        except OSError:
            self._socket = None  # it was killed: the timer, the guard and later commands are left


def _start_rescue(orders: socket.socket) -> None:
    """Start the process that reads *orders*: nobody's child, in a session of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            _become_rescue(orders.fileno())
        os._exit(0)
    with contextlib.suppress(ChildProcessError):  # it may be reaped by itself
        os.waitpid(child, 0)  # that one: holders live on


def _become_rescue(orders: int) -> None:
    try:
        # by descriptor: whoever kills by the name of our files does not mean this one
        source = os.open(Path(__file__).with_name("freeze_rescue.py"), os.O_RDONLY)
        _leave_everything({source, orders})
        kept = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        scope = rescue_scope(systemd=Path("/run/systemd/system").is_dir(), root=os.geteuid() == 0)
        if scope and not _can_be_run([*scope, "true"], environment):
            scope = []
        own = [sys.executable, "-I", "-S", f"/dev/fd/{source}", str(orders)]
        os.execvpe([*scope, *own][0], [*scope, *own], environment)  # noqa: S606  of our own making
    finally:
        os._exit(1)


def rescue_scope(*, systemd: bool, root: bool) -> list[str]:
    """Return what runs a command where the kill of our own unit or session does not reach it."""
    if not systemd:
        return []
    return ["systemd-run", "--system" if root else "--user", "--scope", "--quiet", "--collect"]


def _can_be_run(command: list[str], environment: dict[str, str]) -> bool:
    try:
        child = os.posix_spawnp(command[0], command, environment)
    except OSError:
        return False
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _leave_everything(kept: set[int]) -> None:
    os.chdir("/")
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until it knows what to do then
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _STANDARD:
        os.dup2(nothing, descriptor)
    descriptors = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    for descriptor in descriptors:
        if descriptor in kept:
            os.set_inheritable(descriptor, True)
        elif descriptor not in _STANDARD:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _serve(request: dict[str, Any], watcher: socket.socket, rescue: RescueLink) -> None:
    os.setsid()
    try:
        if request["kind"] in _JOBS:
            _answer(watcher, _JOBS[request["kind"]](request) or {})
        else:
            _hold(request, watcher, rescue)
    except BrokenPipeError:
        return
    except FreezeRefusedError as refusal:
        _answer(watcher, {"code": refusal.code, "error": str(refusal)})
    except Exception as error:  # noqa: BLE001  the provider's process turns it into an error of ours
        _answer(watcher, {"code": "failed", "error": f"{type(error).__name__}: {error}"})


def _hold(request: dict[str, Any], watcher: socket.socket, rescue: RescueLink) -> None:
    hold = _KINDS[request["kind"]](request)
    wakeup = _arm(request["thaw_after_s"])
    state = _take_state(request)
    rescue.begin(request)
    try:
        hold.freeze()
        try:
            _answer(watcher, {})
            _wait(wakeup, watcher, hold, rescue)
        finally:
            hold.thaw()
    finally:
        rescue.thawed()
        Path(request["state"]).unlink(missing_ok=True)
        os.close(state)


def _arm(thaw_after_s: float) -> int:
    """Set the timer; from now on it, or SIGTERM, makes the returned descriptor readable."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, thaw_after_s)
    return readable


def _take_state(request: dict[str, Any]) -> int:
    """Write who holds what, before anything is frozen, and keep it locked for life."""
    for _ in range(_STATE_TRIES):
        state = os.open(request["state"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if _locked(state) and _is_still(request["state"], state):
            write_state(state, {**request, "pid": os.getpid(), "started": start_time(os.getpid())})
            return state
        os.close(state)
        time.sleep(_STATE_PAUSE_S)
    raise FreezeRefusedError("busy", "another process holds this freeze")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def write_state(descriptor: int, state: dict[str, Any]) -> None:
    """Replace what the state file says."""
    data = json.dumps(state).encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _wait(wakeup: int, watcher: socket.socket, hold: Hold, rescue: RescueLink) -> None:
    """Return when it is time to thaw."""
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    poll.register(watcher, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wakeup in ready:
            return
        data = _received(watcher)
        if not data:
            return
        message = json.loads(data)
        if message.get("handed_over"):
            poll.unregister(watcher)
        else:
            rescue.extend(message["members"])
            hold.extend(message)
            _answer(watcher, {})


def _received(watcher: socket.socket) -> bytes:
    try:
        return watcher.recv(LONGEST_MESSAGE)
    except ConnectionError:
        return b""


def _answer(watcher: socket.socket, answer: dict[str, Any]) -> None:
    try:
        watcher.send(json.dumps(answer).encode())
    except ConnectionError:
        return


class DatabaseHold:
    """The write lock of an SQLite database, with everything committed written to the disk.

    Nobody can commit while it is held; reading goes on. With ``apply`` the database is first replaced by
    another one's content, what was there kept as ``former``; nobody can write between that and the lock but
    for an instant.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._path = request["path"]
        self._apply = request.get("apply")
        self._former = request.get("former")
        self._rights = request.get("rights")
        self._busy_s = request["busy_s"]
        self._connections: list[sqlite3.Connection] = []

    def freeze(self) -> None:
        """Take the lock, then write back what the log holds."""
        if self._apply:
            replace_database(
                {
                    "source": self._apply,
                    "target": self._path,
                    "former": self._former,
                    "target_rights": self._rights,
                    "busy_s": self._busy_s,
                }
            )
        with acting_with(self._rights):
            holder = self._connect()
            _begin(holder)
            if holder.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                self._connect().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def thaw(self) -> None:
        """Give the lock back."""
        with acting_with(self._rights):
            for connection in self._connections:
                connection.close()

    def extend(self, message: dict[str, Any]) -> None:
        """Do nothing: a database is one thing."""

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, "rw", self._busy_s)
        self._connections.append(connection)
        return connection


class FileSystemHold:
    """A file system frozen by the kernel. Nothing of it is touched while it is frozen."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._root = os.open(request["path"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def freeze(self) -> None:
        """Flush while writers still run, so that little is left to flush, then freeze."""
        self._stay_in_memory()
        self._libc.syncfs(self._root)
        try:
            fcntl.ioctl(self._root, FIFREEZE, 0)
        except OSError as error:
            raise FreezeRefusedError(
                _FREEZE_ERRORS.get(error.errno or 0, "failed"), os.strerror(error.errno or 0)
            ) from error

    def thaw(self) -> None:
        """Thaw, and try again until it is thawed: nobody else may be there to do it. Nothing is left open."""
        while not self._is_thawed():
            time.sleep(_THAW_RETRY_S)
        os.close(self._root)

    def _is_thawed(self) -> bool:
        try:
            fcntl.ioctl(self._root, FITHAW, 0)
        except OSError as error:
            return error.errno == errno.EINVAL
        return True

    def extend(self, message: dict[str, Any]) -> None:
        """Do nothing: a file system is one thing."""

    def _stay_in_memory(self) -> None:
        self._libc.mlockall(_LOCK_ALL_MEMORY)
        try:
            Path("/proc/self/oom_score_adj").write_text(_NEVER_KILLED)
        except OSError:
            return


class ProcessesHold:
    """Processes that are stopped. They are named before they are stopped, never after."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._state = request["state"]
        self._members: list[list[int]] = request["members"]

    def freeze(self) -> None:
        """Do nothing: the provider stops them, once they are known here."""

    def thaw(self) -> None:
        """Let all of them go on."""
        for pid, started in self._members:
            send_signal(pid, started, signal.SIGCONT)

    def extend(self, message: dict[str, Any]) -> None:
        """Know more of them; durable against this process's own death, too."""
        self._members += message["members"]
        path = Path(self._state)
        state = json.loads(path.read_bytes())
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        write_state(descriptor, {**state, "members": self._members})
        os.close(descriptor)


def send_signal(pid: int, started: int, number: int) -> bool:
    """Send a signal to the process that has *pid* since *started*; tell whether there still is one."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def start_time(pid: int) -> int | None:
    """Return when *pid* was started, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def connect(path: str, mode: str, busy_s: float) -> sqlite3.Connection:
    """Open an SQLite database that must exist."""
    uri = f"file:{quote(path)}?mode={mode}"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s)
    except sqlite3.OperationalError as error:
        code = "failed" if Path(path).exists() else "missing"
        raise FreezeRefusedError(code, f"cannot open {path}: {error}") from error


@contextlib.contextmanager
def acting_with(rights: dict[str, Any] | None) -> Iterator[None]:
    """Have no more rights than a user has, whose directory it is; with ours when *rights* is None.

    SQLite opens a database, its log and its journal by their names, and follows links. So whoever can put a
    link there leads it only to what they could have opened themselves.
    """
    if rights is None:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups(rights["groups"])
    os.setegid(rights["group"])
    os.seteuid(rights["user"])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def copy_database(request: dict[str, Any]) -> None:
    """Replace the target's content by the source's, in one transaction; makes a target that is missing.

    A *scratch* target is made durable by somebody else, later.
    """
    with acting_with(request.get("source_rights")):
        source = _open_to_read(request["source"], request["busy_s"])
    try:
        with acting_with(request.get("target_rights")):
            _write_copy(source, request)
    finally:
        with acting_with(request.get("source_rights")):
            source.close()


def _write_copy(source: sqlite3.Connection, request: dict[str, Any]) -> None:
    target = connect(request["target"], "rwc", request["busy_s"])
    try:
        if request["scratch"]:
            target.execute("PRAGMA synchronous=OFF")
        _copy(source, target, request["busy_s"])
    finally:
        target.close()


def replace_database(request: dict[str, Any]) -> None:
    """Replace the target's content by the source's in one transaction, and keep what was there as ``former``.

    That is whole and on the disk before anything is replaced, and nobody writes in between: who has done so
    all the same, in the instant between two locks, is copied again.
    """
    source, ends = _open_to_read(request["source"], request["busy_s"]), time.monotonic() + request["busy_s"]
    try:
        while not _replaced(source, request):
            if time.monotonic() > ends:
                raise FreezeRefusedError("busy", "it is written to again and again")
    finally:
        source.close()


def _replaced(source: sqlite3.Connection, request: dict[str, Any]) -> bool:
    path, rights, busy_s = request["target"], request.get("target_rights"), request["busy_s"]
    with acting_with(rights):
        holder = connect(path, "rw", busy_s)
        _begin(holder)
        present = _open_to_read(path, busy_s)
    try:
        _write_former(present, request["former"], busy_s)
        with acting_with(rights):
            present.close()
            version = _version_of(path)
            holder.execute("ROLLBACK")
            return _replaced_unless_written(source, path, version, busy_s)
    finally:
        with acting_with(rights):
            holder.close()


def _write_former(present: sqlite3.Connection, path: str, busy_s: float) -> None:
    """Copy what is there, and give the copy its name when it is whole and on the disk."""
    part = f"{path}.part"
    Path(part).unlink(missing_ok=True)
    target = connect(part, "rwc", busy_s)
    try:
        _copy(present, target, busy_s)
    finally:
        target.close()
    Path(part).rename(path)
    above = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _replaced_unless_written(source: sqlite3.Connection, path: str, version: bytes, busy_s: float) -> bool:
    """Replace it, unless somebody has written to it since it had that *version*; tell which."""

    def look(status: int, remaining: int, total: int) -> None:
        # after the first page nobody else can write, and nothing is written yet
        if status == sqlite3.SQLITE_OK and remaining == total - 1 and _version_of(path) != version:
            raise _WrittenMeanwhileError

    target = connect(path, "rw", busy_s)
    try:
        _copy(source, target, busy_s, pages=1, look=look)
    except _WrittenMeanwhileError:
        return False
    finally:
        target.close()
    return True


class _WrittenMeanwhileError(Exception):
    """Somebody has written between two locks."""


def _version_of(path: str) -> bytes:
    """Return what changes with each transaction: of the database's first page, or of its log's index.

    Read by a process of its own: closing the file in this one would give up SQLite's locks.
    """
    output, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(write, _slice(path, 24, 4) + _slice(f"{path}-shm", 0, 48))
        os._exit(0)
    os.close(write)
    with os.fdopen(output, "rb") as answer:
        version = answer.read()
    with contextlib.suppress(ChildProcessError):  # where the system collects what has ended
        os.waitpid(child, 0)
    if not version:
        raise FreezeRefusedError("failed", f"{path} cannot be looked at")
    return version


def _slice(path: str, offset: int, length: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    return os.pread(descriptor, length, offset)


def schema_number(request: dict[str, Any]) -> dict[str, Any]:
    """Return the number of the database's schema: it changes whenever all of its content is replaced."""
    with acting_with(request.get("source_rights")):
        connection = _open_to_read(request["source"], request["busy_s"])
        try:
            return {"schema": connection.execute("PRAGMA schema_version").fetchone()[0]}
        finally:
            connection.close()


def thaw_file_system(request: dict[str, Any]) -> None:
    """Thaw what a holder that was killed has left frozen."""
    FileSystemHold(request).thaw()


def _open_to_read(path: str, busy_s: float) -> sqlite3.Connection:
    """Open a database and all that belongs to it: nothing of it is opened by its name afterwards."""
    connection = connect(path, "rw", busy_s)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        raise FreezeRefusedError(_sqlite_code(error), f"cannot read {path}: {error}") from error
    return connection


def _look_at_nothing(status: int, remaining: int, total: int) -> None:
    """Let every page be copied."""


def _copy(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    busy_s: float,
    *,
    pages: int = -1,
    look: Callable[[int, int, int], None] = _look_at_nothing,
) -> None:
    ends = time.monotonic() + busy_s

    def give_up_when_late(status: int, remaining: int, total: int) -> None:
        look(status, remaining, total)
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > ends:
            raise FreezeRefusedError("busy", "the database is locked")

    try:
        source.backup(target, pages=pages, progress=give_up_when_late, sleep=_COPY_RETRY_S)
    except sqlite3.OperationalError as error:
        raise FreezeRefusedError(_sqlite_code(error), str(error)) from error


def _begin(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        raise FreezeRefusedError(_sqlite_code(error), str(error)) from error


def _sqlite_code(error: sqlite3.OperationalError) -> str:
    kind = error.sqlite_errorname.split("_")[1]
    return {"BUSY": "busy", "FULL": "full", "IOERR": "input-output"}.get(kind, "failed")


_FREEZE_ERRORS: Final = {errno.EBUSY: "busy", errno.EOPNOTSUPP: "unsupported", errno.EPERM: "forbidden"}
#: freezes that do not end with the process that holds them
_OUTLIVING: Final = frozenset({"file_system", "processes"})
#: what is done at once, and holds nothing
_JOBS: Final[dict[str, Any]] = {
    "copy": copy_database,
    "replace": replace_database,
    "schema": schema_number,
    "thaw": thaw_file_system,
}
_KINDS: Final[dict[str, Any]] = {
    "database": DatabaseHold,
    "file_system": FileSystemHold,
    "processes": ProcessesHold,
}

if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
