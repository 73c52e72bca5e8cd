"""Machines, their disks and their snapshots, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: without Tools that run
UNKNOWN_HEARTBEAT: Final = "gray"


class PowerState(enum.StrEnum):
    """A machine's power state."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class DiskBacking(enum.StrEnum):
    """What a disk's bytes lie on."""

    FILE = "file"
    #: a raw device that the guest talks to itself (a mapping in physical mode): no snapshot holds it
    DEVICE = "device"
    #: a raw device behind a mapping in virtual mode: snapshots hold it like a file
    MAPPED = "mapped"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDisk:
    """One virtual disk, as a machine or a snapshot has it."""

    key: int
    label: str
    capacity_bytes: int
    #: ``[datastore] folder/name.vmdk``
    file: str
    controller: int
    unit: int
    backing: DiskBacking = DiskBacking.FILE
    #: not part of snapshots
    independent: bool = False
    #: other machines may write to it too
    shared: bool = False
    #: its controller shares its bus: then the whole machine cannot be snapshot
    bus_shared: bool = False
    #: its file is encrypted under a key of the platform's; the guest does not see that
    encrypted: bool = False
    #: where changed block tracking stands; only meaningful on a snapshot's disks
    change_id: str | None = None
    #: it is read through another file (there is an older snapshot)
    layered: bool = False

    @property
    def position(self) -> tuple[int, int]:
        """Return controller and unit: what a disk keeps when it is copied."""
        return self.controller, self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSnapshot:
    """One snapshot of a machine's tree."""

    id: str
    name: str
    description: str
    #: the machine's power state at the cut
    power: PowerState
    quiesced: bool
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskController:
    """What disks are attached to."""

    key: int
    #: the API's name of its type
    kind: str
    bus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSlot:
    """A disk without its content."""

    key: int
    controller: int
    unit: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCard:
    """A network card and what it is plugged into."""

    #: the API's name of its type
    kind: str
    mac: str | None = None
    #: who chose *mac*: ``manual``, ``generated`` by a host or ``assigned`` by vCenter, in ranges of its own
    address_type: str | None = None
    network: str | None = None
    switch: str | None = None
    portgroup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What a machine is promised of its host's processors (MHz) or memory (MB), and gets at most."""

    reservation: int | None = None
    #: -1: all that there is
    limit: int | None = None
    #: the API's word for how many: ``normal``, ``custom``
    level: str | None = None
    shares: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What is needed to build a machine like another one."""

    #: name of the datastore that the first disk lies on
    datastore: str | None = None
    cpus: int = 1
    memory_mb: int = 1024
    guest: str | None = None
    firmware: str | None = None
    version: str | None = None
    controllers: tuple[DiskController, ...] = ()
    disks: tuple[DiskSlot, ...] = ()
    cards: tuple[NetworkCard, ...] = ()
    #: labels of the devices that are not built again: drives, ports, a TPM
    others: tuple[str, ...] = ()
    notes: str = ""
    cores_per_socket: int | None = None
    cpu: Allocation | None = None
    memory: Allocation | None = None
    cpu_hot_add: bool = False
    memory_hot_add: bool = False
    secure_boot: bool = False

    def disk_at(self, kind: str, bus: int, unit: int) -> int | None:
        """Return the key of the disk at that unit of the controller of that kind and bus."""
        for controller in self.controllers:
            for disk in self.disks:
                if (controller.kind, controller.bus) == (kind, bus) and (disk.controller, disk.unit) == (
                    controller.key,
                    unit,
                ):
                    return disk.key
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine:
    """A virtual machine as it is now."""

    id: str
    name: str
    uuid: str
    power: PowerState
    #: its host answers and its files can be reached
    reachable: bool = True
    tools_running: bool = False
    tools_installed: bool = False
    #: what Tools' heartbeat says of the guest, by the API's names of colours; gray without Tools
    heartbeat: str = UNKNOWN_HEARTBEAT
    template: bool = False
    disks: tuple[VirtualDisk, ...] = ()
    snapshots: tuple[MachineSnapshot, ...] = ()
    current: str | None = None
    consolidation_needed: bool = False
    change_tracking: bool = False
    #: our own settings in its configuration, by name
    marks: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware = Hardware()
    folder: str = ""
    pool: str | None = None
    #: tasks are queued or running on it
    busy: bool = False

    def snapshot_named(self, name: str) -> MachineSnapshot | None:
        """Return the snapshot of that name; the newest, when there are several."""
        return next((one for one in reversed(self.snapshots) if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLookup:
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


def datastore_of(file: str) -> str:
    """Return the name of the datastore in ``[datastore] path``; empty when *file* is none such."""
    return file[1:].partition("]")[0] if file.startswith("[") else ""
