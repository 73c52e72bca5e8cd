"""What a restore point holds, entry by entry."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EntryKind(enum.StrEnum):
    """What an entry is."""

    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"
    #: a pipe, or a device
    SPECIAL = "special"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """One entry of a directory in a restore point."""

    #: below the instance's root; names are bytes
    path: bytes
    kind: EntryKind
    #: None: it is another name of the file `target`, which has the size
    size_bytes: int | None
    #: seconds since the epoch
    modified_at: float
    #: what a symbolic link leads to, or a hard link is another name of
    target: bytes = b""

    @property
    def name(self) -> bytes:
        """The last part of its path."""
        return self.path.rpartition(b"/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredListing:
    """What is in one directory of a restore point."""

    entries: tuple[StoredEntry, ...]
    #: how many more there are, which are not listed
    left_out: int = 0
