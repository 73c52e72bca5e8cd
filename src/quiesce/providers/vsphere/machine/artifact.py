"""What the catalog keeps of a machine's restore point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.consistency import Consistency
from quiesce.providers.vsphere.inventory import UNKNOWN_HEARTBEAT, Hardware, PowerState, VirtualDisk
from quiesce.providers.vsphere.options import BackupTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotArtifact:
    """What SNAPSHOT answers."""

    objects: tuple[str, ...]
    machine: str
    uuid: str
    name: str
    snapshot: str
    snapshot_name: str
    #: the machine's power state at the cut
    power: PowerState
    memory: bool = False
    quiesced: bool = False
    #: of a guest that was asked to quiesce, before the cut
    heartbeat: str = UNKNOWN_HEARTBEAT
    #: labels of the disks that it does not hold
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedDisk:
    """One disk of a full copy."""

    key: int
    capacity_bytes: int
    #: the stored file, or the clone's
    file: str
    label: str = ""
    change_id: str | None = None
    #: how many copies in a row, this one included, were put together from changes
    merged: int = 0
    #: the beginning of change ids of this disk that are not believed any more
    doubted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupArtifact:
    """What SNAPSHOT answers for a full copy, and COPY completes."""

    objects: tuple[str, ...]
    target: BackupTarget
    #: the temporary snapshot that it is made from
    cut: SnapshotArtifact
    cut_at: float
    consistency: Consistency
    hardware: Hardware
    #: managed object ids of where the machine lies
    folder: str
    pool: str | None = None
    disks: tuple[SavedDisk, ...] = ()
    #: the machine's custom attributes, by name
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: how much of the disks was read to be stored
    read_bytes: int = 0
    #: managed object id of the clone
    clone: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedDisks:
    """The disks that a restore takes out of the machine; noted on the machine that it makes."""

    disks: tuple[VirtualDisk, ...] = ()
