"""Backups of a real guest, side by side: quiesce, raw QEMU, and virtnbdbackup.

A 1 GiB disk with 512 MiB of random data, its guest's writer running all the while. Every round does the
same with each, one after the other; the figures are medians. quiesce's include checksums, a flush to the
disk and, for a restore, the check of every stored byte.

    make bench-libvirt            or: python bench/libvirt_backup.py [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.labs.libvirt import lab  # noqa: E402
from tests.labs.libvirt.fixtures import Bench  # noqa: E402

from quiesce.model.operation import Operation  # noqa: E402

GUEST = "bench"
INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}
NEW_DATA = "dd if=/dev/urandom of=/data/new.bin bs=1M count=32 conv=fsync"


class Figures:
    """Seconds by what was done and who did it."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], list[float]] = {}

    def time(self, what: str, who: str, action: Callable[[], Any]) -> Any:
        os.sync()
        began = time.perf_counter()
        result = action()
        self.add(what, who, time.perf_counter() - began)
        return result

    def add(self, what: str, who: str, seconds: float) -> None:
        self._seconds.setdefault((what, who), []).append(seconds)
        print(f"  {what}, {who}: {seconds:.3f} s", file=sys.stderr, flush=True)

    def median(self, what: str, who: str) -> float:
        return statistics.median(self._seconds[what, who])

    def line(self, what: str, who: str) -> str:
        found = self._seconds[what, who]
        return (
            f"{what:30} {who:14} {statistics.median(found):7.3f} s   ({min(found):.3f} to {max(found):.3f})"
        )

    def lines(self) -> list[str]:
        return [self.line(*key) for key in self._seconds]


class RawQemu:
    """What QEMU and its tools do by themselves: no checksum, no check."""

    def __init__(self, guest: lab.Guest, folder: Path) -> None:
        self.guest = guest
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def push(self, name: str, since: str | None = None) -> None:
        domain = self.guest.domain
        incremental = f"<incremental>{since}</incremental>" if since else ""
        domain.fsFreeze()
        try:
            domain.backupBegin(
                f"<domainbackup mode='push'>{incremental}<disks><disk name='vda' backup='yes' type='file'>"
                f"<driver type='qcow2'/><target file='{self.folder}/{name}'/></disk></disks></domainbackup>",
                f"<domaincheckpoint><name>{name}</name></domaincheckpoint>",
                0,
            )
        finally:
            domain.fsThaw()
        while domain.jobStats().get("type"):
            time.sleep(0.005)

    def convert(self, name: str) -> None:
        """Read through a pull job with ``qemu-img convert``."""
        domain, socket = self.guest.domain, self.folder / "n.sock"
        domain.backupBegin(
            f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks><disk name='vda' "
            f"backup='yes' type='file' exportname='vda'><scratch file='{self.folder}/scratch'/></disk>"
            "</disks></domainbackup>",
            None,
            0,
        )
        try:
            source = f"nbd+unix:///vda?socket={socket}"
            _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, self.folder / name)
        finally:
            domain.abortJob()

    def restore(self, *names: str) -> None:
        self.guest.destroy()
        for base, top in pairwise(names):
            _run("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", self.folder / base, self.folder / top)
        new = self.guest.disk().with_suffix(".new")
        _run("qemu-img", "convert", "-O", "qcow2", self.folder / names[-1], new)
        new.replace(self.guest.disk())
        self.forget_checkpoints()
        self.guest.domain.create()

    def forget_checkpoints(self) -> None:
        for checkpoint in self.guest.domain.listAllCheckpoints():
            checkpoint.delete(2 if not self.guest.domain.isActive() else 0)


class Virtnbdbackup:
    """The Debian package."""

    def __init__(self, guest: lab.Guest, folder: Path) -> None:
        self.guest = guest
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def is_there() -> bool:
        return shutil.which("virtnbdbackup") is not None

    def backup(self, level: str) -> None:
        self._call("virtnbdbackup", "-d", self.guest.name, "-l", level, "-o", self.folder / "set")

    def restore(self) -> None:
        self._call(
            "virtnbdrestore", "-i", self.folder / "set", "-a", "restore", "-o", self.folder / "restored"
        )

    def _call(self, *command: Any) -> None:
        as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(lab.FOLDER / "r"), "HOME": str(self.folder)}
        for name in ("VIRTUAL_ENV", "PYTHONPATH"):
            environment.pop(name, None)
        _run(*as_user, *command, "-U", "qemu:///session", environment=environment)


