"""An SQLite database as a service: its write lock is the freeze, its online backup the cut."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.backups import Manifest
from quiesce.errors import NoRoomError, ResourceNotFoundError, UntrustedPathError
from quiesce.files.descriptors import UNTOUCHED, path_of
from quiesce.files.durable import storage_errors
from quiesce.files.metadata import EVERYTHING, Metadata, Restorer
from quiesce.files.problems import TreeProblems
from quiesce.files.reading import open_regular_file
from quiesce.files.system_calls import sync_file_system
from quiesce.files.trust import Declared, open_declared, why_directory_not_trusted
from quiesce.model.consistency import Consistency
from quiesce.model.cut_size import CutSize
from quiesce.model.former_state import FormerState
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.target import NO_OBJECTION, RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, nothing_stored, unsupported
from quiesce.provider_kit.saving import watched
from quiesce.providers.host.cuts import data_bytes
from quiesce.providers.host.extracting import extract
from quiesce.providers.host.former_states import CONTENT, OTHER
from quiesce.providers.host.inspecting import inspect_place
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.snapshot_dir import SnapshotDirectory, StoredCut
from quiesce.providers.host.stored import StoredOperations, require_unchanged, with_fingerprint

DATABASE: Final = "database.sqlite"
_DEFAULT_TIMER_S: Final = 120.0
#: of the time that is left, what waiting for somebody else's lock may take
_PATIENCE: Final = 0.9
_MAGIC: Final = b"SQLite format 3\0"
_CHUNK_BYTES: Final = 1 << 20
#: of a user whom this machine does not know
_NO_GROUP: Final = 65534


class DatabaseOperations(CheckedOperations[HostJob]):
    """Answers for ``quiesce.nodes.host.SQLite``: its freeze is what a directory's cut needs."""

    revert = confirm = extract = unsupported

    suspend = resume = unsupported
    snapshot = copy = apply = delete = unsupported
    prepare = stop = start = probe = unsupported
    verify = nothing_stored

    def freeze(self, job: HostJob, /) -> Outcome:
        """Hold the write lock, everything committed on the disk, the timer armed first."""
        path = _file(job)
        if job.call.restoring and not path.exists():
            return Outcome(consistency=Consistency.NONE, note=f"there is no database {path} to be frozen")
        _hold(job, job.timer_s)
        return Outcome(consistency=Consistency.APPLICATION)

    def thaw(self, job: HostJob, /) -> Outcome:
        """Give the lock back, whoever took it; returns when it is given back."""
        job.freezes.release(job.key, timeout_s=job.context.remaining_s())
        return NOTHING

    def is_frozen(self, job: HostJob, /) -> bool | None:
        """Tell whether our lock is held; a restore may have had no database to lock."""
        held = job.freezes.held(job.key) is not None
        return held or (None if job.call.restoring else False)

    def measure(self, job: HostJob, /) -> Outcome:
        """Return what the database and its log take."""
        path = _existing(job).path
        log = path.with_name(f"{path.name}-wal")
        return Outcome(
            measurements={
                "size_bytes": path.stat().st_size,
                "log_bytes": log.stat().st_size if log.exists() else 0,
            }
        )

    def doctor(self, job: HostJob, /) -> Sequence[Finding]:
        """Tell whether it is a database that this user may lock."""
        path = _file(job)
        if not path.is_file():
            return [Finding(check="database", passed=False, detail=f"there is no database {path}")]
        with storage_errors(f"look at {path}"), open_regular_file(path) as file:
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


