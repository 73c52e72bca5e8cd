"""Figures of a workload, measured again and again: how it did before, during and after something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.model.ids import InstanceId, Json

#: more is no figure that could be drawn; neither is an infinite one, nor what is no number
_MOST: Final = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures of all instances at one moment."""

    at: float
    figures: Mapping[InstanceId, Mapping[str, float]] = field(default_factory=dict)


def numbers_of(figures: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of what an instance was measured at; those within a mapping as ``outer.inner``."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from numbers_of(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST:
            yield f"{prefix}{name}", float(value)
