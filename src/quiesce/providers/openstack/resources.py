"""What OpenStack has, as values: the few fields that we decide by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from quiesce.model.ids import Json


class NamedResource(Protocol):
    """Anything with an id of its own and a name that others may hold too."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


class MarkedResource(NamedResource, Protocol):
    """Anything that carries our mark."""

    @property
    def metadata(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, as Nova shows it."""

    id: str
    name: str
    status: str
    task_state: str | None = None
    #: None: it boots from a volume
    image_id: str | None = None
    volume_ids: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    flavor: Mapping[str, Json] = field(default_factory=dict)
    launched_at: str | None = None
    #: why it is in ERROR
    fault: str = ""
    #: somebody has locked it: Nova snapshots and rebuilds it for nobody else
    locked: bool = False

    @property
    def boots_from_volume(self) -> bool:
        """Tell whether its root disk is a Cinder volume."""
        return self.image_id is None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeAttachment:
    """Where a volume is attached."""

    server_id: str
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume, as Cinder shows it."""

    id: str
    name: str
    status: str
    size_gib: int
    type: str | None = None
    zone: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: properties of the image that it was made from
    image_metadata: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[VolumeAttachment, ...] = ()
    bootable: bool = False
    #: the group of volumes that it is in
    group_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSnapshot:
    """A volume's snapshot."""

    id: str
    name: str
    status: str
    volume_id: str
    size_gib: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""

    #: the snapshot of a group of volumes that it was made and is removed with
    group_snapshot_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSnapshot:
    """A snapshot of a group of volumes; each of them has one of its own in it."""

    id: str
    name: str
    status: str
    group_id: str
    #: our mark, which its description holds: it has no metadata
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeBackup:
    """A volume's backup."""

    id: str
    name: str
    status: str
    volume_id: str
    snapshot_id: str | None = None
    size_gib: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""
    incremental: bool = False
    has_dependents: bool = False
    fail_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudImage:
    """An image, as Glance shows it; custom properties are its metadata."""

    id: str
    name: str
    status: str
    size_bytes: int | None = None
    checksum: str | None = None
    hash_algorithm: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: of an image of a server that boots from a volume: the snapshots that hold its data
    mapping: tuple[Mapping[str, Json], ...] = ()
    created_at: str = ""
    protected: bool = False

    @property
    def snapshot_ids(self) -> tuple[str, ...]:
        """The volume snapshots that it names."""
        return tuple(str(device["snapshot_id"]) for device in self.mapping if device.get("snapshot_id"))
