"""The private directory beside a node's data: its cuts, what is being restored, and what was replaced.

It lies on the same file system as the data, so that files can be shared and trees exchanged:

    .quiesce-<name>/<point>/content     a cut, with ``mark.json`` telling who made it and whether it is whole
    .quiesce-<name>/.undo/replaced      what the last restore replaced, kept until the next one
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError, ResourceNotFoundError
from quiesce.files.durable import holds_anything, make_private_directory, sync_directory, write_durably
from quiesce.model.call import Call
from quiesce.model.ids import ExecutionId, Json
from quiesce.providers.host.trees import sync_tree

FORMAT: Final = "quiesce-cut"
_MARK: Final = "mark.json"
_REMOVING: Final = ".removing-"
_UNDO: Final = ".undo"
_INCOMING: Final = ".incoming"
_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100
_CANNOT_EXCHANGE: Final = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCut:
    """One cut in a snapshot directory."""

    directory: Path
    execution: ExecutionId
    #: everything that it consists of is there, and once `durable` will be after a power cut
    whole: bool = False
    durable: bool = False
    facts: Mapping[str, Json] = field(default_factory=dict)

    @property
    def content(self) -> Path:
        """Where the tree or file itself is."""
        return self.directory / "content"

    @property
    def raw(self) -> Path:
        """Where a tree is as it was cut, until it is made `content`."""
        return self.directory / "raw"


class SnapshotDirectory:
    """The cuts of one path, and the way back to them."""

    def __init__(self, path: Path, directory: Path | None = None) -> None:
        self.path = path
        self.directory = directory or path.parent / f".quiesce-{path.name}"

    def begin(self, call: Call) -> StoredCut:
        """Return the cut of the call's restore point, whole when it was made before, else empty.

        Raises:
            ForeignObjectError: when another execution, or somebody else, made what is there.
        """
        directory = self._directory(call)
        cut = self._read(directory)
        if cut is None and directory.exists() and holds_anything(directory):
            raise ForeignObjectError(f"quiesce did not make {directory}; it was not touched")
        if cut is not None and cut.execution != call.execution:
            raise ForeignObjectError(f"{directory} was made by execution {cut.execution}")
        if cut is None:
            make_private_directory(directory)
            cut = StoredCut(directory=directory, execution=call.execution)
            self.write(cut)
        if not cut.whole:
            remove(cut.content)
            remove(cut.raw)
        return cut

    def find(self, call: Call) -> StoredCut:
        """Return the cut of the call's restore point.

        Raises:
            ResourceNotFoundError: when it is not there, or not whole.
        """
        cut = self._read(self._directory(call))
        if cut is None or not cut.whole:
            raise ResourceNotFoundError(f"there is no cut {call.point} of {self.path} in {self.directory}")
        return cut

    def write(self, cut: StoredCut) -> None:
        """Record the state of *cut*, durably."""
        body = {
            "format": FORMAT,
            "version": 1,
            "execution": cut.execution,
            "whole": cut.whole,
            "durable": cut.durable,
            "boot": _boot(),
            "facts": dict(cut.facts),
        }
        write_durably(cut.directory / _MARK, json.dumps(body).encode())

    def finish(self, cut: StoredCut, facts: Mapping[str, Json]) -> StoredCut:
        """Record that *cut* is whole; return it."""
        whole = replace(cut, whole=True, facts=facts)
        self.write(whole)
        return whole

    def made_durable(self, cut: StoredCut) -> StoredCut:
        """Return *cut* when a power cut can no longer harm it."""
        if cut.durable:
            return cut
        sync_tree(cut.content)
        durable = replace(cut, durable=True)
        self.write(durable)
        return durable

    def remove(self, call: Call) -> str:
        """Remove the call's cut, whole or half-made, and what its restore has replaced; return a note."""
        directory = self._directory(call)
        doomed = directory.with_name(f"{_REMOVING}{directory.name}")
        remove(doomed)
        if directory.exists():
            cut = self._read(directory)
            if cut is None and holds_anything(directory):
                return f"quiesce did not make {directory}; it was left alone"
            if cut is not None and call.undo and cut.execution != call.execution:
                return f"{directory} was made by execution {cut.execution}; it was left alone"
            directory.rename(doomed)
            sync_directory(self.directory)
            remove(doomed)
        self._remove_undo_of(call)
        with contextlib.suppress(OSError):
            self.directory.rmdir()
        return ""

    def incoming(self) -> Path:
        """Return an empty place on the same file system to build what is to be restored."""
        self._finish_interrupted()
        place = self.directory / _INCOMING
        remove(place)
        make_private_directory(place)
        return place / "content"

    def put_in_place(self, call: Call) -> str:
        """Let what was built at `incoming` take the place of the data at one instant; return what to tell.

        What was there is kept as undo. After a crash at any point the next `incoming` finishes or
        takes back what was begun.
        """
        place = self.directory / _INCOMING
        mark = {
            "execution": call.execution,
            "point": call.point,
            "inode": (place / "content").lstat().st_ino,
        }
        write_durably(place / _MARK, json.dumps(mark).encode())
        make_private_directory(self.path.parent)
        if os.path.lexists(self.path):
            _exchange(self.path, place / "content", place / "replaced")
        else:
            (place / "content").rename(self.path)
        sync_directory(self.path.parent)
        self._retire(mark)
        undo = self.directory / _UNDO / "content"
        kept = f"; what was there before is kept in {undo}" if os.path.lexists(undo) else ""
        return f"{self.path} is restored{kept}"

    def _finish_interrupted(self) -> None:
        place = self.directory / _INCOMING
        mark, replaced = _json_of(place / _MARK), place / "replaced"
        if mark and os.path.lexists(self.path) and self.path.lstat().st_ino == mark["inode"]:
            if os.path.lexists(replaced):
                replaced.rename(place / "content")
            self._retire(mark)
        elif os.path.lexists(replaced) and not os.path.lexists(self.path):
            replaced.rename(self.path)

    def _retire(self, mark: Mapping[str, Json]) -> None:
        """Keep what was replaced as undo, unless it is what the same restore had put there before."""
        place, undo = self.directory / _INCOMING, self.directory / _UNDO
        before = _json_of(undo / _MARK)
        if (before.get("execution"), before.get("point")) == (mark["execution"], mark["point"]):
            remove(place)
            return
        remove(undo)
        place.rename(undo)
        sync_directory(self.directory)

    def _remove_undo_of(self, call: Call) -> None:
        undo = self.directory / _UNDO
        if _json_of(undo / _MARK).get("point") == call.point:
            remove(undo)

    def _directory(self, call: Call) -> Path:
        if call.point is None:
            raise NonRecoverableError(f"{call.interface} needs the name of a restore point")
        return self.directory / f"{call.point}"

    def _read(self, directory: Path) -> StoredCut | None:
        body = _json_of(directory / _MARK)
        if body.get("format") != FORMAT:
            return None
        facts = body.get("facts")
        return StoredCut(
            directory=directory,
            execution=ExecutionId(str(body["execution"])),
            # what was not durable yet when the machine was restarted cannot be trusted
            whole=bool(body["whole"]) and bool(body["durable"] or body["boot"] == _boot()),
            durable=bool(body["durable"]),
            facts=facts if isinstance(facts, dict) else {},
        )


def remove(path: Path) -> None:
    """Remove a file or a tree; it is fine when nothing is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_make_writable)
    else:
        path.unlink(missing_ok=True)


def _make_writable(again: Callable[..., object], name: str, _why: object) -> None:
    """Let go of what its owner may not change: a saved directory keeps its mode."""
    path = Path(name)
    for directory in (path.parent, path):
        if directory.is_dir() and not directory.is_symlink():
            directory.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        again(name)


def _exchange(path: Path, content: Path, replaced: Path) -> None:
    """Exchange *path* and *content*: at one instant where the kernel can, else by renaming twice."""
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(path), os.fsencode(content)
    if libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        raise NonRecoverableError(
            f"{path} is a mount point and cannot be exchanged",
            hint="Declare a directory below the mount point instead.",
        )
    if number not in _CANNOT_EXCHANGE:
        raise OSError(number, os.strerror(number), str(path))
    path.rename(replaced)
    content.rename(path)
    replaced.rename(content)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _json_of(path: Path) -> Mapping[str, Json]:
    try:
        body = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise NonRecoverableError(f"{path} is damaged: {error}") from error
    return body if isinstance(body, dict) else {}
