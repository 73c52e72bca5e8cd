"""An OpenStack in memory, at the level of requests: what Nova, Cinder and Glance answer, and when.

Effects come late, as they do there: each request lets time pass by one tick, and what was begun ends after
a few. Names are never unique, Nova's rotation removes images after everything else, a volume in use can be
neither reverted nor restored, and a failed upload makes the image vanish without a word.

A group of volumes has a type, whose specs only administrators see (cinder/api/v3/views/group_types.py); its
snapshot makes one of every volume in it, at one instant where the type promises that, all with its name and
description and without metadata (cinder/group/api.py), and none of these can be removed alone
(cinder/volume/api.py, ``delete_snapshot``).

Where an image says that there is a guest agent, Nova freezes around its own snapshot, and its thaw thaws
everything, whoever froze it. Its user is no administrator, and Neutron refuses what only one may set.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NoReturn

from quiesce.errors import OperationTimeoutError, ProviderError
from quiesce.model.ids import Json
from quiesce.providers.openstack.client import Service
from quiesce.providers.openstack.errors import error_of

_CREATING = re.compile(r"POST /servers/[^/]+/action|POST /(group_)?snapshots|POST /backups$")


class FakeOpenStack:
    """What is there, shared by all clients."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.servers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.backups: dict[str, dict[str, Any]] = {}
        #: types of volumes that an administrator has removed
        self.gone_types: set[str] = set()
        self.groups: dict[str, dict[str, Any]] = {}
        self.group_types: dict[str, dict[str, Any]] = {}
        self.group_snapshots: dict[str, dict[str, Any]] = {}
        #: whether the user is told what group types promise
        self.shows_specs = True
        self.network: dict[str, dict[str, dict[str, Any]]] = {}
        #: what is on each disk, by the id of the server, volume, snapshot, image or backup
        self.data: dict[str, str] = {}
        #: errors for the next requests that match: (pattern, error, whether the effect happens all the same)
        self.faults: list[tuple[re.Pattern[str], ProviderError, bool]] = []
        #: steps that never end: ``upload``, ``snapshot``, ``backup``
        self.failing: set[str] = set()
        self.limits: dict[str, int] = {}
        #: servers whose guest a hook has frozen, and what was cut while it was not frozen any more
        self.frozen: dict[str, bool] = {}
        self.cut_thawed: list[str] = []
        self.log: list[str] = []
        self._tasks: list[list[Any]] = []
        self._clock = itertools.count(1)

    # -- hands of a test --------------------------------------------------------------------------------

    def boot(
        self, *, from_volume: bool = False, volumes: int = 0, name: str = "web", agent: bool | None = None
    ) -> str:
        """Make a running server, and return its id; its image says *agent*, or is gone when that is None."""
        server_id = str(uuid.uuid4())
        says = {"hw_qemu_guest_agent": "yes"} if agent else {}
        image: Any = "" if from_volume else {"id": "base"}
        if agent is not None and not from_volume:
            image = {"id": self._new_image("base", says, "active")}
        self.servers[server_id] = {
            "id": server_id,
            "name": name,
            "status": "ACTIVE",
            "OS-EXT-STS:task_state": None,
            "image": image,
            "metadata": {},
            "flavor": {"vcpus": 1, "ram": 128, "disk": 1},
            "os-extended-volumes:volumes_attached": [],
        }
        for number in range(volumes + from_volume):
            volume_id = self.volume(name=f"{name}-{number}")
            root = from_volume and number == 0
            self.volumes[volume_id]["bootable"] = "true" if root else "false"
            self.volumes[volume_id]["volume_image_metadata"] = says if root else {}
            self._attach(server_id, volume_id, f"/dev/vd{'abcdef'[number + (not from_volume)]}")
        return server_id

    def volume(self, *, name: str = "data", size: int = 1) -> str:
        """Make an available volume, and return its id."""
        volume_id = str(uuid.uuid4())
        self.volumes[volume_id] = {
            "id": volume_id,
            "name": name,
            "status": "available",
            "size": size,
            "volume_type": "rbd",
            "availability_zone": "nova",
            "metadata": {},
            "attachments": [],
            "bootable": "false",
            "created_at": self._now(),
        }
        return volume_id

    def group(self, volumes: Iterable[str], *, one_instant: bool = True) -> str:
        """Put volumes into a group, whose type promises snapshots of *one instant* or not; return its id."""
        group_id, type_id = str(uuid.uuid4()), str(uuid.uuid4())
        promise = "consistent_group_snapshot_enabled" if one_instant else "group_snapshot_enabled"
        self.group_types[type_id] = {"id": type_id, "group_specs": {promise: "<is> True"}}
        self.groups[group_id] = {"id": group_id, "group_type": type_id, "status": "available"}
        for volume_id in volumes:
            self.volumes[volume_id]["group_id"] = group_id
        return group_id

    def attached(self, server_id: str) -> list[str]:
        """Return the ids of a server's volumes."""
        return [each["id"] for each in self.servers[server_id]["os-extended-volumes:volumes_attached"]]

    def plant_image(self, name: str, **properties: str) -> str:
        """Make an image that somebody else has made."""
        return self._new_image(name, {**properties}, "active")

    def plant_snapshot(self, name: str, volume_id: str) -> str:
        """Make a snapshot that somebody else has made."""
        return self._new_snapshot(volume_id, name, {}, "available")

    def plant_backup(self, name: str, volume_id: str) -> str:
        """Make a backup that somebody else has made."""
        return self._new_backup(volume_id, None, name, {}, "available")

    def disk_of(self, server_id: str) -> str:
        """Return under which id the data of a server's root disk are."""
        if self.servers[server_id]["image"]:
            return server_id
        return str(self.servers[server_id]["os-extended-volumes:volumes_attached"][0]["id"])

    def objects(self) -> frozenset[str]:
        """Return every object that could be leaked."""
        with self.lock:
            self.settle()
            kinds = (self.images, self.volumes, self.snapshots, self.group_snapshots, self.backups)
            return frozenset(found for kind in kinds for found in kind)

    def write_always(self) -> None:
        """Let guests write the same to all disks at every moment, for ever."""
        self.later(1, self.write_always)
        now = self._now()
        disks = (*self.volumes, *(found for found, server in self.servers.items() if server["image"]))
        self.data.update(dict.fromkeys(disks, now))

    def settle(self) -> None:
        """Let time pass until nothing is under way."""
        for _ in range(100):
            self.tick()

    def fail(
        self, pattern: str, status: int, message: str = "no", retry_after_s: float | None = None
    ) -> None:
        """Let the next matching request be answered with an error."""
        error = error_of(status, message, asked=pattern, retry_after_s=retry_after_s)
        self.faults.append((re.compile(pattern), error, False))

    def lose_answer(self, pattern: re.Pattern[str] = _CREATING) -> None:
        """Let the next matching request have its effect, and the answer be lost."""
        self.faults.append((pattern, OperationTimeoutError("the answer was lost"), True))

    # -- time -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let a moment pass."""
        for task in self._tasks:
            task[0] -= 1
        due = [task for task in self._tasks if task[0] <= 0]
        self._tasks = [task for task in self._tasks if task[0] > 0]
        for task in due:
            task[1]()

    def later(self, ticks: int, effect: Callable[[], None]) -> None:
        """Let *effect* happen after some ticks."""
        self._tasks.append([ticks, effect])

    def _now(self) -> str:
        return f"2026-01-01T00:00:00.{next(self._clock):06d}"

    # -- requests ---------------------------------------------------------------------------------------

    def answer(self, service: Service, method: str, path: str, body: Any, query: Mapping[str, str]) -> Any:
        """Return what the service answers."""
        with self.lock:
            self.tick()
            line = f"{method} {path}"
            self.log.append(line)
            fault = next((fault for fault in self.faults if fault[0].search(line)), None)
            if fault is not None:
                self.faults.remove(fault)
                if fault[2]:
                    self._route(service, method, path, body, query)
                raise fault[1]
            return copy.deepcopy(self._route(service, method, path, body, query))

    def _route(self, service: Service, method: str, path: str, body: Any, query: Mapping[str, str]) -> Any:
        match service:
            case Service.COMPUTE:
                return self._compute(method, path.strip("/").split("/"), body)
            case Service.VOLUME:
                return self._block_storage(method, path.strip("/").split("/"), body)
            case Service.IMAGE:
                return self._glance(method, path.strip("/").split("/"), body)
            case Service.NETWORK:
                return self._neutron(method, path.strip("/").split("/"), body, query)

    # -- Nova -------------------------------------------------------------------------------------------

    def _compute(self, method: str, parts: list[str], body: Any) -> Any:
        match method, parts:
            case "GET", ["servers", "detail"]:
                return {"servers": list(self.servers.values())}
            case "GET", ["servers", server_id]:
                return {"server": self._there(self.servers, server_id, "Instance")}
            case "GET", ["servers", server_id, "diagnostics"]:
                refuse(403, "Policy doesn't allow os_compute_api:os-server-diagnostics to be performed.")
            case "POST", ["servers", server_id, "action"]:
                (action, details), *_ = body.items()
                return self._act(self._there(self.servers, server_id, "Instance"), action, details or {})
            case "POST", ["servers", server_id, "metadata"]:
                self._there(self.servers, server_id, "Instance")["metadata"].update(body["metadata"])
                return {}
            case "DELETE", ["servers", server_id, "metadata", key]:
                return self._there(self.servers, server_id, "Instance")["metadata"].pop(key, {})
            case "POST", ["servers", server_id, "os-volume_attachments"]:
                attachment = body["volumeAttachment"]
                volume = self._there(self.volumes, attachment["volumeId"], "Volume")
                volume["status"] = "attaching"
                device = attachment.get("device") or "/dev/vdz"
                self.later(2, lambda: self._attach(server_id, volume["id"], device))
                return {}
            case "DELETE", ["servers", server_id, "os-volume_attachments", volume_id]:
                volume = self._there(self.volumes, volume_id, "Volume")
                volume["status"] = "detaching"
                self.later(2, lambda: self._detach(server_id, volume_id))
                return {}
        raise AssertionError(f"the fake knows no {method} {parts}")

    def _act(self, server: dict[str, Any], action: str, details: dict[str, Any]) -> Any:
        if server["OS-EXT-STS:task_state"] is not None:
            refuse(409, f"Cannot '{action}' instance {server['id']} while it is in task_state busy")
        changes = {
            "suspend": (("ACTIVE",), "SUSPENDED"),
            "resume": (("SUSPENDED",), "ACTIVE"),
            "pause": (("ACTIVE",), "PAUSED"),
            "unpause": (("PAUSED",), "ACTIVE"),
            "os-stop": (("ACTIVE",), "SHUTOFF"),
            "os-start": (("SHUTOFF",), "ACTIVE"),
        }
        if action in changes:
            possible, wanted = changes[action]
            if server["status"] not in possible:
                refuse(409, f"Cannot '{action}' instance while it is in vm_state {server['status'].lower()}")
            server["OS-EXT-STS:task_state"] = action
            self.later(2, lambda: server.update({"OS-EXT-STS:task_state": None, "status": wanted}))
            return {}
        if server.get("locked"):
            refuse(409, f"Instance {server['id']} is locked")
        if action == "rebuild":
            return self._rebuild(server, details)
        if action == "createBackup" and not server["image"]:
            refuse(400, "Backup is not supported for volume-backed instances.")
        if not server["image"]:
            return self._image_of_volumes(server, details)
        return self._image_of_server(server, action, details)

    def _rebuild(self, server: dict[str, Any], details: dict[str, Any]) -> Any:
        image = self.images.get(details["imageRef"])
        if image is None or image["status"] != "active":
            refuse(400, "Cannot find image for rebuild")
        if server["status"] not in ("ACTIVE", "SHUTOFF"):
            refuse(409, "Cannot 'rebuild' instance while it is in vm_state suspended")
        before, server["status"], server["OS-EXT-STS:task_state"] = server["status"], "REBUILD", "rebuilding"

        def end() -> None:
            self.data[self.disk_of(server["id"])] = self.data.get(image["id"], "")
            server.update({"OS-EXT-STS:task_state": None, "status": before})
            if server["image"]:
                server["image"] = {"id": image["id"]}

        self.later(3, end)
        return {}

    def _image_of_server(self, server: dict[str, Any], action: str, details: dict[str, Any]) -> Any:
        properties = {**details["metadata"], "instance_uuid": server["id"], "image_type": "snapshot"}
        if action == "createBackup":
            properties |= {"image_type": "backup", "backup_type": details["backup_type"]}
        image_id = self._new_image(details["name"], properties, "queued")
        server["OS-EXT-STS:task_state"] = "image_snapshot"

        def cut() -> None:
            if image_id not in self.images or server["id"] not in self.servers:
                server["OS-EXT-STS:task_state"] = None
                self.images.pop(image_id, None)
                return
            self.data[image_id] = self.data.get(server["id"], "")
            self._note_cut(server["id"], image_id)
            self._thaw_by_nova(server["id"])
            self.images[image_id]["status"] = "saving"
            server["OS-EXT-STS:task_state"] = "image_uploading"

        def upload() -> None:
            server["OS-EXT-STS:task_state"] = None
            if "upload" in self.failing:
                self.images.pop(image_id, None)
            elif image_id in self.images:
                digest = hashlib.sha512(self.data[image_id].encode()).hexdigest()
                size = {"size": 4096, "os_hash_algo": "sha512", "os_hash_value": digest}
                self.images[image_id].update(status="active", **size)
                if action == "createBackup":
                    self.later(2, lambda: self._rotate(server["id"], details))

        self.later(2, cut)
        self.later(5, upload)
        return {"image_id": image_id}

    def _rotate(self, server_id: str, details: dict[str, Any]) -> None:
        same = [
            image
            for image in self.images.values()
            if image.get("instance_uuid") == server_id and image.get("backup_type") == details["backup_type"]
        ]
        same.sort(key=lambda image: image["created_at"], reverse=True)
        for image in same[details["rotation"] :]:
            del self.images[image["id"]]

    def _image_of_volumes(self, server: dict[str, Any], details: dict[str, Any]) -> Any:
        mapping = []
        for number, attached in enumerate(server["os-extended-volumes:volumes_attached"]):
            name = f"snapshot for {details['name']}"
            snapshot_id = self._new_snapshot(attached["id"], name, {}, "creating")
            self._finish_snapshot(snapshot_id, attached["id"], 2 + number)
            mapping.append({"snapshot_id": snapshot_id, "boot_index": 0 if number == 0 else None})
        self.later(2 + len(mapping), lambda: self._thaw_by_nova(server["id"]))
        properties = {**details["metadata"], "block_device_mapping": json.dumps(mapping), "size": 0}
        return {"image_id": self._new_image(details["name"], properties, "active")}

    def _note_cut(self, server_id: str, object_id: str) -> None:
        if not self.frozen.get(server_id, True):
            self.cut_thawed.append(object_id)

    def _thaw_by_nova(self, server_id: str) -> None:
        if self._has_agent(self.servers[server_id]) and server_id in self.frozen:
            self.frozen[server_id] = False

    def _has_agent(self, server: dict[str, Any]) -> bool:
        if server["image"]:
            says = self.images.get(server["image"]["id"], {})
        else:
            root = server["os-extended-volumes:volumes_attached"][0]["id"]
            says = self.volumes[root]["volume_image_metadata"]
        return says.get("hw_qemu_guest_agent") == "yes"

    def _attach(self, server_id: str, volume_id: str, device: str) -> None:
        self.volumes[volume_id]["status"] = "in-use"
        self.volumes[volume_id]["attachments"] = [{"server_id": server_id, "device": device}]
        self.servers[server_id]["os-extended-volumes:volumes_attached"].append({"id": volume_id})

    def _detach(self, server_id: str, volume_id: str) -> None:
        self.volumes[volume_id].update(status="available", attachments=[])
        attached = self.servers[server_id]["os-extended-volumes:volumes_attached"]
        attached[:] = [item for item in attached if item["id"] != volume_id]

    # -- Cinder -----------------------------------------------------------------------------------------

    def _block_storage(self, method: str, parts: list[str], body: Any) -> Any:
        kinds = {
            "volumes": self.volumes,
            "snapshots": self.snapshots,
            "backups": self.backups,
            "groups": self.groups,
            "group_snapshots": self.group_snapshots,
        }
        match method, parts:
            case "GET", ["limits"]:
                return {"limits": {"absolute": self.limits}}
            case "GET", ["group_types", type_id]:
                told = self._there(self.group_types, type_id, "Group type")
                return {"group_type": told if self.shows_specs else {"id": type_id}}
            case "GET", [kind, "detail"]:
                return {kind: list(kinds[kind].values())}
            case "GET", [kind, thing_id]:
                return {kind[:-1]: self._there(kinds[kind], thing_id, kind)}
            case "POST", [kind, thing_id, "metadata"]:
                self._there(kinds[kind], thing_id, kind)["metadata"].update(body["metadata"])
                return {}
            case "DELETE", [kind, thing_id, "metadata", key]:
                return self._there(kinds[kind], thing_id, kind)["metadata"].pop(key, {})
            case "PUT", ["volumes", volume_id]:
                self._there(self.volumes, volume_id, "Volume").update(body["volume"])
                return {}
            case "DELETE", ["group_snapshots", thing_id]:
                return self._delete_group(self._there(self.group_snapshots, thing_id, "Group snapshot"))
            case "DELETE", [kind, thing_id]:
                return self._delete(kinds[kind], self._there(kinds[kind], thing_id, kind))
            case "POST", ["group_snapshots"]:
                return self._group_snapshot(body["group_snapshot"])
            case "POST", ["snapshots"]:
                return self._snapshot(body["snapshot"])
            case "POST", ["backups"]:
                return self._backup(body["backup"])
            case "POST", ["volumes"]:
                return self._volume_from(body["volume"])
            case "POST", ["backups", backup_id, "restore"]:
                return self._restore(self._there(self.backups, backup_id, "Backup"), body["restore"])
            case "POST", ["volumes", volume_id, "action"]:
                (action, details), *_ = body.items()
                volume = self._there(self.volumes, volume_id, "Volume")
                return self._revert(volume, details) if action == "revert" else self._upload(volume, details)
        raise AssertionError(f"the fake knows no {method} {parts}")

    def _snapshot(self, wanted: dict[str, Any]) -> Any:
        volume = self._there(self.volumes, wanted["volume_id"], "Volume")
        if volume["status"] == "in-use" and not wanted.get("force"):
            refuse(400, "Invalid volume: Volume status must be available")
        if self.limits.get("maxTotalSnapshots", 1000) <= len(self.snapshots):
            refuse(413, "SnapshotLimitExceeded: Maximum number of snapshots allowed (3) exceeded")
        snapshot_id = self._new_snapshot(volume["id"], wanted["name"], wanted["metadata"], "creating")
        self._finish_snapshot(snapshot_id, volume["id"])
        return {"snapshot": self.snapshots[snapshot_id]}

    def _group_snapshot(self, wanted: dict[str, Any]) -> Any:
        group = self._there(self.groups, wanted["group_id"], "Group")
        if group["status"] != "available":
            refuse(400, f"Invalid group: status must be available, not {group['status']}.")
        members = [volume["id"] for volume in self.volumes.values() if volume.get("group_id") == group["id"]]
        whole_id = str(uuid.uuid4())
        self.group_snapshots[whole_id] = {**wanted, "id": whole_id, "status": "creating"}
        made = [self._new_snapshot(volume_id, wanted["name"], {}, "creating") for volume_id in members]
        for snapshot_id in made:
            told = {"group_snapshot_id": whole_id, "description": wanted["description"]}
            self.snapshots[snapshot_id].update(told)
        one_instant = "consistent_group_snapshot_enabled" in self._specs_of(group)
        for number, (snapshot_id, volume_id) in enumerate(zip(made, members, strict=True)):
            self._finish_snapshot(snapshot_id, volume_id, 2 if one_instant else 2 + number)
        status = "error" if "snapshot" in self.failing else "available"
        self.later(3 + len(made), lambda: self.group_snapshots[whole_id].update(status=status))
        return {"group_snapshot": {"id": whole_id, "name": wanted["name"]}}

    def _specs_of(self, group: dict[str, Any]) -> Mapping[str, str]:
        specs: Mapping[str, str] = self.group_types[group["group_type"]]["group_specs"]
        return specs

    def _delete_group(self, whole: dict[str, Any]) -> Any:
        if whole["status"] not in ("available", "error"):
            refuse(400, "GroupSnapshot status must be available or error, and no Group can be using it.")
        whole["status"] = "deleting"

        def end() -> None:
            del self.group_snapshots[whole["id"]]
            for snapshot_id, snapshot in list(self.snapshots.items()):
                if snapshot.get("group_snapshot_id") == whole["id"]:
                    del self.snapshots[snapshot_id]

        self.later(2, end)
        return {}

    def _finish_snapshot(self, snapshot_id: str, volume_id: str, ticks: int = 2) -> None:
        def end() -> None:
            self.data[snapshot_id] = self.data.get(volume_id, "")
            for place in self.volumes.get(volume_id, {}).get("attachments", ()):
                self._note_cut(place["server_id"], snapshot_id)
            if snapshot_id in self.snapshots:
                self.snapshots[snapshot_id]["status"] = "error" if "snapshot" in self.failing else "available"

        self.later(ticks, end)

    def _backup(self, wanted: dict[str, Any]) -> Any:
        snapshot = self._there(self.snapshots, wanted["snapshot_id"], "Snapshot")
        if wanted["incremental"] and not any(
            backup["volume_id"] == wanted["volume_id"] for backup in self.backups.values()
        ):
            refuse(400, "No backups available to do an incremental backup.")
        parents = [b for b in self.backups.values() if b["volume_id"] == wanted["volume_id"]]
        backup_id = self._new_backup(
            wanted["volume_id"], snapshot["id"], wanted["name"], wanted["metadata"], "creating"
        )
        self.backups[backup_id]["is_incremental"] = wanted["incremental"]
        if wanted["incremental"]:
            max(parents, key=lambda b: b["created_at"])["has_dependent_backups"] = True
        snapshot["status"] = "backing-up"

        def end() -> None:
            snapshot["status"] = "available"
            self.data[backup_id] = self.data.get(snapshot["id"], "")
            if backup_id in self.backups:
                failed = "backup" in self.failing
                self.backups[backup_id]["status"] = "error" if failed else "available"
                self.backups[backup_id]["fail_reason"] = "the disk is full" if failed else ""

        self.later(4, end)
        return {"backup": self.backups[backup_id]}

    def _restore(self, backup: dict[str, Any], where: dict[str, Any]) -> Any:
        volume_id = where.get("volume_id") or self.volume(name=where.get("name") or "restored")
        volume = self._there(self.volumes, volume_id, "Volume")
        if volume["status"] != "available" or backup["status"] != "available":
            refuse(400, "Invalid volume: Volume to be restored to must be available")
        volume["status"], backup["status"] = "restoring-backup", "restoring"

        def end() -> None:
            self.data[volume_id] = self.data.get(backup["id"], "")
            volume["status"], backup["status"] = "available", "available"

        self.later(3, end)
        return {"restore": {"volume_id": volume_id, "backup_id": backup["id"]}}

    def _revert(self, volume: dict[str, Any], details: dict[str, Any]) -> Any:
        if volume["status"] != "available":
            refuse(409, "Can't revert volume. Volume's status must be 'available'.")
        own = [s for s in self.snapshots.values() if s["volume_id"] == volume["id"]]
        latest = max(own, key=lambda s: s["created_at"])
        if latest["id"] != details["snapshot_id"]:
            refuse(400, "Volume can only be reverted to its latest snapshot")
        volume["status"] = "reverting"

        def end() -> None:
            volume["status"] = "available"
            self.data[volume["id"]] = self.data[details["snapshot_id"]]

        self.later(2, end)
        return {}

    def _volume_from(self, wanted: dict[str, Any]) -> Any:
        if wanted.get("volume_type") in self.gone_types:
            refuse(404, f"Volume type {wanted['volume_type']} could not be found.")
        volume_id = self.volume(name=wanted["name"], size=wanted["size"])
        told = {
            "volume_type": wanted.get("volume_type"),
            "availability_zone": wanted.get("availability_zone"),
        }
        self.volumes[volume_id].update(told, metadata=wanted.get("metadata") or {})
        self.volumes[volume_id]["status"] = "creating"
        self.data[volume_id] = self.data.get(wanted.get("snapshot_id") or "", "")
        self.later(2, lambda: self.volumes[volume_id].update(status="available"))
        return {"volume": self.volumes[volume_id]}

    def _upload(self, volume: dict[str, Any], details: dict[str, Any]) -> Any:
        image_id = self._new_image(details["image_name"], {}, "queued")
        self.data[image_id] = self.data.get(volume["id"], "")
        self.later(3, lambda: self.images[image_id].update(status="active", size=4096))
        return {"os-volume_upload_image": {"image_id": image_id}}

    def _delete(self, kind: dict[str, dict[str, Any]], thing: dict[str, Any]) -> Any:
        if thing["status"] not in ("available", "error"):
            refuse(400, f"Invalid: status must be available or error, not {thing['status']}")
        if thing.get("group_snapshot_id"):
            refuse(400, "Invalid snapshot: Snapshot must not be part of a group.")
        if thing.get("has_dependent_backups"):
            refuse(400, "Incremental backups exist for this backup.")
        if kind is self.volumes and any(s["volume_id"] == thing["id"] for s in self.snapshots.values()):
            refuse(400, "Volume must not have snapshots")
        thing["status"] = "deleting"
        self.later(2, lambda: kind.pop(thing["id"], None) and None)
        return {}

    # -- Glance -----------------------------------------------------------------------------------------

    def _glance(self, method: str, parts: list[str], body: Any) -> Any:
        match method, parts:
            case "GET", ["images"]:
                return {"images": list(self.images.values())}
            case "GET", ["images", image_id]:
                return self._there(self.images, image_id, "Image")
            case "PATCH", ["images", image_id]:
                image = self._there(self.images, image_id, "Image")
                image.update({change["path"].removeprefix("/"): change["value"] for change in body})
                return image
            case "DELETE", ["images", image_id]:
                if self._there(self.images, image_id, "Image").get("protected"):
                    refuse(403, "Image is protected and cannot be deleted.")
                return self.images.pop(image_id) and {}
        raise AssertionError(f"the fake knows no {method} {parts}")

    # -- Neutron ----------------------------------------------------------------------------------------

    def _neutron(self, method: str, parts: list[str], body: Any, query: Mapping[str, str]) -> Any:
        kind = self.network.setdefault(parts[0], {})
        one = parts[0].removesuffix("s").replace("-", "_")
        match method, parts:
            case "GET", [_]:
                wanted = {key: value for key, value in query.items() if key != "limit"}
                found = [t for t in kind.values() if all(t.get(k) == v for k, v in wanted.items())]
                return {f"{one}s": found}
            case "GET", [_, thing_id]:
                return {one: self._there(kind, thing_id, one)}
            case "PUT", ["routers", router_id, verb]:
                self._wire(self._there(kind, router_id, one), verb, body["subnet_id"])
                return {}
            case "PUT", [_, thing_id]:
                thing = self._there(kind, thing_id, one)
                self._require_reachable(thing_id, body[one].get("routes") or ())
                thing.update(_changed(thing, body[one]))
                return {one: thing}
            case "POST", [_]:
                thing = {"id": str(uuid.uuid4()), **body[one]}
                kind[thing["id"]] = thing
                return {one: thing}
            case "DELETE", [_, thing_id]:
                return kind.pop(thing_id, {})
        raise AssertionError(f"the fake knows no {method} {parts}")

    def _wire(self, router: dict[str, Any], verb: str, subnet: str) -> None:
        """Connect a subnet, or let go of one that no route needs."""
        ports = self.network.setdefault("ports", {})
        if verb == "add_router_interface":
            port = {
                "id": str(uuid.uuid4()),
                "device_id": router["id"],
                "device_owner": "network:router_interface",
                "fixed_ips": [{"subnet_id": subnet}],
            }
            ports[port["id"]] = port
            return
        if any(self._reaches(subnet, route) for route in router.get("routes") or ()):
            refuse(409, f"Router interface for subnet {subnet} is required by one or more routes.")
        for port in list(ports.values()):
            if port["device_id"] == router["id"] and port["fixed_ips"][0]["subnet_id"] == subnet:
                del ports[port["id"]]

    def _require_reachable(self, router: str, routes: Iterable[dict[str, str]]) -> None:
        """Refuse routes whose next hop no interface of the router reaches."""
        ports = [port for port in self.network.get("ports", {}).values() if port.get("device_id") == router]
        subnets = [port["fixed_ips"][0]["subnet_id"] for port in ports]
        for route in routes:
            if not any(self._reaches(subnet, route) for subnet in subnets):
                refuse(400, f"Invalid format for routes: {route}, the nexthop is not connected with router")

    def _reaches(self, subnet: str, route: dict[str, str]) -> bool:
        cidr = self.network.get("subnets", {}).get(subnet, {}).get("cidr")
        return bool(cidr) and ip_address(route["nexthop"]) in ip_network(cidr)

    # -- small things -----------------------------------------------------------------------------------

    def _there(self, kind: dict[str, dict[str, Any]], thing_id: str, name: str) -> dict[str, Any]:
        if thing_id not in kind:
            refuse(404, f"{name} {thing_id} could not be found.")
        return kind[thing_id]

    def _new_image(self, name: str, properties: Mapping[str, Any], status: str) -> str:
        image_id = str(uuid.uuid4())
        self.images[image_id] = {
            "size": None,
            **properties,
            "id": image_id,
            "name": name,
            "status": status,
            "created_at": self._now(),
        }
        return image_id

    def _new_snapshot(self, volume_id: str, name: str, metadata: Mapping[str, str], status: str) -> str:
        snapshot_id = str(uuid.uuid4())
        self.snapshots[snapshot_id] = {
            "id": snapshot_id,
            "name": name,
            "status": status,
            "volume_id": volume_id,
            "size": self.volumes[volume_id]["size"],
            "metadata": dict(metadata),
            "created_at": self._now(),
        }
        return snapshot_id

    def _new_backup(
        self, volume_id: str, snapshot_id: str | None, name: str, metadata: Mapping[str, str], status: str
    ) -> str:
        backup_id = str(uuid.uuid4())
        self.backups[backup_id] = {
            "id": backup_id,
            "name": name,
            "status": status,
            "volume_id": volume_id,
            "snapshot_id": snapshot_id,
            "size": self.volumes[volume_id]["size"],
            "metadata": dict(metadata),
            "created_at": self._now(),
        }
        return backup_id


