"""The lab from Python: its guests, seen and handled beside quiesce.

Uses libvirt's binding directly, so that a test's eyes do not depend on what is tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FOLDER = Path(os.environ.get("QUIESCE_LAB_DIR") or ROOT / ".lab").resolve() / "libvirt"
SCRIPT = HERE / "lab.sh"
TOOLS = ("qemu-system-x86_64", "qemu-img", "e2fsck", "debugfs", "cpio", "unshare")


def missing() -> str | None:
    """Tell what keeps the lab from running here; None when nothing does."""
    try:
        import libvirt  # noqa: F401
    except ImportError:
        return "the Python package libvirt-python is not installed"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for tool in ("libvirtd", *TOOLS):
        if os.geteuid() != 0 and shutil.which(tool, path=path) is None:
            return f"{tool} is not installed"
    if shutil.which("apt-get") is None and shutil.which("libvirtd", path=path) is None:
        return "libvirtd is not installed"
    return None


def up() -> str:
    """Bring the lab up and return the connection URI."""
    done = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the lab does not start: {done.stderr[-2000:]}")
    return done.stdout.split()[-1]


def down() -> None:
    """Stop guests and daemon."""
    subprocess.run([SCRIPT, "down"], check=False, capture_output=True)


def restart_daemon() -> None:
    """Start the daemon again after it was killed."""
    subprocess.run([SCRIPT, "restart"], check=True, capture_output=True)


def daemon_pid() -> int:
    """Return the daemon's process id."""
    return int((FOLDER / "libvirtd.pid").read_text())


def is_up() -> bool:
    """Tell whether the lab runs."""
    return (FOLDER / "uri").exists()


