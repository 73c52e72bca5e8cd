"""Backups of a real guest, side by side: quiesce, raw QEMU, and virtnbdbackup.

A 1 GiB disk with 512 MiB of random data, its guest's writer running all the while. Every round does the
same with each, one after the other, the first being another one each time; the figures are medians. quiesce's
include checksums, a flush to the disk and, for a restore, the check of every stored byte. Raw QEMU and quiesce
are both asked through connections that are open; the whole command ``quiesce backup``, which starts Python,
a journal and a guard first, stands beside virtnbdbackup as well. A restore is of files that are on the disk
and not in memory any more, for all of them. Each measurement begins when others leave the machine alone, at
least for a moment.

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
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.labs.libvirt import lab  # noqa: E402
from tests.labs.libvirt.fixtures import Bench, CommandLine  # noqa: E402

from quiesce.model.operation import Operation  # noqa: E402

GUEST = "bench"
FULL, INCREMENT, RESTORE = "full backup", "incremental, 32 MiB changed", "restore, full + 2 increments"
INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}
#: how often each window, and each stall of a guest, is measured
WINDOWS, STALLS = 11, 7
#: how little of the machine others may use when a measurement begins, and how long to wait for that
QUIET_SHARE, PATIENCE_S = 0.25, 30.0
STALLED = {1: "one guest", 3: "three at once"}
BLUEPRINT: dict[str, Any] = {
    "tosca_definitions_version": "cloudify_dsl_1_3",
    "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
}
NEW_DATA = "dd if=/dev/urandom of=/data/new.bin bs=1M count=32 conv=fsync"


class Figures:
    """Seconds by what was done and who did it."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], list[float]] = {}

    def time(self, what: str, who: str, action: Callable[[], Any]) -> Any:
        os.sync()
        _forget_files()
        wait_until_quiet()
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
    print(f"load before: {_load()}", file=sys.stderr)
    try:
        for number in range(rounds):
            _round(guest, figures, number)
        guest.forget()
        windows = _windows(uri, figures)
        _stalls(uri, figures)
    finally:
        guest.forget()
        shutil.rmtree(lab.FOLDER / "bench", ignore_errors=True)
        if not was_up:
            lab.down()
    print("\n".join(figures.lines()))
    print(f"load after: {_load()}", file=sys.stderr)
    _compare(figures, windows)


def _round(guest: lab.Guest, figures: Figures, number: int) -> None:
    folder = lab.FOLDER / "bench"
    guest.boot(base=lab.make_disk("1024", 1024, 512, 7))
    guest.wait_for_writer(10)
    raw, ours = RawQemu(guest, folder / "raw"), Bench(guest, folder / f"ours{number}")
    ours.do(Operation.THAW)  # connects, as raw QEMU's connection is open
    turns = [lambda: _raw_chain(raw, figures), lambda: _our_chain(ours, figures), lambda: _pull(raw, figures)]
    for turn in (*turns[number % 3 :], *turns[: number % 3]):
        turn()
        raw.forget_checkpoints()
    _commands(guest, figures, folder)
    restores = [lambda: _raw_restore(raw, figures), lambda: _our_restore(ours, figures)]
    for restore in restores if number % 2 else reversed(restores):
        restore()
        guest.wait_for_agent()
        if guest.shell("cd /data && sha256sum -c random.sha256").strip() != "random.bin: OK":
            sys.exit("the restored disk is not what it was")
    for point in ("full", "one", "two"):
        ours.remove(point)


def _raw_chain(raw: RawQemu, figures: Figures) -> None:
    figures.time(FULL, "raw push", lambda: raw.push("r0"))
    for name, since in (("r1", "r0"), ("r2", "r1")):
        raw.guest.shell(NEW_DATA)
        figures.time(INCREMENT, "raw push", lambda name=name, since=since: raw.push(name, since))


def _our_chain(ours: Bench, figures: Figures) -> None:
    figures.time(FULL, "quiesce", lambda: ours.backup("full", **INCREMENTAL))
    for point in ("one", "two"):
        ours.guest.shell(NEW_DATA)
        figures.time(INCREMENT, "quiesce", lambda point=point: ours.backup(point, **INCREMENTAL))


def _pull(raw: RawQemu, figures: Figures) -> None:
    figures.time(FULL, "raw convert", lambda: raw.convert("pulled"))


def _raw_restore(raw: RawQemu, figures: Figures) -> None:
    figures.time(RESTORE, "raw convert", lambda: raw.restore("r0", "r1", "r2"))


def _our_restore(ours: Bench, figures: Figures) -> None:
    figures.time(RESTORE, "quiesce", lambda: ours.restore("two"))