class DatabaseAloneOperations(StoredOperations, DatabaseOperations):
    """Answers for ``quiesce.nodes.host.SQLiteAlone``: its cut is SQLite's own online backup."""

    def __init__(self, extracted: Path) -> None:
        """*extracted* is where it is remembered what was extracted."""
        self._extracted = extracted

    def snapshot(self, job: HostJob, /) -> Outcome:
        """Copy the database as one transaction sees it."""
        snapshots = _existing(job)
        job.refuse_frozen_ground()
        with storage_errors(f"cut {snapshots.path}"):
            if job.call.full and (made := job.saving.made_before_cut()):
                return Outcome(artifact=made.content)
            cut = snapshots.begin(job.call)
            if not cut.whole:
                cut = self._cut(job, cut)
        return _of_cut(cut)

    def copy(self, job: HostJob, /) -> Outcome:
        """Make the copy durable; of a backup, store it in the repository and let the copy go."""
        snapshots = job.snapshots
        with storage_errors(f"copy the cut of {snapshots.path}"):
            if not job.call.full:
                cut = snapshots.find(job.call)
                with snapshots.opened(cut) as directory:
                    return _of_cut(snapshots.made_durable(cut, with_fingerprint(cut, directory)))
            manifest = job.saving.made_before()
            if manifest is None:
                manifest = self._store(job, snapshots.find(job.call))
            snapshots.remove(replace(job.call, undo=True))
        return Outcome(artifact=manifest.content)

    def apply(self, job: HostJob, /) -> Outcome:
        """Replace the database's content in one transaction; who has it open sees the restored one."""
        snapshots = _with_schema(job)
        job.refuse_frozen_ground(job.path)
        with (
            storage_errors(f"restore {snapshots.path}", no_room=NoRoomError.hint),
            snapshots.incoming() as place,
        ):
            self._fetch(job.saved, _in(place, CONTENT))
            sync_file_system(place)
            job.refuse_when_given_up()
            if _file(job).exists():
                job.say(snapshots.replace_content(job.call, lambda kept: self._replace_content(job, kept)))
            else:
                job.say(snapshots.put_in_place(job.call))
        return NOTHING

    def cut_size(self, job: HostJob, /) -> CutSize | None:
        """Tell how large the database is."""
        try:
            status = _file(job).stat()
        except FileNotFoundError:
            return None
        return CutSize(entries=1, copied_bytes=data_bytes(status))

    def revert(self, job: HostJob, /) -> Outcome:
        """Put what a restore replaced into the database in one transaction, and keep what is in it."""
        snapshots = _with_schema(job)
        job.refuse_frozen_ground(job.path)
        with storage_errors(f"undo the restore of {snapshots.path}"):
            job.say(
                snapshots.revert_content(
                    job.call.parameters.undo_to, lambda kept: self._replace_content(job, kept)
                )
            )
        return NOTHING

    def confirm(self, job: HostJob, /) -> Outcome:
        """Keep what the restore replaced, and remove what restores before it did."""
        with storage_errors(f"let go of what was replaced of {job.path}"):
            return Outcome(note=_with_schema(job).confirm(job.call, job.call.parameters.keep_undo_s))

    def extract(self, job: HostJob, /) -> Outcome:
        """Write the database of a restore point below the directory that the operator chose."""
        with storage_errors(f"extract {job.point} of {job.call.instance}"):
            job.say(extract(job, self._extracted, lambda place: self._fetch(job.saved, _in(place, CONTENT))))
        return NOTHING

    def inspect_target(self, job: HostJob, /) -> RestoreTarget:
        """Look at the directory that is written to; a database in its place is not exchanged."""
        return inspect_place(job) if job.call.operation is Operation.EXTRACT else NO_OBJECTION

    def former_state(self, job: HostJob, /) -> FormerState | None:
        """Tell which database is kept; where there was none before, there is nothing to go back to."""
        snapshots = _with_schema(job)
        with storage_errors(f"look at {snapshots.path}"), snapshots.former_states() as former:
            state = None if former is None else former.describe()
            return state if state is not None and os.path.lexists(state.place) else None

    def _cut(self, job: HostJob, cut: StoredCut) -> StoredCut:
        snapshots, began = job.snapshots, time.monotonic()
        rights = _rights(job)
        _run_copy(job, _file(job), cut.content, scratch=True, source_rights=rights)
        _dress_like(_file(job), cut.content, rights)
        facts: dict[str, Json] = {
            "size_bytes": cut.content.stat().st_size,
            "cut_at": time.time(),
            "cut_s": round(time.monotonic() - began, 4),
        }
        return snapshots.finish(cut, facts)

    def _store(self, job: HostJob, cut: StoredCut) -> Manifest:
        saving = job.saving
        draft = saving.begin()
        status = cut.content.stat()
        if DATABASE not in draft.finished:
            told = watched(job.context, status.st_size)
            with draft.create(DATABASE, told) as out, cut.content.open("rb") as source:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
        cut_at = cut.facts.get("cut_at")
        return saving.complete(
            draft,
            {
                **cut.facts,
                "mode": status.st_mode,
                "uid": status.st_uid,
                "gid": status.st_gid,
            },
            consistency=Consistency.APPLICATION,
            cut_at=cut_at if isinstance(cut_at, float) else None,
        )

    def _fetch(self, job: HostJob, incoming: Path) -> None:
        """Bring the saved database to *incoming*, checked."""
        if not job.call.full:
            cut = job.snapshots.find(job.call)
            with job.snapshots.opened(cut) as directory:
                require_unchanged(cut, directory)
            _run_copy(job, cut.content, incoming, scratch=True)
            _dress_like(cut.content, incoming, None)
            return
        repository = job.repository
        manifest = job.saving.manifest()
        told = watched(job.context, manifest.size_bytes)
        with (
            repository.open(manifest, DATABASE, told) as stored,
            incoming.open("xb") as out,
        ):
            shutil.copyfileobj(stored, out, _CHUNK_BYTES)
            stored.check()
        _dress_as(incoming, manifest.content)

    def _replace_content(self, job: HostJob, kept: int) -> None:
        """Put `CONTENT` of the directory *kept* into the database, whose own becomes `OTHER` there."""
        job.refuse_when_given_up()
        incoming, former = _in(kept, CONTENT), _in(kept, OTHER)
        held, rights = job.freezes.held(job.key), _rights(job)
        if held is None:
            remaining = job.context.remaining_s()
            request: dict[str, Json] = {
                "kind": "replace",
                "source": str(incoming),
                "target": str(_file(job)),
                "former": str(former),
                "busy_s": remaining * _PATIENCE,
                "target_rights": rights,
            }
            job.freezes.run(request, timeout_s=remaining)
        else:
            # our own freeze is in the way: its successor restores before it freezes
            thaw_at = held.get("thaw_at")
            left = float(thaw_at) - time.monotonic() if isinstance(thaw_at, int | float) else _DEFAULT_TIMER_S
            _hold(job, max(left, 1.0), apply=incoming, former=former)
        _dress_like(_file(job), former, rights)


