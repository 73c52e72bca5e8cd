"""What a restore point holds of one instance, before and after it exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quiesce.model.ids import Json
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.references import Location, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedDisk:
    """One disk of what is copied: as it is attached, and what a new disk needs to take its place."""

    disk: Reference
    disk_id: str
    size_gb: int
    type: str
    #: empty for a disk that is attached to nothing
    device: str = ""
    boot: bool = False
    auto_delete: bool = False
    mode: str = "READ_WRITE"
    #: how the machine talks to it: ``NVME``
    interface: str = ""
    replica_zones: tuple[str, ...] = ()
    iops: int = 0
    throughput: int = 0
    #: of the disk, without quiesce's own
    labels: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[str, ...] = ()
    kms_key: str = ""
    storage_pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCopy:
    """One object that quiesce made: a snapshot of one disk, or a machine image of all."""

    reference: Reference
    #: the service's own id; tells the object from another one that got its name later
    id: str
    disks: tuple[CopiedDisk, ...]
    #: awaited by COPY; None when it was over at the cut
    operation: Reference | None = None
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySet:
    """Everything that one restore point holds of one instance."""

    copies: tuple[MadeCopy, ...]
    #: the machine whose disks they are; None for a disk on its own
    machine: Reference | None = None
    machine_type: str = ""
    #: what a new machine needs to be like the copied one
    machine_settings: Mapping[str, Json] = field(default_factory=dict)
    #: names of its metadata, and its addresses: what no new machine is given
    metadata: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    #: whether they were cut as an instant snapshot group, which is there beside them
    grouped: bool = False

    @property
    def disks(self) -> tuple[tuple[MadeCopy, CopiedDisk], ...]:
        """Every disk, with the copy that holds it."""
        return tuple((copy, disk) for copy in self.copies for disk in copy.disks)

    def as_artifact(self) -> dict[str, Json]:
        """Return it as plain data for the journal and the catalog."""
        shown: dict[str, Json] = {
            "objects": [copy.reference.path for copy in self.copies],
            "size_bytes": sum(copy.stored_bytes for copy in self.copies),
        }
        return shown | as_artifact(self)


def copy_set(job: GcpJob) -> CopySet:
    """Return what the call's restore point holds.

    Raises:
        ResourceNotFoundError: when it is not known.
        DamagedArtifactError: when it cannot be read.
    """
    return read_artifact(CopySet, artifact_of(job.call))


def locations_of(copies: Iterable[MadeCopy]) -> list[Location]:
    """Return where *copies* are listed; instant snapshots, which are soon complete, first."""
    found = {copy.reference.location for copy in copies}
    return sorted(found, key=lambda location: (location.collection, location.scope))
