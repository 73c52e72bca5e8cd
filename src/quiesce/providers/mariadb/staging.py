"""Where mariadb-backup writes its copies, with the rights of the server's user."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from quiesce.backups import Draft
from quiesce.files.descriptors import DIRECTORY
from quiesce.files.durable import PRIVATE_DIRECTORY, storage_errors, write_durably
from quiesce.files.held import enter_held, held_path
from quiesce.files.reading import read_regular
from quiesce.provider_kit.server_user import ServerUser

#: what has changed between the two is copied in the window
BASE: Final = "base"
CHANGES: Final = "changes"
#: only marks: the base is recovered, what has changed is in it
RECOVERED: Final = "recovered"
JOINED: Final = "joined"
_STAGING: Final = "staging"
_COPIES: Final = "copies"
_DONE: Final = ".done"
_LONGEST_MARK: Final = 1 << 10


class Staging:
    """The copies of one backup inside of its draft, until they are joined and stored.

    They are in a directory of the server's user, who can change them at any time, in one of ours, which
    nobody else can enter.
    """

    def __init__(self, draft: Draft, user: ServerUser) -> None:
        self._place = draft.path(_STAGING)
        self._shown = self._place
        self._user = user

    @property
    def path(self) -> Path:
        """Where the copies are, for who can go there."""
        return self._shown / _COPIES

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Give a descriptor of the directory that holds the copies."""
        with storage_errors(f"make {self._shown}"):
            for path in (self._place, self._place / _COPIES):
                path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            directory = os.open(self._place / _COPIES, DIRECTORY)
        try:
            self._user.take(directory)
            yield directory
        finally:
            os.close(directory)

    def has(self, copy: str) -> bool:
        """Tell whether that copy is whole.

        One of before the machine was started is not: nobody has had it written to the disk.
        """
        try:
            return read_regular(self._mark(copy), at_most=_LONGEST_MARK) == _boot()
        except FileNotFoundError:
            return False

    def empty(self, copy: str) -> None:
        """Make room for a copy."""
        with storage_errors(f"make room for {self._shown / copy}"):
            self._mark(copy).unlink(missing_ok=True)
            shutil.rmtree(self._place / _COPIES / copy, ignore_errors=True)

    def mark(self, copy: str) -> None:
        """Note that it is whole."""
        write_durably(self._mark(copy), _boot())

    def read(self, copy: str, name: str, *, at_most: int) -> bytes:
        """Return what the file *name* of a copy holds.

        Raises:
            OSError: when there is none, or what its user has put there is something else.
        """
        with self.opened() as copies:
            directory = enter_held(copies, copy, self._shown / copy)
            try:
                return read_regular(held_path(directory, name), at_most=at_most)
            finally:
                os.close(directory)

    def remove(self) -> None:
        """Remove all of it."""
        with storage_errors(f"remove {self._shown}"):
            if self._place.exists():
                shutil.rmtree(self._place)

    def _mark(self, copy: str) -> Path:
        return self._place / f"{copy}{_DONE}"


def _boot() -> bytes:
    """Return what tells this start of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes()
