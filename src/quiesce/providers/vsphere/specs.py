"""Requests in the SDK's types, made from our values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quiesce.errors import UnsupportedError
from quiesce.model.ids import Json
from quiesce.providers.vsphere.center import BuildRequest, Disk
from quiesce.providers.vsphere.sdk import vim


def settings_of(marks: Mapping[str, str]) -> list[Any]:
    """Return our marks as settings of a configuration; an empty one is removed by the platform."""
    return [vim.option.OptionValue(key=name, value=value) for name, value in marks.items()]


def exchange_of(
    out: Sequence[Disk], into: Sequence[Disk], hardware: Mapping[str, Json], marks: Mapping[str, str]
) -> Any:
    """Return a change that takes disks out, keeping their files, and puts others in."""
    removals = [_device_change("remove", _present(disk)) for disk in out]
    additions = [_device_change("add", _attached(disk, -number)) for number, disk in enumerate(into, 1)]
    spec = vim.vm.ConfigSpec(deviceChange=removals + additions, extraConfig=settings_of(marks))
    if isinstance(cpus := hardware.get("cpus"), int):
        spec.numCPUs = cpus
    if isinstance(memory := hardware.get("memory_mb"), int):
        spec.memoryMB = memory
    return spec


def build_of(request: BuildRequest, datastore: str) -> Any:
    """Return what describes a new machine with empty disks, for an import."""
    hardware = request.hardware
    changes = [
        *(_device_change("add", _controller(one)) for one in _entries(hardware, "controllers")),
        *(_device_change("add", _empty_disk(one), create=True) for one in _entries(hardware, "disks")),
    ]
    if request.connected:
        changes += [
            _device_change("add", _card(one, -100 - n)) for n, one in enumerate(_entries(hardware, "cards"))
        ]
    return vim.vm.ConfigSpec(
        name=request.name,
        guestId=_text(hardware.get("guest")) or "otherGuest64",
        firmware=_text(hardware.get("firmware")),
        version=_text(hardware.get("version")),
        numCPUs=_number(hardware.get("cpus")) or 1,
        memoryMB=_number(hardware.get("memory_mb")) or 1024,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        deviceChange=changes,
        extraConfig=settings_of(request.marks),
    )


def position_of(entry: Mapping[str, Json]) -> tuple[int, int]:
    """Return controller and unit of a disk in a hardware description."""
    return _number(entry.get("controller")) or 0, _number(entry.get("unit")) or 0


def _device_change(operation: str, device: Any, *, create: bool = False) -> Any:
    change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
    if create:
        change.fileOperation = "create"
    return change


def _present(disk: Disk) -> Any:
    device = _attached(disk, disk.key)
    device.key = disk.key
    return device


def _attached(disk: Disk, key: int) -> Any:
    return vim.vm.device.VirtualDisk(
        key=key,
        controllerKey=disk.controller,
        unitNumber=disk.unit,
        capacityInKB=disk.capacity_bytes // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=disk.file, diskMode="persistent"),
    )


def _empty_disk(entry: Mapping[str, Json]) -> Any:
    controller, unit = position_of(entry)
    return vim.vm.device.VirtualDisk(
        key=_number(entry.get("key")),
        controllerKey=controller,
        unitNumber=unit,
        capacityInKB=(_number(entry.get("capacity_bytes")) or 0) // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=True
        ),
    )


def _controller(entry: Mapping[str, Json]) -> Any:
    kind = _device_type(str(entry.get("kind")))
    device = kind(key=_number(entry.get("key")), busNumber=_number(entry.get("bus")) or 0)
    if isinstance(device, vim.vm.device.VirtualSCSIController):
        device.sharedBus = "noSharing"
    return device


def _card(entry: Mapping[str, Json], key: int) -> Any:
    kind = _device_type(str(entry.get("kind")))
    return kind(
        key=key, backing=_card_backing(entry), addressType="manual", macAddress=_text(entry.get("mac"))
    )


def _card_backing(entry: Mapping[str, Json]) -> Any:
    card = vim.vm.device.VirtualEthernetCard
    if entry.get("portgroup"):
        port = vim.dvs.PortConnection(
            switchUuid=_text(entry.get("switch")), portgroupKey=_text(entry.get("portgroup"))
        )
        return card.DistributedVirtualPortBackingInfo(port=port)
    return card.NetworkBackingInfo(deviceName=_text(entry.get("network")))


def _device_type(name: str) -> Any:
    kind = getattr(vim.vm.device, name, None)
    if kind is None:
        raise UnsupportedError(f"the stored machine has a device that this SDK does not know: {name}")
    return kind


def _entries(hardware: Mapping[str, Json], name: str) -> list[Mapping[str, Json]]:
    entries = hardware.get(name)
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _text(value: Json) -> str | None:
    return str(value) if value else None


def _number(value: Json) -> int | None:
    return value if isinstance(value, int) else None
