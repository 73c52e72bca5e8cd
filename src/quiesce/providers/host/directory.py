"""A directory as a volume: cut by reflink or copy, archived after the thaw, restored by exchange."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, Finding
from quiesce.providers.host import saving
from quiesce.providers.host.archive import read_archive, write_archive
from quiesce.providers.host.contents import can_share
from quiesce.providers.host.cuts import Tally, assemble, cut_tree
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.properties import path_of
from quiesce.providers.host.shelf import Cut, Shelf, remove
from quiesce.providers.host.trees import copy_tree, count_tree, sync_tree
from quiesce.repository import Compression, Manifest, Repository, storage_errors

ARCHIVE: Final = "tree.tar.gz"
_SHOWN: Final = 5


class DirectoryNode:
    """Performs the operations of ``quiesce.nodes.host.Directory``; *repository* is where backups go."""

    def __init__(self, holders: Holders, repository: Path) -> None:
        self._holders = holders
        self._repository = repository

    def snapshot(self, call: Call, context: Context) -> Outcome:
        """Fix the state of the tree in a copy beside it."""
        shelf = saving.shelf_of(call)
        if not shelf.path.is_dir():
            raise ResourceNotFoundError(f"there is no directory {shelf.path}")
        saving.refuse_frozen_ground(shelf, self._holders)
        with storage_errors(f"cut {shelf.path}"):
            if call.full and (
                made := self._repository_of(call).made_before(saving.place_of(call), call.execution)
            ):
                return Outcome(artifact=made.content, consistency=_worth(made.content))
            cut = shelf.begin(call)
            if not cut.whole:
                cut = self._cut(shelf, cut, context)
        return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts), note=_note(cut.facts))

    def copy(self, call: Call, context: Context) -> Outcome:
        """Make the cut a tree, and durable; of a backup, an archive in the repository instead."""
        shelf = saving.shelf_of(call)
        with storage_errors(f"copy the cut of {shelf.path}"):
            if not call.full:
                cut = _assembled(shelf, shelf.find(call), context)
                return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts))
            manifest = self._repository_of(call).made_before(saving.place_of(call), call.execution)
            if manifest is None:
                manifest = self._archive(call, shelf.find(call), context)
            shelf.remove(replace(call, undo=True))
        return Outcome(artifact=manifest.content, consistency=_worth(manifest.content))

    def apply(self, call: Call, context: Context) -> Outcome:
        """Let the tree of a restore point take the place of the present one, at one instant."""
        shelf = saving.shelf_of(call)
        saving.refuse_frozen_ground(shelf, self._holders)
        with storage_errors(f"restore {shelf.path}"):
            incoming = shelf.incoming()
            if call.full:
                self._unpack(call, incoming, context)
            else:
                copy_tree(shelf.find(call).content, incoming, saving.teller(context))
            sync_tree(incoming)
            context.log(Level.INFO, shelf.put_in_place(call))
            return NOTHING

    def delete(self, call: Call) -> Outcome:
        """Remove a restore point's cut and archive."""
        with storage_errors(f"remove {call.point} of {call.instance}"):
            return Outcome(note=saving.delete(call, self._repository))

    def measure(self, call: Call) -> Outcome:
        """Return what the tree takes."""
        path = path_of(call)
        if not path.is_dir():
            raise ResourceNotFoundError(f"there is no directory {path}")
        tally, space = count_tree(path), os.statvfs(path)
        return Outcome(
            measurements={
                "files": tally.files,
                "directories": tally.directories,
                "size_bytes": tally.size_bytes,
                "free_bytes": space.f_bavail * space.f_frsize,
            }
        )

    def examine(self, call: Call) -> Sequence[Finding]:
        """Tell whether it can be read, cut, exchanged, and how fast the cut will be."""
        shelf = saving.shelf_of(call)
        if not shelf.path.is_dir():
            return [
                Finding(
                    check="directory",
                    passed=False,
                    detail=f"there is no directory {shelf.path}",
                    remedy="Make it, or correct the node's path.",
                )
            ]
        return [_readable(shelf.path), _exchangeable(shelf.path), *_space(shelf)]

    def _repository_of(self, call: Call) -> Repository:
        return saving.repository_of(call, self._repository)

    def _cut(self, shelf: Shelf, cut: Cut, context: Context) -> Cut:
        began = time.monotonic()
        tally = cut_tree(shelf.path, cut.raw, saving.teller(context))
        facts = _facts(tally) | {"cut_at": time.time(), "cut_s": round(time.monotonic() - began, 4)}
        return saving.finish(shelf, cut, facts)

    def _archive(self, call: Call, cut: Cut, context: Context) -> Manifest:
        draft = self._repository_of(call).begin(
            saving.place_of(call), execution=call.execution, provider="host"
        )
        if ARCHIVE not in draft.finished:
            size = cut.facts.get("size_bytes")
            told = saving.teller(context, size if isinstance(size, int) else None)
            with draft.create(ARCHIVE, Compression.GZIP) as out:
                write_archive(cut.raw, out, told)
        cut_at = cut.facts.get("cut_at")
        return draft.complete(
            function=call.function,
            consistency=_worth(cut.facts) or Consistency.NONE,
            cut_at=cut_at if isinstance(cut_at, float) else None,
            made_at=time.time(),
            content=dict(cut.facts),
            note=_note(cut.facts),
        )

    def _unpack(self, call: Call, incoming: Path, context: Context) -> None:
        repository = self._repository_of(call)
        manifest = repository.manifest(saving.place_of(call))
        told = saving.teller(context, manifest.size_bytes)
        try:
            with repository.open(manifest, ARCHIVE, told) as stored:
                _read_whole(stored, incoming)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(incoming.parent)
            raise


