"""An SQLite database as a service: its write lock is the freeze, its online backup the cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.errors import ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, Finding
from quiesce.providers.host import saving
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.metadata import Metadata
from quiesce.providers.host.properties import key_of, path_of
from quiesce.providers.host.shelf import Cut, Shelf, remove
from quiesce.providers.host.trees import sync_tree
from quiesce.repository import Compression, Manifest, Repository, storage_errors

ARCHIVE: Final = "database.sqlite.gz"
_DEFAULT_TIMER_S: Final = 120.0
#: of the time that is left, what waiting for somebody else's lock may take
_PATIENCE: Final = 0.9
_MAGIC: Final = b"SQLite format 3\0"
_CHUNK_BYTES: Final = 1 << 20


class DatabaseNode:
    """Performs the operations of ``quiesce.nodes.host.SQLite`` and ``SQLiteAlone``."""

    def __init__(self, holders: Holders, repository: Path) -> None:
        self._holders = holders
        self._repository = repository

    def freeze(self, call: Call, context: Context) -> Outcome:
        """Hold the write lock, everything committed on the disk, the timer armed first."""
        path = path_of(call)
        if call.workflow == "restore" and not path.exists():
            return Outcome(consistency=Consistency.NONE, note=f"there is no database {path} to be frozen")
        self._hold(call, context, call.thaw_after_s or _DEFAULT_TIMER_S)
        return Outcome(consistency=Consistency.APPLICATION)

    def thaw(self, call: Call, context: Context) -> Outcome:
        """Give the lock back, whoever took it; returns when it is given back."""
        self._holders.release(key_of(call), timeout_s=context.remaining_s())
        return NOTHING

    def is_frozen(self, call: Call) -> bool | None:
        """Tell whether our lock is held; a restore may have had no database to lock."""
        held = self._holders.held(key_of(call)) is not None
        return held or (None if call.workflow == "restore" else False)

    def snapshot(self, call: Call, context: Context) -> Outcome:
        """Copy the database as one transaction sees it."""
        shelf = _existing(call)
        saving.refuse_frozen_ground(shelf, self._holders)
        with storage_errors(f"cut {shelf.path}"):
            repository = self._repository_of(call)
            if call.full and (made := repository.made_before(saving.place_of(call), call.execution)):
                return Outcome(artifact=made.content)
            cut = shelf.begin(call)
            if not cut.whole:
                cut = self._cut(shelf, cut, context)
        return _of_cut(cut)

    def copy(self, call: Call, context: Context) -> Outcome:
        """Make the copy durable; of a backup, store it in the repository and let the copy go."""
        shelf = saving.shelf_of(call)
        with storage_errors(f"copy the cut of {shelf.path}"):
            if not call.full:
                return _of_cut(saving.made_durable(shelf, shelf.find(call)))
            repository = self._repository_of(call)
            manifest = repository.made_before(saving.place_of(call), call.execution)
            if manifest is None:
                manifest = self._store(call, repository, shelf.find(call), context)
            shelf.remove(replace(call, undo=True))
        return Outcome(artifact=manifest.content)

    def apply(self, call: Call, context: Context) -> Outcome:
        """Replace the database's content in one transaction; who has it open sees the restored one."""
        shelf = saving.shelf_of(call)
        with storage_errors(f"restore {shelf.path}"):
            incoming = shelf.incoming()
            self._fetch(call, shelf, incoming, context)
            if not shelf.path.exists():
                sync_tree(incoming)
                context.log(Level.INFO, shelf.put_in_place(call))
                return NOTHING
            self._replace_content(call, incoming, context)
            remove(incoming.parent)
            with contextlib.suppress(OSError):
                shelf.directory.rmdir()
        return NOTHING

    def delete(self, call: Call) -> Outcome:
        """Remove a restore point's copy and stored file."""
        with storage_errors(f"remove {call.point} of {call.instance}"):
            return Outcome(note=saving.delete(call, self._repository))

    def measure(self, call: Call) -> Outcome:
        """Return what the database and its log take."""
        path = _existing(call).path
        log = path.with_name(f"{path.name}-wal")
        return Outcome(
            measurements={
                "size_bytes": path.stat().st_size,
                "log_bytes": log.stat().st_size if log.exists() else 0,
            }
        )

    def examine(self, call: Call) -> Sequence[Finding]:
        """Tell whether it is a database that this user may lock."""
        path = path_of(call)
        if not path.is_file():
            return [Finding(check="database", passed=False, detail=f"there is no database {path}")]
        with path.open("rb") as file:
            sound = file.read(len(_MAGIC)) in {_MAGIC, b""}
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        return [
            Finding(
                check="database",
                passed=sound,
                detail=f"{path} is {'an' if sound else 'no'} SQLite database",
                remedy="" if sound else "Correct the node's path.",
            ),
            Finding(
                check="lock",
                passed=writable,
                detail=f"{path} can{'' if writable else 'not'} be locked",
                remedy="" if writable else "Let the user that runs quiesce write to it and its directory.",
            ),
        ]

    def _hold(self, call: Call, context: Context, thaw_after_s: float, apply: Path | None = None) -> None:
        request: dict[str, Json] = {"kind": "database", "path": str(path_of(call))}
        request["busy_s"] = min(context.remaining_s(), thaw_after_s) * _PATIENCE
        if apply is not None:
            request["apply"] = str(apply)
        request["thaw_at"] = time.monotonic() + thaw_after_s
        self._holders.hold(key_of(call), request, thaw_after_s=thaw_after_s, timeout_s=context.remaining_s())

    def _cut(self, shelf: Shelf, cut: Cut, context: Context) -> Cut:
        began = time.monotonic()
        self._run_copy(shelf.path, cut.content, context, scratch=True)
        Metadata.of(shelf.path).give_to(cut.content)
        facts: dict[str, Json] = {
            "size_bytes": cut.content.stat().st_size,
            "cut_at": time.time(),
            "cut_s": round(time.monotonic() - began, 4),
        }
        return saving.finish(shelf, cut, facts)

    def _store(self, call: Call, repository: Repository, cut: Cut, context: Context) -> Manifest:
        draft = repository.begin(saving.place_of(call), execution=call.execution, provider="host")
        status = cut.content.stat()
        if ARCHIVE not in draft.finished:
            told = saving.teller(context, status.st_size)
            with draft.create(ARCHIVE, Compression.GZIP, told) as out, cut.content.open("rb") as source:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
        cut_at = cut.facts.get("cut_at")
        return draft.complete(
            function=call.function,
            consistency=Consistency.APPLICATION,
            cut_at=cut_at if isinstance(cut_at, float) else None,
            made_at=time.time(),
            content={**cut.facts, "mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid},
        )

    def _fetch(self, call: Call, shelf: Shelf, incoming: Path, context: Context) -> None:
        """Bring the saved database to *incoming*, checked."""
        if not call.full:
            cut = shelf.find(call)
            self._run_copy(cut.content, incoming, context, scratch=True)
            Metadata.of(cut.content).give_to(incoming)
            return
        repository = self._repository_of(call)
        manifest = repository.manifest(saving.place_of(call))
        told = saving.teller(context, manifest.size_bytes)
        with repository.open(manifest, ARCHIVE, told) as stored, incoming.open("xb") as out:
            shutil.copyfileobj(stored, out, _CHUNK_BYTES)
            stored.check()
        _dress_as(incoming, manifest.content)

    def _replace_content(self, call: Call, incoming: Path, context: Context) -> None:
        held = self._holders.held(key_of(call))
        if held is None:
            self._run_copy(incoming, path_of(call), context, scratch=False)
            return
        # our own freeze is in the way: its successor restores before it freezes
        thaw_at = held.get("thaw_at")
        left = float(thaw_at) - time.monotonic() if isinstance(thaw_at, int | float) else _DEFAULT_TIMER_S
        self._hold(call, context, max(left, 1.0), apply=incoming)

    def _run_copy(self, source: Path, target: Path, context: Context, *, scratch: bool) -> None:
        remaining = context.remaining_s()
        self._holders.run(
            {
                "kind": "copy",
                "source": str(source),
                "target": str(target),
                "busy_s": remaining * _PATIENCE,
                "scratch": scratch,
            },
            timeout_s=remaining,
        )

    def _repository_of(self, call: Call) -> Repository:
        return saving.repository_of(call, self._repository)


def _existing(call: Call) -> Shelf:
    shelf = saving.shelf_of(call)
    if not shelf.path.is_file():
        raise ResourceNotFoundError(f"there is no database {shelf.path}")
    return shelf


def _of_cut(cut: Cut) -> Outcome:
    return Outcome(artifact={**cut.facts, "objects": [str(cut.directory)]})


def _dress_as(path: Path, content: Mapping[str, Json]) -> None:
    mode, uid, gid = (content.get(name) for name in ("mode", "uid", "gid"))
    if isinstance(mode, int) and isinstance(uid, int) and isinstance(gid, int):
        Metadata(mode=mode, uid=uid, gid=gid, mtime_ns=path.stat().st_mtime_ns).give_to(path)
