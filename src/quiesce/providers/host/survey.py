"""What runs on this machine and which files it writes, as the kernel tells it; nothing is changed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.files.mounts import Mount, is_at_or_below, read_mounts
from quiesce.files.reading import read_regular
from quiesce.providers.host.processes import Stat, command_line, every_process, ourselves

_PROC: Final = Path("/proc")
#: is there where systemd runs
SYSTEMD: Final = Path("/run/systemd/system")
#: of systemd's control groups: the service that a process belongs to
_SERVICE: Final = re.compile(r"/([^/]+\.service)(?:/|$)")
_FLAGS: Final = re.compile(r"^flags:\s*([0-7]+)", re.MULTILINE)
_SQLITE: Final = b"SQLite format 3\0"
_DELETED: Final = " (deleted)"
#: of ``postmaster.pid``: the number of the process, the directory, when, the port, the directory of sockets
_POSTMASTER_LINES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLServer:
    """A server of PostgreSQL that runs here."""

    directory: Path
    port: int
    sockets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A daemon: its first process, and all that belong to it."""

    name: str
    pid: int
    command: str
    #: the service of systemd that it is; None: it is none, or systemd does not run here
    unit: str | None
    #: what its processes have open for writing
    written: frozenset[Path]
    #: those of them that are SQLite databases
    databases: frozenset[Path]
    server: PostgreSQLServer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSurvey:
    """What was found, and how much could not be looked at."""

    programs: tuple[Program, ...]
    mounts: tuple[Mount, ...]
    systemd: bool
    #: processes of others, which only root may look at
    unseen: int
    #: processes with a mount table of their own: their paths are not ours
    contained: int


def survey_machine() -> MachineSurvey:
    """Look at every process that no terminal controls, but ourselves and what we were started by."""
    every = every_process()
    skipped = ourselves(every) - {1}
    here = _mount_space("self")
    daemons: dict[str, list[Stat]] = {}
    unseen = contained = 0
    for pid, found in every.items():
        if pid in skipped or not command_line(pid) or found.has_terminal:
            continue
        try:
            if _mount_space(str(pid)) != here:
                contained += 1
                continue
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue
        daemons.setdefault(_unit(pid) or f"session {found.session}", []).append(found)
    programs = [_program(members) for members in daemons.values()]
    return MachineSurvey(
        programs=tuple(sorted((p for p in programs if p.written or p.server), key=lambda p: p.pid)),
        mounts=read_mounts(),
        systemd=SYSTEMD.is_dir(),
        unseen=unseen,
        contained=contained,
    )


def _program(members: Sequence[Stat]) -> Program:
    """Return what *members* are together; the one that was started first stands for them."""
    first = min(members, key=lambda stat: stat.member.started).member.pid
    written, databases = set(), set()
    for stat_ in members:
        for descriptor, path in _written(stat_.member.pid):
            written.add(path)
            if _begins_with(descriptor, _SQLITE):
                databases.add(path)
    servers = (_server(stat_.member.pid) for stat_ in members)
    return Program(
        name=_name(first),
        pid=first,
        command=command_line(first),
        unit=_unit(first),
        written=frozenset(written),
        databases=frozenset(databases),
        server=next((server for server in servers if server is not None), None),
    )


def _written(pid: int) -> Iterator[tuple[Path, Path]]:
    """Yield the regular files that a process has open for writing: the descriptor in /proc, and the path."""
    try:
        numbers = [each.name for each in (_PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return
    for number in numbers:
        descriptor = _PROC / str(pid) / "fd" / number
        try:
            path = descriptor.readlink()
            regular = stat.S_ISREG(descriptor.stat().st_mode)
            writes = _is_for_writing((_PROC / str(pid) / "fdinfo" / number).read_text())
        except OSError:
            continue
        if regular and writes and path.is_absolute() and not path.name.endswith(_DELETED):
            yield descriptor, path


def _is_for_writing(told: str) -> bool:
    flags = _FLAGS.search(told)
    return flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _begins_with(descriptor: Path, magic: bytes) -> bool:
    """Tell whether an open file, which is a regular one, begins so; read by the descriptor, not by a path."""
    try:
        opened = os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(opened).st_mode) and os.pread(opened, len(magic), 0) == magic
    finally:
        os.close(opened)


def _server(pid: int) -> PostgreSQLServer | None:
    """Return the server that a process is the first one of: it works in its directory, and says so there."""
    if _name(pid) not in {"postgres", "postmaster"}:
        return None
    try:
        directory = (_PROC / str(pid) / "cwd").readlink()
        lines = read_regular(directory / "postmaster.pid", at_most=4096).decode(errors="replace").splitlines()
    except OSError:
        return None
    if len(lines) < _POSTMASTER_LINES or lines[0].strip() != str(pid) or not lines[3].strip().isdecimal():
        return None
    sockets = lines[4].strip() or "127.0.0.1"
    return PostgreSQLServer(directory=directory, port=int(lines[3]), sockets=sockets)


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _unit(pid: int) -> str | None:
    """Return the service of systemd that a process is part of, by its control group."""
    if not SYSTEMD.is_dir():
        return None
    try:
        groups = (_PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    found = (_SERVICE.findall(line) for line in groups)
    return next((services[-1] for services in found if services), None)


def _mount_space(process: str) -> Path:
    return (_PROC / process / "ns" / "mnt").readlink()


def mount_at(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that *path*, which has no links in it, lies on."""
    raw = os.fsencode(path)
    holding = [each for each in mounts if is_at_or_below(raw, each.point)]
    return max(holding, key=lambda each: len(each.point), default=None)


def directories_of(written: Iterable[Path], shared: Sequence[Path]) -> Mapping[Path, frozenset[Path]]:
    """Return the directories to be saved for files that are written, each with its files; none in another.

    Below one of the *shared* directories each entry is a program's own; else it is the file's directory.
    """
    chosen: dict[Path, set[Path]] = {}
    for path in written:
        chosen.setdefault(_own_directory(path, shared), set()).add(path)
    outermost = [each for each in chosen if not any(above in chosen for above in each.parents)]
    return {
        root: frozenset(path for files in chosen.values() for path in files if path.is_relative_to(root))
        for root in sorted(outermost)
    }


def _own_directory(path: Path, shared: Sequence[Path]) -> Path:
    for above in shared:
        if path.is_relative_to(above) and len(path.relative_to(above).parts) > 1:
            return above / path.relative_to(above).parts[0]
    return path.parent
