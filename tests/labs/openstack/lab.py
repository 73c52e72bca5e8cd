"""Eyes and hands on the OpenStack lab, beside quiesce: used by tests and benchmarks.

The lab is found through ``QUIESCE_OPENSTACK_LAB``, the folder that ``up.sh`` was given as ``LAB``.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack

AUTH_URL = "http://127.0.0.1:25000/v3"
#: where on a disk tokens are written: behind what the guest uses
PLACE = 200 << 20
SERVICES_BY_API = {"glance": 29292, "cinder": 28776, "nova": 28774, "keystone": 25000}


def lab_directory() -> Path | None:
    """Return the folder of a lab that is up, or None."""
    text = os.environ.get("QUIESCE_OPENSTACK_LAB", "")
    directory = Path(text) if text else None
    return directory if directory and (directory / "run" / "up").exists() else None


def client_config(user: str = "demo") -> dict[str, Any]:
    """Return what a blueprint would say to log in."""
    return {
        "auth_url": AUTH_URL,
        "username": user,
        "password": user,
        "project_name": user,
        "region_name": "RegionOne",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }


class Lab:
    """One lab, used as one project."""

    def __init__(self, directory: Path, user: str = "demo") -> None:
        self.directory = directory
        self.user = user
        config = client_config(user)
        region = config.pop("region_name")
        self.cloud = openstack.connect(
            auth=config, region_name=region, load_yaml_config=False, load_envvars=False
        )
        self._tokens: dict[int, str] = {0: ""}

    # -- making things ----------------------------------------------------------------------------------

    def image(self) -> str:
        """Return the id of the bootable guest image, uploaded when it is not there."""
        for image in self.cloud.image.images(name="guest", status="active"):
            return str(image.id)
        return str(
            self.cloud.create_image(
                "guest",
                data=(self.directory / "guest.raw").read_bytes(),
                disk_format="raw",
                container_format="bare",
                wait=True,
                use_import=False,
                hw_qemu_guest_agent="yes",
                os_require_quiesce="yes",
            ).id
        )

    def boot(self, name: str) -> str:
        """Boot a server from the guest image and return its id."""
        flavor = self.cloud.compute.find_flavor("tiny")
        server = self.cloud.compute.create_server(
            name=name, image_id=self.image(), flavor_id=flavor.id, networks="none"
        )
        return self._active(server.id)

    def boot_from_volume(self, name: str) -> str:
        """Boot a server from a volume with the guest on it, wait for its agent, and return its id."""
        flavor = self.cloud.compute.find_flavor("nodisk")
        volume = self.cloud.block_storage.create_volume(name=f"{name}-root", size=1, image_id=self.image())
        until(lambda: self.volume_status(volume.id) == "available")
        mapping = [
            {
                "boot_index": 0,
                "uuid": volume.id,
                "source_type": "volume",
                "destination_type": "volume",
                "delete_on_termination": True,
            }
        ]
        server = self.cloud.compute.create_server(
            name=name, flavor_id=flavor.id, networks="none", block_device_mapping=mapping
        )
        server_id = self._active(server.id)
        until(lambda: self.agent_answers(server_id), 120)
        return server_id

    def volume(self, name: str, size: int = 1) -> str:
        """Make an empty volume and return its id."""
        volume = self.cloud.block_storage.create_volume(name=name, size=size)
        until(lambda: self.volume_status(volume.id) == "available")
        return str(volume.id)

    def attach(self, server_id: str, volume_id: str) -> None:
        """Attach a volume."""
        self.cloud.compute.create_volume_attachment(server_id, volume_id=volume_id)
        until(lambda: self.volume_status(volume_id) == "in-use")

    def _active(self, server_id: str) -> str:
        until(lambda: self.cloud.compute.get_server(server_id).status in ("ACTIVE", "ERROR"), 120)
        server = self.cloud.compute.get_server(server_id)
        assert server.status == "ACTIVE", server.fault
        return str(server_id)

    # -- looking ----------------------------------------------------------------------------------------

    def volume_status(self, volume_id: str) -> str:
        """Return a volume's status."""
        return str(self.cloud.block_storage.get_volume(volume_id).status)

    def server_status(self, server_id: str) -> str:
        """Return a server's status."""
        return str(self.cloud.compute.get_server(server_id).status)

    def volumes_of(self, server_id: str) -> list[str]:
        """Return the ids of a server's volumes, the root volume first."""
        server = self.cloud.compute.get_server(server_id)
        return [volume["id"] for volume in server.attached_volumes]

    def objects(self) -> frozenset[str]:
        """Return every server, image, volume, snapshot and backup of the project."""
        storage, owner = self.cloud.block_storage, self.cloud.current_project_id
        found: list[tuple[str, Any]] = [("server", s) for s in self.cloud.compute.servers()]
        found += [("image", i) for i in self.cloud.image.images(owner=owner)]
        found += [("volume", v) for v in storage.volumes()]
        found += [("snapshot", s) for s in storage.snapshots()]
        found += [("backup", b) for b in storage.backups()]
        return frozenset(f"{kind} {thing.name} {thing.id}" for kind, thing in found)

    def agent_answers(self, server_id: str) -> bool:
        """Tell whether the guest agent is up."""
        return "return" in self.virsh("qemu-agent-command", server_id, '{"execute": "guest-ping"}')

    # -- data -------------------------------------------------------------------------------------------

    def write(self, disk: str, token: str) -> None:
        """Write *token* onto a disk: ``server:<id>`` (its own disk) or ``volume:<id>``."""
        number = hashlib.sha256(token.encode()).digest()[0] or 1
        self._tokens[number] = token
        kind, _, name = disk.partition(":")
        if kind == "volume":
            self._on_disk("write", name, str(number))
        else:
            assert "wrote 1048576" in self._io(name, f"write -P {number} {PLACE} 1M")

    def read(self, disk: str) -> str:
        """Return the token that a disk holds, read back whole."""
        kind, _, name = disk.partition(":")
        number = int(self._on_disk("read", name)) if kind == "volume" else self._number_of(name)
        return self._tokens.get(number, f"unknown {number}")

    def digest(self, volume_id: str) -> str:
        """Return a checksum over every byte of a volume."""
        return self._on_disk("digest", volume_id)

    def scribble(self, volume_id: str, seed: int) -> None:
        """Write patterns here and there over a volume that nothing else writes to."""
        self._on_disk("scribble", volume_id, str(seed))

    def _on_disk(self, verb: str, volume_id: str, *arguments: str) -> str:
        """Read or write a volume behind Cinder's back."""
        script = Path(__file__).parent / "disk.py"
        return self.inside("/usr/bin/python3", str(script), verb, volume_id, *arguments, check=True).strip()

    def _number_of(self, server_id: str) -> int:
        found = re.search(r": +([0-9a-f]{2}) ", self._io(server_id, f"read -v {PLACE} 512"))
        assert found is not None
        number = int(found.group(1), 16)
        assert "failed" not in self._io(server_id, f"read -P {number} {PLACE} 1M")
        return number

    def _io(self, server_id: str, command: str) -> str:
        if self.server_status(server_id) == "SHUTOFF":
            path = self.directory / "state" / "nova" / "instances" / server_id / "disk"
            return self.inside("qemu-io", "-f", "qcow2", "-c", command, str(path))
        return self._io_of_running(server_id, command)

    def _io_of_running(self, server_id: str, command: str) -> str:
        """Let the server's own qemu do it; its answer comes out in its log."""
        log = self.directory / "logs" / "qemu" / f"{self.virsh('domname', server_id).strip()}.log"
        before = log.stat().st_size
        disk = "/machine/peripheral/virtio-disk0/virtio-backend"
        self.virsh("qemu-monitor-command", server_id, "--hmp", f'qemu-io -d {disk} "{command}"')
        until(lambda: " ops/sec)" in log.read_text()[before:], 20)
        return log.read_text()[before:]

    def virsh(self, *arguments: str) -> str:
        """Run virsh against the lab's own libvirt."""
        socket = self.directory / "run" / "libvirt" / "libvirt-sock"
        return self.inside("virsh", "-c", f"qemu+unix:///system?socket={socket}", *arguments)

    def inside(self, *command: str, check: bool = False) -> str:
        """Run a command in the lab's mount namespace; return what it printed, errors included."""
        pid = (self.directory / "run" / "mysql.pid").read_text().strip()
        done = subprocess.run(
            ["nsenter", "-t", pid, "-m", *command], capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

    # -- faults -----------------------------------------------------------------------------------------

    def service(self, verb: str, name: str) -> None:
        """``stop``, ``kill`` or ``start`` one of the lab's services."""
        script = Path(__file__).parent / "service.sh"
        environment = {**os.environ, "LAB": str(self.directory)}
        subprocess.run([str(script), verb, name], env=environment, check=True, timeout=120)

    # -- cleaning up ------------------------------------------------------------------------------------

    def wipe(self) -> None:
        """Remove everything that the project has, the guest image left out."""
        compute, storage = self.cloud.compute, self.cloud.block_storage
        for server in compute.servers():
            compute.delete_server(server.id, force=False)
        until(lambda: not list(compute.servers()), 120)
        for image in self.cloud.image.images(owner=self.cloud.current_project_id):
            if image.name != "guest":
                self.cloud.image.delete_image(image.id)
        for backup in sorted(storage.backups(), key=lambda b: str(b.created_at), reverse=True):
            _quietly(lambda backup=backup: storage.delete_backup(backup.id))
            until(lambda backup=backup: backup.id not in {b.id for b in storage.backups()}, 60)
        self._remove_all(storage.snapshots, storage.delete_snapshot)
        self._remove_all(storage.volumes, storage.delete_volume)

    def forget_points(self) -> None:
        """Remove every image, backup and snapshot that a test has left; servers and volumes stay."""
        storage = self.cloud.block_storage
        for image in self.cloud.image.images(owner=self.cloud.current_project_id):
            if image.name != "guest":
                self.cloud.image.delete_image(image.id)
        self._remove_all(storage.backups, storage.delete_backup)
        self._remove_all(storage.snapshots, storage.delete_snapshot)

    def _remove_all(self, kind: Callable[[], Iterator[Any]], delete: Callable[[str], object]) -> None:
        for thing in kind():
            until(lambda thing=thing: _settled(kind, thing.id), 60)
            _quietly(lambda thing=thing: delete(thing.id))
        until(lambda: not list(kind()), 60)


def _settled(kind: Callable[[], Iterator[Any]], thing_id: str) -> bool:
    found = [thing for thing in kind() if thing.id == thing_id]
    return not found or found[0].status in ("available", "error", "error_deleting")


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except openstack.exceptions.HttpException as error:
        print(f"while wiping: {error}")


def until(judge: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return when *judge* says so."""
    end = time.monotonic() + limit_s
    while not judge():
        assert time.monotonic() < end, "the lab did not come to rest"
        time.sleep(0.2)