def _read_whole(stored: object, incoming: Path) -> None:
    """Unpack, but say that it is damaged rather than what the damage has led to."""
    try:
        read_archive(stored, incoming)  # type: ignore[arg-type]
    except (OSError, ValueError, DamagedArtifactError):
        stored.check()  # type: ignore[attr-defined]
        raise
    stored.check()  # type: ignore[attr-defined]


def _facts(tally: Tally) -> dict[str, Json]:
    return {
        "entries": tally.entries,
        "size_bytes": tally.size_bytes,
        "copied_bytes": tally.copied_bytes,
        "left_out": list(tally.left_out[:_SHOWN]),
        "left_out_count": len(tally.left_out),
        "changed": list(tally.changed[:_SHOWN]),
        "changed_count": len(tally.changed),
    }


def _assembled(shelf: Shelf, cut: Cut, context: Context) -> Cut:
    if not cut.durable:
        assemble(cut.raw, cut.content, saving.teller(context))
        cut = saving.made_durable(shelf, cut)
    remove(cut.raw)
    return cut


def _artifact_of(cut: Cut) -> dict[str, Json]:
    return {**cut.facts, "objects": [str(cut.directory)]}


def _worth(facts: Mapping[str, Json]) -> Consistency | None:
    return Consistency.NONE if facts.get("changed_count") else None


def _note(facts: Mapping[str, Json]) -> str:
    notes = []
    if facts.get("changed_count"):
        notes.append(
            f"{facts['changed_count']} files changed while they were cut ({_listed(facts, 'changed')})"
        )
    if facts.get("left_out_count"):
        notes.append(f"sockets and devices are left out ({_listed(facts, 'left_out')})")
    if facts.get("copied_bytes"):
        notes.append(
            f"the file system cannot share data (no reflink): {facts['copied_bytes']} bytes of big files "
            "were copied within the frozen window"
        )
    return "; ".join(notes)


def _listed(facts: Mapping[str, Json], name: str) -> str:
    names = facts.get(name)
    return ", ".join(str(each) for each in names) if isinstance(names, list) else ""


def _readable(path: Path) -> Finding:
    readable = os.access(path, os.R_OK | os.X_OK)
    return Finding(
        check="readable",
        passed=readable,
        detail=f"{path} can{'' if readable else 'not'} be read",
        remedy="" if readable else "Let the user that runs quiesce read it.",
    )


def _exchangeable(path: Path) -> Finding:
    if path.is_mount():
        return Finding(
            check="exchange",
            passed=False,
            detail=f"{path} is a mount point: it can be saved but not be exchanged by a restore",
            remedy="Declare a directory below the mount point.",
        )
    writable = os.access(path.parent, os.W_OK | os.X_OK)
    return Finding(
        check="exchange",
        passed=writable,
        detail=f"{path.parent} can{'' if writable else 'not'} be written to",
        remedy="" if writable else "Let the user that runs quiesce write there, or set snapshot_dir.",
    )


def _space(shelf: Shelf) -> Sequence[Finding]:
    shared = can_share(shelf.path.parent)
    size, free = count_tree(shelf.path).size_bytes, os.statvfs(shelf.path.parent)
    enough = shared or free.f_bavail * free.f_frsize > size
    how = "is cut by reflink" if shared else "is copied within the frozen window (no reflink)"
    return [
        Finding(
            check="space",
            passed=enough,
            detail=f"{size} bytes: the tree {how}",
            remedy="" if enough else "Make room beside the directory, or set snapshot_dir.",
        )
    ]
