"""Whether a server can be held, saved and replaced, and what it measures; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.ports import Finding
from quiesce.provider_kit.servers import mount_of
from quiesce.providers.redis.client import RedisFacts, RedisSession, keys_in
from quiesce.providers.redis.job import RedisJob, why_not_usable
from quiesce.providers.redis.restore import why_not_started

_FIGURES: Final = (
    "used_memory",
    "connected_clients",
    "total_commands_processed",
    "rdb_changes_since_last_save",
)


def examine(job: RedisJob) -> Sequence[Finding]:
    """Return every check made, passed or not."""
    with job.session() as session:
        facts = session.facts()
        return [_server(job, facts), _last_save(session), _persistence(job, facts), *_files(job, facts)]


def measure(job: RedisJob) -> Mapping[str, Json]:
    """Return figures."""
    with job.session() as session:
        about: Mapping[str, Any] = session.info("all")
        return {"keys": keys_in(session.info("keyspace")), **{name: about.get(name) for name in _FIGURES}}


def _server(job: RedisJob, facts: RedisFacts) -> Finding:
    wrong = why_not_usable(job.options.data_directory, facts)
    said = f"{facts.name} {'.'.join(map(str, facts.version))}"
    remedy = "See docs/providers/redis.md." if wrong else ""
    return Finding(check="server", passed=not wrong, detail=wrong or said, remedy=remedy)


def _last_save(session: RedisSession) -> Finding:
    status = session.info("persistence").get("rdb_last_bgsave_status", "ok")
    return Finding(
        check="last save",
        passed=status == "ok",
        detail=f"its last save ended with {status}",
        remedy="" if status == "ok" else "See its log: its disk may be full.",
    )


def _persistence(job: RedisJob, facts: RedisFacts) -> Finding:
    kept = "an append-only file" if facts.appends else "dumps only"
    if job.options.data_directory is not None:
        return Finding(check="persistence", passed=True, detail=f"it keeps {kept}; it is saved by itself")
    slow = "" if facts.appends else ": it saves while it is held, which takes longer the more it holds"
    return Finding(check="persistence", passed=True, detail=f"it keeps {kept}, cut by other nodes{slow}")


def _files(job: RedisJob, facts: RedisFacts) -> Iterator[Finding]:
    if job.options.data_directory is None:
        where = f"its files are in {facts.directory}; no data_directory: another node has to cut them"
        yield Finding(check="directory", passed=True, detail=where)
        return
    told = job.data_directory
    same = Path(os.path.realpath(facts.directory)) == told
    yield Finding(
        check="directory",
        passed=same,
        detail=f"{told}" if same else f"the server's files are in {facts.directory}, not in {told}",
        remedy="" if same else "Correct the node's data_directory.",
    )
    mounted = os.path.ismount(told)
    yield Finding(
        check="storage",
        passed=not mounted,
        detail=f"data: {told} on {mount_of(told)}",
        remedy="Move it to a directory below its mount point: that one cannot be replaced."
        if mounted
        else "",
    )
    why = "" if job.options.systemd_unit is not None else why_not_started(facts)
    how = job.options.systemd_unit or f"{facts.executable} {facts.config_file}"
    remedy = "Set its systemd_unit." if why else ""
    yield Finding(check="restart", passed=not why, detail=why or f"it is started by {how}", remedy=remedy)
