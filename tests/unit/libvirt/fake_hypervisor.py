"""A hypervisor in memory, with disks in small files, that fails the way libvirt fails.

It stands in for the provider's `client` and `disk.qemu_img`. A disk's whole content is one word, the *token*.
Backup jobs are served over a real socket, in the real protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.providers.libvirt import errors, xml
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.disk.qcow2 import CLUSTER, Layout, Run

from .images import clusters_of

DISK_BYTES = 1 << 20
META = "urn:quiesce:libvirt:1"
_AGENT_COMMANDS = (
    "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status", "guest-exec"
)  # fmt: skip


def write_image(path: Path, token: str | None, backing: str | None = None) -> None:
    """Make an image that holds *token*, or nothing and is read through *backing*."""
    layout = Layout(DISK_BYTES, [Run(first=0, count=1)])
    data = b"".join(layout.head()) + json.dumps({"token": token, "backing": backing}).encode().ljust(
        CLUSTER, b"\0"
    )
    path.write_bytes(data)
    now = (
        time.time_ns()
    )  # the kernel's own time stamps are too coarse for two writes within a few milliseconds
    os.utime(path, ns=(now, now))


def read_image(path: Path) -> dict[str, str | None]:
    """Return what the image itself says."""
    data = clusters_of(path)[0]
    found: dict[str, str | None] = json.loads(data.rstrip(b"\0"))
    return found


def token_of(path: Path) -> str:
    """Return the token that is read from the image, through whatever is below it."""
    found = read_image(path)
    while found["token"] is None:
        found = read_image(Path(str(found["backing"])))
    return str(found["token"])


@dataclass
class Machine:
    """What the hypervisor knows of one domain."""

    name: str
    uuid: str
    #: what its disks are written to, by target
    disks: dict[str, str]
    state: str = "running"
    saved: bool = False
    frozen: bool = False
    thaws_at: float | None = None
    config_metadata: str | None = None
    live_metadata: str | None = None
    snapshots: dict[str, tuple[str, str]] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    job: ExportServer | None = None
    job_xml: str = ""
    merging: tuple[str, str, bool] | None = None
    #: targets of the disks that QEMU encrypts
    encrypted: frozenset[str] = frozenset()
    #: targets of the disks that other machines may write to
    shareable: frozenset[str] = frozenset()
    persistent: bool = True
    autostart: bool = False
    #: whether there is a channel to an agent
    has_channel: bool = True
    #: whether there is an agent behind the channel
    has_agent: bool = True
    has_tpm: bool = False
    #: of its display
    password: str | None = None
    #: as it stands in the definition: ``<loader>``, ``<nvram>``
    firmware: str = ""

    @property
    def disk(self) -> str:
        """The first disk."""
        return self.disks["vda"]


class World:
    """One machine room."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0
        self.machines: dict[str, Machine] = {}
        for name, stand_in in _QEMU_IMG.items():
            monkeypatch.setattr(qemu_img, name, stand_in)

    def add(self, name: str, token: str = "new", *, more: tuple[str, ...] = ()) -> Machine:
        """Add a running machine, with *more* disks of these targets."""
        disks = {"vda": str(self.folder / f"{name}.qcow2")}
        disks |= {target: str(self.folder / f"{name}-{target}.qcow2") for target in more}
        for path in disks.values():
            write_image(Path(path), token)
        machine = Machine(name=name, uuid=str(uuid.uuid4()), disks=disks)
        self.machines[machine.uuid] = machine
        return machine

    def run_timers(self) -> None:
        """Thaw what the guests' own timers thaw by now."""
        for machine in self.machines.values():
            if machine.thaws_at is not None and machine.thaws_at <= self.now:
                machine.frozen, machine.thaws_at = False, None

    def close(self) -> None:
        """End what still runs."""
        for machine in self.machines.values():
            if machine.job:
                machine.job.close()


class FakeEvents:
    """Things happen soon here, so nobody sleeps."""

    def sleep(self, seconds: float) -> None:
        pass


