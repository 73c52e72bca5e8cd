"""What of a ``QUIESCE_HOME`` makes and opens repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from quiesce.backups.keyring import Keyring
from quiesce.errors import (
    ForeignObjectError,
    ObjectExistsError,
    StorageUnavailableError,
    UnreachableError,
    WrongKeyError,
)
from quiesce.ports import ProviderSettings

if TYPE_CHECKING:  # large, and few commands need them
    from quiesce.backups.seen import SeenRepositories
    from quiesce.ports.storage import Storage
    from quiesce.repository import Credential, FileKey, Repository
    from quiesce.storage import Limits

#: below the home: what interrupted backups have stored
DRAFTS: Final = "drafts"
#: what a key of QUIESCE_HOME is used for
_OPENING: Final = b"quiesce: open a repository"
_ADDRESSING: Final = b"quiesce: address content"
_LABEL: Final = "QUIESCE_HOME"
_DAY_S: Final = 86400.0
_MISSING_KEY: Final = (
    "Give what opens it (--passphrase, --key-file), or bring this home's keys back: quiesce keys import"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHome:
    """Keys, secrets, and where it is noted what interrupted backups have stored."""

    keyring: Keyring
    #: gives the value of a secret that is named
    secret: Callable[[str], str]
    #: private directory for notes, and for what programs write before it is stored
    drafts: Path

    @classmethod
    def of(cls, settings: ProviderSettings) -> Self:
        """Return the home of a provider with these *settings*."""
        keys = Path(settings.keys_file)
        return cls(keyring=Keyring(keys), secret=settings.secret, drafts=keys.parent / DRAFTS)

    @property
    def seen(self) -> SeenRepositories:
        """What this home has seen in repositories."""
        from quiesce.backups.seen import SeenRepositories

        return SeenRepositories(self.drafts.parent / "repositories")

    def own_key(self) -> FileKey:
        """Return what opens the repositories that are made here; a key is made where there is none."""
        self.keyring.ensure()
        return self.credentials()[0]

    def credentials(self) -> list[FileKey]:
        """Return what the keys of this home open repositories with."""
        from quiesce.repository import FileKey

        return [FileKey(secret) for secret in self.keyring.secrets_for(_OPENING)]

    @contextmanager
    def storage(self, url: str, limits: Limits | None = None) -> Iterator[Storage]:
        """Hold the storage at *url* open; nothing is asked of it yet."""
        from quiesce.storage import open_storage

        storage = open_storage(url, self.secret, limits=limits)
        try:
            yield storage
        finally:
            storage.close()

    @contextmanager
    def opened(
        self, url: str, more: Iterable[Credential] = (), *, limits: Limits | None = None
    ) -> Iterator[Repository]:
        """Hold the repository at *url* open.

        Raises:
            UnreachableError: there is none.
            WrongKeyError: when neither a key of this home nor one of *more* opens it.
        """
        with self.storage(url, limits) as storage:
            yield self._open(storage, more)

    @contextmanager
    def opened_or_made(self, url: str, *, addressing: bytes | None = None) -> Iterator[Repository]:
        """Hold the repository at *url* open; where there is none, make one, see `create`.

        Raises:
            ForeignObjectError: when something else is there.
        """
        with self.storage(url) as storage:
            try:
                repository = self._open(storage)
            except StorageUnavailableError:
                raise
            except UnreachableError:
                repository = self._make_or_open(storage, addressing)
            yield repository

    def create(
        self, storage: Storage, *, grace_s: float = _DAY_S, addressing: bytes | None = None
    ) -> Repository:
        """Make a repository that the first key of this home opens.

        Content has the same address in all that a home makes, unless *addressing* is another's: so points can
        be copied between them.

        Raises:
            ForeignObjectError: when there is one, or something else.
        """
        from quiesce.repository import Repository

        key, ours = self.own_key(), addressing or self.keyring.secrets_for(_ADDRESSING)[0]
        return Repository.create(storage, key, label=_LABEL, addressing=ours, grace_s=grace_s)

    def _make_or_open(self, storage: Storage, addressing: bytes | None) -> Repository:
        try:
            return self.create(storage, addressing=addressing)
        except (ForeignObjectError, ObjectExistsError) as error:
            try:
                return self._open(storage)  # somebody was quicker
            except UnreachableError:
                raise error from None

    def _open(self, storage: Storage, more: Iterable[Credential] = ()) -> Repository:
        from quiesce.repository import Repository

        try:
            return Repository.open(storage, [*self.credentials(), *more])
        except WrongKeyError as error:
            raise WrongKeyError(str(error), hint=_MISSING_KEY) from error
