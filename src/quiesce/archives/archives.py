"""The directory that holds backups: begin one, find it, check it, list all, delete it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from quiesce.archives.draft import DRAFT, MANIFEST, Draft, drafted_by, is_ours
from quiesce.archives.entries import read_entry
from quiesce.archives.keyring import Keyring
from quiesce.archives.manifest import BackupKey, Manifest, describe, read_manifest
from quiesce.archives.streams import FileReader, Progress, absence_of, damage_of, nobody
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    QuiesceError,
    ResourceNotFoundError,
    UnreachableError,
)
from quiesce.files.descriptors import Identity
from quiesce.files.durable import (
    REPOSITORY_FULL,
    holds_anything,
    make_private_directory,
    storage_errors,
    write_durably_in,
)
from quiesce.files.held import enter_held, held, held_path, open_held
from quiesce.files.reading import read_regular
from quiesce.files.removal import remove_tree
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.restore_point import repository_of

_REMOVING: Final = ".removing-"
#: lies in the root: without it, the directory is (the place where) something else (is to be mounted)
MARK: Final = ".quiesce-repository"
_MARK_TEXT: Final = (
    b"This directory is a repository of quiesce. Keep this file: it tells that it is mounted, and which.\n"
)
_IDENTITY: Final = re.compile(rb"^identity: ([0-9a-f]{32})$", re.MULTILINE)
#: no mark is longer
_LONGEST_MARK: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One file that is not what was written."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything in a repository whose manifest is there."""

    complete: tuple[Manifest, ...]
    #: manifests that cannot be trusted
    damaged: tuple[Damage, ...]