class FakeDomain:
    """Answers like `client.Domain`."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self.events = FakeEvents()
        self.name, self.uuid = machine.name, machine.uuid

    def state(self) -> Any:
        return _client().DomainState(self._machine.state)

    def why_off(self) -> Any:
        return _client().OffReason.SAVED if self._machine.saved else _client().OffReason.OTHER

    def autostart(self) -> bool:
        return self._machine.autostart

    def set_autostart(self) -> None:
        self._machine.autostart = True

    def is_persistent(self) -> bool:
        return self._machine.persistent

    def xml(self, *, live: bool = False, secrets: bool = False) -> str:
        machine = self._machine
        metadata = "" if live else machine.config_metadata or ""
        mirror = "<mirror ready='yes'/>" if live and machine.merging else ""
        tpm = "<tpm><backend type='emulator'/></tpm>" if machine.has_tpm else ""
        told = f" passwd='{machine.password}'" if secrets else ""
        display = f"<graphics type='vnc'{told}/>" if machine.password else ""
        disks = "".join(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{path}'/><target dev='{target}'/>{mirror}"
            f"{'<encryption/>' if target in machine.encrypted else ''}"
            f"{'<shareable/>' if target in machine.shareable else ''}</disk>"
            for target, path in machine.disks.items()
        )
        target = "<target type='virtio' name='org.qemu.guest_agent.0'/>"
        channel = f"<channel type='unix'>{target}</channel>" if machine.has_channel else ""
        return (
            f"<domain><name>{machine.name}</name><uuid>{machine.uuid}</uuid><metadata>{metadata}</metadata>"
            f"<os>{machine.firmware}</os><devices>{tpm}{display}{disks}{channel}</devices></domain>"
        )

    def metadata(self, *, live: bool) -> str | None:
        if live:
            self._require_active()
        if not live and not self._machine.persistent:
            return None
        return self._machine.live_metadata if live else self._machine.config_metadata

    def set_metadata(self, element: str | None, *, live: bool) -> None:
        if live:
            self._require_active()
            self._machine.live_metadata = element
        else:
            self._machine.config_metadata = element and element.replace(
                "<points", f'<points xmlns="{META}"', 1
            )

    def agent(self, command: str, arguments: Mapping[str, Json] | None = None, *, limit_s: float) -> Json:
        self._require(self._machine.state == "running", errors.NO_SUPPORT - 3, "domain is not running")
        machine = self._machine
        self._world.run_timers()
        self._require(
            machine.has_agent, 86, "Guest agent is not responding: QEMU guest agent is not connected"
        )
        if command == "guest-ping":
            return {}
        if command == "guest-fsfreeze-status":
            return "frozen" if machine.frozen else "thawed"
        if command == "guest-fsfreeze-thaw":
            machine.frozen = False
            return 1
        if command == "guest-info":
            return {"supported_commands": [{"name": name, "enabled": True} for name in _AGENT_COMMANDS]}
        self._require(not machine.frozen, 1, "agent command failed: disabled: the agent is in frozen state")
        if command == "guest-fsfreeze-freeze":
            machine.frozen = True
            return 1
        return self._execute(arguments or {})

    def _execute(self, arguments: Mapping[str, Json]) -> Json:
        listed = arguments["arg"]
        assert isinstance(listed, list)
        if "sysrq-trigger" in str(listed[1]):
            self._machine.thaws_at = self._world.now + float(str(listed[3]))
        else:
            self._machine.thaws_at = None
        return {"pid": 7}

    def suspend(self) -> None:
        self._require_active()
        self._machine.state = "paused"

    def resume(self) -> None:
        self._require(self._machine.state == "paused", 55, "domain is already running")
        self._machine.state = "running"

    def save(self) -> None:
        self._require_no_job()
        self._machine.state, self._machine.saved = "off", True

    def has_managed_save(self) -> bool:
        return self._machine.saved

    def drop_managed_save(self) -> None:
        self._machine.saved = False

    def start(self, *, paused: bool = False) -> None:
        self._require(self._machine.state == "off", 55, "domain is already running")
        self._machine.state = "paused" if paused else "running"
        self._machine.saved = False
        # what is stored of a domain is what it carries when it begins to run
        self._machine.live_metadata = self._machine.config_metadata

    def destroy(self) -> None:
        machine = self._machine
        if machine.job:
            machine.job.close()
        machine.job = machine.merging = machine.live_metadata = machine.thaws_at = None
        machine.state, machine.frozen = "off", False
        if not machine.persistent:
            del self._world.machines[machine.uuid]

    def snapshot(self, text: str, *, disk_only: bool, metadata: bool) -> None:
        self._require_no_job()
        machine, tree = self._machine, xml.read(text)
        if disk_only:
            for disk in tree.findall("disks/disk[@snapshot='external']"):
                path, target = xml.attribute(disk, "source", "file"), disk.attrib["name"]
                write_image(Path(path), None, machine.disks[target])
                machine.disks[target] = path
            return
        name = xml.text_of(tree, "name")
        self._require(name not in machine.snapshots, 1, f"domain snapshot {name} already exists")
        tree.append(xml.read(self.xml()))
        machine.snapshots[name] = (xml.write(tree), token_of(Path(machine.disk)))

    def snapshots(self) -> dict[str, str]:
        return {name: text for name, (text, _) in self._machine.snapshots.items()}

    def revert(self, name: str) -> None:
        machine = self._machine
        if machine.checkpoints:
            self.destroy()
            self._require(False, 1, "Device has active dirty bitmaps")
        write_image(Path(machine.disk), machine.snapshots[name][1], read_image(Path(machine.disk))["backing"])

    def delete_snapshot(self, name: str) -> None:
        del self._machine.snapshots[name]

    def begin_backup(self, text: str, checkpoint: str | None) -> None:
        self._require_active()
        self._require_no_job()
        machine, tree = self._machine, xml.read(text)
        for disk in tree.findall("disks/disk/scratch"):
            Path(disk.attrib["file"]).write_bytes(b"")
        since = xml.text_of(tree, "incremental")
        bitmap = xml.attribute(tree, "disks/disk", "exportbitmap") if since else None
        contents = {
            target: json.dumps({"token": token_of(Path(path)), "backing": None}).encode()
            for target, path in machine.disks.items()
        }
        machine.job = ExportServer(Path(xml.attribute(tree, "server", "socket")), contents, bitmap)
        machine.job_xml = text
        if checkpoint:
            machine.checkpoints[xml.text_of(xml.read(checkpoint), "name")] = checkpoint

    def backup_xml(self) -> str | None:
        return self._machine.job_xml if self._machine.job else None

    def job(self) -> str | None:
        return "backup" if self._machine.job else None

    def abort_job(self) -> None:
        job = self._machine.job
        self._require(job is not None, 55, "no job is active on the domain")
        assert job is not None
        job.close()
        self._machine.job = None
        for disk in xml.read(self._machine.job_xml).findall("disks/disk/scratch"):
            Path(disk.attrib["file"]).unlink()

    def checkpoints(self) -> dict[str, str]:
        return dict(self._machine.checkpoints)

    def delete_checkpoint(self, name: str, *, metadata_only: bool = False) -> None:
        active = self._machine.state != "off"
        self._require(active or metadata_only, 55, "cannot delete checkpoint for inactive domain")
        del self._machine.checkpoints[name]

    def commit_block(self, disk: str, *, base: str, top: str, active: bool) -> None:
        self._require_no_job()
        self._machine.merging = (base, top, active)

    def block_job(self, disk: str) -> tuple[int, int] | None:
        merging = self._machine.merging
        if merging is None:
            return None
        base, top, active = merging
        if not active:
            _merge(base, top)
            for path in self._world.folder.glob("*.qcow2"):
                if read_image(path)["backing"] == top:
                    write_image(path, read_image(path)["token"], base)
            self._machine.merging = None
        return (1, 1)

    def pivot(self, disk: str) -> None:
        assert self._machine.merging is not None
        base, top, _ = self._machine.merging
        _merge(base, top)
        self._machine.disks[disk], self._machine.merging = base, None

    def block_sizes(self, disk: str) -> tuple[int, int]:
        return DISK_BYTES, CLUSTER

    def _require_active(self) -> None:
        self._require(self._machine.state != "off", 55, "domain is not running")

    def _require_no_job(self) -> None:
        busy = "cannot acquire state change lock (held by remoteDispatchDomainBackupBegin)"
        self._require(self._machine.job is None, errors.OPERATION_TIMEOUT, busy)

    def _require(self, given: bool, number: int, message: str) -> None:
        if not given:
            raise errors.translate(number, message, f"handle {self.name}")


class FakeHypervisor:
    """Answers like `client.Hypervisor`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.uri = "fake:///"

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def domain(self, name: str) -> FakeDomain:
        for machine in self.world.machines.values():
            if name in (machine.name, machine.uuid):
                return FakeDomain(self.world, machine)
        raise errors.translate(
            errors.NO_DOMAIN, f"no domain with matching name '{name}'", f"find domain {name}"
        )

    def domains(self) -> list[FakeDomain]:
        return [FakeDomain(self.world, machine) for machine in self.world.machines.values()]

    def define_domain(self, text: str) -> FakeDomain:
        tree = xml.read(text)
        found = xml.text_of(tree, "uuid") or str(uuid.uuid4())
        disks = {
            xml.attribute(disk, "target", "dev"): xml.attribute(disk, "source", "file")
            for disk in tree.findall("devices/disk")
        }
        machine = self.world.machines.setdefault(
            found, Machine(name=xml.text_of(tree, "name"), uuid=found, disks=disks, state="off")
        )
        metadata = tree.find(f"metadata/{{{META}}}points")
        machine.disks = disks
        machine.firmware = "".join(xml.write(each) for each in tree.iterfind("os/*"))
        machine.password = xml.attribute(tree, "devices/graphics", "passwd") or None
        machine.config_metadata = None if metadata is None else xml.write(metadata)
        return FakeDomain(self.world, machine)

    def statistics(self) -> dict[str, Mapping[str, Any]]:
        running = [machine for machine in self.world.machines.values() if machine.state != "off"]
        return {machine.uuid: {"state.state": 1, "cpu.time": 1000} for machine in running}


