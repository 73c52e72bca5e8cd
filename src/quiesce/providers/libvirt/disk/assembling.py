"""Putting stored disks together beside their places, checked, and then in their places.

Nothing is put in its place before every stored byte was found as it was written. New disks have no names
until then, so that a failed check, a cancel and a killed process leave nothing of them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quiesce.backups import Backups, Manifest
from quiesce.files.content import write_all_at
from quiesce.files.durable import storage_errors
from quiesce.ports import Context
from quiesce.provider_kit.saving import watched
from quiesce.providers.libvirt.disk import qcow2
from quiesce.providers.libvirt.disk.new_file import NewFile

if TYPE_CHECKING:  # large, and most calls restore nothing
    from quiesce.repository import PointReader

_SUFFIX: Final = "quiesce-restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskTarget:
    """One disk that is to be written."""

    name: str
    #: where it is to be in the end
    path: Path
    format: str
    size_bytes: int
    #: what the backup calls it
    item: str

    @property
    def is_device(self) -> bool:
        """Tell whether it is a block device, which is written in place."""
        return self.path.exists() and stat.S_ISBLK(self.path.stat().st_mode)

    def beside(self, key: str) -> Path:
        """Return where it is put together."""
        return self.path.with_name(f".{self.path.name}.{key}.{_SUFFIX}")


class Assembly:
    """Disks of one backup on their way back."""

    def __init__(
        self,
        repository: Backups,
        manifest: Manifest,
        targets: Sequence[DiskTarget],
        key: str,
        context: Context,
    ) -> None:
        self._repository = repository
        self._manifest = manifest
        self._targets = targets
        self._key = key
        self._advance = watched(context, manifest.size_bytes)
        #: what lies beside, whole or not
        self._new: dict[Path, NewFile] = {}
        self._reader: PointReader | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Let the new disks lie beside the old ones, checked; what is left of them goes at the end.

        Raises:
            DamagedArtifactError: when anything stored is not what was written; nothing was touched.
        """
        with self._repository.reader(self._manifest) as self._reader:
            try:
                for target in self._targets:
                    if not target.is_device:
                        self._assemble(self._reader, target)
                for name in self._read_by_nobody_else():
                    for _, length, _ in self._reader.blocks(name):
                        self._advance(length)
                yield
            finally:
                self._clear()

    def put(self) -> None:
        """Put every new disk in its place; the old one is gone then. May run again after it was cut off."""
        for target in self._targets:
            with storage_errors(f"replace {target.path}"):
                if target.is_device:
                    self._write_device(target)
                else:
                    self._new[target.beside(self._key)].give_name()
                    _take_over_owner(target.path, target.beside(self._key))
                    target.beside(self._key).replace(target.path)

    def _read_by_nobody_else(self) -> list[str]:
        """Return the items that are not read while disks are put together."""
        read = {target.item for target in self._targets if not target.is_device}
        return [name for name in self._manifest.items if name not in read]

    def _assemble(self, reader: PointReader, target: DiskTarget) -> None:
        path = target.beside(self._key)
        with storage_errors(f"write {path}"):
            self._new[path] = file = NewFile(path)
            write = _write_qcow2 if target.format == "qcow2" else _write_raw
            write(reader, target, file.descriptor, self._advance)
            os.fsync(file.descriptor)

    def _write_device(self, target: DiskTarget) -> None:
        """Write a block device from its first byte to its last."""
        if self._reader is None:
            raise RuntimeError("what is to be written was not prepared")
        with target.path.open("r+b", buffering=0) as device:
            self._reader.restore_disk(target.item, device.fileno())
            os.fsync(device.fileno())

    def _clear(self) -> None:
        for file in self._new.values():
            with contextlib.suppress(OSError):
                file.close()
        self._new.clear()
        # of a process that was killed while names were given
        for target in self._targets:
            with contextlib.suppress(OSError):
                target.beside(self._key).unlink()


def _take_over_owner(old: Path, new: Path) -> None:
    """Let those who may use the *old* file use the *new* one."""
    if not old.exists():
        return
    found = old.stat()
    with contextlib.suppress(PermissionError):
        os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


def _write_raw(
    reader: PointReader, target: DiskTarget, descriptor: int, advance: Callable[[int], None]
) -> None:
    reader.restore_disk(target.item, descriptor, is_zero=True, progress=advance)
    os.ftruncate(descriptor, target.size_bytes)


def _write_qcow2(
    reader: PointReader, target: DiskTarget, descriptor: int, advance: Callable[[int], None]
) -> None:
    """Write an image that holds what is not zero, laid out before the first byte of data is read."""
    layout = qcow2.Layout(target.size_bytes, qcow2.whole_clusters(reader.extents(target.item)))
    place = 0
    for head in layout.head():
        write_all_at(descriptor, head, place)
        place += len(head)
    for offset, length, data in reader.blocks(target.item):
        if data is not None:
            write_all_at(descriptor, data, layout.place_of(offset))
        advance(length)
    os.ftruncate(descriptor, layout.file_bytes)
