"""A server's backup: a base copy before the window, what has changed within it, both joined after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quiesce.backups import Draft, Manifest
from quiesce.errors import NonRecoverableError
from quiesce.files.durable import storage_errors
from quiesce.model.consistency import Consistency
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.saving import watched
from quiesce.providers.mariadb import copying
from quiesce.providers.mariadb.client import MariaDBFacts
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.staging import BASE, CHANGES, Staging

DATA: Final = "data.tar"
#: where mariadb-backup says what its copy is
_CHECKPOINTS: Final = "xtrabackup_checkpoints"
_LONGEST_FILE: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBArtifact:
    """What a restore point holds of a server."""

    version: str
    #: everything before this place in InnoDB's log is in it
    cut_lsn: int
    data_directory: str


def prepare(job: MariaDBJob) -> None:
    """Make the base copy, once for each execution.

    Raises:
        NonRecoverableError: when the server cannot save itself.
    """
    if job.saving.made_before() is not None:
        return
    staging = Staging(job.saving.begin(), job.owner)
    if job.copies.has(job.copy_key):
        return
    facts = _facts(job)
    if not staging.has(BASE):
        if job.options.hold:  # it would wait for the copy that waits for it
            copying.copy(job, staging, BASE)
        else:
            copying.begin_copy(job, staging, facts)


def cut(job: MariaDBJob, *, held: bool) -> tuple[MariaDBArtifact, bool]:
    """Copy what has changed since the base copy, up to now; return it, and whether that was there.

    A copy that waits for its end has none: it ends now. What is *held* already needs no lock of
    mariadb-backup's own, which would wait for ours.
    """
    staging = Staging(job.saving.begin(), job.owner)
    if (waiting := job.copies.take(job.copy_key)) is not None:
        copying.require_success(waiting.end(job))
        return _artifact(waiting.facts, staging, BASE), True
    facts = _facts(job)
    ready = staging.has(BASE)
    made = CHANGES if ready else BASE
    copying.copy(job, staging, made, *(["--no-lock"] if held else []))
    return _artifact(facts, staging, made), ready


def complete(job: MariaDBJob) -> Manifest:
    """Join the copies to a directory that a server can start with, and store it."""
    if (made := job.saving.made_before()) is not None:
        return made
    artifact = read_artifact(MariaDBArtifact, artifact_of(job.call))
    draft = job.saving.begin()
    staging = Staging(draft, job.owner)
    if DATA not in draft.finished:
        copying.join(job, staging)
        _store(job, draft, staging)
    return job.saving.complete(draft, as_artifact(artifact), consistency=Consistency.APPLICATION)


def _artifact(facts: MariaDBFacts, staging: Staging, copy: str) -> MariaDBArtifact:
    return MariaDBArtifact(
        version=facts.version, cut_lsn=_lsn_of(staging, copy), data_directory=str(facts.data_directory)
    )


def _facts(job: MariaDBJob) -> MariaDBFacts:
    with job.session() as session:
        facts = session.facts()
    job.require_usable(facts)
    if facts.data_directory.resolve() != job.data_directory:
        raise NonRecoverableError(
            f"the files of {job.call.instance} are in {facts.data_directory}, not in {job.data_directory}",
            hint="Correct the node's data_directory.",
        )
    linked = [path for path in job.data_directory.iterdir() if path.is_symlink()]
    if linked:
        raise NonRecoverableError(
            f"{linked[0]} leads out of the directory of {job.call.instance}",
            hint="Let other nodes cut its files, and set hold.",
        )
    return facts


def _store(job: MariaDBJob, draft: Draft, staging: Staging) -> None:
    with (
        storage_errors("store what was copied"),
        staging.opened() as copies,
        draft.create(DATA, watched(job.context)) as out,
    ):
        job.ask("pack", copies=copies, copy=BASE, descriptors=(copies,), into=out)


def _lsn_of(staging: Staging, copy: str) -> int:
    """Return up to which place in InnoDB's log a copy goes."""
    told: dict[str, str] = {}
    try:
        for line in staging.read(copy, _CHECKPOINTS, at_most=_LONGEST_FILE).decode().splitlines():
            name, _, value = line.partition("=")
            told[name.strip()] = value.strip()
        return int(told["last_lsn"])
    except (OSError, ValueError, KeyError) as error:
        raise NonRecoverableError(f"what mariadb-backup says of its copy cannot be read: {error}") from error