class ExportServer:
    """Serves small disks in the NBD protocol."""

    def __init__(self, path: Path, contents: Mapping[str, bytes], bitmap: str | None) -> None:
        self._contents = contents
        self._contexts = ["base:allocation", *([f"qemu:dirty-bitmap:{bitmap}"] if bitmap else [])]
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError, EOFError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        client.sendall(struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 3))
        _receive(client, 4)
        export = ""
        while not export:
            export = self._negotiate(client)
        while self._answer(client, self._contents[export]):
            pass

    def _negotiate(self, client: socket.socket) -> str:
        """Answer one option; return the export's name with the last one."""
        _, option, length = struct.unpack(">QII", _receive(client, 16))
        data = _receive(client, length)
        if option == 10:
            for number, name in enumerate(self._contexts):
                _reply_option(client, option, 4, struct.pack(">I", number) + name.encode())
        if option == 7:
            _reply_option(client, option, 3, struct.pack(">HQH", 0, DISK_BYTES, 1))
        _reply_option(client, option, 1, b"")
        return data[4 : 4 + struct.unpack_from(">I", data)[0]].decode() if option == 7 else ""

    def _answer(self, client: socket.socket, content: bytes) -> bool:
        _, _, command, handle, offset, length = struct.unpack(">IHHQQI", _receive(client, 28))
        if command == 2:
            return False
        if command == 0:
            data = content.ljust(DISK_BYTES, b"\0")[offset : offset + length]
            _reply(client, handle, 1, struct.pack(">Q", offset) + data, done=True)
            return True
        for number in range(len(self._contexts)):
            data, rest = (0, 3) if number == 0 else (1, 0)
            told = struct.pack(">IIIII", number, CLUSTER, data, DISK_BYTES - CLUSTER, rest)
            _reply(client, handle, 5, told, done=number == len(self._contexts) - 1)
        return True


