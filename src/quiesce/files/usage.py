"""Who uses a directory tree now: working directories, roots, programs, open files, mappings, mounts."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.files.descriptors import path_of
from quiesce.files.mounts import Mount, is_at_or_below, mount_of, read_mounts

_LINKS: Final = ((b"cwd", "working directory"), (b"root", "root directory"), (b"exe", "program"))
_OPEN_FILE: Final = "open file"
_MAPPED: Final = "mapped file"
#: of it, or of a directory in it, elsewhere: who opens files there later opens those of the former state
_MOUNTED: Final = "mounted directory"
#: stands for everybody who sees what we see mounted
_EVERYBODY: Final = 0
#: what ``/proc/PID/maps`` says at the end of a line; a newline in it is escaped
_MAPPED_PATH: Final = re.compile(rb"^\S+ \S+ \S+ \S+ \S+ +(/.*)$", re.MULTILINE)
_LONGEST_COMMAND: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A process that uses a tree, or a mount of it that we see, too: that is nobody's in particular."""

    #: 0 for a mount that we see
    pid: int
    #: its command line, as it tells it itself: escape it before it is printed
    command: str
    #: in which ways: "working directory", "root directory", "program", "open file", "mapped file",
    #: "mounted directory"
    ways: tuple[str, ...]
    #: one of the paths, as the process sees it
    example: bytes

    def __str__(self) -> str:
        if self.pid == _EVERYBODY:
            return f"the mount of it at {os.fsdecode(self.example)!r}"
        return f"{self.command!r} (pid {self.pid}: {', '.join(self.ways)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Who uses a tree, as far as could be seen."""

    users: tuple[User, ...]
    #: how many processes could not be looked at, because they are not ours and we are not root
    unseen: int


def usage_of(directory: int, *, besides: Collection[int] = ()) -> Usage:
    """Return who uses an open directory or anything in it, but ourselves and the processes *besides*.

    A path is compared as what it is in its file system, so a process is found that comes by a bind mount,
    or lives in a container with a mount of its own, though it has nothing of it open now. Who comes by an
    overlay is not found. Processes that end meanwhile are left out.
    """
    look = _Look(directory)
    skipped = {os.getpid(), *besides}
    users, unseen = look.at_our_mounts(), 0
    for pid in _processes():
        if pid in skipped:
            continue
        try:
            user = look.at(pid)
        except PermissionError:
            unseen += 1
            continue
        except (FileNotFoundError, ProcessLookupError):
            continue
        if user is not None:
            users.append(user)
    return Usage(users=tuple(users), unseen=unseen)


class _Look:
    """A look at all processes for what is at or below one directory."""

    def __init__(self, directory: int) -> None:
        mounts = read_mounts()
        path = path_of(directory)
        mount = mount_of(directory, mounts)
        self._device = mount.device if mount else b""
        self._inside = mount.inside(path) if mount else path
        self._ours = self._looked_at(mounts)
        self._spaces = {_mount_space(b"self"): self._ours}

    def at_our_mounts(self) -> list[User]:
        """Return the mounts, where everybody sees them, of the directory or of what is in it."""
        points = self._ours.mounted
        return [User(pid=_EVERYBODY, command="", ways=(_MOUNTED,), example=point) for point in points]

    def at(self, pid: int) -> User | None:
        """Return how the process uses the directory; None when it does not.

        Raises:
            OSError: when it is gone, or is not ours to look at.
        """
        process = b"/proc/%d" % pid
        space = self._space(pid)
        found: dict[str, bytes] = {}
        if space.mounted and space is not self._ours:
            found[_MOUNTED] = space.mounted[0]
        for way, path in _uses(process):
            if way not in found and self._is_inside(space, path):
                found[way] = path
        if not found:
            return None
        example = next(iter(found.values()))
        return User(pid=pid, command=_command(process), ways=tuple(found), example=example)

    def _space(self, pid: int) -> _Space:
        """Return what is mounted where, as the process sees it; read once for all that see the same."""
        name = _mount_space(b"%d" % pid)
        if name not in self._spaces:
            self._spaces[name] = self._looked_at(read_mounts(str(pid)))
        return self._spaces[name]

    def _looked_at(self, mounts: Sequence[Mount]) -> _Space:
        within = [each for each in mounts if each.device == self._device]
        return _Space(mounts, [m.point for m in within if is_at_or_below(m.root, self._inside)])

    def _is_inside(self, space: _Space, path: bytes) -> bool:
        if not path.startswith(b"/"):
            # a pipe, a socket
            return False
        mount = space.mount_of(path)
        return (
            mount is not None
            and mount.device == self._device
            and is_at_or_below(mount.inside(path), self._inside)
        )


class _Space:
    """The mounts of one mount namespace, by mount point."""

    def __init__(self, mounts: Sequence[Mount], mounted: Sequence[bytes]) -> None:
        #: where the directory, or what is in it, is mounted
        self.mounted = mounted
        #: of several at one point the last is what is seen
        self._by_point = {mount.point: mount for mount in mounts}
        self._known: dict[bytes, Mount | None] = {}

    def mount_of(self, path: bytes) -> Mount | None:
        """Return the mount that *path* lies on."""
        passed: list[bytes] = []
        while path not in self._known:
            passed.append(path)
            mount = self._by_point.get(path or b"/")
            if mount is not None or not path:
                self._known[path] = mount
                break
            path = path.rpartition(b"/")[0]
        found = self._known[path]
        self._known.update(dict.fromkeys(passed, found))
        return found


def _processes() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries]
    return (int(name) for name in names if name.isdecimal())


def _mount_space(process: bytes) -> bytes:
    return os.readlink(b"/proc/%s/ns/mnt" % process)


def _uses(process: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield in which way a process uses which path, as it sees it."""
    for link, way in _LINKS:
        if path := _link(process + b"/" + link):
            yield way, path
    descriptors = process + b"/fd/"
    for name in os.listdir(descriptors):
        if path := _link(descriptors + name):
            yield _OPEN_FILE, path
    with open(process + b"/maps", "rb") as file:
        for path in set(_MAPPED_PATH.findall(file.read())):
            yield _MAPPED, path


def _link(path: bytes) -> bytes:
    """Return where a link of a process leads; empty when it is gone, as a kernel thread has no ``exe``."""
    try:
        return os.readlink(path)
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _above(path)


def _above(path: bytes) -> bytes:
    """Return the nearest directory above one so deep that its own path cannot be told; empty for a file."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        while True:
            above = os.open(b"..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = above
            with contextlib.suppress(OSError):
                return path_of(descriptor)
    finally:
        os.close(descriptor)


def _command(process: bytes) -> str:
    try:
        with open(process + b"/cmdline", "rb") as file:
            words = file.read(_LONGEST_COMMAND * 4).rstrip(b"\0").replace(b"\0", b" ")
        if not words:
            with open(process + b"/comm", "rb") as file:
                words = file.read().strip()
    except OSError:
        return "?"
    return words.decode(errors="replace")[:_LONGEST_COMMAND]
