"""A backup that is being written, until its manifest makes it complete."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quiesce.archives.entries import read_entry
from quiesce.archives.keyring import Keyring
from quiesce.archives.manifest import BackupKey, Compression, Manifest, StoredFile, describe, file_name
from quiesce.archives.streams import FileWriter, Progress, absence_of, checksum, nobody
from quiesce.errors import ForeignObjectError, NonRecoverableError
from quiesce.files.durable import REPOSITORY_FULL, holds_anything, storage_errors, write_durably
from quiesce.files.held import held_path
from quiesce.files.reading import open_regular_file
from quiesce.model.consistency import Consistency
from quiesce.model.ids import ExecutionId, Json
from quiesce.model.restore_point import REPOSITORY

MANIFEST: Final = "manifest.json"
DRAFT: Final = "draft.json"
FORMAT: Final = "quiesce-draft"
_CODE: Final = "code"


class Draft:
    """One instance's backup on its way. Made by `Archives.begin` only.

    It is resumed by the execution that began it: `finished` tells which files it need not write again.
    Several threads may write a file each.
    """

    def __init__(
        self,
        directory: tuple[Path, int],
        place: BackupKey,
        execution: ExecutionId,
        provider: str,
        keyring: Keyring,
        *,
        repository: str,
    ) -> None:
        """Write into *directory*, by its descriptor, which is closed with the draft.

        It lies in the repository of the identity *repository*; empty: it has none.
        """
        self._repository = repository
        self._keyring = keyring
        self.directory, descriptor = directory
        self._held = held_path(descriptor)
        weakref.finalize(self, os.close, descriptor)
        self.place = place
        self.execution = execution
        self.provider = provider
        self._finished: dict[str, StoredFile] = {}
        self._lock = threading.Lock()

    @property
    def finished(self) -> Mapping[str, StoredFile]:
        """The files that are durable already, by name."""
        return self._finished

    def path(self, name: str) -> Path:
        """Return where the file *name* belongs, for another program that writes it; then `adopt` it."""
        return self.directory / file_name(name)

    def own_path(self, name: str) -> Path:
        """Return the same for this process alone: it leads there whoever renames directories meanwhile."""
        return self._held / file_name(name)

    def create(
        self, name: str, compression: Compression = Compression.NONE, progress: Progress = nobody
    ) -> FileWriter:
        """Return a new file to write to, empty even when an earlier attempt had begun it."""
        self._forget(name)
        with storage_errors(f"write {self.path(name)}", no_room=REPOSITORY_FULL):
            return FileWriter(self.own_path(name), compression, self._enter, progress)

    def adopt(
        self, name: str, compression: Compression = Compression.NONE, progress: Progress = nobody
    ) -> StoredFile:
        """Make a file that a tool has written at `path` part of the backup: private, durable, checksummed.

        *compression* says what the tool did, for those who read the file through the repository.
        """
        with (
            storage_errors(f"store {self.path(name)}", no_room=REPOSITORY_FULL),
            open_regular_file(self.own_path(name)) as file,
        ):
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            size_bytes, sha256 = checksum(self.own_path(name), progress)
            stored = StoredFile(path=name, size_bytes=size_bytes, sha256=sha256, compression=compression)
            self._enter(stored)
        return stored

    def enter(self, stored: StoredFile) -> None:
        """Make the file of that name part of the backup as it is.

        For who has written it durably and privately and knows its checksum already: computed while it
        was written, or because it is a hard link to a stored file.
        """
        with storage_errors(f"store {self.path(stored.path)}", no_room=REPOSITORY_FULL):
            self._enter(stored)

    def complete(
        self,
        *,
        function: str,
        consistency: Consistency,
        cut_at: float | None = None,
        made_at: float = 0.0,
        content: Mapping[str, Json] | None = None,
        note: str = "",
    ) -> Manifest:
        """Write the manifest over every finished file; the backup is complete when this returns.

        *content* is the provider's artifact; its ``files`` and ``size_bytes`` are filled in, and which
        repository it lies in.
        """
        files = tuple(self._finished[name] for name in sorted(self._finished))
        manifest = Manifest(
            place=self.place,
            execution=self.execution,
            provider=self.provider,
            function=function,
            consistency=consistency,
            files=files,
            cut_at=cut_at,
            made_at=made_at,
            content={**(content or {}), **_artifact_of(files, self._repository)},
            note=note,
        )
        with storage_errors(f"complete {self.directory}", no_room=REPOSITORY_FULL):
            self._remove_strangers()
            write_durably(self._held / MANIFEST, manifest.as_bytes(self._keyring))
            (self._held / DRAFT).unlink(missing_ok=True)
        return manifest

    def take_up(self) -> None:
        """Begin, or continue what the same execution had begun.

        Raises:
            ForeignObjectError: when what is there is not this execution's draft.
        """
        if not _is_own_directory(self._held):
            raise ForeignObjectError(
                f"{self.directory} was made by somebody else, who could replace what is written there",
                hint="Find out who made it, and remove it.",
            )
        if os.path.lexists(self._held / MANIFEST):
            raise ForeignObjectError(f"there is a backup of {describe(self.place)} already: {self.directory}")
        found = _read(self._held / DRAFT)
        if found is None:
            self._begin_anew()
        elif found.get("execution") != self.execution:
            raise ForeignObjectError(
                f"{self.directory} is being written by execution {found.get('execution')}",
                hint="Remove what it left with 'quiesce remove-backup', or choose another snapshot_name.",
            )
        elif not self._is_signed(found):
            raise ForeignObjectError(f"quiesce did not write {self.directory / DRAFT}")
        else:
            self._finished = {file.path: file for file in _files_of(found) if self._is_there(file)}

    def _begin_anew(self) -> None:
        if holds_anything(self._held):
            raise ForeignObjectError(f"{self.directory} is not empty, and quiesce did not make what is there")
        self._write()

    def _is_there(self, file: StoredFile) -> bool:
        return absence_of(self._held / file.path, file) is None

    def _is_signed(self, found: Mapping[str, Json]) -> bool:
        """Tell whether we wrote what a draft says: checksums of a forged one would become the backup's."""
        body = {name: value for name, value in found.items() if name != _CODE}
        ours = (self.place.deployment, self.place.point, self.place.instance)
        here = (body.get("deployment"), body.get("point"), body.get("instance")) == ours
        return here and self._keyring.has_signed(_dump(body), found.get(_CODE))

    def _enter(self, file: StoredFile) -> None:
        with self._lock:
            self._finished[file.path] = file
            self._write()

    def _forget(self, name: str) -> None:
        with self._lock:
            if self._finished.pop(name, None) is not None:
                self._write()

    def _write(self) -> None:
        body = {
            "format": FORMAT,
            "version": 1,
            "deployment": self.place.deployment,
            "point": self.place.point,
            "instance": self.place.instance,
            "execution": self.execution,
            "provider": self.provider,
            "files": [file.as_json() for file in self._finished.values()],
        }
        data = json.dumps({**body, _CODE: self._keyring.sign(_dump(body))}).encode()
        with storage_errors(f"write {self.directory / DRAFT}", no_room=REPOSITORY_FULL):
            write_durably(self._held / DRAFT, data)

    def _remove_strangers(self) -> None:
        for path in self._held.iterdir():
            if path.name not in self._finished and path.name != DRAFT:
                path.unlink()


