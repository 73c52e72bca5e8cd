"""What a complete backup of one instance says about itself."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from quiesce.archives.keyring import IMPORT_HINT, Keyring
from quiesce.errors import DamagedArtifactError, NonRecoverableError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import (
    BackupName,
    DeploymentName,
    ExecutionId,
    InstanceId,
    Json,
    backup_name,
    deployment_name,
)

FORMAT: Final = "quiesce-manifest"
VERSION: Final = 1

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:@%-]{0,199}")
_LONGEST_COMPONENT: Final = 200


class Compression(enum.StrEnum):
    """How a stored file is compressed."""

    NONE = "none"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKey:
    """Whose backup it is, and of what."""

    deployment: DeploymentName
    point: BackupName
    instance: InstanceId

    def components(self) -> tuple[str, str, str]:
        """Return the names of the three directories, safe whatever the names are.

        Raises:
            UsageError: when a name cannot become part of a path.
        """
        return deployment_name(self.deployment), backup_name(self.point), _component(self.instance)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a backup, as it lies on the disk."""

    path: str
    size_bytes: int
    sha256: str
    compression: Compression = Compression.NONE

    def as_json(self) -> dict[str, Json]:
        """Return it as a manifest and an artifact's ``files`` write it."""
        return {
            "path": self.path,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "compression": self.compression.value,
        }

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> StoredFile:
        """Read what `as_json` wrote."""
        size = data["size_bytes"]
        if not isinstance(size, int):
            raise TypeError("size_bytes is not a number")
        return cls(
            path=file_name(str(data["path"])),
            size_bytes=size,
            sha256=str(data["sha256"]),
            compression=Compression(str(data.get("compression", "none"))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that is needed to restore one instance without the catalog."""

    place: BackupKey
    execution: ExecutionId
    provider: str
    function: str
    #: as the provider saw it at the copy; the manifest of the restore point says what it is worth
    consistency: Consistency
    files: tuple[StoredFile, ...] = ()
    #: seconds since the epoch
    cut_at: float | None = None
    made_at: float = 0.0
    #: the provider's artifact: what `Call.artifact` is to be
    content: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """What the backup takes on the disk, the manifest not counted in."""
        return sum(file.size_bytes for file in self.files)

    def file(self, path: str) -> StoredFile:
        """Return the file of that name.

        Raises:
            DamagedArtifactError: when the manifest has none.
        """
        for file in self.files:
            if file.path == path:
                return file
        raise DamagedArtifactError(f"the manifest of {describe(self.place)} names no file {path!r}")

    def as_bytes(self, keyring: Keyring) -> bytes:
        """Return it as it is stored: JSON that carries its own checksum and authentication code."""
        body = self._body()
        code = keyring.sign(_dump(body))
        return _dump({**body, "checksum": _checksum(body), "code": code}) + b"\n"

    def _body(self) -> dict[str, Json]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "deployment": self.place.deployment,
            "point": self.place.point,
            "instance": self.place.instance,
            "execution": self.execution,
            "provider": self.provider,
            "function": self.function,
            "consistency": self.consistency.label,
            "cut_at": self.cut_at,
            "made_at": self.made_at,
            "content": dict(self.content),
            "note": self.note,
            "files": [file.as_json() for file in self.files],
        }


def read_manifest(data: bytes, where: str, keyring: Keyring | None) -> Manifest:
    """Return the manifest that *data* holds; without a *keyring*, whoever wrote it.

    Raises:
        DamagedArtifactError: when it is not what was written, or by nobody who has one of the keys.
        NonRecoverableError: when a newer version of quiesce wrote it.
    """
    try:
        body = json.loads(data)
        if body.get("format") != FORMAT:
            raise ValueError("not a manifest")
        checksum, code = body.pop("checksum", None), body.pop("code", None)
        if checksum != _checksum(body):
            raise ValueError("the checksum differs")
        _refuse_newer(body["version"], where)
        if keyring is not None and not keyring.has_signed(_dump(body), code):
            raise _not_ours(where)
        return _manifest_of(body)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        UsageError,
    ) as error:
        raise DamagedArtifactError(f"the manifest {where} is damaged: {error}") from error


def file_name(text: str) -> str:
    """Return *text* as the name of a stored file.

    Raises:
        UsageError: when it could not safely be one.
    """
    if not _FILE_NAME.fullmatch(text) or ".." in text or text in {"manifest.json", "draft.json"}:
        raise UsageError(f"{text[:60]!r} cannot be the name of a file in a backup")
    return text


def _not_ours(where: str) -> DamagedArtifactError:
    return DamagedArtifactError(
        f"the manifest {where} was not written by anybody who has a key of this QUIESCE_HOME",
        hint=IMPORT_HINT,
    )


def describe(place: BackupKey) -> str:
    """Return the words for *place* in messages."""
    return f"{place.instance} in {place.point} of {place.deployment}"


def _manifest_of(body: Mapping[str, Json]) -> Manifest:
    files, content, cut_at = body["files"], body["content"], body["cut_at"]
    if not isinstance(files, list) or not isinstance(content, dict):
        raise TypeError("it has no files or no content")
    return Manifest(
        place=BackupKey(
            deployment=DeploymentName(str(body["deployment"])),
            point=BackupName(str(body["point"])),
            instance=InstanceId(str(body["instance"])),
        ),
        execution=ExecutionId(str(body["execution"])),
        provider=str(body["provider"]),
        function=str(body["function"]),
        consistency=Consistency[str(body["consistency"]).upper()],
        files=tuple(StoredFile.of(file) for file in files if isinstance(file, dict)),
        cut_at=float(cut_at) if isinstance(cut_at, int | float) else None,
        made_at=float(str(body["made_at"])),
        content=content,
        note=str(body["note"]),
    )


def _refuse_newer(version: Json, where: str) -> None:
    if isinstance(version, int) and version > VERSION:
        raise NonRecoverableError(
            f"the manifest {where} has version {version}, this quiesce reads up to {VERSION}",
            hint="Upgrade quiesce.",
        )


def _component(text: str) -> str:
    name = quote(text, safe="+:@")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if not name or len(name) > _LONGEST_COMPONENT:
        raise UsageError(f"{text[:60]!r} cannot be the name of a directory: it is empty or too long")
    return name


def _dump(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, sort_keys=True, indent=1, ensure_ascii=True).encode()


def _checksum(body: Mapping[str, Json]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()
