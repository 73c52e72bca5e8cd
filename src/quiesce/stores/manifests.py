"""Manifests of restore points in repositories: each is the point of the whole deployment there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quiesce.backups import BackupHome, BackupKey, Backups, Manifest, drafts_in
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    QuiesceError,
    ResourceNotFoundError,
    StorageUnavailableError,
    UnreachableError,
    UnsupportedError,
)
from quiesce.files.durable import storage_errors
from quiesce.model.ids import BackupName, DeploymentName, InstanceId, Json, backup_name, deployment_name
from quiesce.model.manifest import Copy, LeftOut, PointManifest, RepositoryCondition, Survey
from quiesce.model.restore_point import RestorePoint
from quiesce.stores.codec import decode, encode

if TYPE_CHECKING:  # large, and few commands need them
    from quiesce.repository import Point, PointKey, Repository, StoredPoints

VERSION: Final = 1
_MANIFEST: Final = "manifest"
_VERSION: Final = "version"
#: what is told of a manifest that cannot be read: no digest is like it
_UNREADABLE: Final = "damaged"
#: how far the time of a change may lag behind the clock, in seconds
_TICK_S: Final = 0.05


class RepositoryManifests:
    """Answers the port `Manifests`."""

    def __init__(self, home: BackupHome) -> None:
        """Open repositories with what *home* has."""
        self._home = home

    def write(self, url: str, manifest: PointManifest, *, known: bool = False) -> str:
        """Write *manifest*, or replace it, durably; return its digest."""
        with self._home.opened_or_made(url) as repository:
            point = _point_of(manifest)
            try:
                found = _execution_of(repository.point(point.key))
                is_ours = found == manifest.point.execution
            except ResourceNotFoundError:
                is_ours = True
            except DamagedArtifactError:
                is_ours = known
            if not is_ours:
                raise ForeignObjectError(f"another execution made {point.key} in {url}; it was not touched")
            repository.put(point)
        return _digest(point)

    def remove(self, url: str, point: RestorePoint) -> None:
        """Remove the manifest that *point*'s execution made; it is fine when there is none."""
        with self._opened_if_there(url) as repository:
            if repository is None:
                return
            try:
                is_ours = _execution_of(repository.point(_key(point))) == point.execution
            except ResourceNotFoundError:
                return
            except DamagedArtifactError:
                is_ours = bool(point.manifest_sha256)
            # of a damaged entry nobody knows any more which execution made it
            if is_ours or point.damage:
                repository.remove(_key(point))
                self._home.seen.forget_points(repository, [_key(point)])

    def why_away(self, url: str, identity: str = "") -> str:
        """Return why there is no repository at *url* now (not mounted?), or not the one of *identity*."""
        return Backups(url, self._home).why_away(identity)

    def condition(self, url: str, newest: RestorePoint | None) -> RepositoryCondition:
        """Tell whether the next backup can go to *url*, and *newest*, which lies there, be believed."""
        begun, distrust = not self.why_away(url), self._distrust(url, newest)
        if not url.startswith("/"):
            return RepositoryCondition(ground=url, begun=begun, why_read_only="", free_bytes=None, **distrust)
        with storage_errors(f"look at {url}"):
            ground = nearest_directory(Path(url))
            space = os.statvfs(ground)
        return RepositoryCondition(
            ground=str(ground),
            begun=begun,
            why_read_only=_why_read_only(ground, space),
            free_bytes=space.f_bavail * space.f_frsize,
            **distrust,
        )

    def _distrust(self, url: str, newest: RestorePoint | None) -> dict[str, str]:
        if newest is None:
            return {}
        try:
            with self._home.opened(url) as repository:
                manifest_of(repository.point(_key(newest)))
        except QuiesceError as error:
            return {"distrust": str(error), "remedy": error.hint}
        return {}

    def has_manifest(self, url: str, deployment: DeploymentName, point: BackupName) -> bool:
        """Tell whether there is a manifest of that restore point at *url*, whoever made it."""
        return self._digest_of(url, _key_named(deployment, point)) is not None

    def digest(self, url: str, point: RestorePoint, instance: InstanceId | None = None) -> str | None:
        """Return the digest of *point*'s own manifest, or of its copy of *instance*; None: there is none."""
        return self._digest_of(url, _key(point, instance or ""))

    def changed_since(self, url: str, point: RestorePoint, at: float) -> bool:
        """Tell whether anything of *point* was changed or put there after *at*: its content is not read."""
        held = [artifact.instance for artifact in point.artifacts if artifact.repository]
        with self._opened_if_there(url) as repository:
            if repository is None:
                return True  # gone, or not mounted: whoever looks closely says which
            ours = [name for name in held if self._digest_in(repository, _key(point, name)) is not None]
            keys = [_key(point), *(_key(point, instance) for instance in ours)]
            return not repository.is_untouched(keys, at - _TICK_S)

    def survey(self, url: str, deployment: DeploymentName) -> Survey:
        """Return what is there of *deployment*; what cannot be trusted is listed separately."""
        with self._opened_if_there(url) as repository:
            if repository is None:
                return Survey(directory=url)
            stored = repository.stored_points()
            found = _Surveyed(url, deployment, stored)
            copies = [
                point for point in stored.points if point.key.deployment == deployment and point.key.instance
            ]
            absent = repository.absent(copies)
        return found.survey(copies, absent, list(self._drafts(url, deployment)))

    def _drafts(self, url: str, deployment: DeploymentName) -> Iterator[BackupKey]:
        return (place for place in drafts_in(self._home, url) if place.deployment == deployment)

    def _digest_of(self, url: str, key: PointKey) -> str | None:
        with self._opened_if_there(url) as repository:
            return None if repository is None else self._digest_in(repository, key)

    @staticmethod
    def _digest_in(repository: Repository, key: PointKey) -> str | None:
        try:
            return _digest(repository.point(key))
        except ResourceNotFoundError:
            return None
        except DamagedArtifactError:
            return _UNREADABLE

    @contextmanager
    def _opened_if_there(self, url: str) -> Iterator[Repository | None]:
        if self._is_there(url):
            with self._home.opened(url) as repository:
                yield repository
        else:
            yield None

    def _is_there(self, url: str) -> bool:
        from quiesce.repository import Repository

        try:
            with self._home.storage(url) as storage:
                Repository.id_in(storage)
        except StorageUnavailableError:
            raise
        except UnreachableError:
            return False
        return True


