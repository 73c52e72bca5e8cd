"""Manifests of restore points in repositories: ``<root>/<deployment>/<point>/manifest.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from quiesce.archives import Archives, BackupKey, Keyring, Manifest
from quiesce.archives.entries import read_entry
from quiesce.archives.keyring import IMPORT_HINT
from quiesce.errors import DamagedArtifactError, ForeignObjectError, QuiesceError, UnsupportedError
from quiesce.files.durable import REPOSITORY_FULL, storage_errors, write_durably_in
from quiesce.files.held import held, held_path
from quiesce.model.ids import BackupName, DeploymentName, InstanceId, backup_name, deployment_name
from quiesce.model.manifest import Copy, LeftOut, PointManifest, RepositoryCondition, Survey
from quiesce.model.restore_point import RestorePoint
from quiesce.stores.codec import decode, encode

FORMAT: Final = "quiesce-restore-point"
VERSION: Final = 1
_NAME: Final = "manifest.json"
#: how far the time of a change may lag behind the clock, in seconds
_TICK_S: Final = 0.05


class RepositoryManifests:
    """Answers the port `Manifests`."""

    def __init__(self, keyring: Keyring) -> None:
        """Believe manifests that a key of *keyring* has signed, and sign with it."""
        self._keyring = keyring

    def write(self, directory: str, manifest: PointManifest, *, known: bool = False) -> str:
        """Write *manifest*, or replace it, durably and private to the user; return its digest."""
        path = _path(directory, manifest.point)
        body = json.loads(encode(manifest))
        content = {"format": FORMAT, "version": VERSION, "body": body, "checksum": _checksum(body)}
        data = _dump({**content, "code": self._keyring.sign(_dump(content))}) + b"\n"
        with storage_errors(f"write {path}", no_room=REPOSITORY_FULL):
            Archives(Path(directory), self._keyring).mark()
            with held(Path(directory), _names(manifest.point), make=True) as place:
                ours = _is_made_by(held_path(place, _NAME), manifest.point, unreadable=known)
                if os.path.lexists(held_path(place, _NAME)) and not ours:
                    raise ForeignObjectError(f"another execution made {path}; it was not touched")
                write_durably_in(place, os.fsencode(_NAME), data)
        return hashlib.sha256(data).hexdigest()

    def remove(self, directory: str, point: RestorePoint) -> None:
        """Remove the manifest that *point*'s execution made; it is fine when there is none."""
        path = _path(directory, point)
        with storage_errors(f"remove {path}"):
            with contextlib.suppress(FileNotFoundError), held(Path(directory), _names(point)) as place:
                there, known = held_path(place, _NAME), bool(point.manifest_sha256)
                # of a damaged entry nobody knows any more which execution made it
                if not point.damage and not _is_made_by(there, point, unreadable=known):
                    return
                there.unlink()
                os.fsync(place)
            Archives(Path(directory), self._keyring).remove_empty(_names(point))

    def why_away(self, directory: str, identity: str = "") -> str:
        """Return why *directory* is no repository now (not mounted?), or not the one of *identity*."""
        return Archives(Path(directory), self._keyring).why_away(identity)

    def condition(self, directory: str, newest: RestorePoint | None) -> RepositoryCondition:
        """Tell whether the next backup can go to *directory*, and *newest*, which lies there, be believed."""
        with storage_errors(f"look at {directory}"):
            ground = nearest_directory(Path(directory))
            space = os.statvfs(ground)
        return RepositoryCondition(
            ground=str(ground),
            begun=not self.why_away(directory),
            why_read_only=_why_read_only(ground, space),
            free_bytes=space.f_bavail * space.f_frsize,
            **self._distrust(directory, newest),
        )

    def _distrust(self, directory: str, newest: RestorePoint | None) -> dict[str, str]:
        if newest is None:
            return {}
        try:
            _read(_path(directory, newest), self._keyring)
        except QuiesceError as error:
            return {"distrust": str(error), "remedy": error.hint}
        except OSError as error:
            return {"distrust": f"the manifest of {newest.name} cannot be read: {error.strerror}"}
        return {}

    def has_manifest(self, directory: str, deployment: DeploymentName, point: BackupName) -> bool:
        """Tell whether *directory* holds a manifest of that restore point, whoever made it."""
        path = Path(directory) / deployment_name(deployment) / backup_name(point) / _NAME
        with storage_errors(f"look at {path}"):
            return path.is_file()

    def digest(self, directory: str, point: RestorePoint, instance: InstanceId | None = None) -> str | None:
        """Return the digest of *point*'s own manifest, or of its copy of *instance*; None: there is none."""
        path = _path(directory, point)
        if instance is not None:
            place = BackupKey(deployment=point.deployment, point=point.name, instance=instance)
            path = Archives(Path(directory), self._keyring).directory(place) / _NAME
        with storage_errors(f"read {path}"):
            data = _entry_at(path)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def changed_since(self, directory: str, point: RestorePoint, at: float) -> bool:
        """Tell whether anything of *point* was changed or put there after *at*: its content is not read."""
        root = _path(directory, point).parent
        try:
            newest = max(path.lstat().st_ctime for path in (root, *root.rglob("*")))
        except (FileNotFoundError, NotADirectoryError):
            return True  # gone, or not mounted: whoever looks closely says which
        return newest > at - _TICK_S

    def survey(self, directory: str, deployment: DeploymentName) -> Survey:
        """Return what is there of *deployment*; what cannot be trusted is listed separately."""
        manifests: list[PointManifest] = []
        left_out: list[LeftOut] = []
        names: set[DeploymentName] = set()
        repository = Archives(Path(directory), self._keyring)
        with storage_errors(f"read {directory}"):
            for path in sorted(repository.root.glob(f"*/*/{_NAME}")):
                try:
                    found = _read(path, self._keyring)
                except QuiesceError as error:
                    left_out.append(LeftOut(path=str(path), reason=str(error), damaged=True))
                    continue
                except OSError as error:
                    reason = f"it cannot be read ({error.strerror})"
                    left_out.append(LeftOut(path=str(path), reason=reason, damaged=True))
                    continue
                names.add(found.point.deployment)
                if found.point.deployment == deployment:
                    manifests.append(found)
                else:
                    left_out.append(
                        LeftOut(path=str(path), reason=f"it belongs to deployment {found.point.deployment}")
                    )
            copies, not_copies = _copies(repository, deployment)
        return Survey(
            directory=directory,
            manifests=tuple(manifests),
            copies=copies,
            left_out=(*left_out, *not_copies),
            deployments=frozenset(names),
        )


