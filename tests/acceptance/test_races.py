"""A local user changes the data as quickly as it goes, while root saves, restores, undoes and removes.

Nothing outside the data may be read or changed. inotify tells of every read and every change of the files
outside, through a bind mount too, whether or not what was read was ever stored. A second adversary, root's
own automounter say, mounts and unmounts what lies outside inside the data.

It lasts seconds; `QUIESCE_RACE_S=600` makes it ten minutes.
"""

from __future__ import annotations

import ctypes
import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from quiesce.files.mounts import read_mounts
from tests.unit.files.attackers import NOBODY, as_user, racing

from .shop import CommandLine

LASTS_S: Final = float(os.environ.get("QUIESCE_RACE_S", "4"))
#: what root does again and again
DEEDS: Final = {"backup", "restore", "undo", "forget-undo", "remove-backup"}
ONE_TRY: Final = ("--task-retries", "0")
IN_USE: Final = ("-p", "allow_in_use=true")
CANARY: Final = b"vermilion-quokka-0451"

BLUEPRINT: Final = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}, snapshots: {type: string}}
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}, snapshot_dir: {get_input: snapshots}}
"""

#: a tree with doubles of everything, links to what is outside among them
PREPARE: Final = """
outside = os.path.join(os.path.dirname(os.getcwd()), "outside")
os.makedirs("data/dir/sub/deep"); os.makedirs("twin/sub/deep")
for name in ("data", "data/dir", "data/dir/sub", "data/dir/sub/deep", "twin", "twin/sub"):
    for number in range(8):
        with open(f"{name}/file{number}", "w") as file: file.write("the user's own" * 40)
os.mkdir("doubles")
os.symlink(outside, "doubles/dir"); os.symlink(outside + "/file", "doubles/file")
os.symlink(outside + "/sub", "doubles/sub"); os.mkfifo("doubles/pipe"); os.mkdir("doubles/empty")
os.symlink(outside, "doubles/data")
"""

#: one after the other, as quick as it goes; the user may rename the data themselves, which are his
SWAP: Final = """
outside = os.path.join(os.path.dirname(os.getcwd()), "outside")
exchange("data/dir", "doubles/dir")
exchange("data/file0", "doubles/file")
exchange("data/dir/sub", "doubles/sub")
exchange("data/dir/file1", "doubles/pipe")
exchange("data/dir/sub/deep", "doubles/empty")
exchange("data/dir", "twin")
exchange("data/dir", "data/file2")
if os.getpid() % 2 and os.getrandom(1) < b"\\x08":
    exchange("data", "doubles/data"); exchange("data", "doubles/data")
for number in range(8):
    with contextlib.suppress(OSError): os.unlink(f"data/link{number}")
    with contextlib.suppress(OSError): os.symlink(f"{outside}/file", f"data/link{number}")
    with contextlib.suppress(OSError): os.link(f"data/file{number}", f"data/dir/second{number}")
    with contextlib.suppress(OSError): os.unlink(f"data/dir/second{number}")
"""

#: what a root who means no harm may do meanwhile: bind mounts of what is outside, in bursts
MOUNT: Final = """
import contextlib, ctypes, os, sys, time
libc = ctypes.CDLL(None)
libc.prctl(1, 9)  # PR_SET_PDEATHSIG: no attacker outlives its test
top = os.fsencode(sys.argv[1])
data = top + b"/user/data"
places = [(b"dir",), (b"dir", b"sub"), (b"mounted",)]
def held(path):
    # component by component: to mount through a link of the user's would be a mistake of the adversary's own
    descriptor = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    for name in path:
        above = descriptor
        try:
            with contextlib.suppress(OSError): os.mkdir(name, dir_fd=above)
            descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
    return descriptor
print("ready", flush=True)
while True:
    try:
        for place in places:
            with contextlib.suppress(OSError):
                descriptor = held(place)
                libc.mount(top + b"/outside", b"/proc/self/fd/%d" % descriptor, None, 4096, None)
                os.close(descriptor)
        time.sleep(0.002)
        with open("/proc/self/mountinfo", "rb") as table:
            mounted = [line.split()[4] for line in table]
        for place in reversed(mounted):
            if place.startswith(top): libc.umount2(place.split(b"//")[0], 2 | 8)
        time.sleep(0.4)
    except OSError:
        pass
