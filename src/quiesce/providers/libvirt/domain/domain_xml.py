"""What a domain's definition says, as values, and definitions changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.xml import METADATA_URI

AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
_OURS: Final = f"{{{METADATA_URI}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDisk:
    """One disk that a backup has to hold."""

    #: the name the guest's bus gives it: ``vda``
    target: str
    #: ``file`` or ``block``; anything else cannot be read or replaced from here
    kind: str
    path: str
    #: ``qcow2``, ``raw``
    format: str
    #: whether QEMU encrypts what it writes, so that what is read through it is in clear
    encrypted: bool = False
    #: whether other machines may write to it
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDefinition:
    """What we need to know of a domain."""

    name: str
    uuid: str
    disks: tuple[DomainDisk, ...]
    has_agent_channel: bool
    nvram: str | None
    #: whether it has a virtual TPM, whose state lies outside its disks
    has_tpm: bool

    def disk(self, target: str) -> DomainDisk | None:
        """Return the disk of that target."""
        return next((disk for disk in self.disks if disk.target == target), None)


def read_definition(text: str) -> DomainDefinition:
    """Return what *text* says."""
    tree = xml.read(text)
    return DomainDefinition(
        name=xml.text_of(tree, "name"),
        uuid=xml.text_of(tree, "uuid"),
        disks=tuple(_disk(found) for found in tree.findall("devices/disk") if _holds_data(found)),
        has_agent_channel=any(
            target.get("name") == AGENT_CHANNEL for target in tree.findall("devices/channel/target")
        ),
        nvram=_nvram(tree),
        has_tpm=tree.find("devices/tpm/backend[@type='emulator']") is not None,
    )


def paths_of(text: str) -> dict[str, str]:
    """Return everything of the host that the definition names, by what it is: ``disk vda``, ``nvram``."""
    tree = xml.read(text)
    named = {tag: xml.text_of(tree, f"os/{tag}") for tag in ("loader", "kernel", "initrd", "dtb")}
    named["nvram"] = _nvram(tree) or ""
    named["nvram template"] = xml.attribute(tree, "os/nvram", "template")
    named["emulator"] = xml.text_of(tree, "devices/emulator")
    for disk in tree.findall("devices/disk"):
        named[f"disk {xml.attribute(disk, 'target', 'dev')}"] = _source(disk)
    for shared in tree.findall("devices/filesystem"):
        named[f"directory {xml.attribute(shared, 'target', 'dir')}"] = _source(shared)
    for number, port in enumerate(tree.findall("devices/serial")):
        if port.get("type") in {"file", "dev", "pipe", "unix"}:
            named[f"serial port {number}"] = _source(port)
    return {what: path for what, path in named.items() if path}


def files_below(text: str, path: str) -> list[str]:
    """Return *path* and the files that it is read through, as a running domain's definition tells them.

    Empty when it does not.
    """
    for disk in xml.read(text).findall("devices/disk"):
        layers, files = [disk, *disk.iter("backingStore")], []
        for layer in layers:
            source = layer.find("source")
            if source is None:
                break
            files.append(source.get("file", ""))
        ends = bool(layers) and layers[-1].find("source") is None
        if path in files and ends and all(files):
            return files[files.index(path) :]
    return []


def with_sources(text: str, paths: Mapping[str, str], formats: Mapping[str, str]) -> str:
    """Return the definition with the disks of these targets on other files; metadata kept."""
    tree = xml.read(text)
    for disk in tree.findall("devices/disk"):
        target = xml.attribute(disk, "target", "dev")
        if target in paths:
            _put(disk, paths[target], formats[target])
    return xml.write(tree)


def with_disks_of(text: str, current: str, targets: Iterable[str]) -> str:
    """Return the definition with the disks of these targets as *current* has them; what it lacks stays."""
    tree, now = xml.read(text), _disks_by_target(xml.read(current))
    devices, then = tree.find("devices"), _disks_by_target(tree)
    for target in set(targets) & now.keys() & then.keys():
        if devices is not None:
            devices[list(devices).index(then[target])] = now[target]
    return xml.write(tree)


def without_other_disks(text: str, targets: Collection[str]) -> tuple[str, list[str]]:
    """Return the definition without the disks that could be written and are not *targets*, and those."""
    tree = xml.read(text)
    devices = tree.find("devices")
    others = {
        target: disk
        for target, disk in _disks_by_target(tree).items()
        if target not in targets and _can_be_written(disk)
    }
    for disk in others.values():
        if devices is not None:
            devices.remove(disk)
    return xml.write(tree), sorted(others)


def with_metadata_of(text: str, current: str | None) -> str:
    """Return the definition with our metadata replaced by the element *current*."""
    tree = xml.read(text)
    metadata = tree.find("metadata")
    if metadata is None:
        metadata = xml.add(tree, "metadata")
    for found in [found for found in metadata if found.tag.startswith(_OURS)]:
        metadata.remove(found)
    if current:
        metadata.append(_in_our_name_space(xml.read(current)))
    return xml.write(tree)


def as_new_domain(text: str, name: str) -> str:
    """Return the definition for another domain: new name, no identity, addresses or files of the old one."""
    tree = xml.read(text)
    _drop(tree, "uuid")
    name_element = tree.find("name")
    if name_element is not None:
        name_element.text = name
    for interface in tree.findall("devices/interface"):
        _drop(interface, "mac")
    for channel in tree.findall("devices/channel"):
        _drop(channel, "source")
    _rename_nvram(tree, f"{name}_VARS.fd")
    return xml.write(tree)


def networks_of(text: str) -> tuple[str, ...]:
    """Return what the domain's network cards are plugged into."""
    found = (
        source.get("network") or source.get("bridge") or source.get("dev")
        for source in xml.read(text).findall("devices/interface/source")
    )
    return tuple(sorted({name for name in found if name}))