def _file(job: HostJob) -> Path:
    """Return the database's file, without links, whether it exists or not.

    Raises:
        UntrustedPathError: when it may be a file that somebody else has led us to.
    """
    try:
        with open_declared(job.path) as declared:
            _refuse_other_file(declared)
            return Path(os.fsdecode(declared.path))
    except ResourceNotFoundError:
        # a restore makes the directory above
        return job.path


def _refuse_other_file(declared: Declared) -> None:
    try:
        status = os.stat(declared.name, dir_fd=declared.parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1):
        raise UntrustedPathError(
            f"{os.fsdecode(declared.path)} is another name of a file that may be somebody else's",
            hint="Declare the database's own file, which has one name only.",
        )


def _in(directory: int, name: bytes) -> Path:
    return Path(os.fsdecode(path_of(directory))) / os.fsdecode(name)


def _with_schema(job: HostJob) -> SnapshotDirectory:
    """Return where the node's snapshots are kept, which can tell whether its content was replaced."""
    return SnapshotDirectory(
        job.path, job.options.snapshot_dir, job.freezes.own_processes, lambda: _schema_number(job)
    )


def _schema_number(job: HostJob) -> int | None:
    """Return the number of the database's schema; None when there is no database."""
    if not _file(job).exists():
        return None
    remaining = job.context.remaining_s()
    request: dict[str, Json] = {
        "kind": "schema",
        "source": str(_file(job)),
        "source_rights": _rights(job),
        "busy_s": remaining * _PATIENCE,
    }
    number = job.freezes.run(request, timeout_s=remaining).get("schema")
    return number if isinstance(number, int) else None


