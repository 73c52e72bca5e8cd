"""Whether one path is another, or lies in it: by what is there, whatever it is called."""

from __future__ import annotations

from pathlib import Path

from quiesce.files.descriptors import Identity


def identity_of(path: Path) -> Identity | None:
    """Return which file *path* is, wherever that is linked or mounted; None: there is none."""
    try:
        return Identity.of(path.stat())
    except OSError:
        return None


def identities_above(path: Path) -> frozenset[Identity]:
    """Return what is there of *path* itself and of everything above it."""
    real = path.resolve()
    found = (identity_of(each) for each in (real, *real.parents))
    return frozenset(identity for identity in found if identity is not None)
