"""What a domain's definition says, as values, and definitions changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.xml import METADATA_URI

AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
_OURS: Final = f"{{{METADATA_URI}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk that a backup has to hold."""

    #: the name the guest's bus gives it: ``vda``
    target: str
    #: ``file`` or ``block``; anything else cannot be read or replaced from here
    kind: str
    path: str
    #: ``qcow2``, ``raw``
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What we need to know of a domain."""

    name: str
    uuid: str
    disks: tuple[Disk, ...]
    has_agent_channel: bool
    nvram: str | None

    def disk(self, target: str) -> Disk | None:
        """Return the disk of that target."""
        return next((disk for disk in self.disks if disk.target == target), None)


def read_definition(text: str) -> Definition:
    """Return what *text* says."""
    tree = xml.read(text)
    return Definition(
        name=xml.text_of(tree, "name"),
        uuid=xml.text_of(tree, "uuid"),
        disks=tuple(_disk(found) for found in tree.findall("devices/disk") if _holds_data(found)),
        has_agent_channel=any(
            target.get("name") == AGENT_CHANNEL for target in tree.findall("devices/channel/target")
        ),
        nvram=xml.text_of(tree, "os/nvram") or None,
    )


def with_sources(text: str, paths: Mapping[str, str], formats: Mapping[str, str]) -> str:
    """Return the definition with the disks of these targets on other files; metadata kept."""
    tree = xml.read(text)
    for disk in tree.findall("devices/disk"):
        target = xml.attribute(disk, "target", "dev")
        if target in paths:
            _put(disk, paths[target], formats[target])
    return xml.write(tree)


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
    for part in tree.findall("os"):
        nvram = part.find("nvram")
        if nvram is not None and nvram.text:
            nvram.text = str(PurePath(nvram.text).with_name(f"{name}_VARS.fd"))
    return xml.write(tree)


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


def _holds_data(disk: xml.Element) -> bool:
    return (
        disk.get("device", "disk") == "disk"
        and disk.find("readonly") is None
        and disk.find("transient") is None
        and disk.find("source") is not None
    )


def _disk(disk: xml.Element) -> Disk:
    source = disk.find("source")
    found = {} if source is None else dict(source.attrib)
    return Disk(
        target=xml.attribute(disk, "target", "dev"),
        kind=disk.get("type", "file"),
        path=found.get("file") or found.get("dev") or found.get("volume") or found.get("name") or "",
        format=xml.attribute(disk, "driver", "type", "raw"),
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
