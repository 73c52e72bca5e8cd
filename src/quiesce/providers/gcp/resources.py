"""What Compute Engine answers, as far as quiesce uses it, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.model.ids import Json
from quiesce.providers.gcp.references import Reference, last_part

RUNNING: Final = "RUNNING"
SUSPENDED: Final = "SUSPENDED"
STOPPED: Final = "TERMINATED"
READY: Final = "READY"
CREATING: Final = "CREATING"
#: a copy that will never be good
BROKEN: Final = frozenset({"FAILED", "INVALID", "UNAVAILABLE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedDisk:
    """One disk as a machine sees it."""

    device: str
    #: None for Local SSD, which is no resource of its own
    disk: Reference | None
    boot: bool
    auto_delete: bool
    mode: str
    interface: str
    size_gb: int
    #: whether a key that only the customer has is needed to read it
    customer_key: bool = False

    @property
    def scratch(self) -> bool:
        """Whether it is Local SSD, which no snapshot can hold."""
        return self.disk is None


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpMachine:
    """A virtual machine."""

    reference: Reference
    id: str
    status: str
    attachments: tuple[AttachedDisk, ...]
    labels: Mapping[str, str]
    machine_type: str
    gpus: int
    confidential: bool
    started_at: str
    stopped_at: str
    suspended_at: str
    #: what a new machine needs to be like this one, in the words of the API; no secret in it
    settings: Mapping[str, Json] = field(default_factory=dict)
    #: names of its metadata, whose values may be secrets
    metadata: tuple[str, ...] = ()
    #: inside, outside, and ranges of aliases
    addresses: tuple[str, ...] = ()

    @property
    def persistent(self) -> tuple[AttachedDisk, ...]:
        """The disks that can be snapshotted, the boot disk first."""
        return tuple(sorted((a for a in self.attachments if not a.scratch), key=lambda a: not a.boot))

    @property
    def local_ssds(self) -> int:
        """How many Local SSDs it has."""
        return sum(a.scratch for a in self.attachments)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpDisk:
    """A persistent disk, zonal or regional."""

    reference: Reference
    id: str
    status: str
    size_gb: int
    type: str
    labels: Mapping[str, str]
    users: tuple[Reference, ...]
    replica_zones: tuple[str, ...]
    attached_at: str
    #: whether a key that only the customer has is needed to read it
    customer_key: bool
    iops: int
    throughput: int
    #: paths of schedules and consistency groups that it belongs to
    policies: tuple[str, ...] = ()
    #: path of the customer's key in Google's key service, without a version
    kms_key: str = ""
    storage_pool: str = ""

    @property
    def type_name(self) -> str:
        """``pd-balanced``."""
        return last_part(self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpCopy:
    """A snapshot, an instant snapshot or a machine image."""

    reference: Reference
    id: str
    status: str
    labels: Mapping[str, str]
    #: of the disk; 0 for a machine image
    disk_size_gb: int
    #: what it takes in storage, as far as known
    stored_bytes: int
    #: the disk that it is a copy of; None for a machine image
    source: Reference | None = None
    #: path of the group that it was made in, at one instant with others
    group: str = ""
    #: of its labels
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much of something a project or region may use, and uses."""

    metric: str
    limit: float
    usage: float
