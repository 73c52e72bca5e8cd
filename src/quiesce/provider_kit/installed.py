"""The providers that are installed, with what each brings by its entry point."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Final

from quiesce.errors import UsageError
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
    """Return every installed provider, by name. Imports no SDK.

    Raises:
        UsageError: when a package brings something else, or two bring providers of one name.
    """
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    found = tuple(map(_installed, points))
    for first, second in pairwise(sorted(found, key=lambda each: each.description.name)):
        if first.description.name == second.description.name:
            raise UsageError(
                f"{first.distribution} and {second.distribution} both bring a provider"
                f" {first.description.name!r}",
                hint="Uninstall one of them.",
            )
    return found


def _installed(point: EntryPoint) -> InstalledProvider:
    brought_by = point.dist
    distribution = OWN_DISTRIBUTION if brought_by is None else brought_by.name
    return InstalledProvider(
        description=_loaded(point, distribution),
        package=point.module,
        distribution=distribution,
        version="" if brought_by is None else brought_by.version,
    )


def _loaded(point: EntryPoint, distribution: str) -> Description:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the provider {point.name!r} of {distribution} cannot be loaded: {error}",
            hint=f"Install another version of {distribution}, or uninstall it.",
        ) from error
    if not isinstance(found, Description):
        raise UsageError(
            f"the entry point {point.name!r} of {distribution} names no Description: {point.value}",
            hint=f"Install another version of {distribution}, or uninstall it.",
        )
    return found
