"""The pieces of one restore point of one instance, before and after they exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import DamagedArtifactError
from quiesce.model.ids import Json
from quiesce.providers.gcp.references import Reference, parse

SNAPSHOT: Final = "snapshots"
INSTANT: Final = "instantSnapshots"
IMAGE: Final = "machineImages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One disk of what is copied: as it is attached, and what a new disk needs to take its place."""

    disk: Reference
    disk_id: str
    size_gb: int
    type: str
    #: empty for a disk that is attached to nothing
    device: str = ""
    boot: bool = False
    auto_delete: bool = False
    mode: str = "READ_WRITE"
    replica_zones: tuple[str, ...] = ()
    iops: int = 0
    throughput: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One object that quiesce made: a snapshot of one part, or a machine image of all."""

    copy: Reference
    #: the service's own id; tells the object from another one that got its name later
    id: str
    parts: tuple[Part, ...]
    #: awaited by COPY; None when it was over at the cut
    operation: Reference | None = None
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """All pieces of one instance's contribution to a restore point."""

    pieces: tuple[Piece, ...]
    #: the machine whose disks they are; None for a disk on its own
    machine: Reference | None = None
    likeness: Mapping[str, Json] | None = None
    machine_type: str = ""

    @property
    def parts(self) -> tuple[tuple[Piece, Part], ...]:
        """Every disk, with the piece that holds it."""
        return tuple((piece, part) for piece in self.pieces for part in piece.parts)

    def as_artifact(self) -> dict[str, Json]:
        """Return it as plain data for the journal and the catalog."""
        return {
            "version": 1,
            "objects": [piece.copy.path for piece in self.pieces],
            "size_bytes": sum(piece.stored_bytes for piece in self.pieces),
            "pieces": [_piece_as_json(piece) for piece in self.pieces],
            "machine": self.machine.path if self.machine else None,
            "machine_type": self.machine_type,
            "likeness": dict(self.likeness or {}),
        }


def set_of(artifact: Mapping[str, Json]) -> Set:
    """Return what `Set.as_artifact` wrote.

    Raises:
        DamagedArtifactError: when it is not that.
    """
    try:
        machine = artifact["machine"]
        likeness = artifact["likeness"]
        return Set(
            pieces=tuple(_piece_of(piece) for piece in _objects(artifact["pieces"])),
            machine=parse(str(machine)) if machine else None,
            likeness=likeness if isinstance(likeness, dict) else {},
            machine_type=str(artifact["machine_type"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtifactError(
            f"the artifact of this restore point is not readable: {error!r}"
        ) from error


def _objects(value: Json) -> Iterable[dict[str, Json]]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    for entry in value:
        if not isinstance(entry, dict):
            raise TypeError("an object was expected")
        yield entry


def _piece_as_json(piece: Piece) -> dict[str, Json]:
    return {
        "copy": piece.copy.path,
        "id": piece.id,
        "operation": piece.operation.path if piece.operation else None,
        "stored_bytes": piece.stored_bytes,
        "parts": [_part_as_json(part) for part in piece.parts],
    }


def _part_as_json(part: Part) -> dict[str, Json]:
    return {
        "disk": part.disk.path,
        "disk_id": part.disk_id,
        "size_gb": part.size_gb,
        "type": part.type,
        "device": part.device,
        "boot": part.boot,
        "auto_delete": part.auto_delete,
        "mode": part.mode,
        "replica_zones": list(part.replica_zones),
        "iops": part.iops,
        "throughput": part.throughput,
    }


def _piece_of(entry: dict[str, Json]) -> Piece:
    operation = entry["operation"]
    return Piece(
        copy=parse(str(entry["copy"])),
        id=str(entry["id"]),
        operation=parse(str(operation)) if operation else None,
        stored_bytes=_number(entry["stored_bytes"]),
        parts=tuple(_part_of(part) for part in _objects(entry["parts"])),
    )


def _part_of(entry: dict[str, Json]) -> Part:
    zones = entry["replica_zones"]
    return Part(
        disk=parse(str(entry["disk"])),
        disk_id=str(entry["disk_id"]),
        size_gb=_number(entry["size_gb"]),
        type=str(entry["type"]),
        device=str(entry["device"]),
        boot=bool(entry["boot"]),
        auto_delete=bool(entry["auto_delete"]),
        mode=str(entry["mode"]),
        replica_zones=tuple(str(zone) for zone in zones) if isinstance(zones, list) else (),
        iops=_number(entry["iops"]),
        throughput=_number(entry["throughput"]),
    )


def _number(value: Json) -> int:
    if not isinstance(value, int | float):
        raise TypeError("a number was expected")
    return int(value)