def _commands(guest: lab.Guest, figures: Figures, folder: Path) -> None:
    """Measure whole commands: ours, and virtnbdbackup's."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    properties = {"libvirt_auth": guest.uri, "resource_id": guest.name, "scratch_dir": str(folder)}
    node = {"type": "quiesce.nodes.libvirt.Domain", "properties": properties}
    quiesce = CommandLine(home, BLUEPRINT | {"node_templates": {"vm": node}})
    options = ("-p", "snapshot_incremental=false", "-p", "snapshot_name=one")
    figures.time(FULL, "quiesce backup", lambda: quiesce.run("backup", "shop", *options))
    if Virtnbdbackup.is_there():
        theirs = Virtnbdbackup(guest, folder / "virtnbdbackup")
        theirs.folder.mkdir(parents=True)
        figures.time(FULL, "virtnbdbackup", lambda: theirs.backup("full"))
        RawQemu(guest, folder / "none").forget_checkpoints()


def wait_until_quiet() -> None:
    """Return when others leave the machine alone; when they do not for long, all the same."""
    ends = time.monotonic() + PATIENCE_S
    while _busy_share(0.5) > QUIET_SHARE and time.monotonic() < ends:
        pass


def _busy_share(for_s: float) -> float:
    """Return which share of the processors' time was used, and waited for a disk."""
    before = _ticks()
    time.sleep(for_s)
    passed = [now - then for then, now in zip(before, _ticks(), strict=True)]
    return 1 - passed[3] / max(1, sum(passed))


def _ticks() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _forget_files() -> None:
    """Let the stored files be on the disk only, as they are when a restore is wanted, days later."""
    for path in (lab.FOLDER / "bench").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _windows(uri: str, figures: Figures) -> list[float]:
    """Measure how long guests of two sizes are frozen around a full backup; return both medians, in seconds."""
    benches = {}
    for size_mb, random_mb in ((64, 16), (8192, 256)):
        guest = lab.Guest(f"window{size_mb}", uri=uri)
        guest.boot(base=lab.make_disk(str(size_mb), size_mb, random_mb))
        benches[f"frozen window, {size_mb} MiB disk"] = Bench(guest, lab.FOLDER / "bench" / guest.name)
    try:
        for number in range(WINDOWS):
            for what, bench in benches.items():
                _window(bench, figures, what, f"w{number}")
    finally:
        for bench in benches.values():
            bench.guest.forget()
    return [figures.median(what, "quiesce") for what in benches]


def _window(bench: Bench, figures: Figures, what: str, point: str) -> None:
    bench.guest.wait_for_writer(3)
    wait_until_quiet()
    bench.do(Operation.FREEZE, point)
    began = time.perf_counter()
    cut = bench.do(Operation.SNAPSHOT, point, full=True)
    bench.do(Operation.THAW, point)
    figures.add(what, "quiesce", time.perf_counter() - began)
    bench.do(Operation.COPY, point, full=True, artifact=cut.artifact)
    bench.remove(point)


def _stalls(uri: str, figures: Figures) -> None:
    """Measure how long the guests' writers stood still, in their own time: one alone, then three together."""
    benches = []
    try:
        for number in range(3):
            guest = lab.Guest(f"stall{number}", uri=uri)
            guest.boot()
            benches.append(Bench(guest, lab.FOLDER / "bench" / guest.name))
        shared = benches[0].provider()
        for bench in benches:
            bench.use(shared)
        for number in range(STALLS):
            for together in (benches[:1], benches):
                _stall(together, figures, f"s{number}-{len(together)}")
    finally:
        for bench in benches:
            bench.guest.forget()


def _stall(benches: list[Bench], figures: Figures, point: str) -> None:
    for bench in benches:
        bench.guest.wait_for_writer(3)
    wait_until_quiet()
    since = {bench.guest.name: bench.guest.written() for bench in benches}
    with ThreadPoolExecutor(len(benches)) as pool:
        for operation in (
            Operation.FREEZE,
            Operation.SNAPSHOT,
            Operation.THAW,
            Operation.COPY,
            Operation.DELETE,
        ):
            list(pool.map(lambda bench, what=operation: bench.do(what, point, full=True), benches))
    for bench in benches:
        bench.guest.wait_for_writer(11)  # every tenth line is told, and every slow one
    longest = max(max(bench.guest.stalls_ms(since[bench.guest.name]), default=0) for bench in benches)
    figures.add("frozen, as the guest saw it", STALLED[len(benches)], longest / 1e3)


def _load() -> str:
    return " ".join(f"{number:.2f}" for number in os.getloadavg())


def _compare(figures: Figures, windows: list[float]) -> None:
    """Print how the medians compare, each beside what it should be."""
    ours, command = figures.median(FULL, "quiesce"), figures.median(FULL, "quiesce backup")
    rows = [
        ("full / raw push", ours / figures.median(FULL, "raw push"), "1.3 at most"),
        ("full / raw convert", ours / figures.median(FULL, "raw convert"), ""),
    ]
    if Virtnbdbackup.is_there():
        theirs = figures.median(FULL, "virtnbdbackup")
        rows += [
            ("virtnbdbackup / full backup", theirs / ours, "3 at least"),
            ("the same, whole commands", theirs / command, ""),
        ]
    for name, what, raw, goal in (
        ("incremental / raw", INCREMENT, "raw push", "2 at most"),
        ("restore / raw", RESTORE, "raw convert", "1.2 at most"),
    ):
        rows.append((name, figures.median(what, "quiesce") / figures.median(what, raw), goal))
    one, three = (figures.median("frozen, as the guest saw it", who) for who in STALLED.values())
    rows += [
        ("window, 8 GiB / 64 MiB", windows[1] / windows[0], "1.2 at most"),
        ("three guests' stall / one's", three / one, "2 at most"),
        ("one guest's stall, in ms", one * 1e3, "250 at most"),
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
