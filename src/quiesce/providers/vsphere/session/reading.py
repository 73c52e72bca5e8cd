"""Reading many objects with one request, page by page, and turning them into our values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.providers.vsphere.errors import understood
from quiesce.providers.vsphere.inventory import (
    UNKNOWN_HEARTBEAT,
    Allocation,
    DiskBacking,
    DiskController,
    DiskSlot,
    Hardware,
    MachineSnapshot,
    NetworkCard,
    PowerState,
    VirtualDisk,
    VirtualMachine,
    datastore_of,
)
from quiesce.providers.vsphere.ownership import PREFIX
from quiesce.providers.vsphere.session.sdk import id_of, vim, vmodl
from quiesce.providers.vsphere.session.session import VCenterSession

#: objects in one page
_PAGE: Final = 500
#: what `machine_of` needs
MACHINE: Final = (
    "name",
    "parent",
    "resourcePool",
    "recentTask",
    "snapshot",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "config.instanceUuid",
    "config.template",
    "config.changeTrackingEnabled",
    "config.guestId",
    "config.firmware",
    "config.version",
    "config.annotation",
    "config.bootOptions",
    "config.cpuAllocation",
    "config.cpuHotAddEnabled",
    "config.memoryAllocation",
    "config.memoryHotAddEnabled",
    "config.extraConfig",
    "config.hardware",
    "guest.toolsRunningStatus",
    "guest.toolsVersionStatus2",
    "guestHeartbeatStatus",
)
#: what `attributes_of` needs
ATTRIBUTES: Final = ("availableField", "customValue")
#: what `figures_of` needs
FIGURES: Final = (
    "summary.quickStats",
    "summary.storage",
    "runtime.powerState",
    "guest.toolsRunningStatus",
    "guestHeartbeatStatus",
)
_POWER: Final = {"poweredOn": PowerState.ON, "poweredOff": PowerState.OFF, "suspended": PowerState.SUSPENDED}

Properties = Mapping[str, Any]


def read_objects(
    session: VCenterSession, kind: Any, moids: Sequence[str], paths: Sequence[str]
) -> dict[str, Properties]:
    """Return the properties of those objects that are there, by id."""
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=session.bind(kind, moid)) for moid in moids],
        propSet=[query.PropertySpec(type=kind, pathSet=list(paths))],
        reportMissingObjectsInResults=True,
    )
    return {id_of(found): values for found, values in _pages(session, spec)}


def read_all(
    session: VCenterSession, kind: Any, paths: Sequence[str], root: Any = None
) -> dict[str, Properties]:
    """Return the properties of every object of that kind below *root*, by id."""

    def view_of(content: Any) -> Any:
        return content.viewManager.CreateContainerView(root or content.rootFolder, [kind], True)

    view = session.read("list the inventory", view_of)
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        objectSet=[
            query.ObjectSpec(
                obj=view,
                skip=True,
                selectSet=[
                    query.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
                ],
            )
        ],
        propSet=[query.PropertySpec(type=kind, pathSet=list(paths))],
    )
    try:
        return {id_of(found): values for found, values in _pages(session, spec)}
    finally:
        session.change("list the inventory", lambda _: view.DestroyView())


@understood("a machine")
def machine_of(moid: str, values: Properties, busy: bool) -> VirtualMachine:
    """Return the machine that these properties describe.

    Raises:
        NonRecoverableError: when this login may not read it.
    """
    if "runtime.powerState" not in values:
        raise NonRecoverableError(
            f"the machine {moid} cannot be read",
            hint="Give this login at least the role 'Read-only' on the machine.",
        )
    hardware = values.get("config.hardware")
    snapshots = values.get("snapshot")
    current = getattr(snapshots, "currentSnapshot", None)
    return VirtualMachine(
        id=moid,
        name=str(values.get("name", "")),
        uuid=str(values.get("config.instanceUuid") or ""),
        power=_POWER[str(values["runtime.powerState"])],
        reachable=str(values.get("runtime.connectionState", "connected")) == "connected"
        and hardware is not None,
        tools_running=_tools_run(values),
        tools_installed=values.get("guest.toolsVersionStatus2") not in (None, "guestToolsNotInstalled"),
        heartbeat=str(values.get("guestHeartbeatStatus") or UNKNOWN_HEARTBEAT),
        template=bool(values.get("config.template")),
        disks=tuple(disks_of(hardware)) if hardware else (),
        snapshots=tuple(_flat(getattr(snapshots, "rootSnapshotList", None) or (), None)),
        current=id_of(current) if current else None,
        consolidation_needed=bool(values.get("runtime.consolidationNeeded")),
        change_tracking=bool(values.get("config.changeTrackingEnabled")),
        marks=_marks(values.get("config.extraConfig") or ()),
        hardware=hardware_of(values) if hardware else Hardware(),
        folder=_moid(values.get("parent")) or "",
        pool=_moid(values.get("resourcePool")),
        busy=busy,
    )


@understood("disks")
def disks_of(hardware: Any) -> Sequence[VirtualDisk]:
    """Return the disks among a machine's or a snapshot's devices."""
    sharing = {
        device.key: str(getattr(device, "sharedBus", "noSharing"))
        for device in hardware.device
        if isinstance(device, vim.vm.device.VirtualSCSIController)
    }
    return [
        _disk(device, sharing.get(device.controllerKey, "noSharing"))
        for device in hardware.device
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]


def hardware_of(values: Properties) -> Hardware:
    """Return what is needed to build a machine like it."""
    found = values["config.hardware"]
    devices = found.device
    return Hardware(
        datastore=_datastore(devices),
        cpus=found.numCPU,
        memory_mb=found.memoryMB,
        guest=values.get("config.guestId"),
        firmware=values.get("config.firmware"),
        version=values.get("config.version"),
        controllers=tuple(_controller(one) for one in devices if isinstance(one, _CONTROLLERS)),
        disks=tuple(_slot(one) for one in devices if isinstance(one, vim.vm.device.VirtualDisk)),
        cards=tuple(_card(one) for one in devices if isinstance(one, vim.vm.device.VirtualEthernetCard)),
        others=tuple(_label(one) for one in devices if not isinstance(one, _BUILT)),
        notes=values.get("config.annotation") or "",
        cores_per_socket=getattr(found, "numCoresPerSocket", None),
        cpu=_allocation(values.get("config.cpuAllocation")),
        memory=_allocation(values.get("config.memoryAllocation")),
        cpu_hot_add=bool(values.get("config.cpuHotAddEnabled")),
        memory_hot_add=bool(values.get("config.memoryHotAddEnabled")),
        secure_boot=bool(getattr(values.get("config.bootOptions"), "efiSecureBootEnabled", False)),
    )


@understood("a machine's attributes")
def attributes_of(values: Properties) -> dict[str, str]:
    """Return a machine's custom attributes by their names."""
    names = {one.key: one.name for one in values.get("availableField") or ()}
    found = values.get("customValue") or ()
    return {names[one.key]: str(one.value) for one in found if one.key in names and one.value}