def with_identity(text: str, name: str, uuid: str) -> str:
    """Return the definition with another name and UUID."""
    tree = xml.read(text)
    for tag, value in (("name", name), ("uuid", uuid)):
        found = tree.find(tag)
        if found is None:
            found = xml.add(tree, tag)
        found.text = value
    return xml.write(tree)


def difference(stored: str, current: str) -> list[str]:
    """Return, line by line, what *current* says differently from *stored*; empty when nothing."""
    before, after = (xml.write(_comparable(text)).split("\n") for text in (stored, current))
    missing = [f"- {line.strip()}" for line in before if line not in after]
    added = [f"+ {line.strip()}" for line in after if line not in before]
    return missing + added


def _nvram(tree: xml.Element) -> str | None:
    """Return the file with the firmware's variables, named in either of libvirt's forms."""
    named = xml.attribute(tree, "os/nvram/source", "file") or xml.text_of(tree, "os/nvram")
    return named or None


def _rename_nvram(tree: xml.Element, name: str) -> None:
    nvram, source, path = tree.find("os/nvram"), tree.find("os/nvram/source"), _nvram(tree)
    if nvram is None or path is None:
        return
    renamed = str(PurePath(path).with_name(name))
    if source is not None:
        source.set("file", renamed)
    else:
        nvram.text = renamed


def _in_our_name_space(tree: xml.Element) -> xml.Element:
    for found in tree.iter():
        if not found.tag.startswith("{"):
            found.tag = _OURS + found.tag
    return tree


def _comparable(text: str) -> xml.Element:
    """Return the tree, one element a line, without what libvirt counts by itself."""
    tree = xml.read(re.sub(r">\s+<", "><", text))
    for tag in ("capacity", "allocation", "available"):
        _drop(tree, tag)
    for found in tree.iter():
        found.tail = "\n"
        if len(found) and not (found.text or "").strip():
            found.text = "\n"
    return tree


def _drop(tree: xml.Element, tag: str) -> None:
    for found in tree.findall(tag):
        tree.remove(found)


def _disks_by_target(tree: xml.Element) -> dict[str, xml.Element]:
    return {xml.attribute(disk, "target", "dev"): disk for disk in tree.findall("devices/disk")}


def _can_be_written(disk: xml.Element) -> bool:
    """Tell whether a domain with this disk could change what another domain uses."""
    kept_apart = disk.find("readonly") is not None or disk.find("transient") is not None
    return disk.get("device", "disk") != "cdrom" and not kept_apart and disk.find("source") is not None


def _holds_data(disk: xml.Element) -> bool:
    return (
        disk.get("device", "disk") == "disk"
        and disk.find("readonly") is None
        and disk.find("transient") is None
        and disk.find("source") is not None
    )


def _source(device: xml.Element) -> str:
    source = device.find("source")
    found = {} if source is None else source.attrib
    names = (found.get(name) for name in ("file", "dev", "dir", "path", "volume", "name"))
    return next((name for name in names if name), "")


def _disk(disk: xml.Element) -> DomainDisk:
    return DomainDisk(
        target=xml.attribute(disk, "target", "dev"),
        kind=disk.get("type", "file"),
        path=_source(disk),
        format=xml.attribute(disk, "driver", "type", "raw"),
        shared=disk.find("shareable") is not None,
        encrypted=disk.find("encryption") is not None or disk.find("source/encryption") is not None,
    )


def _put(disk: xml.Element, path: str, image_format: str) -> None:
    _drop(disk, "backingStore")
    driver = disk.find("driver")
    if driver is None:
        driver = xml.add(disk, "driver", name="qemu")
    driver.set("type", image_format)
    old = disk.find("source")
    if disk.get("type") == "block" and old is not None and old.get("dev") == path:
        return
    _drop(disk, "source")
    disk.set("type", "file")
    xml.add(disk, "source", file=path)
