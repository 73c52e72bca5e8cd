"""What of a volume belongs to a restore point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact
from quiesce.providers.openstack.resources import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeContent:
    """A snapshot of one volume, later perhaps a backup of it instead: ids, as an artifact keeps them."""

    volume: str
    size_gib: int = 0
    #: what a volume that takes its place needs to be like it
    name: str = ""
    type: str | None = None
    zone: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    snapshot: str | None = None
    #: the snapshot of the whole group that this one was made in, and can be removed with only
    group_snapshot: str | None = None
    backup: str | None = None
    #: where the volume was attached at the cut
    device: str | None = None
    #: whether a server boots from it
    root: bool = False
    #: of an incremental backup: the restore point that it needs
    builds_on: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[str, ...]:
        """The ids of the objects that hold the data."""
        return tuple(found for found in (self.snapshot, self.group_snapshot, self.backup) if found)

    @property
    def size_bytes(self) -> int:
        """The volume's size."""
        return self.size_gib << 30

    def outcome(self) -> Outcome:
        """Return the answer of a step that was about this volume alone."""
        shown: dict[str, Json] = {"size_bytes": self.size_bytes, "objects": list(self.objects)}
        return Outcome(artifact=as_artifact(self) | shown)


def is_root_device(device: str | None, volume: Volume) -> bool:
    """Tell whether a server boots from *volume*, as far as a device name can tell."""
    return volume.bootable and device is not None and device.rstrip("0123456789").endswith("da")
