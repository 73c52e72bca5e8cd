"""PostgreSQL's own programs: found, and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError
from quiesce.files.durable import make_private_directory, storage_errors
from quiesce.isolation.child import Child, Command
from quiesce.providers.postgresql.job import ServerJob
from quiesce.providers.postgresql.owner import ServerUser

_DEBIAN: Final = Path("/usr/lib/postgresql")
_LOOK_S: Final = 0.1
_LONGEST_SAID: Final = 500
#: what is started keeps this file as its output, not a pipe that ends with us
_TO_FILE: Final = 'exec >>"$0" 2>&1; exec "$@"'


def program(job: ServerJob, name: str, major: int) -> Path:
    """Return where the program *name* is, of *major* or newer.

    Raises:
        NonRecoverableError: when it is not on this machine.
    """
    directories = [job.options.programs] if job.options.programs else _debian(major)
    for directory in directories:
        if (directory / name).is_file():
            return directory / name
    found = None if job.options.programs else shutil.which(name)
    if found is None:
        raise NonRecoverableError(
            f"there is no {name} of PostgreSQL {major} or newer on this machine",
            hint=f"Install postgresql-client-{major}, or say with 'programs' where it is.",
        )
    return Path(found)


def run_watched(
    job: ServerJob, argv: Sequence[object], environment: Mapping[str, str], look: Callable[[], None]
) -> None:
    """Run a program, telling *look* again and again, and return when it has ended well; it dies with us.

    Raises:
        NonRecoverableError: when it failed, with the last that it said.
        OperationTimeoutError: when it did not end in time; it was ended.
    """
    log = _log(job)
    command = Command(
        argv=["/bin/sh", "-c", _TO_FILE, str(log), *(str(word) for word in argv)],
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": _home(), **environment},
        cwd="/",
        log_stdout=False,
        log_stderr=False,
    )
    with Child(command, job.reaper) as child:
        while not child.has_ended(_LOOK_S):
            look()
            if job.context.given_up() or job.context.remaining_s() <= 0:
                raise OperationTimeoutError(f"{Path(str(argv[0])).name} did not end in time")
        status = child.status()
    if status != 0:
        raise NonRecoverableError(f"{Path(str(argv[0])).name} ended with status {status}: {_said(log)}")


def run_as(job: ServerJob, owner: ServerUser, argv: Sequence[object]) -> tuple[int, str]:
    """Run a program as the server's user, and return its status and the last that it said.

    What it leaves running goes on, whatever becomes of us.

    Raises:
        OperationTimeoutError: when it did not end in time; it was killed.
    """
    log = _log(job)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in argv],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,
            **owner.of_process(),
        )
    ends = time.monotonic() + job.context.remaining_s()
    while True:
        try:
            return process.wait(_LOOK_S), _said(log)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= ends or job.context.given_up():
                process.kill()
                process.wait()
                raise OperationTimeoutError(f"{argv[0]} did not end in time: {_said(log)}") from None


def _debian(major: int) -> list[Path]:
    found = {int(path.name): path / "bin" for path in _DEBIAN.glob("*") if path.name.isdecimal()}
    return [found[version] for version in sorted(found) if version >= major]


def _log(job: ServerJob) -> Path:
    log = job.state_dir / "said" / f"{job.file_name}.{job.call.operation}.log"
    with storage_errors("keep what a program says"):
        make_private_directory(log.parent)
        log.write_bytes(b"")
    return log


def _said(log: Path) -> str:
    return " ".join(log.read_bytes()[-_LONGEST_SAID:].decode(errors="replace").split())


def _home() -> str:
    return os.environ.get("HOME", "/")
