"""Where a Compute Engine resource is: project, scope, collection and name, each checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.artifact import CONVERTER

MACHINES: Final = "instances"
DISKS: Final = "disks"
SNAPSHOTS: Final = "snapshots"
INSTANTS: Final = "instantSnapshots"
GROUPS: Final = "instantSnapshotGroups"
IMAGES: Final = "machineImages"
POLICIES: Final = "resourcePolicies"
#: collection and kind of scope in which each of them lives
COLLECTIONS: Final = frozenset(
    {
        (MACHINES, "zones"),
        (DISKS, "zones"),
        (DISKS, "regions"),
        (INSTANTS, "zones"),
        (INSTANTS, "regions"),
        (GROUPS, "zones"),
        (SNAPSHOTS, "global"),
        (IMAGES, "global"),
        (POLICIES, "regions"),
        ("operations", "zones"),
        ("operations", "regions"),
        ("operations", "global"),
    }
)
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?|[1-9][0-9]{0,19}")
_PROJECT = re.compile(r"(?:[a-z][-a-z0-9.]{0,62}:)?[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PLACE = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_OPERATION = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,127}")
_PATH = re.compile(
    r"(?:.*/)?projects/(?P<project>[^/]+)/(?P<scope>global|(?:zones|regions)/[^/]+)/(?P<collection>\w+)/(?P<name>[^/]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where resources of one type are. *scope* is ``zones/ZONE``, ``regions/REGION`` or ``global``."""

    project: str
    scope: str
    collection: str

    @property
    def kind(self) -> str:
        """``zones``, ``regions`` or ``global``."""
        return self.scope.partition("/")[0]

    @property
    def place(self) -> str:
        """The zone's or region's name; empty for ``global``."""
        return self.scope.partition("/")[2]

    def beside(self, collection: str, scope: str | None = None) -> Location:
        """Return where the project's *collection* is, in the same place unless *scope* is given."""
        return Location(project=self.project, scope=scope or self.scope, collection=collection)

    def named(self, name: str) -> Reference:
        """Return the resource of that name."""
        return Reference(project=self.project, scope=self.scope, collection=self.collection, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference(Location):
    """One resource."""

    name: str

    def __post_init__(self) -> None:
        """Refuse what could never be a resource, before it becomes part of a request's path."""
        kind, _, place = self.scope.partition("/")
        pattern = _OPERATION if self.collection == "operations" else _NAME
        checks = (
            ("project", self.project, _PROJECT.fullmatch(self.project) is not None),
            ("zone or region", self.scope, not place or _PLACE.fullmatch(place) is not None),
            ("kind of resource", self.collection, (self.collection, kind) in COLLECTIONS),
            (f"name in {self.collection}", self.name, pattern.fullmatch(self.name) is not None),
        )
        for what, value, legal in checks:
            if not legal:
                raise NonRecoverableError(f"{value[:80]!r} is not a legal {what} of Compute Engine")

    @property
    def path(self) -> str:
        """The partial URL that requests and people use."""
        return f"projects/{self.project}/{self.scope}/{self.collection}/{self.name}"

    @property
    def location(self) -> Location:
        """Where it is listed."""
        return self.beside(self.collection)

    @property
    def is_machine(self) -> bool:
        """Whether it is a virtual machine; else it is a disk, a copy or an operation."""
        return self.collection == MACHINES


def parse(url: str) -> Reference:
    """Return what a full or partial URL with a project in it refers to.

    Raises:
        NonRecoverableError: when it is not the URL of a resource that quiesce knows.
    """
    match = _PATH.fullmatch(url)
    if match is None:
        raise NonRecoverableError(f"{url[:120]!r} is not the URL of a Compute Engine resource")
    return Reference(**match.groupdict())


CONVERTER.register_structure_hook(Reference, lambda value, _: parse(str(value)))
CONVERTER.register_unstructure_hook(Reference, lambda reference: reference.path)


def path_of(url: str) -> str:
    """Return a URL from ``projects/`` on, whatever it refers to."""
    before, found, rest = url.partition("projects/")
    return found + rest if found else before


def last_part(url: str) -> str:
    """Return the name at the end of a URL, or *url* itself when it is a bare name."""
    return url.rstrip("/").rpartition("/")[2]


def region_of(zone: str) -> str:
    """Return the region that a zone's name says it is in."""
    return zone.rpartition("-")[0]
