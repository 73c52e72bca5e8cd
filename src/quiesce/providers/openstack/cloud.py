"""One cloud in our words: what it holds, and the few things that we ask it to do.

Every method is one request (a long list may take more) and returns when the service has accepted it; the
effect is waited for elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from quiesce.errors import ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.providers.openstack import parsing
from quiesce.providers.openstack.client import Client, Service
from quiesce.providers.openstack.resources import (
    CloudImage,
    GroupSnapshot,
    Server,
    Volume,
    VolumeBackup,
    VolumeSnapshot,
)

_PAGE: Final = "1000"
#: the first version that rebuilds a server that boots from a volume
_REIMAGE: Final = "2.93"


class Cloud:
    """One project on one cloud."""

    def __init__(self, client: Client) -> None:
        self.client = client

    # -- what is there ----------------------------------------------------------------------------------

    def servers(self) -> list[Server]:
        """Return every server of the project."""
        return [parsing.server(raw) for raw in self._list(Service.COMPUTE, "/servers/detail", "servers")]

    def volumes(self) -> list[Volume]:
        """Return every volume of the project."""
        return [parsing.volume(raw) for raw in self._list(Service.VOLUME, "/volumes/detail", "volumes")]

    def snapshots(self) -> list[VolumeSnapshot]:
        """Return every volume snapshot of the project."""
        return [parsing.snapshot(raw) for raw in self._list(Service.VOLUME, "/snapshots/detail", "snapshots")]

    def backups(self) -> list[VolumeBackup]:
        """Return every volume backup of the project."""
        return [parsing.backup(raw) for raw in self._list(Service.VOLUME, "/backups/detail", "backups")]

    def images(self) -> list[CloudImage]:
        """Return every image that the project owns."""
        owned = {"owner": self.client.project_id}
        return [parsing.image(raw) for raw in self._list(Service.IMAGE, "/images", "images", owned)]

    def server(self, server_id: str) -> Server | None:
        """Return one server, or None when it is not there."""
        raw = self._get(Service.COMPUTE, f"/servers/{server_id}", "server")
        return parsing.server(raw) if raw else None

    def volume(self, volume_id: str) -> Volume | None:
        """Return one volume, or None when it is not there."""
        raw = self._get(Service.VOLUME, f"/volumes/{volume_id}", "volume")
        return parsing.volume(raw) if raw else None

    def snapshot(self, snapshot_id: str) -> VolumeSnapshot | None:
        """Return one snapshot, or None when it is not there."""
        raw = self._get(Service.VOLUME, f"/snapshots/{snapshot_id}", "snapshot")
        return parsing.snapshot(raw) if raw else None

    def group_snapshots(self) -> list[GroupSnapshot]:
        """Return every snapshot of a group of volumes of the project."""
        path = "/group_snapshots/detail"
        return [parsing.group_snapshot(raw) for raw in self._list(Service.VOLUME, path, "group_snapshots")]

    def group_snapshot(self, group_snapshot_id: str) -> GroupSnapshot | None:
        """Return one of them, or None when it is not there."""
        raw = self._get(Service.VOLUME, f"/group_snapshots/{group_snapshot_id}", "group_snapshot")
        return parsing.group_snapshot(raw) if raw else None

    def specs_of_group(self, group_id: str) -> Mapping[str, Json] | None:
        """Return what the type of a group of volumes promises; None when this user is not told."""
        group = self._get(Service.VOLUME, f"/groups/{group_id}", "group") or {}
        kind = self._get(Service.VOLUME, f"/group_types/{group.get('group_type')}", "group_type") or {}
        specs = kind.get("group_specs")
        return specs if isinstance(specs, dict) else None

    def backup(self, backup_id: str) -> VolumeBackup | None:
        """Return one backup, or None when it is not there."""
        raw = self._get(Service.VOLUME, f"/backups/{backup_id}", "backup")
        return parsing.backup(raw) if raw else None

    def image(self, image_id: str) -> CloudImage | None:
        """Return one image, or None when it is not there."""
        try:
            return parsing.image(self.client.request(Service.IMAGE, "GET", f"/images/{image_id}"))
        except ResourceNotFoundError:
            return None

    def diagnostics(self, server_id: str) -> dict[str, Any]:
        """Return what the hypervisor measures; for administrators only."""
        return self.client.request(Service.COMPUTE, "GET", f"/servers/{server_id}/diagnostics")

    def limits(self, service: Service) -> Mapping[str, Json]:
        """Return the project's absolute limits and what of them is used."""
        found = self.client.request(service, "GET", "/limits").get("limits")
        absolute = found.get("absolute") if isinstance(found, dict) else None
        return absolute if isinstance(absolute, dict) else {}

    # -- servers ----------------------------------------------------------------------------------------

    def act(self, server_id: str, action: str, *, microversion: str | None = None, **details: Json) -> Any:
        """Ask Nova for one of its server actions: ``suspend``, ``os-stop``, ``rebuild``."""
        return self.client.request(
            Service.COMPUTE,
            "POST",
            f"/servers/{server_id}/action",
            body={action: details or None},
            microversion=microversion,
        )

    def create_server_image(self, server_id: str, name: str, mark: Mapping[str, str]) -> str:
        """Begin an image of a server's root disk; return the image's id."""
        answer = self.act(server_id, "createImage", name=name, metadata=dict(mark))
        return parsing.text_at(answer, "image_id")

    def create_server_backup(
        self, server_id: str, name: str, mark: Mapping[str, str], *, type_: str, rotation: int
    ) -> str:
        """Begin a backup image; Nova then removes the oldest images of that server and type."""
        answer = self.act(
            server_id, "createBackup", name=name, backup_type=type_, rotation=rotation, metadata=dict(mark)
        )
        return parsing.text_at(answer, "image_id")

    def rebuild_server(self, server: Server, image_id: str) -> None:
        """Begin to put *image_id* onto the server's root disk, whatever holds that disk."""
        version = _REIMAGE if server.boots_from_volume else None
        self.act(server.id, "rebuild", imageRef=image_id, microversion=version)

    def set_server_metadata(self, server_id: str, items: Mapping[str, str]) -> None:
        """Add *items* to a server's metadata."""
        path = f"/servers/{server_id}/metadata"
        self.client.request(Service.COMPUTE, "POST", path, body={"metadata": dict(items)})

    def remove_server_metadata(self, server_id: str, key: str) -> None:
        """Remove one item of a server's metadata, if it is there."""
        self._delete(Service.COMPUTE, f"/servers/{server_id}/metadata/{key}")

    def attach(self, server_id: str, volume_id: str, device: str | None) -> None:
        """Begin to attach a volume."""
        attachment: dict[str, Json] = {"volumeId": volume_id}
        if device:
            attachment["device"] = device
        path = f"/servers/{server_id}/os-volume_attachments"
        self.client.request(Service.COMPUTE, "POST", path, body={"volumeAttachment": attachment})

    def detach(self, server_id: str, volume_id: str) -> None:
        """Begin to detach a volume."""
        self._delete(Service.COMPUTE, f"/servers/{server_id}/os-volume_attachments/{volume_id}")

    # -- volumes ----------------------------------------------------------------------------------------

    def create_snapshot(
        self, volume_id: str, name: str, mark: Mapping[str, str], *, description: str = ""
    ) -> VolumeSnapshot:
        """Begin a snapshot, in use or not."""
        snapshot: dict[str, Json] = {
            "volume_id": volume_id,
            "name": name,
            "description": description,
            "metadata": dict(mark),
            "force": True,
        }
        answer = self.client.request(Service.VOLUME, "POST", "/snapshots", body={"snapshot": snapshot})
        return parsing.snapshot(answer.get("snapshot") or {})

    def create_group_snapshot(self, group_id: str, name: str, description: str) -> str:
        """Begin a snapshot of every volume of a group; all get that name and description. Return its id."""
        wanted: dict[str, Json] = {"group_id": group_id, "name": name, "description": description}
        answer = self.client.request(
            Service.VOLUME, "POST", "/group_snapshots", body={"group_snapshot": wanted}
        )
        return parsing.text_at(answer, "group_snapshot", "id")

    def set_snapshot_metadata(self, snapshot_id: str, items: Mapping[str, str]) -> None:
        """Add *items* to a snapshot's metadata."""
        path = f"/snapshots/{snapshot_id}/metadata"
        self.client.request(Service.VOLUME, "POST", path, body={"metadata": dict(items)})

    def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Begin to put a volume back to its latest snapshot."""
        self._volume_action(volume_id, "revert", {"snapshot_id": snapshot_id})

    def create_volume(
        self, name: str, source: VolumeSnapshot | VolumeBackup, mark: Mapping[str, str], *, like: Volume
    ) -> str:
        """Begin a new volume of the size, type and zone of *like*; return its id.

        It has the content of *source* when that is a snapshot, and none when it is a backup.
        """
        volume: dict[str, Json] = {
            "name": name,
            "size": like.size_gib,
            "volume_type": like.type,
            "availability_zone": like.zone,
            "metadata": dict(mark),
        }
        if isinstance(source, VolumeSnapshot):
            volume["snapshot_id"] = source.id
        answer = self.client.request(Service.VOLUME, "POST", "/volumes", body={"volume": volume})
        return parsing.text_at(answer, "volume", "id")

    def create_backup(
        self,
        volume_id: str,
        name: str,
        mark: Mapping[str, str],
        *,
        snapshot_id: str,
        description: str = "",
        incremental: bool = False,
    ) -> str:
        """Begin a backup of a volume as it was at one of its snapshots; return the backup's id."""
        backup: dict[str, Json] = {
            "volume_id": volume_id,
            "snapshot_id": snapshot_id,
            "name": name,
            "description": description,
            "metadata": dict(mark),
            "incremental": incremental,
        }
        answer = self.client.request(Service.VOLUME, "POST", "/backups", body={"backup": backup})
        return parsing.text_at(answer, "backup", "id")

    def restore_backup(self, backup_id: str, *, volume_id: str) -> None:
        """Begin to restore over *volume_id*."""
        path = f"/backups/{backup_id}/restore"
        self.client.request(Service.VOLUME, "POST", path, body={"restore": {"volume_id": volume_id}})

    def update_volume(self, volume_id: str, *, name: str, metadata: Mapping[str, str]) -> None:
        """Let a volume have that name, and no other metadata."""
        changes: dict[str, Json] = {"name": name, "metadata": dict(metadata)}
        self.client.request(Service.VOLUME, "PUT", f"/volumes/{volume_id}", body={"volume": changes})

    def upload_volume(self, volume_id: str, image_name: str) -> str:
        """Begin to make an image of a volume's content; return the image's id."""
        answer = self._volume_action(
            volume_id,
            "os-volume_upload_image",
            {"image_name": image_name, "disk_format": "qcow2", "container_format": "bare", "force": False},
        )
        return parsing.text_at(answer, "os-volume_upload_image", "image_id")

    def set_volume_metadata(self, volume_id: str, items: Mapping[str, str]) -> None:
        """Add *items* to a volume's metadata."""
        path = f"/volumes/{volume_id}/metadata"
        self.client.request(Service.VOLUME, "POST", path, body={"metadata": dict(items)})

    def remove_volume_metadata(self, volume_id: str, key: str) -> None:
        """Remove one item of a volume's metadata, if it is there."""
        self._delete(Service.VOLUME, f"/volumes/{volume_id}/metadata/{key}")

    # -- images -----------------------------------------------------------------------------------------

    def download(self, image_id: str) -> Iterator[bytes]:
        """Return an image's data, piece by piece."""
        return self.client.download(f"/images/{image_id}/file")

    def set_image_properties(self, image_id: str, items: Mapping[str, str]) -> None:
        """Add *items* to an image's properties."""
        changes: list[Json] = [
            {"op": "add", "path": f"/{key}", "value": value} for key, value in items.items()
        ]
        self.client.request(Service.IMAGE, "PATCH", f"/images/{image_id}", body=changes)

    # -- removing ---------------------------------------------------------------------------------------

    def delete_volume(self, volume_id: str) -> None:
        """Begin to delete a volume; fine when it is gone."""
        self._delete(Service.VOLUME, f"/volumes/{volume_id}")

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Begin to delete a snapshot; fine when it is gone."""
        self._delete(Service.VOLUME, f"/snapshots/{snapshot_id}")

    def delete_group_snapshot(self, group_snapshot_id: str) -> None:
        """Begin to delete a group snapshot with all that is in it; fine when it is gone."""
        self._delete(Service.VOLUME, f"/group_snapshots/{group_snapshot_id}")

    def remove_snapshot_metadata(self, snapshot_id: str, key: str) -> None:
        """Remove one item of a snapshot's metadata, if it is there."""
        self._delete(Service.VOLUME, f"/snapshots/{snapshot_id}/metadata/{key}")

    def delete_backup(self, backup_id: str) -> None:
        """Begin to delete a backup; fine when it is gone."""
        self._delete(Service.VOLUME, f"/backups/{backup_id}")

    def delete_image(self, image_id: str) -> None:
        """Delete an image; fine when it is gone."""
        self._delete(Service.IMAGE, f"/images/{image_id}")

    # -- networks ---------------------------------------------------------------------------------------

    def network_objects(self, collection: str, **query: str) -> list[dict[str, Any]]:
        """Return the project's objects of one of Neutron's collections."""
        key = collection.replace("-", "_")
        found = list(self._list(Service.NETWORK, f"/{collection}", key, query))
        for raw in found:
            parsing.text_at(raw, "id")
        return found

    def network_object(self, collection: str, object_id: str) -> dict[str, Any] | None:
        """Return one of Neutron's objects as it is, or None."""
        key = collection.removesuffix("s").replace("-", "_")
        found = self._get(Service.NETWORK, f"/{collection}/{object_id}", key)
        if found is not None:
            parsing.text_at(found, "id")
        return found

    def update_network_object(self, collection: str, object_id: str, fields: Mapping[str, Json]) -> None:
        """Change *fields* of one of Neutron's objects."""
        key = collection.removesuffix("s").replace("-", "_")
        self.client.request(Service.NETWORK, "PUT", f"/{collection}/{object_id}", body={key: dict(fields)})

    def create_network_object(self, collection: str, fields: Mapping[str, Json]) -> dict[str, Any]:
        """Make one of Neutron's objects."""
        key = collection.removesuffix("s").replace("-", "_")
        answer = self.client.request(Service.NETWORK, "POST", f"/{collection}", body={key: dict(fields)})
        made = answer.get(key)
        return dict(made) if isinstance(made, dict) else {}

    def delete_network_object(self, collection: str, object_id: str) -> None:
        """Delete one of Neutron's objects; fine when it is gone."""
        self._delete(Service.NETWORK, f"/{collection}/{object_id}")

    def change_router(self, router_id: str, action: str, subnet_id: str) -> None:
        """``add_router_interface`` or ``remove_router_interface``."""
        path = f"/routers/{router_id}/{action}"
        self.client.request(Service.NETWORK, "PUT", path, body={"subnet_id": subnet_id})

    # -- below ------------------------------------------------------------------------------------------

    def _volume_action(self, volume_id: str, action: str, details: Json) -> dict[str, Any]:
        path = f"/volumes/{volume_id}/action"
        return self.client.request(Service.VOLUME, "POST", path, body={action: details})

    def _get(self, service: Service, path: str, key: str) -> dict[str, Any] | None:
        try:
            found = self.client.request(service, "GET", path).get(key)
        except ResourceNotFoundError:
            return None
        return found if isinstance(found, dict) else None

    def _delete(self, service: Service, path: str) -> None:
        try:
            self.client.request(service, "DELETE", path)
        except ResourceNotFoundError:
            return

    def _list(
        self, service: Service, path: str, key: str, query: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        wanted: dict[str, str] | None = {"limit": _PAGE, **(query or {})}
        asked: list[dict[str, str]] = []
        while wanted is not None:
            if wanted in asked:
                raise parsing.not_understood(f"{key}: its pages have no end")
            asked.append(wanted)
            answer = self.client.request(service, "GET", path, query=wanted)
            yield from parsing.objects_in(answer, key)
            wanted = _next_page(answer, key)


def _next_page(answer: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """Return the query for what comes after *answer*: Glance says ``next``, the others give links."""
    links = parsing.objects_in(answer, f"{key}_links")
    following = answer.get("next") or next(
        (link.get("href") for link in links if link.get("rel") == "next"), None
    )
    try:
        return dict(parse_qsl(urlsplit(following).query)) if isinstance(following, str) else None
    except ValueError as error:
        raise parsing.not_understood(f"the next page of {key}") from error
