"""Runs mariadb-backup as the server's user.

It loads the libraries, and reads the files, that the server names, wherever links lead: with root's rights,
the server's user could do as root what they like.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.commands import RunningProgram, Said
from quiesce.providers.mariadb.client import MariaDBFacts
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.passage import Passage
from quiesce.providers.mariadb.staging import BASE, CHANGES, JOINED, RECOVERED, Staging
from quiesce.providers.mariadb.waiting_copies import WaitingCopy

#: what has changed, as it is handed to a join
_USED_UP: Final = "used-up"
_ENVIRONMENT: Final = {"LC_ALL": "C"}
#: how often it looks for what InnoDB has logged, in milliseconds: its end waits until it has
_LOOK_OFTEN: Final = "--log-copy-interval=20"


def copy(job: MariaDBJob, staging: Staging, name: str, *options: str) -> None:
    """Make the copy of that name; of what has changed since the base copy, too."""
    staging.empty(name)
    with contextlib.closing(Passage(job.owner, job.options, staging.path)) as passage:
        passage.relay.let_through()
        since = [f"--incremental-basedir={passage.copies / BASE}"] if name == CHANGES else []
        _run(job, staging, passage, *_backup(passage, name), *since, *options)
    staging.mark(name)


def begin_copy(job: MariaDBJob, staging: Staging, facts: MariaDBFacts) -> None:
    """Return when all is copied but what the end of the copy adds, or the copy is whole."""
    staging.empty(BASE)
    passage = Passage(job.owner, job.options, staging.path)
    try:
        program = _start(job, staging, passage, *_backup(passage, BASE))
        made = WaitingCopy(facts, program, passage, lambda: staging.mark(BASE))
        job.copies.add(job.copy_key, made)
        job.wait_until(lambda: made.is_made, "be copied")
    except BaseException:
        let_go(job)
        passage.close()
        raise
    if not made.waits:  # it has failed, or is of a release that says no stages
        job.copies.take(job.copy_key)
        require_success(made.end(job))


def let_go(job: MariaDBJob) -> None:
    """End the copy of this execution that waits for its end."""
    if (waiting := job.copies.take(job.copy_key)) is not None:
        waiting.drop()


def join(job: MariaDBJob, staging: Staging) -> None:
    """Have InnoDB recover within the copies, once: what cannot be recovered is no backup.

    Raises:
        NonRecoverableError: when they cannot be joined, or a power cut may have taken some of them away.
    """
    if staging.has(JOINED):
        return
    if not staging.has(BASE):
        raise NonRecoverableError(
            f"the machine has been started since {job.call.instance} was copied",
            hint="Run the backup again: what was copied was not on the disk yet.",
        )
    with contextlib.closing(Passage(job.owner, job.options, staging.path)) as passage:
        prepare = ["--no-defaults", "--prepare", f"--target-dir={passage.copies / BASE}"]
        if not staging.has(RECOVERED):
            _begin_join(job, staging, "before-recovery", None)
            _run(job, staging, passage, *prepare)
            staging.mark(RECOVERED)
        if staging.has(CHANGES):
            _begin_join(job, staging, "before-changes", CHANGES)
            _run(job, staging, passage, *prepare, f"--incremental-dir={passage.copies / _USED_UP}")
    staging.mark(JOINED)


def _begin_join(job: MariaDBJob, staging: Staging, kept: str, changes: str | None) -> None:
    """Make good what an earlier try of this step has done, whose mariadb-backup was killed."""
    told = {"base": BASE, "kept": kept, "changes": changes, "used_up": _USED_UP}
    with staging.opened() as copies:
        job.ask("begin_join", copies=copies, descriptors=(copies,), **told)


def require_success(said: Said) -> None:
    """Raise when mariadb-backup has ended otherwise."""
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


def _backup(passage: Passage, name: str) -> list[str]:
    return [passage.login_option, "--backup", f"--target-dir={passage.copies / name}", _LOOK_OFTEN]


def _run(job: MariaDBJob, staging: Staging, passage: Passage, *words: str) -> None:
    with contextlib.closing(_start(job, staging, passage, *words)) as running:
        require_success(running.wait(job))


def _start(job: MariaDBJob, staging: Staging, passage: Passage, *words: str) -> RunningProgram:
    with staging.opened() as copies:
        argv = job.owner.program([program(job, "mariadb-backup"), *words], copies, passage.copies)
        return job.commands.start(job, argv, environment=_ENVIRONMENT, descriptors=(copies, passage.login))
