"""A directory as a volume: cut by reflink or copy, archived after the thaw, restored by exchange."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.backups import Manifest
from quiesce.errors import (
    MountInsideError,
    NonRecoverableError,
    NoRoomError,
    ResourceNotFoundError,
    UntrustedPathError,
)
from quiesce.files.descriptors import open_directory
from quiesce.files.durable import storage_errors
from quiesce.files.mounts import times_tell
from quiesce.files.problems import TreeProblems
from quiesce.files.trust import open_declared
from quiesce.model.consistency import Consistency
from quiesce.model.cut_size import CutSize
from quiesce.model.former_state import FormerState
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import PRIVILEGED
from quiesce.model.stored_entry import StoredListing
from quiesce.model.target import RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import unsupported
from quiesce.provider_kit.saving import watched
from quiesce.providers.host.browsing import (
    extract_from_backup,
    extract_from_snapshot,
    list_backup,
    list_snapshot,
)
from quiesce.providers.host.counting import count_tree
from quiesce.providers.host.cut_sizes import cut_size_of
from quiesce.providers.host.cuts import assemble, copy_back, settle, spend
from quiesce.providers.host.entries import remove
from quiesce.providers.host.extracting import extract
from quiesce.providers.host.former_states import CONTENT
from quiesce.providers.host.inspecting import can_share, inspect_path, inspect_place
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.prepared import PreparedCopies
from quiesce.providers.host.saved_tree import TREE, restore_tree, store_tree
from quiesce.providers.host.snapshot_dir import ELSEWHERE, RAW, SnapshotDirectory, StoredCut
from quiesce.providers.host.stored import StoredOperations, require_unchanged, with_fingerprint
from quiesce.providers.host.taking import CutTally
from quiesce.providers.host.tree_copies import TreeCopy

_SHOWN: Final = 5
#: of each name that is shown
_SHOWN_BYTES: Final = 200
_MOUNT_INSIDE: Final = "Give what is mounted there a Directory node of its own, outside this path."


class DirectoryOperations(StoredOperations):
    """Answers for ``quiesce.nodes.host.Directory``."""

    freeze = thaw = suspend = resume = unsupported
    stop = start = probe = unsupported

    def __init__(self, extracted: Path) -> None:
        """*extracted* is where it is remembered what was extracted."""
        self._extracted = extracted
        self._prepared = PreparedCopies()

    def prepare(self, job: HostJob, /) -> Outcome:
        """Copy the tree while everything runs, so that the cut takes only what changes from now on."""
        snapshots = job.snapshots
        with storage_errors(f"copy {snapshots.path}"), _tree(snapshots.path) as source:
            job.refuse_frozen_ground()
            if not times_tell(source) or (job.call.full and job.saving.made_before_cut()):
                return NOTHING
            self._prepared.let_go(job.call)
            cut = snapshots.begin(job.call)
            if not cut.whole:
                copy = self._copied(job, source, cut)
                self._prepared.keep(job.call, copy)
        return NOTHING

    def delete(self, job: HostJob, /) -> Outcome:
        """Remove the call's snapshot and backup, and what was prepared for it."""
        self._prepared.let_go(job.call)
        return super().delete(job)

    def close(self) -> None:
        """Let go of what was prepared and not cut."""
        self._prepared.close()

    def snapshot(self, job: HostJob, /) -> Outcome:
        """Fix the state of the tree in a copy beside it."""
        snapshots = job.snapshots
        with storage_errors(f"cut {snapshots.path}"), _tree(snapshots.path) as source:
            job.refuse_frozen_ground()
            if job.call.full and (made := job.saving.made_before_cut()):
                return Outcome(artifact=made.content, consistency=_worth(made.content))
            prepared = self._prepared.of(job.call, source)
            cut = snapshots.begin(job.call, keep=() if prepared is None else (RAW,))
            if not cut.whole:
                cut = self._cut(job, source, cut, prepared)
        return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts), note=_note(cut.facts))

    def copy(self, job: HostJob, /) -> Outcome:
        """Make the cut a tree, and durable; of a backup, store it in the repository instead."""
        snapshots = job.snapshots
        self._prepared.let_go(job.call)
        with storage_errors(f"copy the cut of {snapshots.path}"):
            if not job.call.full:
                cut = _assembled(job)
                return Outcome(artifact=_artifact_of(cut), consistency=_worth(cut.facts))
            manifest = job.saving.made_before()
            if manifest is None:
                manifest = self._store(job, snapshots.find(job.call))
            snapshots.remove(replace(job.call, undo=True))
        return Outcome(artifact=manifest.content, consistency=_worth(manifest.content))

    def apply(self, job: HostJob, /) -> Outcome:
        """Let the tree of a restore point take the place of the present one, at one instant."""
        snapshots = job.snapshots
        with storage_errors(f"restore {snapshots.path}", no_room=NoRoomError.hint):
            job.refuse_frozen_ground(job.path)
            snapshots.require_exchangeable()
            if not job.options.allow_in_use:
                snapshots.require_unused()
            with snapshots.incoming() as place:
                problems = self._build(job, place)
                if problems:
                    job.warn(f"{snapshots.path}: {problems.count} not restored as they were: {problems}")
                job.refuse_when_given_up()
                job.say(snapshots.put_in_place(job.call, allow_in_use=job.options.allow_in_use))
            return Outcome(note=_not_as_it_was(problems))

    def revert(self, job: HostJob, /) -> Outcome:
        """Let the tree that a restore replaced and the present one change places, at one instant."""
        with storage_errors(f"undo the restore of {job.path}"):
            job.refuse_frozen_ground(job.path)
            job.say(job.snapshots.revert(job.call.parameters.undo_to, allow_in_use=job.options.allow_in_use))
        return NOTHING

    def confirm(self, job: HostJob, /) -> Outcome:
        """Keep the tree that the restore replaced, and remove those of restores before it."""
        with storage_errors(f"let go of what was replaced of {job.path}"):
            return Outcome(note=job.snapshots.confirm(job.call, job.call.parameters.keep_undo_s))

    def extract(self, job: HostJob, /) -> Outcome:
        """Write the tree of a restore point below the directory that the operator chose."""

        def build(place: int) -> None:
            if problems := self._build(job, place):
                job.say(f"{job.call.instance}: {problems.count} not written as they were: {problems}")

        with storage_errors(f"extract {job.point} of {job.call.instance}"):
            job.say(extract(job, self._extracted, build))
        return NOTHING

    def entries(self, job: HostJob, below: bytes) -> StoredListing:
        """Return what is in a directory of the call's restore point."""
        with storage_errors(f"look into {job.point} of {job.call.instance}"):
            saved = job.saved
            if saved.call.full:
                return list_backup(job, below)
            return list_snapshot(saved, below)

    def extract_file(self, job: HostJob, path: bytes, target: int) -> None:
        """Write one file of the call's restore point to an open file."""
        with storage_errors(f"extract from {job.point} of {job.call.instance}"):
            saved = job.saved
            if saved.call.full:
                extract_from_backup(job, path, target)
            else:
                extract_from_snapshot(saved, path, target)

    def inspect_target(self, job: HostJob, /) -> RestoreTarget:
        """Look for links, mounts, programs and room."""
        if job.call.operation is Operation.EXTRACT:
            return inspect_place(job)
        return inspect_path(job)

    def cut_size(self, job: HostJob, /) -> CutSize:
        """Count the tree."""
        snapshots = job.snapshots
        with storage_errors(f"look at {snapshots.path}"), _tree(snapshots.path) as source:
            return cut_size_of(source, shares=_shares(snapshots, source), beforehand=times_tell(source))

    def former_state(self, job: HostJob, /) -> FormerState | None:
        """Tell which tree is kept."""
        snapshots = job.snapshots
        with storage_errors(f"look at {snapshots.path}"), snapshots.former_states() as former:
            return None if former is None else former.describe()

    def measure(self, job: HostJob, /) -> Outcome:
        """Return what the tree takes."""
        with storage_errors(f"look at {job.path}"), _tree(job.path) as source:
            tally, space = count_tree(source), os.fstatvfs(source)
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
        try:
            with storage_errors(f"look at {snapshots.path}"), _tree(snapshots.path) as source:
                return [
                    _readable(snapshots.path, source),
                    _exchangeable(snapshots),
                    _trusted(snapshots),
                    _space(snapshots, source),
                    *_kept(snapshots),
                ]
        except (ResourceNotFoundError, UntrustedPathError, NonRecoverableError) as error:
            remedy = error.hint or "Make it, or correct the node's path."
            return [Finding(check="directory", passed=False, detail=str(error), remedy=remedy)]

    def _copied(self, job: HostJob, source: int, cut: StoredCut) -> TreeCopy:
        """Return a copy as it is known to be good: one that was begun only must never be gone on with."""
        with job.snapshots.opened(cut) as directory, _mounts_explained():
            copy = TreeCopy(source, directory, RAW, watched(job.context))
            try:
                copy.copy_beforehand()
                job.refuse_when_given_up()
            except BaseException:
                copy.close()
                raise
            return copy

    def _cut(self, job: HostJob, source: int, cut: StoredCut, prepared: TreeCopy | None) -> StoredCut:
        snapshots, began, told = job.snapshots, time.monotonic(), watched(job.context)
        try:
            with snapshots.opened(cut) as directory, _mounts_explained():
                if prepared is None or not prepared.is_in(directory, RAW):
                    remove(directory, RAW)
                    prepared = TreeCopy(source, directory, RAW, told)
                    self._prepared.keep(job.call, prepared)
                tally = prepared.finish(told)
            facts = _facts(tally) | {"cut_at": time.time(), "cut_s": round(time.monotonic() - began, 4)}
            return snapshots.finish(cut, facts)
        except BaseException:
            self._prepared.let_go(job.call)  # it is finished once, or not at all
            raise

    def _store(self, job: HostJob, cut: StoredCut) -> Manifest:
        saving = job.saving
        draft = saving.begin()
        size = cut.facts.get("size_bytes")
        told = watched(job.context, size if isinstance(size, int) else None)
        if TREE not in draft.finished:
            with (
                job.snapshots.opened(cut) as directory,
                _opened(directory, RAW) as raw,
                draft.tree(TREE) as tree,
            ):
                settle(raw)
                store_tree(raw, tree, told)
        cut_at = cut.facts.get("cut_at")
        return saving.complete(
            draft,
            cut.facts,
            consistency=_worth(cut.facts) or Consistency.NONE,
            cut_at=cut_at if isinstance(cut_at, float) else None,
            note=_note(cut.facts),
        )

    def _build(self, job: HostJob, place: int) -> TreeProblems:
        """Build what is to be restored in *place*, an empty directory of ours."""
        saved = job.saved
        if saved.call.full:
            manifest = saved.saving.manifest()
            told = watched(job.context, manifest.size_bytes)
            with saved.repository.reader(manifest) as reader:
                return restore_tree(reader, place, CONTENT, told, allowed=job.allowed)
        cut = saved.snapshots.find(saved.call)
        with saved.snapshots.opened(cut) as directory:
            require_unchanged(cut, directory)
            with _opened(directory, RAW) as raw, _opened(directory, CONTENT) as content:
                return copy_back(raw, content, place, CONTENT, watched(job.context), allowed=job.allowed)