def deployments_in(directory: Path) -> Sequence[str]:
    """Return the deployments that a repository seems to hold backups of, by the names of directories."""
    return sorted({path.parent.parent.name for path in directory.glob(f"*/*/{_NAME}")})


def nearest_directory(path: Path) -> Path:
    """Return *path*, or the nearest directory above it that is there."""
    return next((each for each in (path, *path.parents) if each.is_dir()), Path("/"))


def _why_read_only(ground: Path, space: os.statvfs_result) -> str:
    if space.f_flag & os.ST_RDONLY:
        return f"the file system of {ground} is mounted read-only"
    return "" if os.access(ground, os.W_OK | os.X_OK) else f"{ground} cannot be written to by this user"


def _path(directory: str, point: RestorePoint) -> Path:
    return Path(directory).joinpath(*_names(point), _NAME)


def _names(point: RestorePoint) -> tuple[str, str]:
    return deployment_name(point.deployment), backup_name(point.name)


def _is_made_by(path: Path, point: RestorePoint, *, unreadable: bool) -> bool:
    """Tell whether *point*'s execution made its manifest; of a damaged one, *unreadable* is the answer."""
    try:
        return _read(path, None, _names(point)).point.execution == point.execution
    except (QuiesceError, OSError):
        return unreadable


def _entry_at(path: Path) -> bytes | None:
    """Return the content of *path*; None when nothing is there that could be a manifest."""
    try:
        return read_entry(path)
    except (FileNotFoundError, NotADirectoryError, DamagedArtifactError):
        return None


def _read(path: Path, keyring: Keyring | None, names: tuple[str, str] | None = None) -> PointManifest:
    """Return the manifest at *path*, its restore point with the manifest's digest.

    Raises:
        DamagedArtifactError: when it is not what was written, or not where it was written; with a *keyring*
            also when none of its keys has signed it.
        UnsupportedError: when a newer version of quiesce wrote it.
    """
    try:
        data = read_entry(path)
        content = json.loads(data)
        if content["format"] != FORMAT or content["checksum"] != _checksum(content["body"]):
            raise ValueError("the checksum differs")
        code = content.pop("code", None)
        if content["version"] > VERSION:
            raise UnsupportedError(f"a newer quiesce has written {path}", hint="Upgrade quiesce.")
        if keyring is not None and not keyring.has_signed(_dump(content), code):
            raise DamagedArtifactError(
                f"the manifest {path} was not written by anybody who has a key of this QUIESCE_HOME",
                hint=IMPORT_HINT,
            )
        manifest = decode(PointManifest, json.dumps(content["body"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"the manifest {path} is damaged: {error}") from error
    point = manifest.point
    if (point.deployment, point.name) != (names or (path.parent.parent.name, path.parent.name)):
        raise DamagedArtifactError(f"the manifest {path} is that of {point.name} of {point.deployment}")
    return replace(manifest, point=replace(point, manifest_sha256=hashlib.sha256(data).hexdigest()))


def _copies(repository: Archives, deployment: DeploymentName) -> tuple[frozenset[Copy], tuple[LeftOut, ...]]:
    contents = repository.contents(deployment)
    absent = {manifest.place: repository.absent(manifest) for manifest in contents.complete}
    damaged = [*contents.damaged, *(damage for found in absent.values() for damage in found)]
    whole = frozenset(_copy(manifest) for manifest in contents.complete if not absent[manifest.place])
    listed = [LeftOut(path=damage.path, reason=damage.reason, damaged=True) for damage in damaged]
    return whole, (*listed, *_drafts(repository, deployment))


def _drafts(repository: Archives, deployment: DeploymentName) -> Iterator[LeftOut]:
    for path in repository.drafts(deployment):
        yield LeftOut(path=str(path), reason="it is incomplete: its copy was begun and never finished")


def _copy(manifest: Manifest) -> Copy:
    place = manifest.place
    return Copy(point=place.point, instance=place.instance, execution=manifest.execution)


def _dump(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1).encode()


def _checksum(body: Any) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()
