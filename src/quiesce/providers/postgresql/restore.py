"""A server is stopped, replaced, and recovers by itself up to the cut; what was replaced is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from quiesce.errors import (
    InUseError,
    NonRecoverableError,
    ProbeFailedError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.files.durable import make_private_directory, write_durably
from quiesce.files.reading import open_regular_file
from quiesce.model.former_state import FormerState, Side
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.target import RestoreTarget, TargetProblem
from quiesce.provider_kit.artifact import read_artifact
from quiesce.providers.postgresql.backup import BASE, LOG, ServerArtifact, open_stored
from quiesce.providers.postgresql.client import ServerSession, databases
from quiesce.providers.postgresql.job import ServerJob
from quiesce.providers.postgresql.owner import ServerUser
from quiesce.providers.postgresql.programs import program, run_as

_PAUSE_S: Final = 0.2
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


def stop(job: ServerJob) -> Outcome:
    """Stop the server, and return when it is gone; clients are sent away, nothing is lost."""
    if job.options.systemd_unit is not None:
        _systemctl(job, "stop")
        _wait_until(job, lambda: not is_running(job.data_directory), "stop")
        return NOTHING
    if not is_running(job.data_directory):
        return Outcome(note="it was not running")
    _remember_command_line(job)
    owner = ServerUser.of(job.data_directory)
    argv = [_pg_ctl(job), "stop", "-D", job.data_directory, "-m", "fast", "-w", "-t", _seconds(job)]
    status, said = run_as(job, owner, argv)
    if status != 0 and is_running(job.data_directory):
        raise RecoverableError(f"{job.call.instance} was not stopped: {said}")
    return NOTHING


def start(job: ServerJob) -> Outcome:
    """Start the server as it was started before, and return when it answers or recovers."""
    if job.options.systemd_unit is not None:
        _systemctl(job, "start")
        return NOTHING
    if is_running(job.data_directory):
        return NOTHING
    owner = ServerUser.of(job.data_directory)
    argv = [_pg_ctl(job), "start", "-D", job.data_directory, "-w", "-t", _seconds(job)]
    if before := _command_line(job):
        argv += ["-o", before]
    status, said = run_as(job, owner, argv)
    if status != 0 and not is_running(job.data_directory):
        raise RecoverableError(f"{job.call.instance} was not started: {said}")
    return NOTHING


def apply(job: ServerJob) -> Outcome:
    """Build the restored state beside the present one, and exchange the two."""
    manifest = job.saving.manifest()
    artifact = read_artifact(ServerArtifact, manifest.content)
    _pg_ctl(job, artifact.major)
    data = job.data_directory
    refuse_running(job)
    owner, log = ServerUser.of(data), _log_directory(data)
    places = {BASE: str(data), **_tablespace_places(artifact)}
    everything = [*places.values(), *([log] if log is not None else [])]
    ask = _asking(job, owner)
    ask("begin", places=everything)
    for name, place in places.items():
        with open_stored(job, manifest, name) as stored:
            ask("unpack", data=stored, place=place, holds_name=name != BASE)
            stored.check()
    with open_stored(job, manifest, LOG) as stored:
        ask("unpack", data=stored, place=str(data), holds_name=False)
        stored.check()
    ask("finish", directory=str(data), log=log, settings=recovery_settings(artifact.cut_lsn))
    refuse_running(job)
    # what leads to the others comes last
    ask("replace", places=everything[::-1], execution=job.call.execution, point=job.point)
    return Outcome(note=f"it recovers up to {artifact.cut_lsn}")


def revert(job: ServerJob) -> Outcome:
    """Exchange the present state with the one that is kept.

    Raises:
        ResourceNotFoundError: when none is.
    """
    refuse_running(job)
    if former_state(job) is None:
        where = job.data_directory
        raise ResourceNotFoundError(f"no restore of {where} has left anything that it could be undone with")
    ask = _asking(job, ServerUser.of(job.data_directory))
    ask("revert", places=_kept_places(job), wanted=job.call.parameters.undo_to.value)
    return NOTHING


def confirm(job: ServerJob) -> Outcome:
    """Keep what was replaced as the undo, or let go of it."""
    ask = _asking(job, ServerUser.of(job.data_directory))
    keep_s = job.call.parameters.keep_undo_s
    ask("confirm", places=_kept_places(job), execution=job.call.execution, keep_s=keep_s)
    return NOTHING


def probe(job: ServerJob) -> Outcome:
    """Return when the server has recovered and every database of it can be read.

    Raises:
        ProbeFailedError: when it does not within the call's time, with the last reason.
    """
    ends = time.monotonic() + max(0.0, job.context.remaining_s() - 2 * _PAUSE_S)
    while (reason := _why_not_well(job)) is not None:
        if time.monotonic() >= ends or job.context.given_up():
            raise ProbeFailedError(f"{job.call.instance} does not answer as it should: {reason}")
        time.sleep(_PAUSE_S)
    _asking(job, ServerUser.of(job.data_directory))("forget_recovery", directory=str(job.data_directory))
    return NOTHING


def former_state(job: ServerJob) -> FormerState | None:
    """Tell what is kept of what restores have replaced."""
    if job.options.data_directory is None or not _room(job.data_directory).exists():
        return None
    found = _asking(job, ServerUser.of(job.data_directory))("state", places=[str(job.data_directory)])
    if not found.get("kept"):
        return None
    return FormerState(
        execution=ExecutionId(found["execution"]),
        point=BackupName(found["point"]),
        replaced_at=found["replaced_at"],
        succeeded=found["succeeded"],
        kept=Side(found["kept"]),
        place=found["place"],
        keep_until=found["keep_until"],
    )


def inspect_target(job: ServerJob) -> RestoreTarget:
    """Tell beforehand what stands in the way of replacing it."""
    places = [job.data_directory]
    log = _log_directory(job.data_directory)
    if log is not None:
        places.append(Path(log))
    problems = [
        TargetProblem(
            code="mount-inside",
            detail=f"{place} is a mount point, which cannot be replaced",
            remedy="Let it be a directory below the mount point.",
        )
        for place in places
        if os.path.ismount(place)
    ]
    return RestoreTarget(problems=tuple(problems))


def is_running(data: Path) -> bool:
    """Tell whether a server runs on *data*: the process that its lock names has it as working directory."""
    lines = _lines(data / "postmaster.pid")
    if not lines or not lines[0].strip().isdecimal():
        return False
    try:
        return Path(f"/proc/{int(lines[0])}/cwd").resolve(strict=True) == data
    except OSError:
        return False


def refuse_running(job: ServerJob) -> None:
    """Raise when the server runs.

    Raises:
        InUseError: naming its directory.
    """
    if is_running(job.data_directory):
        raise InUseError(f"a server runs on {job.data_directory}")


def _why_not_well(job: ServerJob) -> str | None:
    try:
        with job.session() as session:
            ((recovers,),) = session.rows("SELECT pg_is_in_recovery()")
            if recovers:
                return "it still recovers"
            return _why_not_readable(job, session)
    except ProviderError as error:
        return str(error)


def _why_not_readable(job: ServerJob, session: ServerSession) -> str | None:
    """Read the catalog of every database, table by table, and what the node asks for."""
    for database in databases(session):
        with ServerSession(job.options, timeout_s=job.context.remaining_s(), database=database) as inside:
            inside.rows(_EVERY_COLUMN)
    if job.options.probe is None:
        return None
    return None if session.rows(job.options.probe) else f"{job.options.probe!r} answers nothing"


def _asking(job: ServerJob, owner: ServerUser) -> Callable[..., Any]:
    def ask(operation: str, **request: Any) -> Any:
        return owner.ask(operation, timeout_s=job.context.remaining_s(), **request)

    return ask


def _tablespace_places(artifact: ServerArtifact) -> dict[str, str]:
    """Return the directory that a version uses of each tablespace, by the name of its archive."""
    places = {}
    for archive, location in artifact.tablespaces.items():
        found = sorted(Path(location).glob(f"PG_{artifact.major}_*"))
        places[archive] = str(found[0]) if found else f"{location}/PG_{artifact.major}_restored"
    return places


def _kept_places(job: ServerJob) -> list[str]:
    return [str(place) for place in _present_places(job.data_directory) if _room(place).exists()]


def _present_places(data: Path) -> Iterator[Path]:
    """Give the directories that the server uses now, those that others lead to last."""
    if (log := _log_directory(data)) is not None:
        yield Path(log)
    for link in sorted((data / "pg_tblspc").glob("*")):
        yield from sorted(link.resolve().glob("PG_*"))
    yield data


def _room(place: Path) -> Path:
    return place.with_name(f".quiesce-{place.name}")


def _log_directory(data: Path) -> str | None:
    """Return where the log is kept, when that is elsewhere."""
    link = data / "pg_wal"
    return os.path.realpath(link) if link.is_symlink() else None


def _pg_ctl(job: ServerJob, major: int | None = None) -> Path:
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


def _systemctl(job: ServerJob, word: str) -> None:
    owner = ServerUser(user=os.geteuid(), group=os.getegid(), groups=tuple(os.getgroups()))
    whose = [] if os.geteuid() == 0 else ["--user"]
    argv = ["systemctl", "--no-ask-password", *whose, word, "--", str(job.options.systemd_unit)]
    status, said = run_as(job, owner, argv)
    if status != 0:
        raise RecoverableError(f"systemctl {word} {job.options.systemd_unit} ended with {status}: {said}")


def _remember_command_line(job: ServerJob) -> None:
    """Keep how the server was started: its directory's account of it is replaced."""
    lines = _lines(job.data_directory / "postmaster.opts")
    if lines:
        path = job.state_dir / "started" / job.file_name
        make_private_directory(path.parent)
        write_durably(path, lines[0].encode())


def _command_line(job: ServerJob) -> str:
    """Return the options that the server was started with, as its shell reads them."""
    lines = _lines(job.state_dir / "started" / job.file_name)
    return lines[0].partition(" ")[2].strip() if lines else ""


def _lines(path: Path) -> list[str]:
    try:
        with open_regular_file(path) as file:
            return file.read(_LONGEST_FILE).decode(errors="replace").splitlines()
    except (OSError, ProviderError):
        return []


def _wait_until(job: ServerJob, is_so: Callable[[], bool], what: str) -> None:
    deadline = job.deadline(f"{job.call.instance} to {what}")
    while not is_so():
        deadline.pause(_PAUSE_S)


def _seconds(job: ServerJob) -> int:
    return max(1, int(job.context.remaining_s()) - 1)
