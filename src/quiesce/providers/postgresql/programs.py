"""PostgreSQL's own programs: where they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.providers.postgresql.job import PostgreSQLJob

_DEBIAN: Final = Path("/usr/lib/postgresql")


def program(job: PostgreSQLJob, name: str, major: int) -> Path:
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


def _debian(major: int) -> list[Path]:
    found = {int(path.name): path / "bin" for path in _DEBIAN.glob("*") if path.name.isdecimal()}
    return [found[version] for version in sorted(found) if version >= major]