class FakeClient:
    """A `Client` that asks a `FakeOpenStack`."""

    project_id = "project"

    def __init__(self, cloud: FakeOpenStack) -> None:
        self.cloud = cloud
        self.calls: Counter[str] = Counter()

    def request(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> dict[str, Any]:
        """Ask the fake."""
        self.calls[f"{service.value} {method}"] += 1
        answer = self.cloud.answer(service, method, path, body, query or {})
        return answer if isinstance(answer, dict) else {}

    def download(self, path: str) -> Iterator[bytes]:
        """Return an image's data."""
        yield self.cloud.data[path.split("/")[2]].encode()

    def close(self) -> None:
        """Nothing to give back."""


def refuse(status: int, message: str) -> NoReturn:
    """Raise what the real client raises for such an answer."""
    raise error_of(status, message, asked="fake")


def _changed(router: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* with a gateway as Neutron makes it of what is asked for."""
    asked = fields.get("external_gateway_info")
    if not asked:
        return fields | ({"external_gateway_info": None} if "external_gateway_info" in fields else {})
    for name in ("enable_snat", "external_fixed_ips"):
        if name in asked:
            refuse(403, f"rule:update_router:external_gateway_info:{name} is disallowed by policy")
    now = router.get("external_gateway_info") or {}
    same = now.get("network_id") == asked["network_id"]
    addresses = now["external_fixed_ips"] if same else [{"subnet_id": "any", "ip_address": "203.0.113.9"}]
    made = {"network_id": asked["network_id"], "enable_snat": True, "external_fixed_ips": addresses}
    return fields | {"external_gateway_info": made}