def main(rounds: int) -> None:
    """Print all figures, and how they compare."""
    if reason := lab.missing():
        sys.exit(f"libvirt: {reason}")
    was_up = lab.is_up()
    uri = lab.up()
    guest = lab.Guest(GUEST, uri=uri)
    figures = Figures()
    try:
        for number in range(rounds):
            _round(guest, figures, number)
        windows = [_windows(uri, figures, *size) for size in (("64", 64, 16), ("8192", 8192, 256))]
    finally:
        guest.forget()
        lab.Guest("window", uri=uri).forget()
        shutil.rmtree(lab.FOLDER / "bench", ignore_errors=True)
        if not was_up:
            lab.down()
    print("\n".join(figures.lines()))
    _compare(figures, windows)


def _round(guest: lab.Guest, figures: Figures, number: int) -> None:
    folder = lab.FOLDER / "bench"
    guest.boot(base=lab.make_disk("1024", 1024, 512, 7))
    guest.wait_for_writer(10)
    raw, ours = RawQemu(guest, folder / "raw"), Bench(guest, folder / f"ours{number}")

    figures.time("full backup", "raw push", lambda: raw.push("full"))
    figures.time("full backup", "raw convert", lambda: raw.convert("pulled"))
    raw.forget_checkpoints()
    figures.time("full backup", "quiesce", lambda: ours.backup("full", **INCREMENTAL))
    _theirs(guest, figures, folder)
    guest.shell(NEW_DATA)
    figures.time("incremental, 32 MiB changed", "quiesce", lambda: ours.backup("one", **INCREMENTAL))
    guest.shell(NEW_DATA)
    ours.backup("two", **INCREMENTAL)
    figures.time("restore, full + 2 increments", "quiesce", lambda: ours.restore("two"))
    guest.wait_for_agent()
    if guest.shell("cd /data && sha256sum -c random.sha256").strip() != "random.bin: OK":
        sys.exit("the restored disk is not what it was")

    raw.push("r0")
    guest.shell(NEW_DATA)
    figures.time("incremental, 32 MiB changed", "raw push", lambda: raw.push("r1", "r0"))
    guest.shell(NEW_DATA)
    raw.push("r2", "r1")
    figures.time("restore, full + 2 increments", "raw convert", lambda: raw.restore("r0", "r1", "r2"))
    guest.wait_for_agent()
    for point in ("full", "one", "two"):
        ours.remove(point)


def _theirs(guest: lab.Guest, figures: Figures, folder: Path) -> None:
    if not Virtnbdbackup.is_there():
        return
    ours = {
        checkpoint.getName(): checkpoint.getXMLDesc(0) for checkpoint in guest.domain.listAllCheckpoints()
    }
    theirs = Virtnbdbackup(guest, folder / "virtnbdbackup")
    theirs.folder.mkdir(parents=True, exist_ok=True)
    # its full backup would refuse to run, or remove them, when there are checkpoints of others
    figures.time("full backup", "virtnbdbackup", lambda: theirs.backup("copy" if ours else "full"))


def _windows(uri: str, figures: Figures, name: str, size_mb: int, random_mb: int) -> float:
    """Measure how long the guest is frozen around a full backup; return the median in milliseconds."""
    guest = lab.Guest("window", uri=uri)
    guest.boot(base=lab.make_disk(name, size_mb, random_mb))
    guest.wait_for_writer(20)
    bench = Bench(guest, lab.FOLDER / "bench" / f"window{name}")
    what = f"frozen window, {size_mb} MiB disk"
    for number in range(9):
        point = f"w{number}"
        bench.do(Operation.FREEZE, point)
        began = time.perf_counter()
        cut = bench.do(Operation.SNAPSHOT, point, full=True)
        bench.do(Operation.THAW, point)
        figures.add(what, "quiesce", time.perf_counter() - began)
        bench.do(Operation.COPY, point, full=True, artifact=cut.artifact)
        bench.remove(point)
        guest.wait_for_writer(3)
    return figures.median(what, "quiesce")


def _compare(figures: Figures, windows: list[float]) -> None:
    full, increment, restore = "full backup", "incremental, 32 MiB changed", "restore, full + 2 increments"
    ours = figures.median(full, "quiesce")
    raw = min(figures.median(full, who) for who in ("raw push", "raw convert"))
    rows = [("full backup / raw push", ours / figures.median(full, "raw push"), "1.3 at most")]
    rows.append(("full backup / faster raw", ours / raw, ""))
    if Virtnbdbackup.is_there():
        rows.append(
            ("virtnbdbackup / full backup", figures.median(full, "virtnbdbackup") / ours, "3 at least")
        )
    rows += [
        (
            "incremental / raw",
            figures.median(increment, "quiesce") / figures.median(increment, "raw push"),
            "2 at most",
        ),
        (
            "restore / raw",
            figures.median(restore, "quiesce") / figures.median(restore, "raw convert"),
            "1.2 at most",
        ),
        ("window, 8 GiB / 64 MiB", windows[1] / windows[0], "1.2 at most"),
    ]
    print()
    for name, ratio, goal in rows:
        print(f"{name:30} {ratio:6.2f}   {goal}")


def _run(*command: Any, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