def _client() -> Any:
    from quiesce.providers.libvirt import client

    return client


def _receive(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = client.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _reply_option(client: socket.socket, option: int, kind: int, data: bytes) -> None:
    client.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)


def _reply(client: socket.socket, handle: int, kind: int, data: bytes, *, done: bool) -> None:
    client.sendall(struct.pack(">IHHQI", 0x668E33EF, int(done), kind, handle, len(data)) + data)


def _merge(base: str, top: str) -> None:
    held = read_image(Path(top))["token"]
    if held is not None:
        write_image(Path(base), held, read_image(Path(base))["backing"])


def _info(path: str, image_format: str = "qcow2") -> qemu_img.DiskImage:
    if not Path(path).exists():
        raise NonRecoverableError(f"qemu-img info failed: Could not open '{path}': No such file or directory")
    return qemu_img.DiskImage(
        path=path,
        format="qcow2",
        size_bytes=DISK_BYTES,
        backing=read_image(Path(path))["backing"],
        snapshots=(),
        bitmaps=(),
        bitmaps_in_use=(),
        keeps_bitmaps=True,
    )


def _chain(path: str, image_format: str = "qcow2") -> list[qemu_img.DiskImage]:
    found = [_info(path)]
    while found[-1].backing:
        found.append(_info(found[-1].backing))
    return found


def _create_overlay(path: str, backing: qemu_img.DiskImage) -> None:
    write_image(Path(path), None, backing.path)


def _rename_backing(path: str, image_format: str, backing: str, backing_format: str) -> None:
    write_image(Path(path), read_image(Path(path))["token"], backing)


def _commit(path: str, image_format: str, base: str) -> None:
    _merge(base, path)


_QEMU_IMG: dict[str, Any] = {
    "info": _info,
    "chain": _chain,
    "create_overlay": _create_overlay,
    "rename_backing": _rename_backing,
    "commit": _commit,
}
