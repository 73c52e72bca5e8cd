"""How far changed block tracking is believed: not for ever, and not after it was seen to be wrong.

Its known faults lose changes (VMware's KB 2090639 for disks that have grown, and others since), and what it
says stays wrong until it is reset. A change id is the UUID of its beginning, a slash and a number: after a
reset the UUID is another.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.backups import Manifest
from quiesce.model.ids import Json
from quiesce.provider_kit.job import RuntimeState
from quiesce.providers.vsphere import vmdk
from quiesce.providers.vsphere.inventory import VirtualDisk
from quiesce.providers.vsphere.machine.artifact import BackupArtifact, SavedDisk
from quiesce.providers.vsphere.options import ChangeTracking, VSphereOptions
from quiesce.providers.vsphere.vcenter import DiskArea

#: how many grains that are said to be unchanged are compared, for each disk
_SAMPLES: Final = 16
#: the runtime property
_DOUBTED: Final = "vsphere_doubted_changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierCopy:
    """An earlier complete copy of the same machine."""

    manifest: Manifest
    artifact: BackupArtifact

    def disk(self, disk: VirtualDisk) -> SavedDisk | None:
        """Return what it holds of *disk*."""
        return next((saved for saved in self.artifact.disks if saved.key == disk.key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the changes of one disk are added to."""

    manifest: Manifest
    change_id: str


class Tracking:
    """What the earlier copies of a machine, newest first, say about its changed block tracking."""

    def __init__(self, options: VSphereOptions, earlier: Sequence[EarlierCopy], state: RuntimeState) -> None:
        """*state* keeps what was found out, although the copy that has found it out fails."""
        self._options = options
        self._earlier = earlier
        self._state = state

    def base(self, disk: VirtualDisk) -> Base | None:
        """Return what the disk's changes can be added to; None when the disk is to be read whole."""
        if not self._earlier or self._why_whole(disk):
            return None
        newest = self._earlier[0]
        saved = newest.disk(disk)
        if saved is None or saved.change_id is None or saved.capacity_bytes != disk.capacity_bytes:
            return None
        return Base(manifest=newest.manifest, change_id=saved.change_id)

    def warning(self, disk: VirtualDisk) -> str:
        """Return why tracking is not believed that there is; empty when it is, or when nobody asked."""
        if disk.change_id is None or self.doubted(disk) != _beginning(disk.change_id):
            return ""
        return (
            "it has changed its size, or a change was missed, since its changed block tracking began; "
            "reset that, and only changes will be read again"
        )

    def doubt(self, disk: VirtualDisk) -> None:
        """Note durably that a change was missed."""
        self._state.write(**{_DOUBTED: {**self._noted(), str(disk.key): _beginning(disk.change_id)}})

    def doubted(self, disk: VirtualDisk) -> str | None:
        """Return the beginning of those change ids of *disk* that are not believed, for the next copies."""
        beginning = _beginning(disk.change_id)
        known = [saved for copy in self._earlier if (saved := copy.disk(disk)) is not None]
        resized = any(
            _beginning(saved.change_id) == beginning and saved.capacity_bytes != disk.capacity_bytes
            for saved in known
        )
        doubted = self._noted().get(str(disk.key)) == beginning
        if beginning and (resized or doubted or any(saved.doubted == beginning for saved in known)):
            return beginning
        return None

    def merged(self, disk: VirtualDisk) -> int:
        """Return how many copies in a row were put together from changes, when this one is, too."""
        saved = self._earlier[0].disk(disk) if self._earlier else None
        return saved.merged + 1 if saved is not None else 0

    def _noted(self) -> Mapping[str, Json]:
        """Return, by disk, the beginning of those change ids of which a copy has found that they lie."""
        noted = self._state.read(_DOUBTED)
        return noted if isinstance(noted, dict) else {}

    def _why_whole(self, disk: VirtualDisk) -> bool:
        return (
            disk.change_id is None
            or disk.encrypted  # parts of its file are ciphertext
            or self._options.change_tracking is ChangeTracking.NEVER
            or self.merged(disk) >= self._options.full_read_every
            or self.doubted(disk) is not None
        )


def samples(areas: Iterable[DiskArea], capacity_bytes: int) -> frozenset[int]:
    """Return numbers of grains, at random, that lie in none of *areas*."""
    grains = -(-capacity_bytes // vmdk.GRAIN)
    chosen = set(random.sample(range(grains), min(grains, _SAMPLES)))
    for area in areas:
        first, last = area.start // vmdk.GRAIN, (area.start + area.length - 1) // vmdk.GRAIN
        chosen = {number for number in chosen if not first <= number <= last}
    return frozenset(chosen)


def _beginning(change_id: str | None) -> str:
    return (change_id or "").partition("/")[0]
