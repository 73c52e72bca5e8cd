"""Entries of stored trees, and what differs between two, as plain text and as values for JSON."""

from __future__ import annotations

import os
import stat
from typing import Final

from quiesce.model.ids import Json
from quiesce.reports.escaping import printable
from quiesce.reports.text import moment
from quiesce.repository import Difference, EntryDifference, TreeEntry

_TYPES: Final = {
    "f": ("file", stat.S_IFREG),
    "d": ("directory", stat.S_IFDIR),
    "l": ("link", stat.S_IFLNK),
    "p": ("pipe", stat.S_IFIFO),
    "c": ("character device", stat.S_IFCHR),
    "b": ("block device", stat.S_IFBLK),
    "h": ("hard link", 0),
}
_SIGNS: Final = {
    Difference.ADDED: "+",
    Difference.REMOVED: "-",
    Difference.CONTENT: "M",
    Difference.METADATA: "m",
}


def entry_line(entry: TreeEntry) -> str:
    """Return an entry as ``ls -l`` shows one."""
    _, type_ = _TYPES[chr(entry.kind)]
    name = printable(os.fsdecode(entry.path) or ".")
    if not type_:
        return f"{'h---------':10} {'':31}{'':19}  {name} = {printable(os.fsdecode(entry.target))}"
    target = f" -> {printable(os.fsdecode(entry.target))}" if entry.target else ""
    mode = stat.filemode(type_ | entry.mode)
    owner = f"{entry.uid}:{entry.gid}"
    return f"{mode} {owner:>13} {entry.size_bytes:>16} {_time(entry.mtime_ns)}  {name}{target}"


def entry_values(entry: TreeEntry) -> dict[str, Json]:
    """Return what there is to be told of an entry."""
    return {
        "path": os.fsdecode(entry.path),
        "type": _TYPES[chr(entry.kind)][0],
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime_ns": entry.mtime_ns,
        "size_bytes": entry.size_bytes,
        "target": os.fsdecode(entry.target),
    }


def difference_line(found: EntryDifference) -> str:
    """Return one difference between two trees."""
    return f"{_SIGNS[found.difference]} {printable(os.fsdecode(found.path) or '.')}"


def difference_values(found: EntryDifference) -> dict[str, Json]:
    """Return the same for programs."""
    return {"path": os.fsdecode(found.path), "difference": found.difference.value}


def _time(at_ns: int) -> str:
    """Return a time of a file, which may be any."""
    try:
        return moment(at_ns / 10**9)
    except (ValueError, OverflowError, OSError):
        return f"{at_ns // 10**9:>19}"
