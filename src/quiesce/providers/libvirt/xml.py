"""Reading and writing libvirt's XML."""

from __future__ import annotations

from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

from quiesce.errors import NonRecoverableError

Element: TypeAlias = ET.Element

#: the name space of what we write into a domain's metadata
METADATA_URI: Final = "urn:quiesce:libvirt:1"


def read(text: str) -> Element:
    """Return *text*, which libvirt or quiesce itself wrote, as a tree."""
    try:
        return ET.fromstring(text)  # noqa: S314  not from strangers
    except ET.ParseError as error:
        raise NonRecoverableError(f"libvirt's XML cannot be read: {error}") from error


def write(tree: Element) -> str:
    """Return *tree* as text."""
    return ET.tostring(tree, encoding="unicode")


def element(tag: str, text: str | None = None, **attributes: str) -> Element:
    """Return a new element."""
    made = ET.Element(tag, attributes)
    made.text = text
    return made


def add(parent: Element, tag: str, text: str | None = None, **attributes: str) -> Element:
    """Append a new element to *parent* and return it."""
    made = ET.SubElement(parent, tag, attributes)
    made.text = text
    return made


def text_of(tree: Element, path: str, default: str = "") -> str:
    """Return the text at *path*."""
    return (tree.findtext(path) or default).strip()


def attribute(tree: Element, path: str, name: str, default: str = "") -> str:
    """Return an attribute of the element at *path*."""
    found = tree.find(path)
    return default if found is None else found.get(name, default)