"""

_NEW_MOUNTS: Final = 0x0002_0000
_NOW_AND_NOT_BY_A_LINK: Final = 2 | 8
#: of everything below, too
_PRIVATE: Final = 0x4000 | 1 << 18
#: inotify's: read, closed after reading; written, its metadata, its names
_READS, _CHANGES = 0x001 | 0x010, 0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400 | 0x800


class Watched:
    """What was read or changed below a directory since it was begun to be watched."""

    def __init__(self, root: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        assert self._descriptor >= 0
        paths = [root, *root.rglob("*")]
        self._paths = {
            libc.inotify_add_watch(self._descriptor, os.fsencode(path), _READS | _CHANGES): path
            for path in paths
        }
        assert -1 not in self._paths

    def events(self) -> list[str]:
        """Return, and forget, what has happened."""
        found = []
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return found
            while data:
                watch, mask, _, length = struct.unpack_from("iIII", data)
                name = data[16 : 16 + length].rstrip(b"\0")
                data = data[16 + length :]
                found.append(f"{mask:#x} {self._paths.get(watch)} {os.fsdecode(name)}")

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def playground() -> Iterator[Path]:
    """Give a directory of root's with ``user/``, a directory that belongs to a local user."""
    if os.geteuid() != 0:
        pytest.skip("only root can be attacked by a user")
    root = Path(tempfile.mkdtemp(prefix="quiesce-race-"))
    root.chmod(0o711)
    (root / "user").mkdir()
    os.chown(root / "user", NOBODY, NOBODY)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def alone(playground: Path) -> Iterator[None]:
    """Let this thread, and what it starts, have mounts of its own while the test runs."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(_NEW_MOUNTS) or libc.mount(b"none", b"/", None, _PRIVATE, None):
        pytest.skip("no mount namespace of its own to be had")
    yield
    assert libc.setns(before, 0) == 0
    os.close(before)


@contextmanager
def mounting(top: Path) -> Iterator[None]:
    """Mount and unmount what is outside inside the data while the block runs."""
    command = [sys.executable, "-I", "-c", MOUNT, str(top)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
            assert process.poll() is None, "who mounts gave up"
        finally:
            process.kill()
            process.wait()
            # what it left mounted would be taken for a copy
            for mount in reversed(read_mounts()):
                if mount.point.startswith(os.fsencode(top)):
                    ctypes.CDLL(None).umount2(mount.point, _NOW_AND_NOT_BY_A_LINK)


@pytest.mark.timeout(LASTS_S + 300)
def test_nothing_outside_is_read_or_changed(quiesce: CommandLine, alone: None, playground: Path) -> None:
    """Backups, snapshots, restores, undos and removals of data that their owner and an automounter change."""
    outside, user, state = playground / "outside", playground / "user", playground / "state"
    (outside / "sub/deep").mkdir(parents=True)
    for name in ("file", "file0", "file1", "sub/file", "sub/file0", "sub/deep/file", "deep"):
        (outside / name).write_bytes(CANARY * 20)
    outside.chmod(0o700)
    state.mkdir(mode=0o700)
    as_user(PREPARE, user)
    _init(quiesce, user / "data", state / "snapshots")
    before, watched = _everything(outside), Watched(outside)
    with racing(SWAP, user, count=os.cpu_count() or 1), mounting(playground):
        succeeded = _work(quiesce, time.monotonic() + LASTS_S)
    assert watched.events() == []
    (outside / "file").read_bytes()
    assert watched.events(), "the judge is blind"
    watched.close()
    assert _everything(outside) == before
    for place in (quiesce.home, state, user):
        assert _holding_canary(place) == []
    print(f"succeeded: {succeeded}")
    assert set(succeeded) == DEEDS, "the race left nothing to look at"


def _init(quiesce: CommandLine, data: Path, snapshots: Path) -> None:
    (quiesce.directory / "files.yaml").write_text(BLUEPRINT)
    inputs = ("-i", f"data={data}", "-i", f"snapshots={snapshots}")
    quiesce("init", "files.yaml", "-b", "files", *inputs)


def _work(quiesce: CommandLine, end: float) -> dict[str, int]:
    """Do everything that touches the data, again and again; return how often each went well."""
    succeeded: dict[str, int] = {}
    number = 0
    while time.monotonic() < end or not set(succeeded) >= DEEDS:
        assert time.monotonic() < end + 200, succeeded
        number += 1
        kind = ("--snapshot-incremental", "false") if number % 2 else ()
        point = ("--snapshot-name", f"p{number}")
        for deed, command in (
            ("backup", ("backup", "files", *point, *kind, *ONE_TRY)),
            ("restore", ("restore", "files", *point, *kind, *ONE_TRY, *IN_USE)),
            ("undo", ("restore", "--undo", "files", *ONE_TRY, *IN_USE)),
            # back again: what the user has changed meanwhile is kept
            ("undo", ("restore", "--undo", "files", *ONE_TRY, *IN_USE)),
            ("forget-undo", ("restore", "--forget-undo", "files", *ONE_TRY)),
            ("remove-backup", ("remove-backup", "files", *point, *kind)),
        ):
            process = quiesce.start(*command)
            _, err = process.communicate(timeout=120)
            assert "Traceback" not in err, err
            if process.returncode in {0, 8}:
                succeeded[deed] = succeeded.get(deed, 0) + 1
    return succeeded


def _everything(root: Path) -> list[tuple[str, int, int, int, int, int, int]]:
    found = []
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        found.append(
            (
                str(path),
                status.st_ino,
                status.st_mode,
                status.st_nlink,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
        )
    return found


def _holding_canary(root: Path) -> list[Path]:
    """Return the files below *root* that hold anything from outside, compressed ones too."""
    paths = (Path(directory) / name for directory, _, names in os.walk(root) for name in names)
    return [path for path in paths if not path.is_symlink() and path.is_file() and CANARY in _content(path)]


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=io.BytesIO(data)).read()
    return data
