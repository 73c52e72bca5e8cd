"""Private directories in which restore points are tried, and which are gone afterwards."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.files.durable import make_private_directory, storage_errors
from quiesce.files.removal import remove_tree
from quiesce.files.trust import require_trusted

#: what the names of trials begin with: nothing else is ever removed
_PREFIX: Final = ".quiesce-trial-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def scratch_directory(above: Path, name: str) -> Iterator[Path]:
    """Give a new private directory below *above*, and remove it and what died ones have left there.

    Raises:
        UntrustedPathError: when somebody else could look into it, or replace it.
        NonRecoverableError: when not everything could be removed.
    """
    with storage_errors(f"use {above}"):
        make_private_directory(above)
        require_trusted(above, private=True, hint="Choose a directory that is yours alone.")
        place = above / f"{_PREFIX}{name}"
        descriptor = _made(above, place)
    try:
        yield place
    finally:
        try:
            _remove(above, place.name)
        finally:
            os.close(descriptor)


def _made(above: Path, place: Path) -> int:
    """Make *place*, locked: as long as its descriptor is open, somebody works there."""
    making = os.open(above, _DIRECTORY)
    try:
        fcntl.flock(making, fcntl.LOCK_EX)  # else somebody could take it for abandoned before it is locked
        _remove_abandoned(above)
        place.mkdir(mode=0o700)
        descriptor = os.open(place, _DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(making)
    return descriptor


def _remove_abandoned(above: Path) -> None:
    """Remove what died trials have left: what has a name of theirs, is ours alone, and nobody works in."""
    for place in sorted(above.glob(f"{_PREFIX}*")):
        with suppress(FileNotFoundError):  # its own trial has just removed it
            _remove_if_abandoned(above, place)


def _remove_if_abandoned(above: Path, place: Path) -> None:
    status = place.lstat()
    private = not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or not private:
        return
    descriptor = os.open(place, _DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(above, place.name)
    finally:
        os.close(descriptor)


def _remove(above: Path, name: str) -> None:
    parent = os.open(above, _DIRECTORY)
    try:
        removal = remove_tree(parent, os.fsencode(name), unlock=True)
    finally:
        os.close(parent)
    if not removal.complete:
        raise NonRecoverableError(
            f"{above / name}, where a restore point was tried, could not be removed: {removal.left}",
            hint="Remove it by hand: it holds a copy of your data.",
        )
