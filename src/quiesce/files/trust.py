"""Whose a file or directory is: trusted is what nobody but root, or the user that we run as, can replace.

Paths that the operator declared are opened here too (`open_declared`), because a link on the way is
followed only when it can be trusted: then every operation meets the same directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from quiesce.errors import ResourceNotFoundError, UntrustedPathError, UsageError
from quiesce.files.descriptors import DIRECTORY, PASSAGE, UNTOUCHED, path_of
from quiesce.files.system_calls import WITHOUT_LINKS, has_openat2, openat2

_MOST_LINKS: Final = 40
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_ELSEWHERE: Final = "Move it to a directory that only root, and the user that runs quiesce, can change."
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Declared:
    """A directory entry that the operator named: held by its parent, so that it can be replaced too.

    The parent stays open until `close`, or the end of a ``with`` block.
    """

    #: the descriptor of the directory that holds it
    parent: int
    name: bytes

    @property
    def path(self) -> bytes:
        """Where it lies now, without links."""
        return path_of(self.parent).rstrip(b"/") + b"/" + self.name

    def open(self) -> int:
        """Return a descriptor of the directory.

        It may be a mount point. Raises `NotADirectoryError` when a link was put there meanwhile.
        """
        return os.open(self.name, DIRECTORY, dir_fd=self.parent)

    def close(self) -> None:
        """Let the parent go."""
        os.close(self.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFault:
    """Why somebody else could have made or replaced something, and what to do about it."""

    reason: str
    #: a command, where one mends it
    remedy: str


def open_declared(path: Path | str, *, replaceable: bool = False) -> Declared:
    """Return the entry that the operator's absolute *path* stands for, whether it exists or not.

    A link in the path, at its end too, is followed when root (or the user that we run as) made it and
    nobody else can replace it, unless that may be (*replaceable*); so what is cut is what is restored. Any
    other link is refused.

    Raises:
        UsageError: when the path is not absolute, or has a ``..``, or is ``/`` itself.
        UntrustedPathError: at a link that somebody else made or could replace.
        ResourceNotFoundError: when the directory that should hold it does not exist.
    """
    names = _names_of(os.fsencode(path))
    found = _without_links(names) if has_openat2() else None
    return found or _by_component(names, replaceable=replaceable)


def open_declared_by_component(path: Path | str) -> Declared:
    """Do what `open_declared` does, on a kernel without openat2: one component after the other."""
    return _by_component(_names_of(os.fsencode(path)))


def why_not_trusted(path: Path | str, *, private: bool = False) -> str:
    """Return why somebody else could have made or replaced what is at *path*; empty when nobody could.

    Looked at are the file itself (when *private*, others must not be able to read it either), every
    directory above it, and every link on the way. What does not exist yet is as trusted as its parents.
    """
    return _reason(find_fault(path, private=private))


def find_fault(path: Path | str, *, private: bool = False) -> TrustFault | None:
    """Return the same with what to do about it; None when nobody could."""
    try:
        with open_declared(path) as declared:
            return _fault_of_entry(declared, private) or _fault_of_entries(declared.parent)
    except (UntrustedPathError, ResourceNotFoundError) as error:
        return TrustFault(reason=str(error), remedy=error.hint)


def require_trusted(path: Path | str, *, private: bool = False, hint: str | None = None) -> None:
    """Raise `UntrustedPathError` that says what is wrong, and *hint* what to do, unless *path* is trusted.

    Without a *hint* it is the command that mends it.
    """
    if fault := find_fault(path, private=private):
        raise UntrustedPathError(
            f"{os.fsdecode(path)} is not used: {fault.reason}", hint=hint or fault.remedy
        )


def why_directory_not_trusted(descriptor: int, *, private: bool = False) -> str:
    """Return why somebody else could have changed or replaced an open directory; empty when nobody could.

    It is looked at with every directory above it, whatever paths lead there.
    """
    return _reason(_fault_of(descriptor, private=private) or _fault_above(descriptor))


def why_entries_not_trusted(descriptor: int) -> str:
    """Return why somebody else could replace what is ours in an open directory; empty when nobody could.

    Others may make entries of their own there when it is sticky, as ``/tmp`` is.
    """
    return _reason(_fault_of_entries(descriptor))


class _Lookup:
    """The way from the root to the parent of what a path stands for; links are judged, then followed."""

    def __init__(self, names: list[bytes], *, replaceable: bool) -> None:
        self._names = names[::-1]
        self._replaceable = replaceable
        self._links = 0
        self._above = os.open("/", PASSAGE)

    def end(self) -> Declared:
        """Return where the path ends; the descriptor is the caller's."""
        try:
            while True:
                name = self._next()
                if self._goes_on(name):
                    continue
                return Declared(self._above, name)
        except BaseException:
            os.close(self._above)
            raise

    def _next(self) -> bytes:
        if not self._names:
            raise UsageError("a link leads to a directory that cannot be replaced, such as /")
        return self._names.pop()

    def _goes_on(self, name: bytes) -> bool:
        """Enter the directory *name*, or follow the link; False when it is where the path ends."""
        try:
            opened = os.open(name, UNTOUCHED, dir_fd=self._above)
        except FileNotFoundError:
            if self._names:
                raise
            return False
        if stat.S_ISLNK(os.fstat(opened).st_mode):
            self._follow(opened, name)
        elif self._names or name == b"..":
            self._enter(opened)
        else:
            os.close(opened)
            return False
        return True

    def _enter(self, opened: int) -> None:
        os.close(self._above)
        self._above = opened

    def _follow(self, link: int, name: bytes) -> None:
        try:
            self._require_trusted(link, name)
            target = os.readlink(b"", dir_fd=link)
        finally:
            os.close(link)
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(name))
        if target.startswith(b"/"):
            self._enter(os.open("/", PASSAGE))
        self._names.extend(part for part in target.split(b"/")[::-1] if part not in {b"", b"."})

    def _require_trusted(self, link: int, name: bytes) -> None:
        owner = os.fstat(link).st_uid
        reason = "" if owner in _ours() else f"user {owner} made it"
        if not reason and not self._replaceable:
            reason = why_entries_not_trusted(self._above)
        if reason:
            where = os.fsdecode(path_of(self._above).rstrip(b"/") + b"/" + name)
            raise UntrustedPathError(
                f"{where} is a link and was not followed: {reason}",
                hint="Declare the path that it leads to.",
            )