class Archives:
    """Backups of many deployments under one directory. Safe from many threads and processes at once."""

    def __init__(self, root: Path, keyring: Keyring) -> None:
        """Believe manifests that a key of *keyring* has signed, and sign with it."""
        self.root = root
        self.keyring = keyring

    def directory(self, place: BackupKey) -> Path:
        """Return where the backup of *place* lies, whether it exists or not."""
        return self.root.joinpath(*place.components())

    def mark(self) -> None:
        """Make the root a repository, if it is none yet."""
        with storage_errors(f"write {self.root}", no_room=REPOSITORY_FULL):
            make_private_directory(self.root)
            with held(self.root, ()) as root:
                if not os.path.lexists(held_path(root, MARK)):
                    write_durably_in(
                        root, os.fsencode(MARK), _MARK_TEXT + f"identity: {uuid4().hex}\n".encode()
                    )

    def identity(self) -> str:
        """Return which repository it is, wherever it is mounted; empty where nobody knows.

        A mark that was made by hand says that anything is welcome here.
        """
        try:
            found = _IDENTITY.search(read_regular(self.root / MARK, at_most=_LONGEST_MARK))
        except OSError:
            return ""
        return found[1].decode() if found else ""

    def why_away(self, identity: str = "") -> str:
        """Return why the root is not the repository of that *identity*, or none at all; empty when it is."""
        try:
            os.lstat(self.root / MARK)
        except FileNotFoundError:
            return f"{self.root} holds no repository: it has no file {MARK}, so it may not be mounted"
        except OSError as error:
            return f"{self.root} cannot be used: {error.strerror}"
        if identity and self.identity() not in {"", identity}:
            return (
                f"{self.root} is another repository than the one that is meant: that one is not mounted there"
            )
        return ""

    def require(self, known: Mapping[str, Json] | None = None) -> None:
        """Refuse to say anything about a repository that is not there.

        Raises:
            UnreachableError: when its root has no mark, or that of another one than what is *known* of a
                copy says.
        """
        if why := self.why_away(repository_of(known or {})):
            raise UnreachableError(why)

    def require_holding(self, place: BackupKey, known: Mapping[str, Json]) -> None:
        """Refuse to touch what lies at *place* in another repository than that of the copy that is *known*.

        Raises:
            UnreachableError: when the repository is not there.
        """
        try:
            manifest = self._read(place, None)
        except DamagedArtifactError:
            manifest = None
        self.require(None if manifest is not None and manifest.content == known else known)

    def begin(self, place: BackupKey, *, execution: ExecutionId, provider: str) -> Draft:
        """Return a draft to write into; the one that the same execution had begun, when there is one.

        Raises:
            ForeignObjectError: when something else is there: a complete backup, another execution's
                draft, or what quiesce did not make. It was not touched.
        """
        directory = self.directory(place)
        with storage_errors(f"write {directory}", no_room=REPOSITORY_FULL):
            self.mark()
            opened = open_held(self.root, place.components(), make=True)
            draft = Draft(
                (directory, opened), place, execution, provider, self.keyring, repository=self.identity()
            )
            draft.take_up()
        return draft

    def find(self, place: BackupKey) -> Manifest | None:
        """Return the manifest of *place*; None when there is no complete backup.

        Raises:
            DamagedArtifactError: when there is one that cannot be trusted.
        """
        return self._read(place, self.keyring)

    def manifest(self, place: BackupKey, known: Mapping[str, Json] | None = None) -> Manifest:
        """Return the manifest of *place*, with exactly the content that is *known* of it, when any is.

        What the catalog knows is enough to believe it; else one of our keys must have signed it.

        Raises:
            UnreachableError: when the repository is not there.
            ResourceNotFoundError: when there is no complete backup.
            DamagedArtifactError: when there is one that cannot be trusted.
        """
        manifest = self._read(place, self.keyring if known is None else None)
        if manifest is None or (known is not None and manifest.content != known):
            self.require(known)
        if manifest is None:
            raise ResourceNotFoundError(f"{self.root} has no complete backup of {describe(place)}")
        if known is not None and manifest.content != known:
            raise DamagedArtifactError(
                f"the manifest of {describe(place)} in {self.root} is not the one that the catalog knows"
            )
        return manifest

    def path(self, manifest: Manifest, name: str) -> Path:
        """Return where a stored file lies, for a tool that reads it itself; `verify` first."""
        return self.directory(manifest.place) / manifest.file(name).path

    def open(
        self, manifest: Manifest, name: str, progress: Progress = nobody, *, at_most: int | None = None
    ) -> FileReader:
        """Return a stored file's plain content; trust it when `FileReader.check` has returned.

        Of *at_most* so many bytes, when it is known how many were written.
        """
        return FileReader(self.path(manifest, name), manifest.file(name), progress, at_most)

    def verify(self, manifest: Manifest, progress: Progress = nobody) -> tuple[Damage, ...]:
        """Read every byte and return the first damage of each damaged file; empty when there is none."""
        directory = self.directory(manifest.place)
        found = ((file.path, damage_of(directory / file.path, file, progress)) for file in manifest.files)
        return tuple(Damage(path=str(directory / path), reason=reason) for path, reason in found if reason)

    def contents(
        self, deployment: DeploymentName | None = None, instance: InstanceId | None = None
    ) -> Contents:
        """Return all complete backups, oldest first: enough to rebuild a catalog."""
        complete: list[Manifest] = []
        damaged: list[Damage] = []
        for path in self._manifest_paths(deployment, instance):
            try:
                complete.append(self._manifest_at(path))
            except QuiesceError as error:
                damaged.append(Damage(path=str(path), reason=str(error)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                damaged.append(Damage(path=str(path), reason=f"it cannot be read ({error.strerror})"))
        return Contents(complete=tuple(sorted(complete, key=_age)), damaged=tuple(damaged))

    def absent(self, manifest: Manifest) -> tuple[Damage, ...]:
        """Return the files that are not there, or not as long as they were written; reads none of them."""
        directory = self.directory(manifest.place)
        found = ((file.path, absence_of(directory / file.path, file)) for file in manifest.files)
        return tuple(Damage(path=str(directory / path), reason=reason) for path, reason in found if reason)

    def drafts(self, deployment: DeploymentName) -> Iterator[Path]:
        """Give the directories of *deployment* that were begun and never completed."""
        for path in sorted(self.root.glob(f"{deployment}/*/*/{DRAFT}")):
            if not (path.parent / MANIFEST).exists() and _is_visible(path.relative_to(self.root)):
                yield path.parent

    def owner(self, place: BackupKey) -> ExecutionId | None:
        """Return which execution made the backup or draft of *place*; None when nothing of ours is there."""
        return self._owner_at(self.directory(place), place)

    def made_before(self, place: BackupKey, execution: ExecutionId) -> Manifest | None:
        """Return the complete backup that *execution* made; None when it is still to be made.

        Raises:
            ForeignObjectError: when another execution, or somebody else, made what is there.
        """
        directory, owner = self.directory(place), self.owner(place)
        if owner not in {None, execution}:
            raise ForeignObjectError(f"{directory} was made by execution {owner}")
        if owner is None and directory.is_dir() and holds_anything(directory):
            raise ForeignObjectError(f"quiesce did not make {directory}")
        return self.find(place)

    def delete(self, place: BackupKey, *, made_by: ExecutionId | None = None) -> None:
        """Remove the backup or draft of *place*; it is fine when nothing is there.

        With *made_by* only what that execution made is removed, as an undo must.

        Raises:
            ForeignObjectError: when quiesce, or that execution, did not make what is there. It was not
                touched.
        """
        *above, name = place.components()
        with storage_errors(f"remove {self.directory(place)}"), contextlib.suppress(FileNotFoundError):
            with held(self.root, above) as point:
                self._delete_in(point, name, place, made_by)
            self.remove_empty(above)

    def _delete_in(self, point: int, name: str, place: BackupKey, made_by: ExecutionId | None) -> None:
        doomed, shown = f"{_REMOVING}{name}", self.directory(place)
        _remove_tree(point, doomed, shown)
        try:
            directory = enter_held(point, name, shown)
        except FileNotFoundError:
            return
        try:
            there = held_path(directory)
            if holds_anything(there) and not is_ours(there):
                raise ForeignObjectError(f"quiesce did not make {shown}")
            if made_by not in {None, owner := self._owner_at(there, place)} and owner is not None:
                raise ForeignObjectError(f"{shown} was made by execution {owner}")
            identity = Identity.of_descriptor(directory)
        finally:
            os.close(directory)
        os.rename(name, doomed, src_dir_fd=point, dst_dir_fd=point)
        os.fsync(point)
        _remove_tree(point, doomed, shown, identity)

    def _owner_at(self, directory: Path, place: BackupKey) -> ExecutionId | None:
        manifest = self._read(place, None, directory)
        return manifest.execution if manifest else drafted_by(directory)

    def _read(
        self, place: BackupKey, keyring: Keyring | None, directory: Path | None = None
    ) -> Manifest | None:
        path = self.directory(place) / MANIFEST
        with storage_errors(f"read {path}"):
            try:
                data = read_entry(path if directory is None else directory / MANIFEST)
            except (FileNotFoundError, NotADirectoryError):
                return None
        manifest = read_manifest(data, str(path), keyring)
        if manifest.place != place:
            raise DamagedArtifactError(f"the manifest {path} belongs to {describe(manifest.place)}")
        return manifest

    def _manifest_paths(
        self, deployment: DeploymentName | None, instance: InstanceId | None
    ) -> Iterator[Path]:
        for path in sorted(self.root.glob(f"{deployment or '*'}/*/{instance or '*'}/{MANIFEST}")):
            if _is_visible(path.relative_to(self.root)):
                yield path

    def _manifest_at(self, path: Path) -> Manifest:
        manifest = read_manifest(read_entry(path), str(path), self.keyring)
        if self.directory(manifest.place) != path.parent:
            raise DamagedArtifactError(f"the manifest {path} belongs to {describe(manifest.place)}")
        return manifest

    def remove_empty(self, names: Sequence[str]) -> None:
        """Remove the directories that *names* lead through below the root, as far as they are empty."""
        for count in range(len(names) - 1, -1, -1):
            with contextlib.suppress(OSError), held(self.root, names[:count]) as above:
                os.rmdir(names[count], dir_fd=above)


def _is_visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _remove_tree(directory: int, name: str, shown: Path, expected: Identity | None = None) -> None:
    removal = remove_tree(directory, os.fsencode(name), expected)
    if not removal.complete:
        raise NonRecoverableError(
            f"{shown} could not be removed: {removal.left}", hint="Mend what is named, then run it again."
        )


def _age(manifest: Manifest) -> tuple[float, str, str]:
    return manifest.made_at, manifest.place.point, manifest.place.instance
