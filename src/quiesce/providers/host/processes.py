"""Processes of this machine: find a group of them, stop it, know that it stopped, let it go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError
from quiesce.providers.host.freeze_daemon import send_signal
from quiesce.providers.host.options import ProcessScope

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
#: of the arguments of a process, in bytes
_LONGEST_COMMAND: Final = 32 << 10
_PROC: Final = Path("/proc")
_POLL_S: Final = 0.001
_STOPPED: Final = frozenset("Tt")
_DEAD: Final = frozenset("ZXx")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Member:
    """One process, told from a later one of the same number by when it was started."""

    pid: int
    #: clock ticks since boot
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What ``/proc/PID/stat`` says."""

    member: Member
    parent: int
    group: int
    session: int
    has_terminal: bool
    state: str
    cpu_ticks: int
    threads: int
    memory_bytes: int


def every_process() -> dict[int, Stat]:
    """Return all processes of this machine, by number."""
    found = (stat_of(int(path.name)) for path in _PROC.iterdir() if path.name.isdecimal())
    return {stat.member.pid: stat for stat in found if stat is not None}


def stat_of(pid: int) -> Stat | None:
    """Return one process; None when there is none, or only its remains."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state = fields[0].decode()
    if state in _DEAD:
        return None
    return Stat(
        member=Member(pid=pid, started=int(fields[19])),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        has_terminal=fields[4] != b"0",
        state=state,
        cpu_ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        memory_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def command_line(pid: int) -> str:
    """Return a process's arguments, separated by blanks; empty when it has none or is gone.

    Of very many the first: anybody can start a program with megabytes of them for our expressions to search.
    """
    try:
        with (_PROC / str(pid) / "cmdline").open("rb", buffering=0) as file:
            return file.read(_LONGEST_COMMAND).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def owner_of(pid: int) -> int | None:
    """Return the user that started a process, who may stop it; None when it is gone."""
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None


def started_at(stat: Stat) -> float:
    """Return when the process was started, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + stat.member.started / TICKS_PER_S


def with_descendants(leaders: Iterable[Stat], every: dict[int, Stat], scope: ProcessScope) -> list[Stat]:
    """Return *leaders* and, by *scope*, their descendants (``tree``), process group or session too."""
    chosen = {stat.member.pid: stat for stat in leaders}
    groups = {stat.group for stat in chosen.values()} if scope is ProcessScope.GROUP else set()
    sessions = {stat.session for stat in chosen.values()} if scope is ProcessScope.SESSION else set()
    chosen |= {pid: stat for pid, stat in every.items() if stat.group in groups or stat.session in sessions}
    children: dict[int, list[Stat]] = {}
    for stat in every.values():
        children.setdefault(stat.parent, []).append(stat)
    pending = list(chosen)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child.member.pid not in chosen:
                chosen[child.member.pid] = child
                pending.append(child.member.pid)
    return sorted(chosen.values(), key=lambda stat: stat.member)


def ourselves(every: dict[int, Stat]) -> frozenset[int]:
    """Return this process, its ancestors and process 1: stopping them would stop quiesce."""
    found = {1}
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = every[pid].parent if pid in every else 1
    return frozenset(found)


def stop(find: Callable[[], list[Stat]], announce: Callable[[list[Member]], None], timeout_s: float) -> int:
    """Stop everything that *find* finds, until it finds nothing that runs; return how many there are.

    *announce* hears of every process before it is stopped.

    Raises:
        OperationTimeoutError: when some still run after *timeout_s*.
    """
    known: set[Member] = set()
    ends = time.monotonic() + timeout_s
    while True:
        found = find()
        fresh = [stat.member for stat in found if stat.member not in known]
        if fresh:
            announce(fresh)
            known.update(fresh)
        running = [stat for stat in found if not is_stopped(stat.member)]
        if not running and not fresh:
            return len(found)
        signal_all(running, signal.SIGSTOP)
        _wait(ends, running, "do not stop")


def let_go_on(members: Iterable[Member], timeout_s: float) -> None:
    """Continue *members* until none is stopped.

    Raises:
        OperationTimeoutError: when some are still stopped after *timeout_s*.
    """
    ends = time.monotonic() + timeout_s
    chosen = list(members)
    while stopped := [stat for stat in _living(chosen) if stat.state == "T"]:
        signal_all(stopped, signal.SIGCONT)
        _wait(ends, stopped, "do not go on")


def is_stopped(member: Member) -> bool:
    """Tell whether every thread of *member* is stopped, or it is gone."""
    return all(state in _STOPPED for state in _thread_states(member))


def stopped_members(members: Iterable[Member]) -> list[Member]:
    """Return those of *members* that are stopped."""
    return [stat.member for stat in _living(members) if stat.state in _STOPPED]


def living(members: Iterable[Member]) -> list[Member]:
    """Return those of *members* that are still there."""
    return [stat.member for stat in _living(members)]


def _living(members: Iterable[Member]) -> Iterator[Stat]:
    for member in members:
        stat = stat_of(member.pid)
        if stat is not None and stat.member == member:
            yield stat


def _thread_states(member: Member) -> Iterator[str]:
    if not any(_living([member])):
        return
    try:
        tasks = list((_PROC / str(member.pid) / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for task in tasks:
        try:
            state = (task / "stat").read_bytes().rpartition(b")")[2].split()[0].decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in _DEAD:
            yield state


def signal_all(stats: Iterable[Stat], number: signal.Signals) -> None:
    """Send a signal to each that is still there.

    Raises:
        NonRecoverableError: when one belongs to another user.
    """
    for stat in stats:
        try:
            send_signal(stat.member.pid, stat.member.started, number)
        except PermissionError as error:
            raise NonRecoverableError(
                f"process {stat.member.pid} belongs to another user", hint="Run quiesce as that user or root."
            ) from error


def _wait(ends: float, stats: list[Stat], complaint: str) -> None:
    if time.monotonic() >= ends:
        pids = ", ".join(str(stat.member.pid) for stat in stats[:10])
        raise OperationTimeoutError(f"processes {pids} {complaint}")
    time.sleep(_POLL_S)
