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
from quiesce.files.durable import storage_errors
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import unsupported
from quiesce.provider_kit.saving import watched
from quiesce.providers.host.archive import read_archive, write_archive
from quiesce.providers.host.contents import can_share
from quiesce.providers.host.cuts import Tally, assemble, cut_tree
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.snapshot_dir import SnapshotDirectory, StoredCut, remove
from quiesce.providers.host.stored import StoredOperations
from quiesce.providers.host.trees import copy_tree, count_tree, sync_tree
from quiesce.repository import Compression, Manifest

ARCHIVE: Final = "tree.tar.gz"
_SHOWN: Final = 5


class DirectoryOperations(StoredOperations):
    """Answers for ``quiesce.nodes.host.Directory``."""

    freeze = thaw = suspend = resume = unsupported

    def snapshot(self, job: HostJob, /) -> Outcome:
        """Fix the state of the tree in a copy beside it."""
        snapshots = job.snapshots
        if not snapshots.path.is_dir():
            raise ResourceNotFoundError(f"there is no directory {snapshots.path}")
        job.refuse_frozen_ground()
        with storage_errors(f"cut {snapshots.path}"):
            if job.call.full and (made := job.saving.made_before()):
                return Outcome(artifact=made.content, consistency=_worth(made.content))
            cut = snapshots.begin(job.call)
            if not cut.whole:
                cut = self._cut(job, cut)
        return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts), note=_note(cut.facts))

    def copy(self, job: HostJob, /) -> Outcome:
        """Make the cut a tree, and durable; of a backup, an archive in the repository instead."""
        snapshots = job.snapshots
        with storage_errors(f"copy the cut of {snapshots.path}"):
            if not job.call.full:
                cut = _assembled(job)
                return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts))
            manifest = job.saving.made_before()
            if manifest is None:
                manifest = self._archive(job, snapshots.find(job.call))
            snapshots.remove(replace(job.call, undo=True))
        return Outcome(artifact=manifest.content, consistency=_worth(manifest.content))

    def apply(self, job: HostJob, /) -> Outcome:
        """Let the tree of a restore point take the place of the present one, at one instant."""
        snapshots = job.snapshots
        job.refuse_frozen_ground()
        with storage_errors(f"restore {snapshots.path}"):
            incoming = snapshots.incoming()
            if job.call.full:
                self._unpack(job, incoming)
            else:
                copy_tree(snapshots.find(job.call).content, incoming, watched(job.context))
            sync_tree(incoming)
            job.say(snapshots.put_in_place(job.call))
            return NOTHING

    def measure(self, job: HostJob, /) -> Outcome:
        """Return what the tree takes."""
        path = job.path
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

    def doctor(self, job: HostJob, /) -> Sequence[Finding]:
        """Tell whether it can be read, cut, exchanged, and how fast the cut will be."""
        snapshots = job.snapshots
        if not snapshots.path.is_dir():
            return [
                Finding(
                    check="directory",
                    passed=False,
                    detail=f"there is no directory {snapshots.path}",
                    remedy="Make it, or correct the node's path.",
                )
            ]
        return [_readable(snapshots.path), _exchangeable(snapshots.path), *_space(snapshots)]

    def _cut(self, job: HostJob, cut: StoredCut) -> StoredCut:
        snapshots, began = job.snapshots, time.monotonic()
        tally = cut_tree(snapshots.path, cut.raw, watched(job.context))
        facts = _facts(tally) | {"cut_at": time.time(), "cut_s": round(time.monotonic() - began, 4)}
        return snapshots.finish(cut, facts)

    def _archive(self, job: HostJob, cut: StoredCut) -> Manifest:
        saving = job.saving
        draft = saving.begin()
        if ARCHIVE not in draft.finished:
            size = cut.facts.get("size_bytes")
            told = watched(job.context, size if isinstance(size, int) else None)
            with draft.create(ARCHIVE, Compression.GZIP) as out:
                write_archive(cut.raw, out, told)
        cut_at = cut.facts.get("cut_at")
        return saving.complete(
            draft,
            dict(cut.facts),
            consistency=_worth(cut.facts) or Consistency.NONE,
            cut_at=cut_at if isinstance(cut_at, float) else None,
            note=_note(cut.facts),
        )

    def _unpack(self, job: HostJob, incoming: Path) -> None:
        repository = job.repository
        manifest = repository.manifest(job.place)
        told = watched(job.context, manifest.size_bytes)
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


def _assembled(job: HostJob) -> StoredCut:
    snapshots, cut = job.snapshots, job.snapshots.find(job.call)
    if not cut.durable:
        assemble(cut.raw, cut.content, watched(job.context))
        cut = snapshots.made_durable(cut)
    remove(cut.raw)
    return cut


def _artifact_of(cut: StoredCut) -> dict[str, Json]:
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


def _space(snapshots: SnapshotDirectory) -> Sequence[Finding]:
    shared = can_share(snapshots.path.parent)
    size, free = count_tree(snapshots.path).size_bytes, os.statvfs(snapshots.path.parent)
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
