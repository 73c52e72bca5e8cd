"""Repositories opened with what this ``QUIESCE_HOME`` has: its keys, secrets that are named, key files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.backups import BackupHome
from quiesce.errors import UsageError
from quiesce.files.reading import read_named
from quiesce.repository import Credential, FileKey, Passphrase, Repository
from quiesce.storage import Limits

_KEY_FILE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCredentials:
    """What an operator names beside the keys of ``QUIESCE_HOME``."""

    #: the name of a secret
    passphrase: str | None = None
    key_file: Path | None = None


class RepositoryAccess:
    """Makes and opens repositories."""

    def __init__(self, home: BackupHome) -> None:
        self.home = home
        #: what this home remembers of repositories
        self.seen = home.seen

    @contextmanager
    def opened(
        self, url: str, given: GivenCredentials, *, limits: Limits | None = None
    ) -> Iterator[Repository]:
        """Hold the repository at *url* open.

        Raises:
            WrongKeyError: when neither a key of this home nor what was given opens it.
        """
        with self.home.opened(url, self.read(given), limits=limits) as repository:
            yield repository

    @contextmanager
    def created(
        self, url: str, given: GivenCredentials, *, grace_s: float, like: Repository | None = None
    ) -> Iterator[Repository]:
        """Make a repository at *url*, which the first key of this home and what is given open.

        Raises:
            ForeignObjectError: when there is one, or something else.
        """
        more, addressing = self.read(given), None if like is None else like.addressing
        with self.home.storage(url) as storage:
            made = self.home.create(storage, grace_s=grace_s, addressing=addressing)
            for credential in more:
                made.add_key(credential, label=label_of(given, credential))
            yield made

    def read(self, given: GivenCredentials) -> list[Credential]:
        """Return what was named.

        Raises:
            UsageError: when a key file is none.
        """
        found: list[Credential] = []
        if given.key_file is not None:
            found.append(read_key_file(given.key_file))
        if given.passphrase is not None:
            found.append(Passphrase(self.home.secret(given.passphrase)))
        return found


def read_key_file(path: Path) -> FileKey:
    """Return the key that a key file holds.

    Raises:
        UsageError: when it is none.
    """
    try:
        return FileKey.of_text(read_named(path, at_most=_KEY_FILE_BYTES).decode(errors="replace"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the key file {path} cannot be read: {error}") from None


def label_of(given: GivenCredentials, credential: Credential) -> str:
    """Return what a key is called in the repository: it is no secret there."""
    return str(given.key_file) if isinstance(credential, FileKey) else f"the secret {given.passphrase}"