def wait(happened: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return when it has happened."""
    ends = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > ends:
            raise TimeoutError("it did not happen")
        time.sleep(0.1)


def make_disk(name: str, size_mb: int, random_mb: int = 0, seed: int = 1) -> Path:
    """Return an ext4 disk of that size, made once and kept."""
    path = FOLDER / "disks" / f"base-{name}.qcow2"
    if not path.exists():
        subprocess.run([SCRIPT, "disk", path, str(size_mb), str(random_mb), str(seed)], check=True)
    return path


@dataclass(frozen=True)
class LogCheck:
    """What a disk's copy of the writer's log is worth."""

    lines: int
    last: int
    broken: int
    gaps: int
    #: whether e2fsck found the file system as it should be, nothing repaired
    clean: bool
    #: whether a journal had to be replayed
    replayed: bool


class Guest:
    """One guest of the lab."""

    def __init__(self, name: str, *, uri: str | None = None) -> None:
        self.name = name
        self.uri = uri or (FOLDER / "uri").read_text().strip()
        self.console = FOLDER / "console" / f"{name}.log"

    @cached_property
    def connection(self) -> Any:
        import libvirt

        libvirt.registerErrorHandler(lambda *_: None, None)
        return libvirt.open(self.uri)

    def reconnect(self) -> None:
        """Forget a connection that broke."""
        self.__dict__.pop("connection", None)

    @property
    def domain(self) -> Any:
        return self.connection.lookupByName(self.name)

    def disk(self, number: int = 0) -> Path:
        """Return where the guest's disk of that number was put first."""
        return FOLDER / "disks" / f"{self.name}-{number}.qcow2"

    def define(
        self,
        *,
        base: Path | None = None,
        disks: int = 1,
        agent: bool = True,
        arguments: str = "",
        disk_format: str = "qcow2",
        memory_mb: int = 96,
    ) -> None:
        """Define it afresh, on copies of *base*."""
        self.forget()
        for number in range(disks):
            self._place_disk(base or FOLDER / "disks" / "base64.qcow2", number, disk_format)
        self.console.unlink(missing_ok=True)
        xml = _domain_xml(self, disks, agent, arguments, disk_format, memory_mb)
        self.connection.defineXML(xml)

    def boot(self, **options: Any) -> None:
        """Define it afresh, start it and wait until its agent answers and its writer writes."""
        self.define(**options)
        self.start(wait=options.get("agent", True) and "agent=0" not in options.get("arguments", ""))

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until its agent answers."""
        self.domain.create()
        if wait:
            self.wait_for_agent()

    def wait_for_agent(self, limit_s: float = 120.0) -> None:
        """Return when the agent answers."""
        import libvirt

        ends = time.monotonic() + limit_s
        while True:
            try:
                self.agent("guest-ping", timeout_s=2)
                return
            except libvirt.libvirtError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)

    def wait_for_writer(self, lines: int = 20, limit_s: float = 60.0) -> None:
        """Return when the writer has written so many more lines."""
        begin, ends = self.written(), time.monotonic() + limit_s
        while self.written() < begin + lines:
            if time.monotonic() > ends:
                raise TimeoutError(f"the writer of {self.name} is stuck at {self.written()}")
            time.sleep(0.05)

    def writer_stands(self, for_s: float = 1.0) -> bool:
        """Tell whether nothing is written for so long, though the guest lives."""
        before = self.written()
        time.sleep(for_s)
        return self.written() == before

    def agent(self, command: str, timeout_s: int = 20, **arguments: Any) -> Any:
        """Ask the guest agent."""
        import libvirt_qemu

        request = json.dumps(
            {"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}}
        )
        answer = libvirt_qemu.qemuAgentCommand(self.domain, request, timeout_s, 0)
        return json.loads(answer)["return"]

    def shell(self, script: str, *, wait_s: float = 60.0) -> str:
        """Run a shell script in the guest and return what it printed."""
        import base64

        pid = self.agent("guest-exec", path="/bin/sh", arg=["-c", script], capture_output=True)["pid"]
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends:
            status = self.agent("guest-exec-status", pid=pid)
            if status["exited"]:
                return base64.b64decode(status.get("out-data", "")).decode()
            time.sleep(0.05)
        raise TimeoutError(script)

    def start_shell(self, script: str) -> None:
        """Start a shell script in the guest and leave it."""
        self.agent("guest-exec", path="/bin/sh", arg=["-c", script])

    def frozen(self) -> bool:
        """Tell whether its agent says that its file systems are frozen."""
        return bool(self.agent("guest-fsfreeze-status") == "frozen")

    def said(self) -> str:
        """Return its console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def written(self) -> int:
        """Return the highest line number that the writer told the console."""
        found = re.findall(r"^W (\d+) ", self.said(), re.MULTILINE)
        return int(found[-1]) if found else 0

    def stalls_ms(self, since_line: int = 0) -> list[int]:
        """Return how long the told writes took, in the guest's own time."""
        found = re.findall(r"^W (\d+) (\d+)", self.said(), re.MULTILINE)
        return [int(took) for line, took in found if int(line) > since_line]

    def is_fresh(self) -> bool:
        """Tell whether it runs as if it had just been booted: nothing kept with it, nothing frozen."""
        import libvirt

        try:
            domain = self.domain
            kept = domain.listAllSnapshots() or domain.listAllCheckpoints() or self.job_runs()
            on_first_disk = str(self.disk()) in domain.XMLDesc(0)
            if kept or not on_first_disk or "urn:quiesce" in domain.XMLDesc(2) or self.frozen():
                return False
            before = self.written()
            self.wait_for_writer(3, 10.0)
        except (libvirt.libvirtError, TimeoutError):
            return False
        return self.written() > before

    def destroy(self) -> None:
        """Cut its power."""
        import libvirt

        with suppress(libvirt.libvirtError):
            self.domain.destroy()

    def forget(self) -> None:
        """Remove it, its snapshots, checkpoints and disks."""
        import libvirt

        with suppress(libvirt.libvirtError):
            domain = self.domain
            self.destroy()
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
        for path in (FOLDER / "disks").glob(f"{self.name}-*"):
            path.unlink()

    def checkpoints(self) -> list[str]:
        """Return its checkpoints' names."""
        return sorted(checkpoint.getName() for checkpoint in self.domain.listAllCheckpoints())

    def job_runs(self) -> bool:
        """Tell whether libvirt works on a job of it."""
        return bool(self.domain.jobStats().get("type"))

    def _place_disk(self, base: Path, number: int, disk_format: str) -> None:
        if disk_format == "qcow2":
            shutil.copyfile(base, self.disk(number))
        else:
            options = ["-o", "compat=0.10"] if disk_format == "qcow2-0.10" else []
            made = "qcow2" if disk_format == "qcow2-0.10" else disk_format
            command = ["qemu-img", "convert", "-O", made, *options, base, self.disk(number)]
            subprocess.run(command, check=True)


def check_log(image: Path, *, image_format: str = "qcow2") -> LogCheck:
    """Read the writer's log out of an image that nobody writes to."""
    raw = image.with_name(f"{image.name}.check")
    subprocess.run(["qemu-img", "convert", "-U", "-f", image_format, "-O", "raw", image, raw], check=True)
    try:
        checked = subprocess.run(["e2fsck", "-fy", raw], capture_output=True, text=True, check=False)
        log = subprocess.run(["debugfs", "-R", "cat /log", raw], capture_output=True, check=False).stdout
    finally:
        raw.unlink()
    replayed = "recovering journal" in checked.stdout
    return _judge(log, clean=checked.returncode == 0 and not replayed, replayed=replayed)


def _judge(log: bytes, *, clean: bool, replayed: bool) -> LogCheck:
    lines = broken = gaps = last = 0
    for line in filter(None, log.split(b"\n")):
        body, _, crc = line.rpartition(b" ")
        if not re.fullmatch(rb"[0-9a-f]{8}", crc) or int(crc, 16) != zlib.crc32(body):
            broken += 1
            continue
        number = int(body.split()[0])
        gaps += number != last + 1
        lines, last = lines + 1, number
    return LogCheck(lines=lines, last=last, broken=broken, gaps=gaps, clean=clean, replayed=replayed)


def _domain_xml(
    guest: Guest, disks: int, agent: bool, arguments: str, disk_format: str, memory_mb: int
) -> str:
    driver = "qcow2" if disk_format.startswith("qcow2") else disk_format
    disk_xml = "".join(
        f"""<disk type='file' device='disk'><driver name='qemu' type='{driver}' discard='unmap'/>
        <source file='{guest.disk(number)}'/><target dev='vd{chr(97 + number)}' bus='virtio'/></disk>"""
        for number in range(disks)
    )
    channel = (
        f"""<channel type='unix'><source mode='bind' path='{FOLDER}/agent/{guest.name}'/>
        <target type='virtio' name='org.qemu.guest_agent.0'/></channel>"""
        if agent
        else ""
    )
    return f"""<domain type='qemu'><name>{guest.name}</name>
<memory unit='MiB'>{memory_mb}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{FOLDER}/guest/vmlinuz</kernel>
<initrd>{FOLDER}/guest/initrd.gz</initrd><cmdline>console=ttyS0 quiet panic=1 no_timer_check tsc=unstable
 mitigations=off name={guest.name} {arguments}</cmdline></os>
<features><acpi/></features><on_poweroff>destroy</on_poweroff><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disk_xml}
<interface type='user'><model type='virtio'/></interface>{channel}
<serial type='file'><source path='{guest.console}' append='on'/></serial>
<memballoon model='virtio'><stats period='2'/></memballoon></devices></domain>"""
