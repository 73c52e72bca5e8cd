"""Whether a server can be held, saved and replaced, and what it measures; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.ports import Finding
from quiesce.provider_kit.servers import mount_of
from quiesce.providers.mariadb.client import IN_GALERA, MariaDBFacts, MariaDBSession
from quiesce.providers.mariadb.copying import program
from quiesce.providers.mariadb.job import MariaDBJob, why_not_saved

#: a transaction that runs for so long is named, in seconds
_LONG_S: Final = 60
_SIZE: Final = "SELECT CAST(SUM(DATA_LENGTH + INDEX_LENGTH) AS UNSIGNED) FROM information_schema.TABLES"
_LONG_TRANSACTIONS: Final = (
    "SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE TRX_STARTED < NOW() - INTERVAL %s SECOND"
)
_COUNTED: Final = {"Threads_connected": "sessions", "Questions": "statements", "Com_commit": "commits"}


def examine(job: MariaDBJob) -> Sequence[Finding]:
    """Return every check made, passed or not."""
    with job.session() as session:
        facts = session.facts()
        return [_server(job, facts), *_programs(job), _transactions(session), *_storage(job, facts)]


def measure(job: MariaDBJob) -> Mapping[str, Json]:
    """Return figures."""
    with job.session() as session:
        ((size_bytes,),) = session.rows(_SIZE)
        status = dict(session.rows("SHOW GLOBAL STATUS"))
    counted = {ours: int(status[name]) for name, ours in _COUNTED.items()}
    return {"size_bytes": int(size_bytes or 0), **counted}


def parts(facts: MariaDBFacts) -> Iterator[tuple[str, Path]]:
    """Give the directories that the server's files are split over."""
    for name, place in facts.places.items():
        yield name, (place.parent if name == "log_bin_basename" else place).resolve()
    for name in facts.apart:
        yield "tablespace", Path(name).parent.resolve()


def _server(job: MariaDBJob, facts: MariaDBFacts) -> Finding:
    wrong = IN_GALERA if facts.in_galera else ""
    if job.options.data_directory is not None:
        wrong = job.why_not_reached() or why_not_saved(facts)
    elif not job.options.hold:
        wrong = "it is neither saved (data_directory) nor held while others cut its files (hold)"
    remedy = "See docs/providers/mariadb.md." if wrong else ""
    return Finding(check="server", passed=not wrong, detail=wrong or facts.version, remedy=remedy)


def _programs(job: MariaDBJob) -> Iterator[Finding]:
    if job.options.data_directory is None:
        return
    try:
        found = program(job, "mariadb-backup")
    except ProviderError as error:
        yield Finding(check="programs", passed=False, detail=str(error), remedy=error.hint)
        return
    yield Finding(check="programs", passed=True, detail=found)


def _transactions(session: MariaDBSession) -> Finding:
    ((count,),) = session.rows(_LONG_TRANSACTIONS, _LONG_S)
    detail = f"{count} transactions run for longer than {_LONG_S} s; what they have changed is not in a cut"
    return Finding(check="transactions", passed=True, detail=detail)


def _storage(job: MariaDBJob, facts: MariaDBFacts) -> Iterator[Finding]:
    """Tell where the server's files are, and on how many file systems; a mount point cannot be replaced."""
    told = job.options.data_directory
    if told is not None:
        same = facts.data_directory.resolve() == job.data_directory
        wrong = f"the server's files are in {facts.data_directory}, not in {told}"
        remedy = "" if same else "Correct the node's data_directory."
        yield Finding(check="directory", passed=same, detail=f"{told}" if same else wrong, remedy=remedy)
    for name, place in parts(facts):
        mounted = told is not None and name == "datadir" and os.path.ismount(place)
        yield Finding(
            check="storage",
            passed=not mounted,
            detail=f"{name}: {place} on {mount_of(place)}",
            remedy="Move it to a directory below its mount point." if mounted else "",
        )
