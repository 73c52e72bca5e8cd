"""The providers that are installed, with what each brings by its entry point."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Final

from quiesce.model.capabilities import Description

GROUP: Final = "quiesce.providers"
#: the distribution that brings this package
OWN_DISTRIBUTION: Final = "quiesce"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledProvider:
    """A provider, and the distribution that brings it."""

    description: Description
    #: the package whose entry point names the description
    package: str
    distribution: str
    version: str

    @property
    def node_types(self) -> Path | None:
        """Return the file of its node types, or None when it brings none."""
        name = self.description.node_types
        return None if name is None else Path(str(files(self.package) / name))


@functools.cache
def installed_providers() -> Sequence[InstalledProvider]:
    """Return every installed provider, by name. Imports no SDK."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return tuple(map(_installed, points))


def _installed(point: EntryPoint) -> InstalledProvider:
    brought_by = point.dist
    return InstalledProvider(
        description=point.load(),
        package=point.module,
        distribution=OWN_DISTRIBUTION if brought_by is None else brought_by.name,
        version="" if brought_by is None else brought_by.version,
    )