def _hold(job: HostJob, thaw_after_s: float, apply: Path | None = None, former: Path | None = None) -> None:
    request: dict[str, Json] = {"kind": "database", "path": str(_file(job)), "rights": _rights(job)}
    request["busy_s"] = min(job.context.remaining_s(), thaw_after_s) * _PATIENCE
    if apply is not None:
        request["apply"], request["former"] = str(apply), str(former)
    request["thaw_at"] = time.monotonic() + thaw_after_s
    job.freezes.hold(job.key, request, thaw_after_s=thaw_after_s, timeout_s=job.context.remaining_s())


def _rights(job: HostJob) -> dict[str, Json] | None:
    """Return whose rights have to be enough: the owner's, where others can put files beside the database.

    None: ours, because nobody else can put anything beside it.

    Raises:
        UntrustedPathError: when it is root's in a directory that is not.
    """
    if os.geteuid() != 0:
        return None
    with open_declared(job.path) as declared:
        reason = why_directory_not_trusted(declared.parent)
        if not reason:
            return None
        try:
            status = os.stat(declared.name, dir_fd=declared.parent, follow_symlinks=False)
        except FileNotFoundError:
            raise ResourceNotFoundError(f"there is no database {job.path}") from None
        if status.st_uid == 0:
            raise UntrustedPathError(
                f"{os.fsdecode(declared.path)} is root's, but others can put files beside it: {reason}",
                hint="Give the database to the user whose directory it is (chown), or let root alone write "
                "to the directory.",
            )
        return _rights_of(status.st_uid)


def _rights_of(user: int) -> dict[str, Json]:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return {"user": user, "group": _NO_GROUP, "groups": []}
    groups: list[Json] = [*os.getgrouplist(entry.pw_name, entry.pw_gid)]
    return {"user": user, "group": entry.pw_gid, "groups": groups}


def _run_copy(
    job: HostJob,
    source: Path,
    target: Path,
    *,
    scratch: bool,
    source_rights: dict[str, Json] | None = None,
    target_rights: dict[str, Json] | None = None,
) -> None:
    remaining = job.context.remaining_s()
    job.freezes.run(
        {
            "kind": "copy",
            "source": str(source),
            "target": str(target),
            "busy_s": remaining * _PATIENCE,
            "scratch": scratch,
            "source_rights": source_rights,
            "target_rights": target_rights,
        },
        timeout_s=remaining,
    )


def _existing(job: HostJob) -> SnapshotDirectory:
    snapshots = job.snapshots
    if not _file(job).is_file():
        raise ResourceNotFoundError(f"there is no database {snapshots.path}")
    return snapshots


def _of_cut(cut: StoredCut) -> Outcome:
    return Outcome(artifact={**cut.facts, "objects": [str(cut.directory)]})


def _dress_like(model: Path, path: Path, rights: Mapping[str, Json] | None) -> None:
    """Give *path*, of ours, the owner, mode and attributes of *model*, which is of the user with *rights*."""
    descriptor = os.open(model, UNTOUCHED)
    try:
        status = os.fstat(descriptor)
        theirs = rights is None or status.st_uid == rights["user"]
        if not stat.S_ISREG(status.st_mode) or not theirs:
            raise UntrustedPathError(f"{model} was replaced while it was copied")
        found = Metadata.of_descriptor(descriptor)
        _give(path, replace(found, mode=found.mode & ~(stat.S_ISUID | stat.S_ISGID)))
    finally:
        os.close(descriptor)


def _dress_as(path: Path, content: Mapping[str, Json]) -> None:
    mode, uid, gid = (content.get(name) for name in ("mode", "uid", "gid"))
    if isinstance(mode, int) and isinstance(uid, int) and isinstance(gid, int):
        _give(path, Metadata(mode=mode, uid=uid, gid=gid, mtime_ns=path.stat().st_mtime_ns))


def _give(path: Path, metadata: Metadata) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        Restorer(EVERYTHING, TreeProblems()).give(descriptor, replace(metadata, flags=0), b"")
    finally:
        os.close(descriptor)
