"""A vCenter in memory, as honest as it can be: for tests and for trying blueprints out.

What it keeps: machines with disks whose content is text, snapshot trees, clones, files that outlive the
machines that used them. It fails the way a vCenter fails where that depends on state (power, names, gone
objects, devices that no snapshot holds); faults from outside are put round it by tests.

Its changed block tracking has the known fault of ESXi (VMware's KB 2090639): when a disk has grown, changes
go unreported until tracking is reset. On an object store (vSAN, vVols) a machine's folder goes with it.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere import vmdk
from quiesce.providers.vsphere.inventory import (
    DiskBacking,
    DiskController,
    DiskSlot,
    Hardware,
    MachineLookup,
    MachineSnapshot,
    PowerState,
    VirtualDisk,
    VirtualMachine,
)
from quiesce.providers.vsphere.vcenter import (
    BuildRequest,
    CloneRequest,
    DiskArea,
    DiskUpload,
    ExportLease,
    SnapshotRequest,
)

CAPACITY: Final = 1 << 20
_CONTROLLER: Final = 1000


@dataclass(slots=True)
class _Cut:
    machine: str
    snapshot: MachineSnapshot
    power: PowerState
    disks: tuple[VirtualDisk, ...]
    content: dict[str, bytes]


@dataclass(slots=True)
class FakeVCenterWorld:
    """What outlives a session: machines, snapshots, files."""

    machines: dict[str, VirtualMachine] = field(default_factory=dict)
    cuts: dict[str, _Cut] = field(default_factory=dict)
    #: by file name; what is left out is zero
    files: dict[str, bytes] = field(default_factory=dict)
    #: content and capacity of a disk, by change id
    versions: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    #: the API's name of the datastore's file system
    store: str = "VMFS"
    #: whether guests quiesce when they are asked to, and whether Tools leave them frozen after that
    quiesces: bool = True
    stay_frozen: bool = False
    #: how often change tracking was switched off and on again, which makes change ids begin anew
    resets: int = 0
    #: custom attributes by machine, and which are defined
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    defined: set[str] = field(default_factory=set)
    count: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def number(self) -> int:
        """Return a number that was not used before."""
        self.count += 1
        return self.count

    def add(self, name: str, *, tools_running: bool = True, disks: int = 1) -> str:
        """Make a running machine and return its id."""
        moid = f"vm-{self.number()}"
        made = tuple(
            VirtualDisk(
                key=2000 + unit,
                label=f"Hard disk {unit + 1}",
                capacity_bytes=CAPACITY,
                file=f"[store] {name}/{name}_{unit}.vmdk",
                controller=_CONTROLLER,
                unit=unit,
            )
            for unit in range(disks)
        )
        self.files.update({disk.file: b"" for disk in made})
        self.machines[moid] = VirtualMachine(
            id=moid,
            name=name,
            uuid=f"uuid-of-{moid}",
            power=PowerState.ON,
            tools_running=tools_running,
            tools_installed=tools_running,
            disks=made,
            hardware=_hardware(made),
            folder="folder",
            pool="pool",
        )
        return moid


class FakeVCenter:
    """Answers `quiesce.providers.vsphere.vcenter.VCenter` from a `FakeVCenterWorld`."""

    def __init__(self, world: FakeVCenterWorld) -> None:
        self.world = world

    # -- looking ---------------------------------------------------------------------------------------

    def find(self, lookup: MachineLookup, deadline: Deadline) -> str:
        """Return the machine's id."""
        wanted = [lookup.resource, lookup.id, *lookup.names]
        with self.world.lock:
            for one in self.world.machines.values():
                if one.id in wanted or one.uuid in wanted or one.name in wanted:
                    return one.id
        raise ResourceNotFoundError(f"there is no machine {lookup}")

    def machine(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine as it is now."""
        with self.world.lock:
            return self._machine(machine)

    def when_idle(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine: its tasks are over when they return."""
        return self.machine(machine, deadline)

    def machines_named(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """Return the ids of all machines of exactly that name."""
        with self.world.lock:
            return tuple(one.id for one in self.world.machines.values() if one.name == name)

    def disks_at(self, snapshot: str) -> tuple[VirtualDisk, ...]:
        """Return the machine's disks as they were at the cut."""
        with self.world.lock:
            return self._cut(snapshot).disks

    def measure(self, machine: str, deadline: Deadline) -> Mapping[str, Json]:
        """Return figures of a machine."""
        return {"power": self.machine(machine, deadline).power.value, "cpu_mhz": 100, "memory_bytes": 1 << 29}

    def attributes(self, machine: str) -> Mapping[str, str]:
        """Return the custom attributes of a machine."""
        return dict(self.world.attributes.get(machine, {}))

    def set_attribute(self, machine: str, name: str, value: str) -> None:
        """Give a machine a custom attribute that is defined here."""
        if name not in self.world.defined:
            raise NonRecoverableError(f"there is no attribute {name!r}")
        self.world.attributes.setdefault(machine, {})[name] = value

    def free_bytes(self, machine: str) -> int:
        """Return plenty."""
        return 1 << 40

    def datastore_type(self, name: str) -> str:
        """Return the API's name of a datastore's file system."""
        return self.world.store

    def missing_rights(self, machine: str, rights: Sequence[str]) -> tuple[str, ...]:
        """Return none."""
        return ()

    def machines(self, folder: str | None, deadline: Deadline) -> tuple[VirtualMachine, ...]:
        """Return every machine."""
        with self.world.lock:
            machines = self.world.machines.values()
            return tuple(one for one in machines if folder is None or one.folder == folder)

    # -- changing --------------------------------------------------------------------------------------

    def suspend(self, machine: str, deadline: Deadline) -> None:
        """Suspend a running machine."""
        self._switch(machine, {PowerState.ON}, PowerState.SUSPENDED)

    def power_on(self, machine: str, deadline: Deadline) -> None:
        """Start a machine, or resume a suspended one."""
        self._switch(machine, {PowerState.OFF, PowerState.SUSPENDED}, PowerState.ON)

    def power_off(self, machine: str, deadline: Deadline) -> None:
        """Switch a machine off."""
        self._switch(machine, {PowerState.ON, PowerState.SUSPENDED}, PowerState.OFF)

    def create_snapshot(self, machine: str, request: SnapshotRequest, deadline: Deadline) -> str:
        """Make a snapshot and return its id."""
        with self.world.lock:
            found = self._machine(machine)
            if any(disk.bus_shared for disk in found.disks):
                raise UnsupportedError("SnapshotIncompatibleDeviceInVm")
            snapshot = MachineSnapshot(
                id=f"snapshot-{self.world.number()}",
                name=request.name,
                description=request.description,
                power=found.power,
                quiesced=request.quiesce and found.tools_running and self.world.quiesces,
                parent=found.current,
            )
            if snapshot.quiesced and self.world.stay_frozen:
                found = replace(found, heartbeat="red")
            self.world.cuts[snapshot.id] = self._new_cut(found, snapshot, memory=request.memory)
            self._put(replace(found, snapshots=(*found.snapshots, snapshot), current=snapshot.id))
            return snapshot.id

    def revert(self, snapshot: str, deadline: Deadline) -> None:
        """Put the snapshot's machine back to it."""
        with self.world.lock:
            cut = self._cut(snapshot)
            found = self._machine(cut.machine)
            self.world.files.update(cut.content)
            disks = tuple(replace(disk, change_id=None, layered=False) for disk in cut.disks)
            kept = tuple(disk for disk in found.disks if not _in_snapshots(disk))
            self._put(replace(found, power=cut.power, disks=disks + kept, current=snapshot))

    def remove_snapshot(self, snapshot: str, deadline: Deadline) -> None:
        """Remove this snapshot only; its children stay."""
        with self.world.lock:
            cut = self.world.cuts.pop(snapshot, None)
            if cut is None:
                return
            found = self._machine(cut.machine)
            parent = cut.snapshot.parent
            left = tuple(
                replace(one, parent=parent) if one.parent == snapshot else one
                for one in found.snapshots
                if one.id != snapshot
            )
            current = parent if found.current == snapshot else found.current
            self._put(replace(found, snapshots=left, current=current))

    def clone(self, machine: str, snapshot: str | None, request: CloneRequest, deadline: Deadline) -> str:
        """Copy a machine, or its state at a snapshot, and return the copy's id."""
        with self.world.lock:
            source = self._machine(machine)
            content = self._cut(snapshot).content if snapshot else self._content(source)
            disks = source.disks if snapshot is None else self._cut(snapshot).disks
            copied = {disk.position: content.get(disk.file, b"") for disk in disks}
            return self._new_machine(request.name, disks, copied, request.marks, source.hardware)

    def destroy(self, machine: str, deadline: Deadline) -> None:
        """Remove a machine that is not running, with all disks that it has now."""
        with self.world.lock:
            found = self.world.machines.get(machine)
            if found is None:
                return
            if found.power is not PowerState.OFF:
                raise RecoverableError(f"{found.name} is {found.power}")
            for file in self._destroyed_with(found):
                self.world.files.pop(file, None)
            for snapshot in found.snapshots:
                self.world.cuts.pop(snapshot.id, None)
            del self.world.machines[machine]

    def mark(self, machine: str, marks: Mapping[str, str], deadline: Deadline) -> None:
        """Write our own settings into a machine's configuration."""
        with self.world.lock:
            self._put(_marked(self._machine(machine), marks))

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
        """Take disks out (their files stay) and put files in, in one change."""
        with self.world.lock:
            found = self._machine(machine)
            if found.power is not PowerState.OFF:
                raise RecoverableError(f"{found.name} is {found.power}")
            missing = [disk.file for disk in into if disk.file not in self.world.files]
            if missing:
                raise ResourceNotFoundError(f"there is no file {missing[0]}")
            gone = {disk.file for disk in out}
            kept = tuple(disk for disk in found.disks if disk.file not in gone)
            self._put(_marked(replace(found, disks=kept + tuple(into)), marks))

    def rename(self, machine: str, name: str, deadline: Deadline) -> None:
        """Give a machine another name."""
        with self.world.lock:
            self._put(replace(self._machine(machine), name=name))

    # -- moving data -----------------------------------------------------------------------------------

    def export(self, machine: str, snapshot: str, deadline: Deadline) -> AbstractContextManager[ExportLease]:
        """Return the disks at a snapshot."""
        with self.world.lock:
            self._machine(machine)
            cut = self._cut(snapshot)
            held = {disk.key: (cut.content[disk.file], disk.capacity_bytes) for disk in cut.disks}
            return contextlib.nullcontext(_Lease(held))

    def changed(self, machine: str, snapshot: str, disk: VirtualDisk, since: str) -> tuple[DiskArea, ...]:
        """Return what changed between change id *since* and *snapshot*."""
        with self.world.lock:
            self._machine(machine)
            known = self.world.versions.get(since)
            if known is None:
                raise UnsupportedError("changed block tracking was reset since then")
            before, _ = known
            same = before == self._cut(snapshot).content[disk.file]
            return () if same or self._forgetful(machine) else (DiskArea(start=0, length=vmdk.GRAIN),)

    def read(self, disk: VirtualDisk, area: DiskArea) -> bytes:
        """Return bytes of a snapshot's disk."""
        with self.world.lock:
            cuts = [cut for cut in self.world.cuts.values() if disk.file in cut.content]
            content = cuts[0].content[disk.file] if cuts else self.world.files[disk.file]
            plain = content.ljust(disk.capacity_bytes, b"\0")[area.start : area.start + area.length]
            return _encrypted(plain) if disk.encrypted else plain

    def build(self, request: BuildRequest, disks: Mapping[int, DiskUpload], deadline: Deadline) -> str:
        """Make a machine from stream-optimised VMDKs, by disk key, and return its id."""
        uploaded = {key: _plain(upload) for key, upload in disks.items()}
        made = [_disk_in(slot) for slot in request.hardware.disks]
        with self.world.lock:
            content = {disk.position: uploaded[disk.key] for disk in made if disk.key in uploaded}
            return self._new_machine(request.name, made, content, request.marks, request.hardware)

    def close(self) -> None:
        """Nothing to give back."""

    # -- chapters --------------------------------------------------------------------------------------

    def _machine(self, machine: str) -> VirtualMachine:
        if machine not in self.world.machines:
            raise ResourceNotFoundError(f"there is no machine {machine}")
        return self.world.machines[machine]

    def _cut(self, snapshot: str) -> _Cut:
        if snapshot not in self.world.cuts:
            raise ResourceNotFoundError(f"there is no snapshot {snapshot}")
        return self.world.cuts[snapshot]

    def _put(self, machine: VirtualMachine) -> None:
        self.world.machines[machine.id] = machine

    def _destroyed_with(self, machine: VirtualMachine) -> set[str]:
        """Return the files that go with a machine: its disks, and on an object store all in its folder."""
        files = {disk.file for disk in machine.disks}
        if self.world.store in ("vsan", "VVOL"):
            files |= {file for file in self.world.files if file.startswith(f"[store] {machine.id}/")}
        return files

    def _forgetful(self, machine: str) -> bool:
        """Tell whether a disk has grown since tracking began, so that changes go unreported."""
        now = f"{machine}-{self.world.resets}/"
        seen = {size for change_id, (_, size) in self.world.versions.items() if change_id.startswith(now)}
        return len(seen) > 1

    def _content(self, machine: VirtualMachine) -> dict[str, bytes]:
        return {disk.file: self.world.files.get(disk.file, b"") for disk in machine.disks}

    def _switch(self, machine: str, before: set[PowerState], after: PowerState) -> None:
        with self.world.lock:
            found = self._machine(machine)
            if found.power not in before:
                raise RecoverableError(f"{found.name} is {found.power}")
            self._put(replace(found, power=after))

    def _new_cut(self, machine: VirtualMachine, snapshot: MachineSnapshot, *, memory: bool) -> _Cut:
        held = tuple(disk for disk in machine.disks if _in_snapshots(disk))
        content = {disk.file: self.world.files.get(disk.file, b"") for disk in held}
        disks = tuple(self._at_cut(machine, disk, content[disk.file]) for disk in held)
        after = PowerState.OFF if machine.power is PowerState.ON and not memory else machine.power
        return _Cut(machine=machine.id, snapshot=snapshot, power=after, disks=disks, content=content)

    def _at_cut(self, machine: VirtualMachine, disk: VirtualDisk, content: bytes) -> VirtualDisk:
        if not machine.change_tracking:
            return replace(disk, layered=bool(machine.snapshots))
        change_id = f"{machine.id}-{self.world.resets}/{self.world.number()}"
        self.world.versions[change_id] = (content, disk.capacity_bytes)
        return replace(disk, change_id=change_id, layered=bool(machine.snapshots))

    def _new_machine(
        self,
        name: str,
        disks: Sequence[VirtualDisk],
        content: Mapping[tuple[int, int], bytes],
        marks: Mapping[str, str],
        hardware: Hardware,
    ) -> str:
        if any(one.name == name for one in self.world.machines.values()):
            raise NonRecoverableError(f"there is a machine {name!r} already")
        moid = f"vm-{self.world.number()}"
        made = tuple(
            replace(disk, file=f"[store] {moid}/{unit}.vmdk", change_id=None, layered=False)
            for unit, disk in enumerate(disks)
        )
        self.world.files.update({disk.file: content.get(disk.position, b"") for disk in made})
        machine = VirtualMachine(
            id=moid,
            name=name,
            uuid=f"uuid-of-{moid}",
            power=PowerState.OFF,
            disks=made,
            hardware=hardware,
            folder="folder",
            pool="pool",
        )
        self._put(_marked(machine, marks))
        return moid


class _Lease:
    def __init__(self, content: Mapping[int, tuple[bytes, int]]) -> None:
        self._content = content

    def keys(self) -> Sequence[int]:
        """Return the keys of the disks."""
        return list(self._content)

    @contextlib.contextmanager
    def open(self, key: int) -> Iterator[Iterator[bytes]]:
        """Return one disk as stream-optimised VMDK."""
        out = io.BytesIO()
        content, capacity_bytes = self._content[key]
        vmdk.write_disk(out, capacity_bytes, vmdk.grains_of(0, content) if content else ())
        yield iter([out.getvalue()])

    def sha1(self, key: int) -> str | None:
        """Return no checksum."""
        return None


def _in_snapshots(disk: VirtualDisk) -> bool:
    return not disk.independent and disk.backing is not DiskBacking.DEVICE


def _encrypted(plain: bytes) -> bytes:
    return bytes(byte ^ 0xA5 for byte in plain)


def _plain(upload: DiskUpload) -> bytes:
    reader = vmdk.VmdkReader(iter(lambda: upload.stream.read(1 << 16), b""))
    content = bytearray(reader.capacity_bytes)
    for grain in reader.grains():
        content[grain.number * vmdk.GRAIN : (grain.number + 1) * vmdk.GRAIN] = grain.plain()
    upload.check()
    return bytes(content).rstrip(b"\0")


def _marked(machine: VirtualMachine, marks: Mapping[str, str]) -> VirtualMachine:
    merged = {name: value for name, value in {**machine.marks, **marks}.items() if value}
    return replace(machine, marks=merged)


def _hardware(disks: Sequence[VirtualDisk]) -> Hardware:
    return Hardware(
        datastore="store",
        controllers=(DiskController(key=_CONTROLLER, kind="VirtualLsiLogicController"),),
        disks=tuple(
            DiskSlot(key=disk.key, controller=disk.controller, unit=disk.unit, capacity_bytes=CAPACITY)
            for disk in disks
        ),
    )


def _disk_in(slot: DiskSlot) -> VirtualDisk:
    return VirtualDisk(
        key=slot.key,
        label=f"disk {slot.key}",
        capacity_bytes=slot.capacity_bytes,
        file="",
        controller=slot.controller,
        unit=slot.unit,
    )