def is_ours(directory: Path) -> bool:
    """Tell whether quiesce made *directory*: it holds a draft's or a backup's mark."""
    return (directory / MANIFEST).is_file() or _read(directory / DRAFT) is not None


def drafted_by(directory: Path) -> ExecutionId | None:
    """Return which execution writes the draft in *directory*; None when there is no draft."""
    found = _read(directory / DRAFT)
    return ExecutionId(str(found["execution"])) if found else None


def _is_own_directory(directory: Path) -> bool:
    """Tell whether we have made *directory*: over a network, what is ours may bear another user's number."""
    owner = directory.stat().st_uid
    return owner == os.geteuid() or owner == _owner_of_new_files(directory)


def _owner_of_new_files(directory: Path) -> int:
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_uid


def _read(path: Path) -> Mapping[str, Json] | None:
    try:
        data = json.loads(read_entry(path))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            return None
        _files_of(data)
        ExecutionId(data["execution"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NonRecoverableError(f"{path} is damaged: {error}", hint="Remove that directory.") from error
    return data


def _files_of(found: Mapping[str, Any]) -> list[StoredFile]:
    return [StoredFile.of(file) for file in found["files"]]


def _artifact_of(files: tuple[StoredFile, ...], repository: str) -> dict[str, Json]:
    listed: list[Json] = [file.as_json() for file in files]
    lying_in: dict[str, Json] = {REPOSITORY: repository} if repository else {}
    return {"files": listed, "size_bytes": sum(file.size_bytes for file in files), **lying_in}


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()
