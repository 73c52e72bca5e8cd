"""Machines and disks to test on, made and looked at without any client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fakegce.cloud import Cloud, Resource

PROJECT = "lab-project"
ZONE = "us-central1-a"
REGION = "us-central1"


class Estate:
    """Hands and eyes beside the provider's."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def request(self, verb: str, path: str, body: Any = None) -> Resource:
        """Send one request past the network; its operation is over when this returns."""
        raw = b"" if body is None else json.dumps(body).encode()
        clock, self.cloud.clock = self.cloud.clock, lambda: float("-inf")
        try:
            _, answer = self.cloud.handle(verb, f"/compute/v1/projects/{PROJECT}/{path}", raw)
        finally:
            self.cloud.clock = clock
        with self.cloud.lock:
            self.cloud.tick()
        return answer

    def disk(self, name: str, *, size_gb: int = 10, disk_type: str = "pd-balanced", **fields: Any) -> str:
        """Make a zonal disk; returns its path."""
        body = {
            "name": name,
            "sizeGb": str(size_gb),
            "type": self.cloud.link(PROJECT, f"zones/{ZONE}", "diskTypes", disk_type),
            **fields,
        }
        self.request("POST", f"zones/{ZONE}/disks", body)
        return f"projects/{PROJECT}/zones/{ZONE}/disks/{name}"

    def regional_disk(self, name: str, *, size_gb: int = 10) -> str:
        """Make a disk that is kept in two zones; returns its path."""
        zones = [self.cloud.link(PROJECT, f"zones/{zone}") for zone in self.cloud.zones[:2]]
        body = {"name": name, "sizeGb": str(size_gb), "replicaZones": zones}
        self.request("POST", f"regions/{REGION}/disks", body)
        return f"projects/{PROJECT}/regions/{REGION}/disks/{name}"

    def machine(self, name: str, disks: Sequence[str] = (), **fields: Any) -> str:
        """Make a running machine of existing disks, the first one its boot disk; returns its path."""
        attached = [
            {"source": disk, "boot": index == 0, "deviceName": f"device-{index}", "autoDelete": index == 0}
            for index, disk in enumerate(disks)
        ]
        body = {
            "name": name,
            "machineType": f"zones/{ZONE}/machineTypes/e2-small",
            "disks": attached + fields.pop("scratch", []),
            "networkInterfaces": [{"network": "global/networks/default"}],
            **fields,
        }
        self.request("POST", f"zones/{ZONE}/instances", body)
        return f"projects/{PROJECT}/zones/{ZONE}/instances/{name}"

    def machine_with_disks(self, name: str, count: int = 2, **fields: Any) -> str:
        """Make a machine and its disks."""
        return self.machine(name, [self.disk(f"{name}-d{index}") for index in range(count)], **fields)

    def find(self, path: str) -> Resource:
        """Return a resource as it is."""
        return self.cloud.by_url(path, PROJECT)

    def attached(self, machine: str) -> dict[str, str]:
        """Return the disk behind each device of a machine."""
        disks = self.find(machine)["disks"]
        return {disk["deviceName"]: disk["source"].split("/v1/")[1] for disk in disks if "source" in disk}

    def write(self, disk: str, content: str) -> None:
        """Change what a disk holds."""
        self.cloud.contents[self.find(disk)["id"]] = content

    def read(self, disk: str) -> str:
        """Return what a disk holds."""
        return self.cloud.contents[self.find(disk)["id"]]

    def write_all(self, machine: str, content: str) -> None:
        """Change what every disk of a machine holds."""
        for device, disk in self.attached(machine).items():
            self.write(disk, f"{device}: {content}")

    def read_all(self, machine: str) -> str:
        """Return what every disk of a machine holds, when all hold the same."""
        found = {self.read(disk).partition(": ")[2] for disk in self.attached(machine).values()}
        return ",".join(sorted(found))

    def objects(self) -> frozenset[str]:
        """Return every resource there is, and which of them is attached where."""
        with self.cloud.lock:
            self.cloud.tick()
            return frozenset(
                f"{scope}/{collection}/{name} {item.get('status')} -> {sorted(item.get('users', []))}"
                for (collection, scope, name), item in self.cloud.items.items()
            )

    def copies(self) -> frozenset[str]:
        """Return every snapshot, instant snapshot and machine image."""
        kinds = ("snapshots", "instantSnapshots", "machineImages")
        return frozenset(f"{scope}/{kind}/{name}" for kind, scope, name in self.cloud.items if kind in kinds)

    def off_schema(self) -> list[tuple[str, str, str | None, int]]:
        """Return the requests whose answer would have been wrong, or that the stand-in does not know."""
        return [entry for entry in self.cloud.log if entry[3] in (405, 500, 501)]
