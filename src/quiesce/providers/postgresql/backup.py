"""A server's backup: a base copy before the window, a place in its log within, the log up to it after."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from quiesce.backups import Draft, ItemReader, Manifest
from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.files.descriptors import DIRECTORY
from quiesce.files.durable import PRIVATE_DIRECTORY, storage_errors, write_durably
from quiesce.files.held import held_path
from quiesce.model.consistency import Consistency
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.saving import watched
from quiesce.providers.postgresql.client import ServerCut, ServerFacts, ServerSession, tls_settings
from quiesce.providers.postgresql.job import PostgreSQLJob
from quiesce.providers.postgresql.programs import program
from quiesce.providers.postgresql.wal import Lsn, segments

BASE: Final = "base.tar"
LOG: Final = "wal.tar"
_LIST: Final = "backup_manifest"
_FACTS: Final = "server.json"
#: where pg_basebackup writes to, inside of the draft
_STAGING: Final = "staging"
_OLDEST: Final = 13
_NEWEST: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCopy:
    """What a base copy is of."""

    system: str
    version: int
    timeline: int
    #: it holds the log up to this place
    copied_to: str
    data_directory: str
    segment_bytes: int
    page_bytes: int
    #: locations by the names of their archives
    tablespaces: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerArtifact(BaseCopy):
    """What a restore point holds of a server; its *timeline* is that of the cut."""

    #: everything before this place is in it, nothing from there on
    cut_lsn: str
    end_lsn: str

    @property
    def major(self) -> int:
        """The version that can read it."""
        return self.version // 10_000


def prepare(job: PostgreSQLJob) -> None:
    """Make the base copy, once for each execution, and have the server keep its log from there on.

    Raises:
        NonRecoverableError: when the server cannot be saved so.
    """
    if job.saving.made_before() is not None:
        return
    draft = job.saving.begin()
    if _is_prepared(job, draft):
        return
    session = job.session()
    try:
        facts = session.facts()
        _require_usable(job, facts)
        session.hold_wal(job.slot)
        _copy_base(job, draft, facts)
    except BaseException:
        session.close()
        raise
    job.held.keep(job.session_key, session)


def cut(job: PostgreSQLJob) -> tuple[ServerArtifact, bool]:
    """Fix the point in time; return it, and whether the base copy had been made before.

    Raises:
        RecoverableError: when the server is another one than that of the base copy.
    """
    draft = job.saving.begin()
    ready = _is_copied(draft)
    if not ready:
        prepare(job)
        draft = job.saving.begin()
    copy = _copied(draft)
    made = _cut(job)
    if made.system != copy.system:
        raise NonRecoverableError(f"{job.call.instance} is another server than the one that was copied")
    cut_there = {"timeline": made.timeline, "cut_lsn": str(made.at), "end_lsn": str(made.end)}
    return ServerArtifact(**(asdict(copy) | cut_there)), ready


def _cut(job: PostgreSQLJob) -> ServerCut:
    """Cut in the session that holds the log: within the window, nobody waits until another one is there."""
    if (held := job.held.living(job.session_key)) is not None:
        return held.cut()
    with job.session() as session:
        return session.cut()


def complete(job: PostgreSQLJob) -> Manifest:
    """Add the log from the base copy up to the cut, and complete the backup.

    Raises:
        NonRecoverableError: when the server has removed a part of the log that is needed.
    """
    if (made := job.saving.made_before()) is not None:
        return made
    artifact = read_artifact(ServerArtifact, artifact_of(job.call))
    draft = job.saving.begin()
    if not _is_copied(draft):
        raise NonRecoverableError(
            f"what was stored of the base copy of {job.call.instance} is gone", hint="Make the backup again."
        )
    if LOG not in draft.finished:
        with job.session() as session:
            _copy_log(job, draft, session, artifact)
    manifest = job.saving.complete(draft, as_artifact(artifact), consistency=Consistency.APPLICATION)
    job.held.end(job.session_key)
    return manifest


def let_go(job: PostgreSQLJob) -> None:
    """End what this execution holds on the server, by whatever process; one that is gone holds nothing."""
    job.held.end(job.session_key)
    with contextlib.suppress(ProviderError), job.session() as session:
        session.release_wal(job.slot)


def open_stored(job: PostgreSQLJob, manifest: Manifest, name: str) -> ItemReader:
    """Return a stored archive's plain content, as a tar file."""
    return job.saving.repository.open(manifest, name, watched(job.context, manifest.size_bytes))


def _is_prepared(job: PostgreSQLJob, draft: Draft) -> bool:
    return _is_copied(draft) and job.held.living(job.session_key) is not None


def _is_copied(draft: Draft) -> bool:
    if not draft.path(_FACTS).exists():
        return False
    return {BASE, _LIST, *_copied(draft).tablespaces} <= draft.finished.keys()


def _require_usable(job: PostgreSQLJob, facts: ServerFacts) -> None:
    wrong = why_not_usable(facts)
    if wrong:
        raise NonRecoverableError(f"{job.call.instance} cannot be saved: {wrong}")