@contextlib.contextmanager
def _mounts_explained() -> Iterator[None]:
    try:
        yield
    except MountInsideError as error:
        raise MountInsideError(str(error), hint=_MOUNT_INSIDE) from error


@contextlib.contextmanager
def _tree(path: Path) -> Iterator[int]:
    """Hold the directory that *path* stands for open."""
    with open_declared(path) as declared:
        try:
            descriptor = declared.open()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResourceNotFoundError(f"there is no directory {path}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(directory: int, name: bytes) -> Iterator[int]:
    descriptor = open_directory(directory, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _facts(tally: CutTally) -> dict[str, Json]:
    return {
        "entries": tally.entries,
        "size_bytes": tally.size_bytes,
        "copied_bytes": tally.copied_bytes,
        "allocated_bytes": tally.allocated_bytes,
        "taken_in_window": tally.taken,
        "left_out": [os.fsdecode(each.path[:_SHOWN_BYTES]) for each in tally.left_out.first[:_SHOWN]],
        "left_out_count": tally.left_out.count,
        "left_out_reasons": list(tally.left_out.reasons),
        PRIVILEGED: tally.privileged,
        "changed": [os.fsdecode(name[:_SHOWN_BYTES]) for name in tally.changed[:_SHOWN]],
        "changed_count": len(tally.changed),
    }


def _assembled(job: HostJob) -> StoredCut:
    snapshots, cut = job.snapshots, job.snapshots.find(job.call)
    if cut.durable:
        return cut
    with snapshots.opened(cut) as directory, _opened(directory, RAW) as raw:
        if not cut.facts.get("assembled"):
            settle(raw)
            remove(directory, CONTENT)
            assemble(raw, directory, CONTENT, watched(job.context))
            cut = snapshots.finish(cut, {**cut.facts, "assembled": True})
        # before the fingerprint is taken: it changes how many names a file has
        spend(raw)
        return snapshots.made_durable(cut, with_fingerprint(cut, directory))


def _artifact_of(cut: StoredCut) -> dict[str, Json]:
    return {**cut.facts, "objects": [str(cut.directory)]}


def _worth(facts: Mapping[str, Json]) -> Consistency | None:
    return Consistency.NONE if facts.get("changed_count") else None


def _not_as_it_was(problems: TreeProblems) -> str:
    return f"not restored as they were: {problems.counted()}" if problems else ""


def _note(facts: Mapping[str, Json]) -> str:
    notes = []
    if facts.get("changed_count"):
        notes.append(
            f"{facts['changed_count']} files changed while they were cut ({_listed(facts, 'changed')})"
        )
    if facts.get("left_out_count"):
        notes.append(f"{_listed(facts, 'left_out_reasons')} ({_listed(facts, 'left_out')})")
    if facts.get("copied_bytes"):
        notes.append(
            f"the file system cannot share data (no reflink): {facts['copied_bytes']} bytes of big files "
            "were copied within the frozen window"
        )
    return "; ".join(notes)


def _listed(facts: Mapping[str, Json], name: str) -> str:
    names = facts.get(name)
    return ", ".join(str(each) for each in names) if isinstance(names, list) else ""


def _readable(path: Path, source: int) -> Finding:
    readable = os.access(f"/proc/self/fd/{source}", os.R_OK | os.X_OK)
    return Finding(
        check="readable",
        passed=readable,
        detail=f"{path} can{'' if readable else 'not'} be read",
        remedy="" if readable else "Let the user that runs quiesce read it.",
    )


def _exchangeable(snapshots: SnapshotDirectory) -> Finding:
    try:
        snapshots.require_exchangeable()
    except NonRecoverableError as error:
        return Finding(check="exchange", passed=False, detail=str(error), remedy=error.hint)
    parent = snapshots.path.parent
    writable = os.access(parent, os.W_OK | os.X_OK)
    return Finding(
        check="exchange",
        passed=writable,
        detail=f"{parent} can{'' if writable else 'not'} be written to",
        remedy="" if writable else "Let the user that runs quiesce write there.",
    )


def _trusted(snapshots: SnapshotDirectory) -> Finding:
    reason = snapshots.why_not_used()
    return Finding(
        check="snapshot directory",
        passed=not reason,
        detail=reason or f"nobody else can change {snapshots.directory}",
        remedy=ELSEWHERE if reason else "",
    )


def _kept(snapshots: SnapshotDirectory) -> Sequence[Finding]:
    """Tell what a restore has replaced, and how much room that takes."""
    if snapshots.why_not_used():
        return ()
    with snapshots.former_states() as former:
        state = None if former is None else former.describe()
    if state is None:
        return ()
    size = "" if state.size_bytes is None else f", {state.size_bytes} bytes"
    older = f", and older states: {', '.join(state.older)}" if state.older else ""
    detail = f"{state.place} is kept for an undo of {state.execution}{size}{older}"
    return [Finding(check="undo", passed=True, detail=detail)]


def _ground(snapshots: SnapshotDirectory) -> Path:
    """Return the nearest directory that is there already and that cuts will lie in."""
    ground = snapshots.directory
    while not ground.exists():
        ground = ground.parent
    return ground


def _shares(snapshots: SnapshotDirectory, source: int) -> bool:
    """Tell whether the cut of the tree at *source* can share the data of its files."""
    ground = _ground(snapshots)
    return os.fstat(source).st_dev == ground.stat().st_dev and can_share(ground)


def _space(snapshots: SnapshotDirectory, source: int) -> Finding:
    ground, shared = _ground(snapshots), _shares(snapshots, source)
    size, free = count_tree(source).size_bytes, os.statvfs(ground)
    enough = shared or free.f_bavail * free.f_frsize > size
    how = "is cut by reflink" if shared else "is copied (no reflink)"
    when = "before the frozen window" if times_tell(source) else "within the frozen window"
    return Finding(
        check="space",
        passed=enough,
        detail=f"{size} bytes: the tree {how}, {when}",
        remedy="" if enough else "Make room beside the directory, or set snapshot_dir.",
    )
