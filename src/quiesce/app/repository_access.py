"""Repositories opened with what this ``QUIESCE_HOME`` has: its keys, secrets that are named, key files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.app.seen_repositories import SeenRepositories
from quiesce.archives import Keyring
from quiesce.errors import UsageError, WrongKeyError
from quiesce.files.durable import storage_errors
from quiesce.files.reading import read_named
from quiesce.ports.storage import Storage
from quiesce.repository import Credential, FileKey, Passphrase, Repository
from quiesce.storage import Limits, open_storage

#: what a key of QUIESCE_HOME is used for here
_PURPOSE: Final = b"quiesce: open a repository"
_KEY_FILE_BYTES: Final = 4096
_HOME_LABEL: Final = "QUIESCE_HOME"
_MISSING_KEY: Final = (
    "Give what opens it (--passphrase, --key-file), or bring this home's keys back: quiesce keys import"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCredentials:
    """What an operator names beside the keys of ``QUIESCE_HOME``."""

    #: the name of a secret
    passphrase: str | None = None
    key_file: Path | None = None


class RepositoryAccess:
    """Makes and opens repositories."""

    def __init__(self, keyring: Keyring, secret: Callable[[str], str], seen: SeenRepositories) -> None:
        """*secret* gives the value of a secret that is named."""
        self.keyring = keyring
        #: what this home remembers of repositories
        self.seen = seen
        self._secret = secret

    @contextmanager
    def opened(
        self, url: str, given: GivenCredentials, *, limits: Limits | None = None
    ) -> Iterator[Repository]:
        """Hold the repository at *url* open.

        Raises:
            WrongKeyError: when neither a key of this home nor what was given opens it.
        """
        with self._storage(url, limits) as storage:
            try:
                repository = Repository.open(storage, [*self.home_keys(), *self.read(given)])
            except WrongKeyError as error:
                raise WrongKeyError(str(error), hint=_MISSING_KEY) from error
            yield repository

    @contextmanager
    def created(
        self, url: str, given: GivenCredentials, *, grace_s: float, like: Repository | None = None
    ) -> Iterator[Repository]:
        """Make a repository at *url*, which the first key of this home and what is given open.

        Raises:
            ForeignObjectError: when there is one, or something else.
        """
        more = self.read(given)
        with self._storage(url, None) as storage:
            made = Repository.create(
                storage, self.home_keys()[0], label=_HOME_LABEL, like=like, grace_s=grace_s
            )
            for credential in more:
                made.add_key(credential, label=label_of(given, credential))
            yield made

    def home_keys(self) -> list[FileKey]:
        """Return what the keys of this home open repositories with; one is made where there is none."""
        return [FileKey(secret) for secret in self.keyring.secrets_for(_PURPOSE)]

    def read(self, given: GivenCredentials) -> list[Credential]:
        """Return what was named.

        Raises:
            UsageError: when a key file is none.
        """
        found: list[Credential] = []
        if given.key_file is not None:
            found.append(read_key_file(given.key_file))
        if given.passphrase is not None:
            found.append(Passphrase(self._secret(given.passphrase)))
        return found

    @contextmanager
    def _storage(self, url: str, limits: Limits | None) -> Iterator[Storage]:
        storage = open_storage(url, self._secret, limits=limits)
        try:
            with storage_errors(f"use {storage.location}"):
                yield storage
        finally:
            storage.close()


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
