"""Manifests of restore points in repositories: ``<root>/<deployment>/<point>/manifest.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from quiesce.errors import DamagedArtifactError, QuiesceError, UnsupportedError
from quiesce.files.durable import make_private_directory, storage_errors, sync_directory, write_durably
from quiesce.model.ids import BackupName, DeploymentName, backup_name, deployment_name
from quiesce.model.manifest import Copy, LeftOut, PointManifest, Survey
from quiesce.repository import Manifest, Repository
from quiesce.repository.entries import read_entry
from quiesce.stores.codec import decode, encode

FORMAT: Final = "quiesce-restore-point"
VERSION: Final = 1
_NAME: Final = "manifest.json"


class RepositoryManifests:
    """Answers the port `Manifests`."""

    def write(self, directory: str, manifest: PointManifest) -> None:
        """Write *manifest*, or replace it, durably and private to the user."""
        path = _path(directory, manifest.point.deployment, manifest.point.name)
        body = json.loads(encode(manifest))
        content = {"format": FORMAT, "version": VERSION, "body": body, "checksum": _checksum(body)}
        with storage_errors(f"write {path}"):
            make_private_directory(path.parent)
            write_durably(path, _dump(content) + b"\n")

    def remove(self, directory: str, deployment: DeploymentName, name: BackupName) -> None:
        """Remove a restore point's manifest; it is fine when there is none."""
        path = _path(directory, deployment, name)
        with storage_errors(f"remove {path}"):
            if not path.exists():
                return
            path.unlink()
            sync_directory(path.parent)
            for empty in (path.parent, path.parent.parent):
                with contextlib.suppress(OSError):
                    empty.rmdir()

    def survey(self, directory: str, deployment: DeploymentName) -> Survey:
        """Return what is there of *deployment*; what cannot be trusted is listed separately."""
        manifests: list[PointManifest] = []
        left_out: list[LeftOut] = []
        names: set[DeploymentName] = set()
        repository = Repository(Path(directory))
        with storage_errors(f"read {directory}"):
            for path in sorted(repository.root.glob(f"*/*/{_NAME}")):
                try:
                    found = _read(path)
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


def _path(directory: str, deployment: DeploymentName, name: BackupName) -> Path:
    return Path(directory) / deployment_name(deployment) / backup_name(name) / _NAME


def _read(path: Path) -> PointManifest:
    """Return the manifest at *path*.

    Raises:
        DamagedArtifactError: when it is not what was written, or not where it was written.
        UnsupportedError: when a newer version of quiesce wrote it.
    """
    try:
        content = json.loads(read_entry(path))
        if content["format"] != FORMAT or content["checksum"] != _checksum(content["body"]):
            raise ValueError("the checksum differs")
        if content["version"] > VERSION:
            raise UnsupportedError(f"a newer quiesce has written {path}", hint="Upgrade quiesce.")
        manifest = decode(PointManifest, json.dumps(content["body"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedArtifactError(f"the manifest {path} is damaged: {error}") from error
    point = manifest.point
    if (point.deployment, point.name) != (path.parent.parent.name, path.parent.name):
        raise DamagedArtifactError(f"the manifest {path} is that of {point.name} of {point.deployment}")
    return manifest


def _copies(
    repository: Repository, deployment: DeploymentName
) -> tuple[frozenset[Copy], tuple[LeftOut, ...]]:
    contents = repository.contents(deployment)
    absent = {manifest.place: repository.absent(manifest) for manifest in contents.complete}
    damaged = [*contents.damaged, *(damage for found in absent.values() for damage in found)]
    whole = frozenset(_copy(manifest) for manifest in contents.complete if not absent[manifest.place])
    listed = [LeftOut(path=damage.path, reason=damage.reason, damaged=True) for damage in damaged]
    return whole, (*listed, *_drafts(repository, deployment))


def _drafts(repository: Repository, deployment: DeploymentName) -> Iterator[LeftOut]:
    for path in repository.drafts(deployment):
        yield LeftOut(path=str(path), reason="it is incomplete: its copy was begun and never finished")


def _copy(manifest: Manifest) -> Copy:
    place = manifest.place
    return Copy(point=place.point, instance=place.instance, execution=manifest.execution)


def _dump(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1).encode()


def _checksum(body: Any) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()
