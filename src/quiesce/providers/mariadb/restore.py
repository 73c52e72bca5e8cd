"""A server is stopped, its directory replaced, started, and every table of it checked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, ProbeFailedError, ProviderError, RecoverableError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit import servers
from quiesce.provider_kit.artifact import read_artifact
from quiesce.provider_kit.saving import watched
from quiesce.providers.mariadb.backup import DATA, MariaDBArtifact
from quiesce.providers.mariadb.client import MariaDBSession, is_there, quoted, release_of
from quiesce.providers.mariadb.job import MariaDBJob

#: how it was started
_STARTED: Final = "started"
#: which version it was when it was stopped
_VERSION: Final = "version"
_TABLES: Final = (
    "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
    " AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys')"
)
_LONGEST_LINE: Final = 1 << 16
#: what the kernel says of a program that an upgrade has exchanged since it was started
_EXCHANGED: Final = " (deleted)"


def stop(job: MariaDBJob) -> Outcome:
    """Stop the server, and return when it is gone; clients are sent away, nothing is lost."""
    if job.options.data_directory is None:
        servers.by_systemd(job, "stop")
        return NOTHING
    found = job.processes()
    _remember_version(job, running=bool(found))
    if job.options.systemd_unit is not None:
        servers.by_systemd(job, "stop")
    elif not found:
        return Outcome(note="it was not running")
    else:
        _remember_command(job, found[0])
        _terminate(found)
    job.wait_until(lambda: not job.processes(), "stop")
    return NOTHING


def start(job: MariaDBJob) -> Outcome:
    """Start the server as it was started before, and return when it answers."""
    if job.options.systemd_unit is not None:
        servers.by_systemd(job, "start")
        return NOTHING
    if not job.processes():
        argv = json.loads(job.recall(_STARTED) or "[]")
        if not argv:
            raise NonRecoverableError(
                f"nothing says how {job.call.instance} is started", hint="Set its systemd_unit."
            )
        job.commands.leave_running(job, job.owner.of_process(), argv)
        job.wait_until(lambda: bool(job.processes()), "start")
    job.wait_until(lambda: _answers(job), "answer")
    return NOTHING


def apply(job: MariaDBJob) -> Outcome:
    """Build the restored directory beside the present one, and exchange the two."""
    manifest = job.saving.manifest()
    artifact = read_artifact(MariaDBArtifact, manifest.content)
    data = job.data_directory
    job.refuse_running()
    _refuse_older(job, artifact.version)
    places = [str(data)]
    job.ask("begin", places=places)
    with job.saving.repository.open(manifest, DATA, watched(job.context, manifest.size_bytes)) as stored:
        job.ask("unpack", data=stored, place=str(data), holds_name=False)
        stored.check()
    job.ask("settle_on_disk", places=places)
    servers.replace(job, places, job.refuse_running)
    return Outcome(note=f"it is as of {artifact.cut_lsn} in InnoDB's log")


def probe(job: MariaDBJob) -> Outcome:
    """Return when the server answers, and every table is whole.

    Raises:
        ProbeFailedError: when it does not within the call's time, or a table is damaged.
    """
    servers.wait_until_well(job, lambda: _why_not_well(job))
    with job.session() as session:
        count = _check_tables(session)
    return Outcome(note=f"{count} tables are checked")


def _answers(job: MariaDBJob) -> bool:
    if is_there(job.options):
        return True
    if not job.processes():
        raise RecoverableError(f"{job.call.instance} has ended again: {job.commands.said_by(job)}")
    return False


def _why_not_well(job: MariaDBJob) -> str | None:
    with job.session() as session:
        session.rows("SELECT 1")
        if job.options.probe is None:
            return None
        return None if session.rows(job.options.probe) else f"{job.options.probe!r} answers nothing"


def _check_tables(session: MariaDBSession) -> int:
    tables = session.rows(_TABLES)
    for schema, name in tables:
        for _, _, kind, text in session.rows(f"CHECK TABLE {quoted(schema)}.{quoted(name)} QUICK"):
            if kind.lower() == "error":
                raise ProbeFailedError(f"the table {schema}.{name} is damaged: {text}")
    return len(tables)


def _remember_version(job: MariaDBJob, *, running: bool) -> None:
    """Keep which version the server is: one that is stopped says nothing any more."""
    version = ""
    if running:
        with contextlib.suppress(ProviderError), job.session() as session:
            version = session.version()
    job.remember(_VERSION, version)


def _refuse_older(job: MariaDBJob, saved: str) -> None:
    """Raise when the server is known, and cannot read what a newer one has written.

    Raises:
        NonRecoverableError: naming both versions.
    """
    there = job.recall(_VERSION)
    if there and release_of(there) < release_of(saved):
        raise NonRecoverableError(
            f"{job.call.instance} is of MariaDB {there}, the restore point of {saved}",
            hint="Restore it to a server of its own version, or a later one.",
        )


def _remember_command(job: MariaDBJob, pid: int) -> None:
    """Keep how the server was started."""
    process = Path(f"/proc/{pid}")
    with (process / "cmdline").open("rb") as file:
        words = file.read(_LONGEST_LINE).rstrip(b"\0").split(b"\0")
    program = str((process / "exe").readlink()).removesuffix(_EXCHANGED)
    job.remember(_STARTED, json.dumps([program, *(os.fsdecode(word) for word in words[1:])]))


def _terminate(found: list[int]) -> None:
    for pid in found:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        except ProcessLookupError:
            continue
        finally:
            os.close(descriptor)
