"""What the provider asks of one vCenter, in our own words; the SDK's types never cross it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Protocol

from quiesce.model.ids import Json


class Power(enum.StrEnum):
    """A machine's power state."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class Backing(enum.StrEnum):
    """What a disk's bytes lie on."""

    FILE = "file"
    #: a raw device mapping
    DEVICE = "device"
    OTHER = "other"


class Patience(Protocol):
    """How long somebody waits; `quiesce.ports.Context` is one."""

    def remaining_s(self) -> float:
        """Return how many seconds are left."""
        ...

    def given_up(self) -> bool:
        """Tell whether nobody waits any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One virtual disk, as a machine or a snapshot has it."""

    key: int
    label: str
    capacity_bytes: int
    #: ``[datastore] folder/name.vmdk``
    file: str
    controller: int
    unit: int
    backing: Backing = Backing.FILE
    #: not part of snapshots
    independent: bool = False
    #: other machines may write to it too
    shared: bool = False
    #: where changed block tracking stands; only meaningful on a snapshot's disks
    change_id: str | None = None
    #: it is read through another file (there is an older snapshot)
    layered: bool = False

    @property
    def position(self) -> tuple[int, int]:
        """Return controller and unit: what a disk keeps when it is copied."""
        return self.controller, self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot of a machine's tree."""

    id: str
    name: str
    description: str
    #: the machine's power state at the cut
    power: Power
    quiesced: bool
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A virtual machine as it is now."""

    id: str
    name: str
    uuid: str
    power: Power
    #: its host answers and its files can be reached
    reachable: bool = True
    tools_running: bool = False
    template: bool = False
    disks: tuple[Disk, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    current: str | None = None
    consolidation_needed: bool = False
    change_tracking: bool = False
    #: our own settings in its configuration, by name
    marks: Mapping[str, str] = field(default_factory=dict)
    #: what is needed to build a machine like it, as plain data
    hardware: Mapping[str, Json] = field(default_factory=dict)
    folder: str = ""
    pool: str | None = None
    #: tasks that are queued or running on it
    busy: bool = False
    #: the least free space of its datastores, in bytes; None when it was not asked for
    free_bytes: int | None = None

    def snapshot_named(self, name: str) -> Snapshot | None:
        """Return the snapshot of that name; the newest, when there are several."""
        return next((one for one in reversed(self.snapshots) if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How a node's machine is found: the first of these that is given and there."""

    #: a managed object id, an instance UUID, an inventory path or a name that the operator wrote
    resource: str | None = None
    #: the managed object id that was recorded when the machine was made
    id: str | None = None
    #: names it may have, likeliest first
    names: tuple[str, ...] = ()
    datacenter: str | None = None

    def __str__(self) -> str:
        asked = [self.resource, self.id, *self.names]
        return " or ".join(repr(one) for one in asked if one) or "no name"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest:
    """What kind of snapshot is to be made."""

    name: str
    description: str
    memory: bool = False
    quiesce: bool = False
    #: how long the guest may take to quiesce; None: the platform's own default
    quiesce_timeout_min: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """Where a clone goes, and how it is marked."""

    name: str
    marks: Mapping[str, str]
    #: names; None: next to the source
    datastore: str | None = None
    folder: str | None = None
    #: managed object id of the resource pool; None: the source's
    pool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A machine to be built from stored disks."""

    name: str
    marks: Mapping[str, str]
    hardware: Mapping[str, Json]
    #: managed object id of the folder that the machine was in, unless *folder* names another one
    folder_id: str
    pool: str | None
    folder: str | None = None
    datastore: str | None = None
    #: with its network cards
    connected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A stored stream-optimised VMDK."""

    stream: IO[bytes]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A range of bytes of a disk."""

    start: int
    length: int


class ExportLease(Protocol):
    """A lease on a snapshot's disks; it ends with its ``with`` block."""

    def keys(self) -> Sequence[int]:
        """Return the keys of the disks that can be read."""
        ...

    def open(self, key: int) -> AbstractContextManager[Iterator[bytes]]:
        """Return the stream-optimised VMDK of one disk, in pieces."""
        ...

    def sha1(self, key: int) -> str | None:
        """Return the platform's own checksum of what was read; None when it has none."""
        ...


