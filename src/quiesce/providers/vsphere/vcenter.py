"""What the provider asks of one vCenter, in our own words; the SDK's types never cross it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

from quiesce.model.ids import Json
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.inventory import Hardware, MachineLookup, VirtualDisk, VirtualMachine


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
class CloneRequest:
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
    hardware: Hardware
    #: managed object id of the folder that the machine was in, unless *folder* names another one
    folder_id: str
    pool: str | None
    folder: str | None = None
    datastore: str | None = None
    #: with its network cards
    connected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUpload:
    """A stored stream-optimised VMDK.

    Who sends it calls *check* afterwards, and trusts nothing that was made of it until that has returned.
    """

    stream: IO[bytes]
    size_bytes: int
    #: raises `DamagedArtifactError` when what was read is not what was written
    check: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskArea:
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


class VCenter(Protocol):
    """One vCenter. Safe from many threads; concurrent reads and waits are combined.

    Everything that changes something returns when its task is over, and raises `ProviderError`:
    `OperationTimeoutError` when *deadline* was over (the effect may come later), `RecoverableError` when
    asking again may help. No method repeats a change by itself.
    """

    def find(self, lookup: MachineLookup, deadline: Deadline) -> str:
        """Return the machine's id.

        Raises:
            ResourceNotFoundError: when there is none, or the name means more than one.
        """
        ...

    def machine(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine as it is now.

        Raises:
            ResourceNotFoundError: when it is gone.
        """
        ...

    def when_idle(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine once no task runs on it any more."""
        ...

    def machines_named(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """Return the ids of all machines and templates of exactly that name."""
        ...

    def suspend(self, machine: str, deadline: Deadline) -> None:
        """Suspend a running machine."""
        ...

    def power_on(self, machine: str, deadline: Deadline) -> None:
        """Start a machine, or resume a suspended one."""
        ...

    def power_off(self, machine: str, deadline: Deadline) -> None:
        """Switch a machine off at once."""
        ...

    def create_snapshot(self, machine: str, request: SnapshotRequest, deadline: Deadline) -> str:
        """Make a snapshot and return its id."""
        ...

    def revert(self, snapshot: str, deadline: Deadline) -> None:
        """Put the snapshot's machine back to it."""
        ...

    def remove_snapshot(self, snapshot: str, deadline: Deadline) -> None:
        """Remove this snapshot only; its children stay."""
        ...

    def disks_at(self, snapshot: str) -> tuple[VirtualDisk, ...]:
        """Return the machine's disks as they were at the cut."""
        ...

    def clone(self, machine: str, snapshot: str | None, request: CloneRequest, deadline: Deadline) -> str:
        """Copy a machine, or its state at a snapshot, and return the copy's id."""
        ...

    def destroy(self, machine: str, deadline: Deadline) -> None:
        """Remove a machine that is not running, with all disks that it has now."""
        ...

    def mark(self, machine: str, marks: Mapping[str, str], deadline: Deadline) -> None:
        """Write our own settings into a machine's configuration."""
        ...

    def exchange(
        self,
        machine: str,
        *,
        out: Sequence[VirtualDisk],
        into: Sequence[VirtualDisk],
        hardware: Hardware | None,
        marks: Mapping[str, str],
        deadline: Deadline,
    ) -> None:
        """Take disks out (their files stay) and put files in, in one change.

        With *hardware* the machine gets its processors and memory, too.
        """
        ...

    def rename(self, machine: str, name: str, deadline: Deadline) -> None:
        """Give a machine another name."""
        ...

    def export(self, machine: str, snapshot: str, deadline: Deadline) -> AbstractContextManager[ExportLease]:
        """Return a lease to read the disks at a snapshot."""
        ...

    def changed(self, machine: str, snapshot: str, disk: VirtualDisk, since: str) -> tuple[DiskArea, ...]:
        """Return what changed between change id *since* and *snapshot*.

        Raises:
            UnsupportedError: when tracking was reset since then, so that only a full read is right.
        """
        ...

    def read(self, disk: VirtualDisk, area: DiskArea) -> bytes:
        """Return bytes of a snapshot's disk.

        Raises:
            UnsupportedError: when its file cannot be read in parts.
        """
        ...

    def build(self, request: BuildRequest, disks: Mapping[int, DiskUpload], deadline: Deadline) -> str:
        """Make a machine from stream-optimised VMDKs, by disk key, and return its id."""
        ...

    def measure(self, machine: str, deadline: Deadline) -> Mapping[str, Json]:
        """Return figures of a machine; concurrent requests are one query."""
        ...

    def attributes(self, machine: str) -> Mapping[str, str]:
        """Return the custom attributes of a machine that have a value, by name."""
        ...

    def set_attribute(self, machine: str, name: str, value: str) -> None:
        """Give a machine a custom attribute.

        Raises:
            ProviderError: when it is not known here, or this login may not set it.
        """
        ...

    def free_bytes(self, machine: str) -> int:
        """Return the least free space of the datastores that the machine lies on."""
        ...

    def datastore_type(self, name: str) -> str:
        """Return the API's name of the file system of the datastore *name*: ``VMFS``, ``vsan``, ..."""
        ...

    def missing_rights(self, machine: str, rights: Sequence[str]) -> tuple[str, ...]:
        """Return those of *rights* (privilege ids) that this login has not on the machine."""
        ...

    def machines(self, folder: str | None, deadline: Deadline) -> tuple[VirtualMachine, ...]:
        """Return every machine, templates left out."""
        ...

    def close(self) -> None:
        """Log out."""
        ...
