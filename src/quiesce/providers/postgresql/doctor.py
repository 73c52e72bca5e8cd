"""Whether a server can be saved and replaced, and what it measures; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.ports import Finding
from quiesce.provider_kit.servers import mount_of
from quiesce.providers.postgresql.backup import why_not_usable
from quiesce.providers.postgresql.client import ServerFacts, ServerSession
from quiesce.providers.postgresql.job import PostgreSQLJob
from quiesce.providers.postgresql.programs import program

_RIGHTS: Final = (
    "SELECT rolsuper OR rolreplication, rolsuper OR has_function_privilege("
    "'pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE') FROM pg_roles WHERE rolname = current_user"
)
_FREE_SLOTS: Final = (
    "SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),"
    " current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication)"
)
_FIGURES: Final = (
    "SELECT sum(pg_database_size(oid))::bigint, (SELECT count(*) FROM pg_stat_activity WHERE"
    " backend_type = 'client backend'), (SELECT sum(xact_commit)::bigint FROM pg_stat_database)"
    " FROM pg_database"
)


def examine(job: PostgreSQLJob) -> Sequence[Finding]:
    """Return every check made, passed or not."""
    with job.session() as session:
        facts = session.facts()
        return [
            _server(facts),
            *_rights(session),
            _room(session),
            _programs(job, facts),
            *_storage(job, facts),
        ]


def measure(job: PostgreSQLJob) -> Mapping[str, Json]:
    """Return figures."""
    with job.session() as session:
        ((size_bytes, sessions, commits),) = session.rows(_FIGURES)
    return {"size_bytes": size_bytes, "sessions": sessions, "commits": commits}


def _server(facts: ServerFacts) -> Finding:
    wrong = why_not_usable(facts)
    return Finding(
        check="server",
        passed=not wrong,
        detail=wrong or f"PostgreSQL {facts.major}, system {facts.system}, wal_level {facts.wal_level}",
        remedy="See docs/providers/postgresql.md." if wrong else "",
    )


def _rights(session: ServerSession) -> Iterator[Finding]:
    ((replicates, reads),) = session.rows(_RIGHTS)
    remedy = "Give it what docs/providers/postgresql.md lists under 'The role'."
    for check, may, what in (("role", replicates, "copy the server"), ("log", reads, "read its log")):
        detail = f"this role may {'' if may else 'not '}{what}"
        yield Finding(check=check, passed=may, detail=detail, remedy="" if may else remedy)


def _room(session: ServerSession) -> Finding:
    ((slots, senders),) = session.rows(_FREE_SLOTS)
    return Finding(
        check="slots",
        passed=slots > 0 and senders > 0,
        detail=f"{slots} replication slots and {senders} WAL senders are free",
        remedy="" if slots > 0 and senders > 0 else "Raise max_replication_slots and max_wal_senders.",
    )


def _programs(job: PostgreSQLJob, facts: ServerFacts) -> Finding:
    try:
        found = program(job, "pg_basebackup", facts.major)
    except ProviderError as error:
        return Finding(check="programs", passed=False, detail=str(error), remedy=error.hint)
    return Finding(check="programs", passed=True, detail=f"{found}")


def _storage(job: PostgreSQLJob, facts: ServerFacts) -> Iterator[Finding]:
    """Tell where the server's files are, and on how many file systems; a mount point cannot be replaced."""
    if job.options.data_directory is None:
        detail = "no data_directory: it can be saved, and not restored in place"
        yield Finding(check="directory", passed=True, detail=detail)
        return
    told = job.data_directory
    same = not facts.data_directory or Path(os.path.realpath(facts.data_directory)) == told
    yield Finding(
        check="directory",
        passed=same,
        detail=f"{told}" if same else f"the server's files are in {facts.data_directory}, not in {told}",
        remedy="" if same else "Correct the node's data_directory.",
    )
    for name, place in parts(told, facts):
        mounted = name in {"data", "log"} and os.path.ismount(place)
        yield Finding(
            check="storage",
            passed=not mounted,
            detail=f"{name}: {place} on {mount_of(place)}",
            remedy="Move it to a directory below its mount point: that one cannot be replaced."
            if mounted
            else "",
        )


def parts(data: Path, facts: ServerFacts) -> Iterator[tuple[str, Path]]:
    """Give the directories that the server's files are split over."""
    yield "data", data
    log = data / "pg_wal"
    if log.is_symlink():
        yield "log", Path(os.path.realpath(log))
    for space in facts.tablespaces:
        yield f"tablespace {space.name}", Path(os.path.realpath(space.location))
