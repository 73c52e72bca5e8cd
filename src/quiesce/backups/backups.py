"""The backups in one repository: begin one, find it, read it, check it, remove it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from quiesce.backups.draft import Draft, draft_directory, drafted_by, remove_draft
from quiesce.backups.home import BackupHome
from quiesce.backups.manifest import BackupKey, Manifest
from quiesce.backups.streams import ItemReader, Progress, nobody
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    ResourceNotFoundError,
    StorageError,
    StorageUnavailableError,
    UnreachableError,
)
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.restore_point import repository_of

if TYPE_CHECKING:  # large, and few commands need them
    from quiesce.repository import PointReader, Repository


class Backups:
    """Backups of many deployments in one repository. Safe from many threads and processes at once."""

    def __init__(self, url: str, home: BackupHome) -> None:
        """*url* is a directory's path, or names another storage."""
        self.url = url
        self._home = home

    @property
    def is_local(self) -> bool:
        """Whether it is a directory, which costs nothing to be asked within a frozen window."""
        return self.url.startswith("/")

    def identity(self) -> str:
        """Return which repository it is, wherever it is mounted; empty where there is none."""
        from quiesce.repository import Repository

        try:
            with self._home.storage(self.url) as storage:
                return Repository.id_in(storage)
        except (UnreachableError, DamagedArtifactError):
            return ""

    def why_away(self, identity: str = "") -> str:
        """Return why the repository of that *identity*, or any, is not there; empty when it is."""
        from quiesce.repository import Repository

        try:
            with self._home.storage(self.url) as storage:
                found = Repository.id_in(storage)
        except (StorageError, DamagedArtifactError) as error:
            return str(error)
        if identity not in {"", found}:
            return (
                f"{self.url} is another repository than the one that is meant: that one is not mounted there"
            )
        return ""

    def require(self, known: Mapping[str, Json] | None = None) -> None:
        """Refuse to say anything about a repository that is not there.

        Raises:
            UnreachableError: when it is not there, or is not that of the backup that is *known*.
        """
        if why := self.why_away(repository_of(known or {})):
            raise UnreachableError(why)

    def begin(self, place: BackupKey, *, execution: ExecutionId, provider: str) -> Draft:
        """Return a draft to write to; the one that the same execution had begun, when there is one.

        What was begun lately in a repository behind a network is taken up without asking it: somebody may be
        frozen meanwhile. What is lost of it is found when the backup is completed.

        Raises:
            ForeignObjectError: when something else is there: a complete backup, or another execution's
                draft. It was not touched.
        """
        draft = Draft(self.url, self._home, place, execution, provider)
        if self.is_local or not draft.was_begun_lately():
            with self._home.opened_or_made(self.url) as repository:
                if _found(repository, place) is not None:
                    raise ForeignObjectError(f"there is a backup of {place} in {self.url} already")
        draft.take_up(believing=not self.is_local)
        return draft

    def find(self, place: BackupKey) -> Manifest | None:
        """Return the manifest of *place*; None when there is no complete backup.

        Raises:
            DamagedArtifactError: when there is one that is not what was written.
            ForeignObjectError: when there is something else.
        """
        try:
            with self._home.opened(self.url) as repository:
                return _found(repository, place)
        except StorageUnavailableError:
            raise
        except UnreachableError:
            return None

    def manifest(self, place: BackupKey, known: Mapping[str, Json] | None = None) -> Manifest:
        """Return the manifest of *place*, with exactly the content that is *known* of it, when any is.

        Raises:
            UnreachableError: when the repository is not there.
            ResourceNotFoundError: when there is no complete backup.
            DamagedArtifactError: when there is one that is not what was written.
        """
        manifest = self.find(place)
        if manifest is None or (known is not None and manifest.content != known):
            self.require(known)
        if manifest is None:
            raise ResourceNotFoundError(f"{self.url} has no complete backup of {place}")
        if known is not None and manifest.content != known:
            raise DamagedArtifactError(
                f"the backup of {place} in {self.url} is not the one that the catalog knows"
            )
        return manifest

    @contextmanager
    def reader(self, manifest: Manifest) -> Iterator[PointReader]:
        """Hold what reads the items of a backup."""
        with self._home.opened(self.url) as repository:
            yield repository.reader(manifest.place.point_key)

    def open(self, manifest: Manifest, name: str, progress: Progress = nobody) -> ItemReader:
        """Return what a stream or disk of a backup holds."""
        manifest.item(name)
        with ExitStack() as held:
            reader = held.enter_context(self.reader(manifest))
            return ItemReader(reader, name, progress, held.pop_all().close)

    def verify(self, manifest: Manifest, progress: Progress = nobody) -> tuple[str, ...]:
        """Read all that a backup needs, and return what is damaged; empty: nothing is.

        The next backup stores anew what it needs of what is damaged, where that may be noted.
        """
        with self._home.opened(self.url) as repository:
            found = repository.verify([manifest.place.point_key], progress)
            with suppress(StorageError):
                repository.condemn(found.damaged_packs)
        return tuple(found.damages.values())

    def of_instance(self, deployment: DeploymentName, instance: InstanceId) -> list[Manifest]:
        """Return the complete backups of one instance that can be believed, oldest first."""
        try:
            with self._home.opened(self.url) as repository:
                points = repository.stored_points().points
        except StorageUnavailableError:
            raise
        except UnreachableError:
            return []
        whose = (deployment, instance)
        ours = (point for point in points if (point.key.deployment, point.key.instance) == whose)
        return sorted(map(Manifest.of, ours), key=lambda manifest: (manifest.made_at, manifest.place.point))

    def owner(self, place: BackupKey) -> ExecutionId | None:
        """Return which execution made the backup or draft of *place*; None when there is none."""
        found = self.find(place)
        return found.execution if found else drafted_by(draft_directory(self._home, self.url, place))

    def made_before(self, place: BackupKey, execution: ExecutionId) -> Manifest | None:
        """Return the complete backup that *execution* made; None when it is still to be made.

        Raises:
            ForeignObjectError: when another execution made what is there.
        """
        found = self.find(place)
        if found is not None and found.execution != execution:
            raise ForeignObjectError(
                f"the backup of {place} in {self.url} was made by execution {found.execution}"
            )
        return found

    def delete(self, place: BackupKey, *, made_by: ExecutionId | None = None) -> float | None:
        """Remove the backup or draft of *place*; it is fine when nothing is there.

        With *made_by* only what that execution made is removed, as an undo must. Return for how many seconds
        a complete one is kept aside until collecting makes room; None: there was none.

        Raises:
            ForeignObjectError: when that execution, or no backup, made what is there. It was not touched.
        """
        directory = draft_directory(self._home, self.url, place)
        drafted = drafted_by(directory)
        if drafted is not None and made_by in {None, drafted}:
            remove_draft(directory)
        try:
            with self._home.opened(self.url) as repository:
                removed = _remove(repository, place, made_by, self.url)
                self._home.seen.forget_points(repository, [place.point_key])
                return repository.grace_s if removed else None
        except StorageUnavailableError:
            raise
        except UnreachableError:
            return None  # there is none, so nothing is in it


def _found(repository: Repository, place: BackupKey) -> Manifest | None:
    try:
        return Manifest.of(repository.point(place.point_key))
    except ResourceNotFoundError:
        return None


def _remove(repository: Repository, place: BackupKey, made_by: ExecutionId | None, url: str) -> bool:
    try:
        found = _found(repository, place)
    except DamagedArtifactError:
        if made_by is not None:
            raise
        found = None
    if found is not None and made_by not in {None, found.execution}:
        raise ForeignObjectError(f"the backup of {place} in {url} was made by execution {found.execution}")
    return repository.remove(place.point_key)
