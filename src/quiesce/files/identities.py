"""Whether one path is another, or lies in it: by what is there, whatever it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

FileIdentity: TypeAlias = tuple[int, int]


def identity_of(path: Path) -> FileIdentity | None:
    """Return which file *path* is, wherever that is linked or mounted; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def identities_above(path: Path) -> frozenset[FileIdentity]:
    """Return what is there of *path* itself and of everything above it."""
    real = path.resolve()
    found = (identity_of(each) for each in (real, *real.parents))
    return frozenset(identity for identity in found if identity is not None)
