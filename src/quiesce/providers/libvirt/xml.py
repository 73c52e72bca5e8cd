"""Reading and writing libvirt's XML."""

from __future__ import annotations

from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

from quiesce.errors import NonRecoverableError

Element: TypeAlias = ET.Element

#: how long and how deep libvirt's own XML is at most, with room
_LONGEST: Final = 16 * 1024 * 1024
_DEEPEST: Final = 600
#: the name space of what we write into a domain's metadata
METADATA_URI: Final = "urn:quiesce:libvirt:1"


def read(text: str) -> Element:
    """Return *text* as a tree; document types, and with them entities, are refused, and so is what is huge.

    Raises:
        NonRecoverableError: when it is not what libvirt would write.
    """
    if len(text) > _LONGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise NonRecoverableError("libvirt's XML cannot be read: it is too long, or has a document type")
    try:
        tree = ET.fromstring(text)  # noqa: S314  without entities
    except ET.ParseError as error:
        raise NonRecoverableError(f"libvirt's XML cannot be read: {error}") from error
    if _is_deep(tree):
        raise NonRecoverableError(f"libvirt's XML cannot be read: it is deeper than {_DEEPEST} elements")
    return tree


def _is_deep(tree: Element) -> bool:
    level: list[Element] = [tree]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in parent]
        if not level:
            return False
    return True


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