def _names_of(path: bytes) -> list[bytes]:
    names = [name for name in path.split(b"/") if name not in {b"", b"."}]
    if not path.startswith(b"/") or not names or b".." in names or b"\0" in path:
        raise UsageError(f"{os.fsdecode(path)!r} is not an absolute path without '..'")
    return names


def _without_links(names: list[bytes]) -> Declared | None:
    """Return where the path ends; None when there is a link in it, or nothing that it could lead through."""
    *parents, name = names
    root = os.open("/", PASSAGE)
    try:
        parent = openat2(root, b"/".join(parents) or b".", PASSAGE, resolve=WITHOUT_LINKS)
    except OSError:
        return None
    finally:
        os.close(root)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.close(parent)
            return None
    return Declared(parent, name)


def _by_component(names: list[bytes], *, replaceable: bool = False) -> Declared:
    path = os.fsdecode(b"/" + b"/".join(names))
    try:
        return _Lookup(names, replaceable=replaceable).end()
    except FileNotFoundError as error:
        missing = f"the directory above {path} does not exist"
        raise ResourceNotFoundError(missing, hint="Make it, or correct the path.") from error
    except NotADirectoryError as error:
        raise ResourceNotFoundError(f"{path} leads through what is not a directory") from error


def _reason(fault: TrustFault | None) -> str:
    return "" if fault is None else fault.reason


def _fault_of_entry(declared: Declared, private: bool) -> TrustFault | None:
    try:
        opened = os.open(declared.name, UNTOUCHED, dir_fd=declared.parent)
    except FileNotFoundError:
        return None
    try:
        return _fault_of(opened, private=private)
    finally:
        os.close(opened)


def _fault_of_entries(directory: int) -> TrustFault | None:
    return _fault_of(directory, sticky=True, above=True) or _fault_above(directory)


def _fault_of(
    descriptor: int, *, private: bool = False, sticky: bool = False, above: bool = False
) -> TrustFault | None:
    status = os.fstat(descriptor)
    mode, path = stat.S_IMODE(status.st_mode), os.fsdecode(path_of(descriptor))
    close = f"chmod go{'-rwx' if private else '-w'} {shlex.quote(path)}"
    fault: tuple[str, str] | None = None
    if status.st_uid not in _ours():
        # taking a directory away from its owner would be no remedy
        ours = _ELSEWHERE if above else f"chown {os.geteuid()} {shlex.quote(path)} && {close}"
        fault = f"{path} belongs to user {status.st_uid}", ours
    elif mode & _WRITABLE_BY_OTHERS and not (sticky and mode & stat.S_ISVTX):
        fault = f"{path} can be written by others (mode {mode:04o})", close
    elif private and mode & _OPEN_TO_OTHERS:
        fault = f"{path} can be read by others (mode {mode:04o})", close
    return None if fault is None else TrustFault(reason=fault[0], remedy=fault[1])


def _fault_above(descriptor: int) -> TrustFault | None:
    with contextlib.closing(_ancestors(descriptor)) as ancestors:
        faults = (_fault_of(above, sticky=True, above=True) for above in ancestors)
        return next((fault for fault in faults if fault), None)


def _ancestors(descriptor: int) -> Generator[int, None, None]:
    """Yield a descriptor of each directory above an open one, up to the root; open until the next."""
    below = os.dup(descriptor)
    try:
        while True:
            above = os.open("..", PASSAGE, dir_fd=below)
            was, below = below, above
            at_root = os.path.samestat(os.fstat(was), os.fstat(above))
            os.close(was)
            if at_root:
                return
            yield above
    finally:
        os.close(below)


def _ours() -> set[int]:
    return {0, os.geteuid()}
