"""A server's backup: a base copy before the window, what has changed within it, both joined after it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.archives import Compression, Draft, Manifest
from quiesce.errors import NonRecoverableError
from quiesce.files.durable import make_private_directory, storage_errors, write_durably
from quiesce.model.consistency import Consistency
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.commands import Said
from quiesce.provider_kit.saving import watched
from quiesce.providers.mariadb.client import MariaDBFacts, reach
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.relay import Relay
from quiesce.providers.mariadb.waiting_copies import WaitingCopy

DATA: Final = "data.tar.gz"
#: where mariadb-backup writes to, inside of the draft
_STAGING: Final = "staging"
_BASE: Final = "base"
_CHANGES: Final = "changes"
_JOINED: Final = "joined"
_DONE: Final = ".done"
#: what mariadb-backup writes about its copy, beside the server's own files
_ABOUT_COPY: Final = ("backup-my.cnf", "xtrabackup_", "mariadb_backup_")
#: tables that were being built
_UNFINISHED: Final = "#sql"
_ENVIRONMENT: Final = {"LC_ALL": "C"}
#: how often it looks for what InnoDB has logged, in milliseconds: its end waits until it has
_LOOK_OFTEN: Final = "--log-copy-interval=20"
#: how long it may take to reach the server, in seconds
_REACH_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBArtifact:
    """What a restore point holds of a server."""

    version: str
    #: everything before this place in InnoDB's log is in it
    cut_lsn: int
    data_directory: str


class Staging:
    """The copies that mariadb-backup makes, until they are joined and stored."""

    def __init__(self, draft: Draft) -> None:
        self._place = draft.directory / _STAGING
        self.base = self._place / _BASE
        self.changes = self._place / _CHANGES
        self.joined = self._place / _JOINED

    def has(self, copy: Path) -> bool:
        """Tell whether that copy is whole."""
        return self._mark(copy).exists()

    def empty(self, copy: Path) -> None:
        """Make room for a copy."""
        with storage_errors(f"make room for {copy}"):
            self._mark(copy).unlink(missing_ok=True)
            shutil.rmtree(copy, ignore_errors=True)
            make_private_directory(self._place)

    def mark(self, copy: Path) -> None:
        """Note that it is whole."""
        write_durably(self._mark(copy), b"")

    def remove(self) -> None:
        """Remove all of it."""
        with storage_errors(f"remove {self._place}"):
            if self._place.exists():
                shutil.rmtree(self._place)

    def _mark(self, copy: Path) -> Path:
        return copy.with_name(copy.name + _DONE)


def prepare(job: MariaDBJob) -> None:
    """Make the base copy, once for each execution.

    Raises:
        NonRecoverableError: when the server cannot save itself.
    """
    if job.saving.made_before() is not None:
        return
    staging = Staging(job.saving.begin())
    if job.copies.has(job.copy_key):
        return
    facts = _facts(job)
    if not staging.has(staging.base):
        if job.options.hold:  # it would wait for the copy that waits for it
            _copy(job, staging, staging.base)
        else:
            _begin_copy(job, staging, facts)


def cut(job: MariaDBJob, *, held: bool) -> tuple[MariaDBArtifact, bool]:
    """Copy what has changed since the base copy, up to now; return it, and whether that was there.

    A copy that waits for its end has none: it ends now. What is *held* already needs no lock of
    mariadb-backup's own, which would wait for ours.
    """
    staging = Staging(job.saving.begin())
    if (waiting := job.copies.take(job.copy_key)) is not None:
        _require_success(waiting.end(job))
        return _artifact(waiting.facts, staging.base), True
    facts = _facts(job)
    ready = staging.has(staging.base)
    if ready:
        options = [f"--incremental-basedir={staging.base}"]
        _copy(job, staging, staging.changes, *options, *(["--no-lock"] if held else []))
    else:
        _copy(job, staging, staging.base, *(["--no-lock"] if held else []))
    return _artifact(facts, staging.changes if ready else staging.base), ready


def complete(job: MariaDBJob) -> Manifest:
    """Join the copies to a directory that a server can start with, and store it."""
    if (made := job.saving.made_before()) is not None:
        return made
    artifact = read_artifact(MariaDBArtifact, artifact_of(job.call))
    draft = job.saving.begin()
    staging = Staging(draft)
    if DATA not in draft.finished:
        _join(job, staging)
        _store(job, draft, staging.base)
    staging.remove()
    return job.saving.complete(draft, as_artifact(artifact), consistency=Consistency.APPLICATION)


def let_go(job: MariaDBJob) -> None:
    """End the copy of this execution that waits for its end."""
    if (waiting := job.copies.take(job.copy_key)) is not None:
        waiting.drop()


def _artifact(facts: MariaDBFacts, copy: Path) -> MariaDBArtifact:
    return MariaDBArtifact(
        version=facts.version, cut_lsn=_lsn_of(copy), data_directory=str(facts.data_directory)
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


def _copy(job: MariaDBJob, staging: Staging, copy: Path, *options: str) -> None:
    staging.empty(copy)
    with _login(job) as login:
        _run(job, f"--defaults-file={login}", "--backup", f"--target-dir={copy}", _LOOK_OFTEN, *options)
    staging.mark(copy)


def _begin_copy(job: MariaDBJob, staging: Staging, facts: MariaDBFacts) -> None:
    """Return when all is copied but what the end of the copy adds, or the copy is whole."""
    staging.empty(staging.base)
    relay = Relay(job.state_dir / "relays" / job.key, lambda: reach(job.options, _REACH_S))
    try:
        with _login(job, relay.address) as login:
            words = [f"--defaults-file={login}", "--backup", f"--target-dir={staging.base}", _LOOK_OFTEN]
            program = job.commands.start(job, _argv(job, *words), environment=_ENVIRONMENT)
            copy = WaitingCopy(facts, program, relay, lambda: staging.mark(staging.base))
            job.copies.add(job.copy_key, copy)
            job.wait_until(lambda: copy.is_made, "be copied")
    except BaseException:
        let_go(job)
        relay.close()
        raise
    if not copy.waits:  # it has failed, or is of a release that says no stages
        job.copies.take(job.copy_key)
        _require_success(copy.end(job))


def _join(job: MariaDBJob, staging: Staging) -> None:
    """Have InnoDB recover within the copies, once: what cannot be recovered is no backup."""
    if staging.has(staging.joined):
        return
    _run(job, "--prepare", f"--target-dir={staging.base}")
    if staging.has(staging.changes):
        _run(job, "--prepare", f"--target-dir={staging.base}", f"--incremental-dir={staging.changes}")
    staging.mark(staging.joined)


def _store(job: MariaDBJob, draft: Draft, directory: Path) -> None:
    with (
        storage_errors(f"store {directory}"),
        draft.create(DATA, Compression.GZIP, watched(job.context)) as out,
        tarfile.open(fileobj=out, mode="w|") as archive,
    ):
        for path in sorted(directory.rglob("*")):
            if not _is_about_copy(path, directory) and not path.name.startswith(_UNFINISHED):
                _add(archive, path, str(path.relative_to(directory)))


def _is_about_copy(path: Path, directory: Path) -> bool:
    """Tell a file of mariadb-backup's from databases and tables, which may be called the same."""
    return path.parent == directory and path.is_file() and path.name.startswith(_ABOUT_COPY)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    status = path.stat()
    entry.mtime = status.st_mtime
    if path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(entry)
        return
    entry.size, entry.mode = status.st_size, 0o660
    with path.open("rb") as source:
        archive.addfile(entry, source)