def running(session: VCenterSession, machines: Mapping[str, Properties]) -> set[str]:
    """Return those of *machines* that have a task which is not over."""
    tasks = {id_of(task) for values in machines.values() for task in values.get("recentTask") or ()}
    if not tasks:
        return set()
    states = read_objects(session, vim.Task, sorted(tasks), ["info.state"])
    live = {task for task, values in states.items() if values.get("info.state") in ("queued", "running")}
    return {
        moid
        for moid, values in machines.items()
        if any(id_of(task) in live for task in values.get("recentTask") or ())
    }


_CONTROLLERS: Final = (
    vim.vm.device.VirtualSCSIController,
    vim.vm.device.VirtualSATAController,
    vim.vm.device.VirtualNVMEController,
    vim.vm.device.VirtualIDEController,
)

#: devices that a built machine has again: those that are described, and those that every machine has
_BUILT: Final = (
    *_CONTROLLERS,
    vim.vm.device.VirtualDisk,
    vim.vm.device.VirtualEthernetCard,
    vim.vm.device.VirtualKeyboard,
    vim.vm.device.VirtualPCIController,
    vim.vm.device.VirtualPS2Controller,
    vim.vm.device.VirtualPointingDevice,
    vim.vm.device.VirtualSIOController,
    vim.vm.device.VirtualVideoCard,
    vim.vm.device.VirtualVMCIDevice,
)


def _pages(session: VCenterSession, spec: Any) -> Iterator[tuple[Any, Properties]]:
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=_PAGE)
    page = session.read(
        "read the inventory",
        lambda content: _permitted(content.propertyCollector.RetrievePropertiesEx([spec], options)),
    )
    while page is not None:
        yield from _contents(page.objects or ())
        token = page.token
        if not token:
            return
        page = _next_page(session, token)


def _next_page(session: VCenterSession, token: str) -> Any:
    return session.read(
        "read the inventory",
        lambda content: _permitted(content.propertyCollector.ContinueRetrievePropertiesEx(token)),
    )


def _permitted(page: Any) -> Any:
    """Return *page*, or raise what it says of an ended session: properties are then missing one by one."""
    for one in (page.objects if page is not None else None) or ():
        for missing in one.missingSet or ():
            if isinstance(missing.fault, vim.fault.NotAuthenticated):
                raise missing.fault
    return page


def _contents(objects: Iterable[Any]) -> Iterator[tuple[Any, Properties]]:
    for one in objects:
        yield one.obj, {prop.name: prop.val for prop in one.propSet or ()}