def why_not_usable(facts: ServerFacts) -> str:
    """Return why this server cannot be saved; empty when it can."""
    if not _OLDEST <= facts.major <= _NEWEST:
        return f"it is PostgreSQL {facts.major}; versions {_OLDEST} to {_NEWEST} can be"
    if facts.in_recovery:
        return "it is a standby, whose log ends where its primary says; declare the primary"
    if facts.wal_level == "minimal":
        return "its wal_level is 'minimal'; a backup needs 'replica'"
    return ""


def _copy_base(job: PostgreSQLJob, draft: Draft, facts: ServerFacts) -> None:
    staging = draft.path(_STAGING)
    with storage_errors(f"write {draft.path(_STAGING)}"):
        shutil.rmtree(staging, ignore_errors=True)
        draft.path(_FACTS).unlink(missing_ok=True)  # what was copied before does not count any more
        staging.mkdir(mode=PRIVATE_DIRECTORY)
        directory = os.open(staging, DIRECTORY)
    try:
        with job.reached() as reached:
            _run_base_backup(reached, directory, facts)
    finally:
        os.close(directory)
    with storage_errors(f"store {draft.path(_STAGING)}"):
        for path in sorted(staging.iterdir()):
            path.rename(draft.path(path.name))
            draft.adopt(path.name)
        staging.rmdir()
    _write_facts(draft, facts)


def _run_base_backup(job: PostgreSQLJob, directory: int, facts: ServerFacts) -> None:
    """Have the server's program write to an open *directory*: whoever renames those above it meanwhile."""
    into = held_path(directory)
    argv = [str(program(job, "pg_basebackup", facts.major)), "-D", str(into), "-Ft", "-X", "fetch"]
    argv += ["-c", "fast", "--no-password", "-h", job.options.host, "-p", str(job.options.port)]
    argv += ["-U", job.options.user]
    look = _Growth(job, into).look
    said = job.commands.run(job, argv, environment=_login(job), look=look, descriptors=(directory,))
    if said.status != 0:
        raise NonRecoverableError(f"pg_basebackup ended with {said}")


def _login(job: PostgreSQLJob) -> dict[str, str]:
    password = {} if job.options.password is None else {"PGPASSWORD": job.options.password}
    encryption = {f"PG{name.upper()}": value for name, value in tls_settings(job.options).items()}
    return {"LC_ALL": "C", **password, **encryption}


def _write_facts(draft: Draft, facts: ServerFacts) -> None:
    copied_to, timeline = _range_of(json.loads(draft.read(_LIST)))
    copy = BaseCopy(
        system=facts.system,
        version=facts.version,
        timeline=timeline,
        copied_to=copied_to,
        data_directory=facts.data_directory,
        segment_bytes=facts.segment_bytes,
        page_bytes=facts.page_bytes,
        tablespaces={f"{space.oid}.tar": space.location for space in facts.tablespaces},
    )
    write_durably(draft.path(_FACTS), json.dumps(as_artifact(copy)).encode())


def _range_of(listed: Mapping[str, Any]) -> tuple[str, int]:
    ranges = listed.get("WAL-Ranges") or []
    if len(ranges) != 1:
        raise RecoverableError("the server changed its timeline while it was copied")
    return ranges[0]["End-LSN"], ranges[0]["Timeline"]


def _copied(draft: Draft) -> BaseCopy:
    return read_artifact(BaseCopy, json.loads(draft.path(_FACTS).read_bytes()))


def _copy_log(job: PostgreSQLJob, draft: Draft, session: ServerSession, artifact: ServerArtifact) -> None:
    """Store the files of the log that the base copy has not, up to the cut, each of them looked through."""
    copy = _copied(draft)
    if copy.timeline != artifact.timeline or copy.system != artifact.system:
        raise NonRecoverableError(
            f"{job.call.instance} was promoted or replaced between its base copy and the cut",
            hint="Run the backup again.",
        )
    end = Lsn.of(artifact.end_lsn)
    told = watched(job.context)
    with draft.create(LOG, told) as out, tarfile.open(fileobj=out, mode="w|") as archive:
        for segment in segments(artifact.timeline, Lsn.of(copy.copied_to), end, artifact.segment_bytes):
            data = session.wal_file(segment.name, artifact.segment_bytes)
            if not data:
                raise NonRecoverableError(
                    f"{job.call.instance} has removed {segment.name} of its log before it was stored",
                    hint="The session that held it has ended. Run the backup again.",
                )
            _add(archive, f"pg_wal/{segment.name}", segment.checked(data, end, artifact.page_bytes))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o600
    archive.addfile(entry, io.BytesIO(data))


class _Growth:
    """Reports how much a program has written."""

    def __init__(self, job: PostgreSQLJob, directory: Path) -> None:
        self._told = watched(job.context)
        self._directory = directory
        self._size_bytes = 0

    def look(self) -> None:
        """Report what has been added."""
        try:
            size = sum(path.stat().st_size for path in self._directory.iterdir())
        except FileNotFoundError:
            return
        self._told(max(0, size - self._size_bytes))
        self._size_bytes = size
