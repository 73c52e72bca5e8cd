"""From the services' JSON to our values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.provider_kit.answers import AnswerReader
from quiesce.providers.openstack.ownership import mark_in
from quiesce.providers.openstack.resources import (
    CloudImage,
    GroupSnapshot,
    Server,
    Volume,
    VolumeAttachment,
    VolumeBackup,
    VolumeSnapshot,
)

_ANSWERS: Final = AnswerReader(
    platform="OpenStack",
    hint="Look at what stands between this machine and the cloud, and at auth_url and the catalog.",
)
not_understood = _ANSWERS.not_understood
understood = _ANSWERS.understood


def text_at(raw: Mapping[str, Any], *keys: str) -> str:
    """Return the text that is below *keys*, such as the id of what was made.

    Raises:
        NonRecoverableError: when there is none.
    """
    found: Any = raw
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise not_understood(".".join(keys))
    return found


def objects_in(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list below *key*; empty when there is none.

    Raises:
        NonRecoverableError: when it is no list of objects.
    """
    found = answer.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise not_understood(key)
    return found


@understood("a server")
def server(raw: Mapping[str, Any]) -> Server:
    """Return the server that Nova describes."""
    image = raw.get("image")
    attached = raw.get("os-extended-volumes:volumes_attached") or ()
    return Server(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "UNKNOWN",
        task_state=raw.get("OS-EXT-STS:task_state"),
        image_id=image["id"] if isinstance(image, dict) and image.get("id") else None,
        volume_ids=tuple(volume["id"] for volume in attached),
        metadata=_texts(raw.get("metadata")),
        flavor=raw.get("flavor") or {},
        launched_at=raw.get("OS-SRV-USG:launched_at"),
        fault=(raw.get("fault") or {}).get("message", ""),
        locked=bool(raw.get("locked")),
    )


@understood("a volume")
def volume(raw: Mapping[str, Any]) -> Volume:
    """Return the volume that Cinder describes."""
    return Volume(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "unknown",
        size_gib=int(raw.get("size") or 0),
        type=raw.get("volume_type"),
        zone=raw.get("availability_zone"),
        metadata=_texts(raw.get("metadata")),
        image_metadata=_texts(raw.get("volume_image_metadata")),
        attachments=tuple(
            VolumeAttachment(server_id=place["server_id"], device=place.get("device"))
            for place in raw.get("attachments") or ()
            if place.get("server_id")
        ),
        bootable=str(raw.get("bootable")).lower() == "true",
        group_id=raw.get("group_id") or None,
    )


@understood("a snapshot")
def snapshot(raw: Mapping[str, Any]) -> VolumeSnapshot:
    """Return the volume snapshot that Cinder describes."""
    return VolumeSnapshot(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "unknown",
        volume_id=raw.get("volume_id") or "",
        size_gib=int(raw.get("size") or 0),
        # what is made with a group has its description, and no metadata
        metadata=mark_in(raw.get("description") or "") | _texts(raw.get("metadata")),
        created_at=raw.get("created_at") or "",
        group_snapshot_id=raw.get("group_snapshot_id") or None,
    )


@understood("a group snapshot")
def group_snapshot(raw: Mapping[str, Any]) -> GroupSnapshot:
    """Return the snapshot of a group of volumes that Cinder describes."""
    return GroupSnapshot(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "unknown",
        group_id=raw.get("group_id") or "",
        metadata=mark_in(raw.get("description") or ""),
    )


@understood("a backup")
def backup(raw: Mapping[str, Any]) -> VolumeBackup:
    """Return the volume backup that Cinder describes."""
    return VolumeBackup(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "unknown",
        volume_id=raw.get("volume_id") or "",
        snapshot_id=raw.get("snapshot_id"),
        size_gib=int(raw.get("size") or 0),
        metadata=_texts(raw.get("metadata")),
        created_at=raw.get("created_at") or "",
        incremental=bool(raw.get("is_incremental")),
        has_dependents=bool(raw.get("has_dependent_backups")),
        fail_reason=raw.get("fail_reason") or "",
    )


@understood("an image")
def image(raw: Mapping[str, Any]) -> CloudImage:
    """Return the image that Glance describes."""
    return CloudImage(
        id=raw["id"],
        name=raw.get("name") or "",
        status=raw.get("status") or "unknown",
        size_bytes=raw.get("size"),
        checksum=raw.get("os_hash_value"),
        hash_algorithm=raw.get("os_hash_algo"),
        metadata=_texts(raw),
        mapping=_mapping(raw.get("block_device_mapping")),
        created_at=raw.get("created_at") or "",
        protected=bool(raw.get("protected")),
    )


def _texts(raw: Any) -> dict[str, str]:
    return {key: value for key, value in (raw or {}).items() if isinstance(value, str)}


def _mapping(raw: Any) -> tuple[Mapping[str, Json], ...]:
    """Return the block devices of an image; Glance keeps them as JSON text."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raw = None
    return tuple(device for device in raw or () if isinstance(device, dict))
