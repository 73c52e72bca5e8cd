"""A server is stopped, replaced, and recovers by itself up to the cut; what was replaced is kept."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quiesce.errors import InUseError, NonRecoverableError, ProviderError, RecoverableError
from quiesce.files.reading import open_regular_file
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit import servers
from quiesce.provider_kit.artifact import read_artifact
from quiesce.provider_kit.commands import Said
from quiesce.providers.postgresql.backup import BASE, LOG, ServerArtifact, open_stored
from quiesce.providers.postgresql.client import ServerSession, databases
from quiesce.providers.postgresql.job import PostgreSQLJob
from quiesce.providers.postgresql.programs import program

_LONGEST_FILE: Final = 1 << 16
_EVERY_COLUMN: Final = (
    "SELECT count(*), max(length(relname)) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
)
#: at what recovery stops: only one may be set, and those that are not to be have to come first
_NO_TARGET: Final = dict.fromkeys(
    ("recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid"), ""
)


def recovery_settings(cut_lsn: str) -> dict[str, str]:
    """Return the settings by which a server recovers all before *cut_lsn*, and then runs on."""
    return {
        **_NO_TARGET,
        "recovery_target_lsn": cut_lsn,
        "recovery_target_inclusive": "off",
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
        # the log lies in pg_wal already
        "restore_command": "false",
        "recovery_end_command": "",
        "archive_cleanup_command": "",
    }


def stop(job: PostgreSQLJob) -> Outcome:
    """Stop the server, and return when it is gone; clients are sent away, nothing is lost."""
    if job.options.systemd_unit is not None:
        servers.by_systemd(job, "stop")
        job.wait_until(lambda: not is_running(job.data_directory), "stop")
        return NOTHING
    if not is_running(job.data_directory):
        return Outcome(note="it was not running")
    _remember_command_line(job)
    said = _pg_ctl(job, "stop", "-m", "fast")
    if said.status != 0 and is_running(job.data_directory):
        raise RecoverableError(f"{job.call.instance} was not stopped: {said}")
    return NOTHING


def start(job: PostgreSQLJob) -> Outcome:
    """Start the server as it was started before, and return when it answers or recovers."""
    if job.options.systemd_unit is not None:
        servers.by_systemd(job, "start")
        return NOTHING
    if is_running(job.data_directory):
        return NOTHING
    before = _options_of(job.recall("started"), job.data_directory)
    said = _pg_ctl(job, "start", *(["-o", shlex.join(before)] if before else []))
    if said.status != 0 and not is_running(job.data_directory):
        raise RecoverableError(f"{job.call.instance} was not started: {said}")
    return NOTHING


def apply(job: PostgreSQLJob) -> Outcome:
    """Build the restored state beside the present one, and exchange the two."""
    manifest = job.saving.manifest()
    artifact = read_artifact(ServerArtifact, manifest.content)
    _matching_pg_ctl(job, artifact.major)
    if job.call.origin is not None and artifact.tablespaces:
        raise NonRecoverableError(
            f"the tablespaces of {job.call.origin.instance} can be restored to where they were only",
            hint="Restore it on another machine, without --to.",
        )
    data = job.data_directory
    refuse_running(job)
    log = _log_directory(data)
    places = {BASE: str(data), **_tablespace_places(artifact)}
    everything = [*places.values(), *([log] if log is not None else [])]
    job.ask("begin", places=everything)
    for name, place in places.items():
        with open_stored(job, manifest, name) as stored:
            job.ask("unpack", data=stored, place=place, holds_name=name != BASE)
            stored.check()
    with open_stored(job, manifest, LOG) as stored:
        job.ask("unpack", data=stored, place=str(data), holds_name=False)
        stored.check()
    settings = recovery_settings(artifact.cut_lsn)
    job.ask("finish", places=everything, directory=str(data), log=log, settings=settings)
    servers.replace(job, everything, lambda: refuse_running(job))
    return Outcome(note=f"it recovers up to {artifact.cut_lsn}")


def probe(job: PostgreSQLJob) -> Outcome:
    """Return when the server has recovered and every database of it can be read.

    Raises:
        ProbeFailedError: when it does not within the call's time, with the last reason.
    """
    servers.wait_until_well(job, lambda: _why_not_well(job))
    job.ask("forget_recovery", directory=str(job.data_directory))
    return NOTHING


def is_running(data: Path) -> bool:
    """Tell whether a server runs on *data*: the process that its lock names has it as working directory."""
    lines = _lines(data / "postmaster.pid")
    if not lines or not lines[0].strip().isdecimal():
        return False
    try:
        return Path(f"/proc/{int(lines[0])}/cwd").resolve(strict=True) == data
    except OSError:
        return False


def refuse_running(job: PostgreSQLJob) -> None:
    """Raise when the server runs.

    Raises:
        InUseError: naming its directory.
    """
    if is_running(job.data_directory):
        raise InUseError(f"a server runs on {job.data_directory}")


def places(job: PostgreSQLJob) -> Iterator[Path]:
    """Give the directories that a restore exchanges as one: those that others lead to last."""
    return _present_places(job.data_directory)


def exchanged_whole(job: PostgreSQLJob) -> list[Path]:
    """Return the directories that cannot be mount points."""
    log = _log_directory(job.data_directory)
    return [job.data_directory, *([Path(log)] if log is not None else [])]


def _why_not_well(job: PostgreSQLJob) -> str | None:
    with job.session() as session:
        ((recovers,),) = session.rows("SELECT pg_is_in_recovery()")
        if recovers:
            return "it still recovers"
        return _why_not_readable(job, session)


def _why_not_readable(job: PostgreSQLJob, session: ServerSession) -> str | None:
    """Read the catalog of every database, table by table, and what the node asks for."""
    for database in databases(session):
        with ServerSession(job.options, timeout_s=job.context.remaining_s(), database=database) as inside:
            inside.rows(_EVERY_COLUMN)
    if job.options.probe is None:
        return None
    return None if session.rows(job.options.probe) else f"{job.options.probe!r} answers nothing"


def _tablespace_places(artifact: ServerArtifact) -> dict[str, str]:
    """Return the directory that a version uses of each tablespace, by the name of its archive."""
    places = {}
    for archive, location in artifact.tablespaces.items():
        found = sorted(Path(location).glob(f"PG_{artifact.major}_*"))
        places[archive] = str(found[0]) if found else f"{location}/PG_{artifact.major}_restored"
    return places


def _present_places(data: Path) -> Iterator[Path]:
    """Give the directories that the server uses now, those that others lead to last."""
    if (log := _log_directory(data)) is not None:
        yield Path(log)
    for link in sorted((data / "pg_tblspc").glob("*")):
        yield from sorted(link.resolve().glob("PG_*"))
    yield data


def _log_directory(data: Path) -> str | None:
    """Return where the log is kept, when that is elsewhere."""
    link = data / "pg_wal"
    return os.path.realpath(link) if link.is_symlink() else None


def _pg_ctl(job: PostgreSQLJob, word: str, *options: str) -> Said:
    """Run it as the user whose the server is; what it starts goes on, whatever becomes of us."""
    argv = [str(_matching_pg_ctl(job)), word, "-D", str(job.data_directory), "-w", "-t", str(_seconds(job))]
    return job.commands.run_as(job, job.owner.of_process(), [*argv, *options])


def _matching_pg_ctl(job: PostgreSQLJob, major: int | None = None) -> Path:
    """Return the program of exactly the version of the data.

    Raises:
        NonRecoverableError: when it is of another one.
    """
    lines = _lines(job.data_directory / "PG_VERSION")
    there = int(lines[0]) if lines and lines[0].strip().isdecimal() else None
    if major is not None and there is not None and there != major:
        raise NonRecoverableError(
            f"{job.data_directory} is of PostgreSQL {there}, the restore point of {major}",
            hint="Restore it to a server of its own version.",
        )
    wanted = major or there
    if wanted is None:
        raise NonRecoverableError(f"{job.data_directory} is no directory of a PostgreSQL server")
    return program(job, "pg_ctl", wanted)


def _remember_command_line(job: PostgreSQLJob) -> None:
    """Keep how the server was started: its directory's account of it is replaced."""
    lines = _lines(job.data_directory / "postmaster.opts")
    if lines:
        job.remember("started", lines[0])


def _options_of(command_line: str, data: Path) -> list[str]:
    """Return the options of a server's command line, without *data*, which pg_ctl adds each time.

    A directory of its configuration, which says where its data are, stays.
    """
    words = shlex.split(command_line)[1:]
    ours = {
        place
        for place, (word, value) in enumerate(itertools.pairwise(words))
        if word == "-D" and Path(value).resolve() == data
    }
    return [word for place, word in enumerate(words) if place not in ours and place - 1 not in ours]


def _lines(path: Path) -> list[str]:
    try:
        with open_regular_file(path) as file:
            return file.read(_LONGEST_FILE).decode(errors="replace").splitlines()
    except (OSError, ProviderError):
        return []


def _seconds(job: PostgreSQLJob) -> int:
    return max(1, int(job.context.remaining_s()) - 1)
