"""Access control lists (POSIX.1e) as the text that tar archives hold, from what the kernel keeps."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

_VERSION: Final = 2
_TAGS: Final = {1: "user", 2: "user", 4: "group", 8: "group", 16: "mask", 32: "other"}
_NAMED: Final = (2, 8)
#: by the name of the extended attribute: the key of the header of an archive
_KEYS: Final = {
    b"system.posix_acl_access": "SCHILY.acl.access",
    b"system.posix_acl_default": "SCHILY.acl.default",
}


def archived(attributes: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the headers by which ``tar --acls`` restores the lists among *attributes*."""
    lists = {key: _text(attributes[name]) for name, key in _KEYS.items() if name in attributes}
    return {key: text for key, text in lists.items() if text}


def _text(value: bytes) -> str:
    """Return a list as ``user::rwx,user:1000:r--,…``, ids as numbers; empty when it is none of that sort."""
    if len(value) % 8 != 4 or struct.unpack_from("<I", value)[0] != _VERSION:
        return ""
    entries = list(struct.iter_unpack("<HHI", value[4:]))
    if any(tag not in _TAGS for tag, _, _ in entries):
        return ""
    return ",".join(
        f"{_TAGS[tag]}:{number if tag in _NAMED else ''}:{_permissions(allowed)}"
        for tag, allowed, number in entries
    )


def _permissions(allowed: int) -> str:
    return "".join(letter if allowed & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
