"""Requests in the SDK's types, made from our values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quiesce.errors import UnsupportedError
from quiesce.providers.vsphere.inventory import (
    Allocation,
    DiskController,
    DiskSlot,
    Hardware,
    NetworkCard,
    VirtualDisk,
)
from quiesce.providers.vsphere.session.sdk import vim
from quiesce.providers.vsphere.vcenter import BuildRequest


def settings_of(marks: Mapping[str, str]) -> list[Any]:
    """Return our marks as settings of a configuration; an empty one is removed by the platform."""
    return [vim.option.OptionValue(key=name, value=str(value)) for name, value in marks.items()]


def exchange_of(
    out: Sequence[VirtualDisk],
    into: Sequence[VirtualDisk],
    hardware: Hardware | None,
    marks: Mapping[str, str],
) -> Any:
    """Return a change that takes disks out, keeping their files, and puts others in."""
    removals = [_device_change("remove", _present(disk)) for disk in out]
    additions = [_device_change("add", _attached(disk, -number)) for number, disk in enumerate(into, 1)]
    spec = vim.vm.ConfigSpec(deviceChange=removals + additions, extraConfig=settings_of(marks))
    if hardware is not None:
        spec.numCPUs, spec.memoryMB = hardware.cpus, hardware.memory_mb
    return spec


def build_of(request: BuildRequest, datastore: str) -> Any:
    """Return what describes a new machine with empty disks, for an import."""
    hardware = request.hardware
    cards = hardware.cards if request.connected else ()
    changes = [
        *(_device_change("add", _controller(one)) for one in hardware.controllers),
        *(_device_change("add", _empty_disk(one), create=True) for one in hardware.disks),
        *(_device_change("add", _card(one, -100 - number)) for number, one in enumerate(cards)),
    ]
    spec = vim.vm.ConfigSpec(
        name=request.name,
        guestId=hardware.guest or "otherGuest64",
        firmware=hardware.firmware,
        version=hardware.version,
        numCPUs=hardware.cpus,
        memoryMB=hardware.memory_mb,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        deviceChange=changes,
        extraConfig=settings_of(request.marks),
        annotation=hardware.notes or None,
        numCoresPerSocket=hardware.cores_per_socket,
        cpuHotAddEnabled=hardware.cpu_hot_add or None,
        memoryHotAddEnabled=hardware.memory_hot_add or None,
    )
    if hardware.secure_boot:
        spec.bootOptions = vim.vm.BootOptions(efiSecureBootEnabled=True)
    if request.connected:  # a second machine is promised nothing of what the first one has
        spec.cpuAllocation, spec.memoryAllocation = _allocation(hardware.cpu), _allocation(hardware.memory)
    return spec


def _allocation(found: Allocation | None) -> Any:
    if found is None:
        return None
    shares = vim.SharesInfo(level=found.level, shares=found.shares or 0) if found.level else None
    return vim.ResourceAllocationInfo(reservation=found.reservation, limit=found.limit, shares=shares)


def _device_change(operation: str, device: Any, *, create: bool = False) -> Any:
    change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
    if create:
        change.fileOperation = "create"
    return change


def _present(disk: VirtualDisk) -> Any:
    device = _attached(disk, disk.key)
    device.key = disk.key
    return device


def _attached(disk: VirtualDisk, key: int) -> Any:
    return vim.vm.device.VirtualDisk(
        key=key,
        controllerKey=disk.controller,
        unitNumber=disk.unit,
        capacityInKB=disk.capacity_bytes // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=disk.file, diskMode="persistent"),
    )


def _empty_disk(slot: DiskSlot) -> Any:
    return vim.vm.device.VirtualDisk(
        key=slot.key,
        controllerKey=slot.controller,
        unitNumber=slot.unit,
        capacityInKB=slot.capacity_bytes // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=True
        ),
    )


def _controller(controller: DiskController) -> Any:
    device = _device_type(controller.kind)(key=controller.key, busNumber=controller.bus)
    if isinstance(device, vim.vm.device.VirtualSCSIController):
        device.sharedBus = "noSharing"
    return device


def _card(card: NetworkCard, key: int) -> Any:
    # vCenter refuses a manual address out of its own ranges when the machine starts
    return _device_type(card.kind)(
        key=key,
        backing=_card_backing(card),
        addressType=card.address_type or "manual",
        macAddress=card.mac,
    )


def _card_backing(card: NetworkCard) -> Any:
    kind = vim.vm.device.VirtualEthernetCard
    if card.portgroup:
        port = vim.dvs.PortConnection(switchUuid=card.switch, portgroupKey=card.portgroup)
        return kind.DistributedVirtualPortBackingInfo(port=port)
    return kind.NetworkBackingInfo(deviceName=card.network)


def _device_type(name: str) -> Any:
    kind = getattr(vim.vm.device, name, None)
    if kind is None:
        raise UnsupportedError(f"the stored machine has a device that this SDK does not know: {name}")
    return kind