def _flat(trees: Iterable[Any], parent: str | None) -> Iterator[MachineSnapshot]:
    for tree in trees:
        yield MachineSnapshot(
            id=id_of(tree.snapshot),
            name=tree.name,
            description=tree.description or "",
            power=_POWER[str(tree.state)],
            quiesced=bool(tree.quiesced),
            parent=parent,
        )
        yield from _flat(tree.childSnapshotList or (), id_of(tree.snapshot))


def _disk(device: Any, bus: str) -> VirtualDisk:
    backing = device.backing
    return VirtualDisk(
        key=device.key,
        label=device.deviceInfo.label if device.deviceInfo else f"disk {device.key}",
        capacity_bytes=_capacity_bytes(device),
        file=getattr(backing, "fileName", "") or "",
        controller=device.controllerKey or 0,
        unit=device.unitNumber or 0,
        backing=_backing(backing),
        independent=str(getattr(backing, "diskMode", "")).startswith("independent"),
        shared=str(getattr(backing, "sharing", "")) == "sharingMultiWriter",
        bus_shared=bus not in ("noSharing", "None"),
        encrypted=getattr(backing, "keyId", None) is not None,
        change_id=getattr(backing, "changeId", None) or None,
        layered=getattr(backing, "parent", None) is not None,
    )


def _backing(backing: Any) -> DiskBacking:
    kind = type(backing).__name__
    if "RawDisk" in kind:
        virtual = str(getattr(backing, "compatibilityMode", "")) == "virtualMode"
        return DiskBacking.MAPPED if virtual else DiskBacking.DEVICE
    return DiskBacking.FILE if hasattr(backing, "fileName") else DiskBacking.OTHER


def _marks(settings: Iterable[Any]) -> dict[str, str]:
    """Return our settings; one without a value is as good as removed."""
    return {one.key: str(one.value) for one in settings if one.key.startswith(PREFIX) and one.value}


def _controller(device: Any) -> DiskController:
    return DiskController(key=device.key, kind=_kind(device), bus=device.busNumber)


def _slot(device: Any) -> DiskSlot:
    return DiskSlot(
        key=device.key,
        controller=device.controllerKey or 0,
        unit=device.unitNumber or 0,
        capacity_bytes=_capacity_bytes(device),
    )


def _card(device: Any) -> NetworkCard:
    port = getattr(device.backing, "port", None)
    return NetworkCard(
        kind=_kind(device),
        mac=device.macAddress,
        address_type=device.addressType,
        network=getattr(device.backing, "deviceName", None),
        switch=getattr(port, "switchUuid", None),
        portgroup=getattr(port, "portgroupKey", None),
    )


def _kind(device: Any) -> str:
    """Return the name of a device's type, without its package."""
    return type(device).__name__.rpartition(".")[2]


def _label(device: Any) -> str:
    return str(device.deviceInfo.label) if device.deviceInfo else f"{_kind(device)} {device.key}"


def _allocation(found: Any) -> Allocation | None:
    if found is None:
        return None
    shares = found.shares
    return Allocation(
        reservation=found.reservation,
        limit=found.limit,
        level=None if shares is None else str(shares.level),
        shares=None if shares is None else shares.shares,
    )


def _capacity_bytes(device: Any) -> int:
    return int(device.capacityInBytes or device.capacityInKB * 1024)


def _datastore(devices: Iterable[Any]) -> str | None:
    """Return the name of the datastore that the first disk lies on."""
    for device in devices:
        file = getattr(getattr(device, "backing", None), "fileName", "") or ""
        if isinstance(device, vim.vm.device.VirtualDisk) and (name := datastore_of(str(file))):
            return name
    return None


def _tools_run(values: Properties) -> bool:
    return str(values.get("guest.toolsRunningStatus")) == "guestToolsRunning"


def _moid(found: Any) -> str | None:
    return id_of(found) if found is not None else None


@understood("a machine's figures")
def figures_of(values: Properties) -> dict[str, Json]:
    """Return statistics of a machine; figures that the platform does not have now are left out."""
    stats, storage = values.get("summary.quickStats"), values.get("summary.storage")
    megabyte = 1 << 20
    figures: dict[str, Json] = {
        "power": _POWER[str(values["runtime.powerState"])].value,
        "tools_running": _tools_run(values),
        "heartbeat": str(values.get("guestHeartbeatStatus") or UNKNOWN_HEARTBEAT),
    }
    for name, value, unit in (
        ("cpu_mhz", getattr(stats, "overallCpuUsage", None), 1),
        ("memory_bytes", getattr(stats, "guestMemoryUsage", None), megabyte),
        ("host_memory_bytes", getattr(stats, "hostMemoryUsage", None), megabyte),
        ("uptime_s", getattr(stats, "uptimeSeconds", None), 1),
        ("storage_committed_bytes", getattr(storage, "committed", None), 1),
        ("storage_uncommitted_bytes", getattr(storage, "uncommitted", None), 1),
    ):
        if isinstance(value, int) and value >= 0:
            figures[name] = value * unit
    return figures