def _run(job: MariaDBJob, *words: str) -> None:
    _require_success(job.commands.run(job, _argv(job, *words), environment=_ENVIRONMENT))


def _argv(job: MariaDBJob, *words: str) -> list[str]:
    return [program(job, "mariadb-backup"), *words]


def _require_success(said: Said) -> None:
    if said.status != 0:
        raise NonRecoverableError(f"mariadb-backup ended with {said}")


def program(job: MariaDBJob, name: str) -> str:
    """Return where the program *name* is.

    Raises:
        NonRecoverableError: when it is not on this machine.
    """
    directory = job.options.programs
    found = shutil.which(name, path=None if directory is None else str(directory))
    if found is None:
        raise NonRecoverableError(
            f"there is no {name} on this machine",
            hint="Install mariadb-backup, of the server's version, or say with 'programs' where it is.",
        )
    return found


@contextmanager
def _login(job: MariaDBJob, socket: str | None = None) -> Iterator[Path]:
    """Give a private file that says how to log in: what stands on a command line can be read by all."""
    options = job.options
    path = job.state_dir / "login" / f"{job.key}.cnf"
    host = socket or options.host
    where = (
        {"socket": host, "protocol": "socket"}
        if host.startswith("/")
        else {"host": host, "port": str(options.port), "protocol": "tcp"}
    )
    told = {"user": options.user, "password": options.password or "", **where}
    out = io.StringIO("[mariadb-backup]\n")
    out.seek(0, io.SEEK_END)
    for name, value in told.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        out.write(f'{name}="{escaped}"\n')
    make_private_directory(path.parent)
    write_durably(path, out.getvalue().encode())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _lsn_of(copy: Path) -> int:
    """Return up to which place in InnoDB's log a copy goes."""
    told: dict[str, str] = {}
    for line in (copy / "xtrabackup_checkpoints").read_text().splitlines():
        name, _, value = line.partition("=")
        told[name.strip()] = value.strip()
    return int(json.loads(told["last_lsn"]))
