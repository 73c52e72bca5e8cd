"""Points: what one instance was at one cut; written last, so that what is there is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from quiesce.errors import DamagedArtifactError
from quiesce.model.ids import Json
from quiesce.model.stored_object import ObjectName
from quiesce.repository.keys import Keys

POINTS: Final = "points"
_FORMAT: Final = "quiesce-point"
_VERSION: Final = 1

ItemKind: TypeAlias = Literal["tree", "disk", "stream"]
_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_KINDS: Final = {"tree": "tree", "disk": "disk", "stream": "stream"}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PointKey:
    """Which point it is."""

    deployment: str
    point: str
    #: empty for the point of the whole deployment, which is written after those of its instances
    instance: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.deployment, self.point, self.instance)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PointItem:
    """One tree, disk or stream of a point."""

    kind: ItemKind
    #: the address of the blob that lists the rest
    root: bytes
    size_bytes: int
    #: entries of a tree
    entries: int = 0
    #: what the tree's clock said before it was walked, in nanoseconds; the same stored again is no other one
    begun_ns: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Json]:
        """Return it as a point has it."""
        return {
            "kind": self.kind,
            "root": self.root.hex(),
            "size_bytes": self.size_bytes,
            "entries": self.entries,
            "begun_ns": self.begun_ns,
        }

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> PointItem:
        """Read what `as_json` wrote."""
        kind: ItemKind = _KINDS[str(data["kind"])]  # type: ignore[assignment]
        return cls(
            kind=kind,
            root=bytes.fromhex(str(data["root"])),
            size_bytes=_number(data["size_bytes"]),
            entries=_number(data["entries"]),
            begun_ns=_number(data["begun_ns"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Everything that one instance needs to come back; no point needs another."""

    key: PointKey
    #: seconds since the epoch
    made_at: float
    items: Mapping[str, PointItem] = field(default_factory=dict)
    #: of a deployment's point: its instances
    instances: tuple[str, ...] = ()
    #: whatever the provider, or the catalog, has to keep with it
    content: Mapping[str, Json] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """How large everything is when it is restored."""
        return sum(item.size_bytes for item in self.items.values())

    def as_bytes(self) -> bytes:
        """Return it as it is sealed."""
        body: dict[str, Json] = {
            "format": _FORMAT,
            "version": _VERSION,
            "deployment": self.key.deployment,
            "point": self.key.point,
            "instance": self.key.instance,
            "made_at": self.made_at,
            "items": {name: item.as_json() for name, item in self.items.items()},
            "instances": list(self.instances),
            "content": dict(self.content),
        }
        return json.dumps(body).encode()

    @classmethod
    def parse(cls, data: bytes) -> Point:
        """Read what `as_bytes` wrote.

        Raises:
            DamagedArtifactError: when it is something else.
        """
        try:
            body = json.loads(data)
            if (body["format"], body["version"]) != (_FORMAT, _VERSION):
                raise ValueError(f"it is {body['format']} of version {body['version']}")
            return cls(
                key=PointKey(**{name: _text(body[name]) for name in ("deployment", "point", "instance")}),
                made_at=float(body["made_at"]),
                items={str(name): PointItem.of(item) for name, item in body["items"].items()},
                instances=tuple(map(_text, body["instances"])),
                content={**body["content"]},
            )
        except _UNREADABLE as error:
            raise DamagedArtifactError(f"a point cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoints:
    """All points of a repository, and the objects that are not the points that were written there."""

    points: tuple[Point, ...]
    #: which point it was, where another one of the same restore point tells
    damaged: Mapping[ObjectName, PointKey | None] = field(default_factory=dict)

    @property
    def keys(self) -> list[PointKey]:
        """All that are known by their names, damaged ones too."""
        return [*(point.key for point in self.points), *filter(None, self.damaged.values())]

    @property
    def damaged_names(self) -> list[str]:
        """The damaged ones: the point that it was, else the object."""
        return [str(key or name) for name, key in self.damaged.items()]

    @property
    def unknown(self) -> list[ObjectName]:
        """The damaged ones of which nothing tells which they were."""
        return [name for name, key in self.damaged.items() if key is None]


def siblings(point: Point) -> Iterator[PointKey]:
    """Yield which other points there should be, by what *point* tells."""
    if point.key.instance:
        yield replace(point.key, instance="")
    for instance in point.instances:
        yield replace(point.key, instance=instance)


def point_name(keys: Keys, key: PointKey) -> ObjectName:
    """Return the name under which a point is stored: it tells nothing to who has not the keys."""
    hashed = hashlib.blake2b(
        json.dumps([key.deployment, key.point, key.instance]).encode(),
        key=keys.derived(b"quiesce points"),
        digest_size=20,
    )
    return ObjectName(f"{POINTS}/{hashed.hexdigest()}")


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value