class Center(Protocol):
    """One vCenter. Safe from many threads; concurrent reads and waits are combined.

    Everything that changes something returns when its task is over, and raises `ProviderError`:
    `OperationTimeoutError` when *patience* ran out (the effect may come later), `RecoverableError` when
    asking again may help. No method repeats a change by itself.
    """

    def find(self, lookup: Lookup) -> str:
        """Return the machine's id.

        Raises:
            ResourceNotFoundError: when there is none, or the name means more than one.
        """
        ...

    def machine(self, machine: str) -> Machine:
        """Return the machine as it is now.

        Raises:
            ResourceNotFoundError: when it is gone.
        """
        ...

    def settle(self, machine: str, patience: Patience) -> Machine:
        """Return the machine once no task runs on it any more."""
        ...

    def children(self, name: str) -> tuple[str, ...]:
        """Return the ids of all machines and templates of exactly that name."""
        ...

    def suspend(self, machine: str, patience: Patience) -> None:
        """Suspend a running machine."""
        ...

    def power_on(self, machine: str, patience: Patience) -> None:
        """Start a machine, or resume a suspended one."""
        ...

    def power_off(self, machine: str, patience: Patience) -> None:
        """Switch a machine off at once."""
        ...

    def create_snapshot(self, machine: str, request: SnapshotRequest, patience: Patience) -> str:
        """Make a snapshot and return its id."""
        ...

    def revert(self, snapshot: str, patience: Patience) -> None:
        """Put the snapshot's machine back to it."""
        ...

    def remove_snapshot(self, snapshot: str, patience: Patience) -> None:
        """Remove this snapshot only; its children stay."""
        ...

    def disks_at(self, snapshot: str) -> tuple[Disk, ...]:
        """Return the machine's disks as they were at the cut."""
        ...

    def clone(self, machine: str, snapshot: str | None, request: CopyRequest, patience: Patience) -> str:
        """Copy a machine, or its state at a snapshot, and return the copy's id."""
        ...

    def destroy(self, machine: str, patience: Patience) -> None:
        """Remove a machine that is not running, with all disks that it has now."""
        ...

    def mark(self, machine: str, marks: Mapping[str, str], patience: Patience) -> None:
        """Write our own settings into a machine's configuration."""
        ...

    def exchange(
        self,
        machine: str,
        *,
        out: Sequence[Disk],
        into: Sequence[Disk],
        hardware: Mapping[str, Json],
        marks: Mapping[str, str],
        patience: Patience,
    ) -> None:
        """Take disks out (their files stay) and put files in, in one change."""
        ...

    def rename(self, machine: str, name: str, patience: Patience) -> None:
        """Give a machine another name."""
        ...

    def export(self, machine: str, snapshot: str) -> AbstractContextManager[ExportLease]:
        """Return a lease to read the disks at a snapshot."""
        ...

    def changed(self, machine: str, snapshot: str, disk: Disk, since: str) -> tuple[Area, ...]:
        """Return what changed between change id *since* and *snapshot*.

        Raises:
            UnsupportedError: when tracking was reset since then, so that only a full read is right.
        """
        ...

    def read(self, disk: Disk, area: Area) -> bytes:
        """Return bytes of a snapshot's disk.

        Raises:
            UnsupportedError: when its file cannot be read in parts.
        """
        ...

    def build(self, request: BuildRequest, disks: Mapping[int, Upload], patience: Patience) -> str:
        """Make a machine from stream-optimised VMDKs, by disk key, and return its id."""
        ...

    def measure(self, machine: str) -> Mapping[str, Json]:
        """Return figures of a machine; concurrent requests are one query."""
        ...

    def free_bytes(self, machine: str) -> int:
        """Return the least free space of the datastores that the machine lies on."""
        ...

    def missing_rights(self, machine: str, rights: Sequence[str]) -> tuple[str, ...]:
        """Return those of *rights* (privilege ids) that this login has not on the machine."""
        ...

    def inventory(self, folder: str | None = None) -> tuple[Machine, ...]:
        """Return every machine, templates left out."""
        ...

    def close(self) -> None:
        """Log out."""
        ...