class _Surveyed:
    """What one repository holds, sorted."""

    def __init__(self, url: str, deployment: DeploymentName, stored: StoredPoints) -> None:
        self._url = url
        self._deployment = deployment
        self._manifests: list[PointManifest] = []
        self._names: set[DeploymentName] = set()
        self._left_out = [
            LeftOut(path=name, reason="it is not what was written", damaged=True)
            for name in stored.damaged_names
        ]
        for point in sorted(stored.points, key=lambda point: point.key):
            if not point.key.instance:
                self._take(point)

    def survey(
        self, copies: Sequence[Point], absent: dict[PointKey, str], drafts: Sequence[BackupKey]
    ) -> Survey:
        """Return all of it, with what was found of *copies*."""
        whole: set[Copy] = set()
        for point in copies:
            if point.key in absent:
                self._leave_out(point, absent[point.key])
                continue
            try:
                whole.add(_copy(Manifest.of(point)))
            except ForeignObjectError as error:
                self._leave_out(point, str(error))
        unfinished = [
            LeftOut(path=str(place), reason="it is incomplete: its copy was begun and never finished")
            for place in drafts
        ]
        return Survey(
            directory=self._url,
            manifests=tuple(self._manifests),
            copies=frozenset(whole),
            left_out=(*self._left_out, *unfinished),
            deployments=frozenset(self._names),
        )

    def _take(self, point: Point) -> None:
        try:
            found = manifest_of(point)
        except QuiesceError as error:
            self._leave_out(point, str(error))
            return
        self._names.add(found.point.deployment)
        if found.point.deployment == self._deployment:
            self._manifests.append(found)
        else:
            reason = f"it belongs to deployment {found.point.deployment}"
            self._left_out.append(LeftOut(path=str(point.key), reason=reason))

    def _leave_out(self, point: Point, reason: str) -> None:
        self._left_out.append(LeftOut(path=str(point.key), reason=reason, damaged=True))


def deployments_in(home: BackupHome, url: str) -> Sequence[str]:
    """Return the deployments that a repository holds backups of, as far as it can be read."""
    try:
        with home.opened(url) as repository:
            return sorted({point.key.deployment for point in repository.stored_points().points})
    except QuiesceError:
        return []


def nearest_directory(path: Path) -> Path:
    """Return *path*, or the nearest directory above it that is there."""
    return next((each for each in (path, *path.parents) if each.is_dir()), Path("/"))


def _why_read_only(ground: Path, space: os.statvfs_result) -> str:
    if space.f_flag & os.ST_RDONLY:
        return f"the file system of {ground} is mounted read-only"
    return "" if os.access(ground, os.W_OK | os.X_OK) else f"{ground} cannot be written to by this user"


def _key(point: RestorePoint, instance: str = "") -> PointKey:
    return _key_named(point.deployment, point.name, instance)


def _key_named(deployment: str, point: str, instance: str = "") -> PointKey:
    from quiesce.repository import PointKey

    return PointKey(deployment=deployment_name(deployment), point=backup_name(point), instance=instance)


def _point_of(manifest: PointManifest) -> Point:
    """Return *manifest* as a point: the same in every repository that holds a part of its restore point."""
    from quiesce.repository import Point

    body: Json = json.loads(encode(manifest))
    return Point(
        key=_key(manifest.point),
        made_at=manifest.point.made_at,
        instances=tuple(
            sorted(artifact.instance for artifact in manifest.point.artifacts if artifact.repository)
        ),
        content={_VERSION: VERSION, _MANIFEST: body},
    )


def manifest_of(point: Point) -> PointManifest:
    """Return what the point of a whole deployment says, its restore point with the manifest's digest.

    Raises:
        DamagedArtifactError: when it says something else.
        UnsupportedError: when a newer version of quiesce wrote it.
    """
    try:
        if int(str(point.content[_VERSION])) > VERSION:
            raise UnsupportedError(f"a newer quiesce has written {point.key}", hint="Upgrade quiesce.")
        manifest = decode(PointManifest, json.dumps(point.content[_MANIFEST]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"{point.key} holds no manifest: {error}") from error
    found = manifest.point
    if _key(found) != point.key:
        raise DamagedArtifactError(
            f"the manifest of {point.key} is that of {found.name} of {found.deployment}"
        )
    return replace(manifest, point=replace(found, manifest_sha256=_digest(point)))


def _execution_of(point: Point) -> str:
    return manifest_of(point).point.execution


def _digest(point: Point) -> str:
    return hashlib.sha256(point.as_bytes()).hexdigest()


def _copy(manifest: Manifest) -> Copy:
    place = manifest.place
    return Copy(point=place.point, instance=place.instance, execution=manifest.execution)
