"""Real file systems on loop devices, frozen by the kernel. Needs root; runs in a mount namespace of its own.

Each test is a program run under ``unshare --mount``, so that nothing it mounts outlives it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = '''
import json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from quiesce.errors import CannotFreezeError, NonRecoverableError, ProviderError, RecoverableError
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers import host
from quiesce.providers.host.provider import HostProvider
from quiesce.testing import RecordingContext, Subject

if __name__ == "__main__":
    os.environ["ROOT"], os.environ["KIND"] = sys.argv[1:]
root, kind = Path(os.environ["ROOT"]), os.environ["KIND"]

class FileSystem(Subject):
    node_type = host.FILE_SYSTEM
    def __init__(self, path, instance="fs_1"):
        self.properties, self.instance = {"path": str(path)}, instance

class Directory(Subject):
    node_type = host.DIRECTORY
    instance = "dir_1"
    def __init__(self, path, **more):
        self.properties = {"path": str(path), **more}

def mounted(name, where, size="320M"):
    image, point = where / f"{name}.img", root / f"on-{name}"
    subprocess.run(["truncate", "-s", size, image], check=True)
    options = {"ext4": ["-q"], "xfs": ["-q"], "btrfs": ["-q"]}[kind]
    subprocess.run([f"mkfs.{kind}", *options, image], check=True)
    point.mkdir()
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    return point

def provider():
    settings = ProviderSettings(
        state_dir=str(root / "state"), repository=str(root / "backups"), keys_file=str(root / "keys")
    )
    return HostProvider(settings)

def do(who, subject, operation, **changes):
    return who.perform(subject.call(operation, **changes), RecordingContext(timeout_s=20))

class Writer:
    """Writes to a file in a process of its own, so that a frozen file system hangs it and not the test."""
    def __init__(self, point):
        self.path = point / "written"
        self.process = subprocess.Popen([sys.executable, "-c", (
            "import sys, time\\n"
            "n = 0\\n"
            "while True:\\n"
            "    n += 1\\n"
            "    open(sys.argv[1], 'w').write(str(n))\\n"
            "    print(n, flush=True)\\n"
            "    time.sleep(0.01)\\n"), self.path], stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.moves_within(10)
    def moves_within(self, seconds):
        self.drain()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self.drain():
                return True
            time.sleep(0.01)
        return False
    def drain(self):
        try:
            return os.read(self.process.stdout.fileno(), 1 << 20)
        except BlockingIOError:
            return b""
    def stands_still(self):
        time.sleep(0.1)
        return not self.moves_within(0.5)
    def end(self):
        self.process.kill()
        self.process.wait()
'''

FREEZE_AND_THAW = """
point = mounted("a", root)
writer, one, subject = Writer(point), provider(), FileSystem(point)
do(one, subject, Operation.FREEZE)
assert writer.stands_still(), "nothing is written while it is frozen"
assert one.is_frozen(subject.call(Operation.FREEZE), RecordingContext())
do(provider(), subject, Operation.THAW)
assert writer.moves_within(5), "after the thaw, by another process, writing goes on"
do(one, subject, Operation.THAW)
writer.end()
"""

TIMER = """
point = mounted("a", root)
writer, one, subject = Writer(point), provider(), FileSystem(point)
do(one, subject, Operation.FREEZE, thaw_after_s=1.5)
assert writer.stands_still()
assert writer.moves_within(10), "its own timer has thawed it"
writer.end()
"""

ENGINE_KILLED = """
point = mounted("a", root)
writer, subject = Writer(point), FileSystem(point)
engine = os.fork()
if engine == 0:
    one = provider()
    do(one, subject, Operation.FREEZE, thaw_after_s=60)
    (root / "frozen").touch()
    signal.pause()
while not (root / "frozen").exists():
    time.sleep(0.01)
assert writer.stands_still()
os.kill(engine, signal.SIGKILL)
os.waitpid(engine, 0)
assert writer.moves_within(1), "it is writable within a second after the engine was killed"
writer.end()
"""

HOLDER_KILLED = """
point = mounted("a", root)
writer, one, subject = Writer(point), provider(), FileSystem(point)
do(one, subject, Operation.FREEZE)
[state] = (root / "state" / "holds").glob("*.json")
os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)
assert writer.moves_within(5), "the rescue process thaws what its dead holder held"
do(one, subject, Operation.THAW)
assert writer.moves_within(5)
writer.end()
"""

FROZEN_BY_SOMEBODY = """
point = mounted("a", root)
one, subject = provider(), FileSystem(point)
subprocess.run(["fsfreeze", "--freeze", point], check=True)
try:
    do(one, subject, Operation.FREEZE)
    raise AssertionError("it is frozen by somebody else")
except RecoverableError:
    pass
do(one, subject, Operation.THAW)
still = subprocess.run(["fsfreeze", "--freeze", point], capture_output=True)
assert still.returncode != 0, "our thaw leaves somebody else's freeze alone"
subprocess.run(["fsfreeze", "--unfreeze", point], check=True)
"""

NESTED = """
outer = mounted("outer", root, "900M")
inner = mounted("inner", outer, "320M")
one = provider()
do(one, FileSystem(outer, "outer_1"), Operation.FREEZE, thaw_after_s=20)
try:
    do(one, FileSystem(inner, "inner_1"), Operation.FREEZE)
    raise AssertionError("it would hang: its file is on a frozen file system")
except RecoverableError as error:
    assert str(outer) in str(error)
do(one, FileSystem(outer, "outer_1"), Operation.THAW)
for operation, order in ((Operation.FREEZE, (inner, outer)), (Operation.THAW, (outer, inner))):
    for point in order:
        do(one, FileSystem(point, point.name), operation, thaw_after_s=20)
subprocess.run(["umount", inner], check=True)
"""

REFUSED = """
point = mounted("a", root)
for path, state in (("/", root / "state"), (point, point / "state")):
    one = HostProvider(
        ProviderSettings(
            state_dir=str(state), repository=str(root / "backups"), keys_file=str(root / "keys")
        )
    )
    try:
        do(one, FileSystem(path), Operation.FREEZE)
        raise AssertionError(f"{path} must not be frozen")
    except CannotFreezeError:
        pass
one, subject = provider(), FileSystem(point)
(point / "data").mkdir()
do(one, subject, Operation.FREEZE)
try:
    do(one, Directory(point / "data"), Operation.SNAPSHOT)
    raise AssertionError("a cut on a frozen file system would hang")
except NonRecoverableError as error:
    assert "snapshot_dir" in error.hint
do(one, subject, Operation.THAW)
"""

REFLINK = """
point = mounted("a", root)
data = point / "data"
data.mkdir()
(data / "big").write_bytes(os.urandom(64 << 20))
one, subject = provider(), Directory(data)
os.sync()
free = os.statvfs(point).f_bfree * os.statvfs(point).f_bsize
outcome = do(one, subject, Operation.SNAPSHOT)
assert outcome.artifact["copied_bytes"] == 0 and not outcome.note, outcome
os.sync()
assert free - os.statvfs(point).f_bfree * os.statvfs(point).f_bsize < (32 << 20), "the data is shared"
was = (data / "big").read_bytes()
with open(data / "big", "r+b") as file:
    file.write(b"written in place after the cut")
do(one, subject, Operation.COPY)
do(one, subject, Operation.APPLY)
assert (data / "big").read_bytes() == was
do(one, subject, Operation.DELETE)
assert [path.name for path in point.glob(".quiesce*/*")] == [".undo"], "only the way back stays"
"""

COMMAND_LINE_KILLED = """
point = mounted("a", root)
writer = Writer(point)
(root / "slow.sh").write_text("sleep 30")
(root / "blueprint.yaml").write_text(f'''
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  disk:
    type: quiesce.nodes.host.FileSystem
    properties: {{path: {point}}}
  slow:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {{create: slow.sh, delete: slow.sh}}
    relationships:
      - {{type: cloudify.relationships.connected_to, target: disk}}
''')
os.environ["QUIESCE_HOME"] = str(root / "home")
quiesce = Path(sys.executable).with_name("quiesce")
subprocess.run([quiesce, "init", root / "blueprint.yaml", "-b", "shop"], check=True)
command = [quiesce, "backup", "shop", "-p", "snapshot_name=one"]
backup = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
for line in backup.stdout:
    if "snapshot.create" in line:
        break
assert writer.stands_still(), "it is frozen while the cut hangs"
backup.kill()
assert writer.moves_within(1), "it is writable within a second after the engine was killed"
backup.wait()
writer.end()
(root / "slow.sh").write_text("true")
subprocess.run([quiesce, "recover"], check=True)
listed = subprocess.run([quiesce, "executions", "list", "--json"], check=True, capture_output=True).stdout
[execution] = json.loads(listed)["executions"]
assert not execution["owes"], "every freeze has its thaw in the journal"
"""

RESTORED = """
point = mounted("a", root)
(point / "data").mkdir()
(point / "data" / "file").write_text("old")
(root / "blueprint.yaml").write_text(f'''
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  disk:
    type: quiesce.nodes.host.FileSystem
    properties: {{path: {point}}}
  data:
    type: quiesce.nodes.host.Directory
    properties: {{path: {point}/data, snapshot_dir: {root}/cuts}}
    relationships:
      - {{type: cloudify.relationships.contained_in, target: disk}}
''')
os.environ["QUIESCE_HOME"] = str(root / "home")
quiesce = Path(sys.executable).with_name("quiesce")
subprocess.run([quiesce, "init", root / "blueprint.yaml", "-b", "shop"], check=True)
made = subprocess.run([quiesce, "backup", "shop", "-p", "snapshot_name=one"], check=True, capture_output=True)
assert b"fs_prepare" in made.stdout
for way, wanted in ((["-p", "snapshot_name=one"], "old"), (["--undo"], "new")):
    (point / "data" / "file").write_text("new") if wanted == "old" else None
    command = [quiesce, "restore", "shop", *way, "--max-freeze", "20s"]
    subprocess.run(command, check=True, timeout=100)
    assert (point / "data" / "file").read_text() == wanted
one, subject = provider(), FileSystem(point)
do(one, subject, Operation.FREEZE)
try:
    do(one, Directory(point / "data", snapshot_dir=str(root / "cuts")), Operation.APPLY)
    raise AssertionError("a restore to a frozen file system would hang")
except NonRecoverableError as error:
    assert str(point) in str(error)
do(one, subject, Operation.THAW)
"""

CONTRACT = """
import contextlib
import pytest
from quiesce.errors import OperationTimeoutError
from quiesce.testing import ProviderContract

class Forgetful(HostProvider):
    lost = []
    def perform(self, call, context):
        outcome = super().perform(call, context)
        if call.operation in self.lost:
            self.lost.remove(call.operation)
            raise OperationTimeoutError("the answer was lost")
        return outcome

class Contracted(FileSystem):
    modes = ()
    [capabilities] = [k.capabilities for k in host.DESCRIPTION.kinds if host.FILE_SYSTEM in k.types]
    operations = capabilities.operations
    def __init__(self, point):
        super().__init__(point)
        self.writer = Writer(point)
    def provider(self):
        settings = ProviderSettings(
            state_dir=str(root / "state"), repository=str(root / "backups"), keys_file=str(root / "keys")
        )
        return Forgetful(settings)
    def frozen(self):
        return self.writer.stands_still()
    def lose_answer(self, operation):
        Forgetful.lost.append(operation)
    def pass_time(self, seconds):
        time.sleep(seconds)

if __name__ != "__main__":
    point = mounted("a", root)

class TestFileSystem(ProviderContract):
    @pytest.fixture
    def subject(self):
        subject = Contracted(point)
        yield subject
        do(subject.provider(), subject, Operation.THAW)
        subject.writer.end()

if __name__ == "__main__":
    raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", "/dev/null", __file__]))
"""

_COPIES = Path(__file__).parents[1] / "unit/host/test_tree_copies.py"
COPIED = f"""
tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
place = ["--basetemp", mounted("data", root, "700M") / "t"]
done = subprocess.run([*tests, *place, {str(_COPIES)!r}], cwd={str(_COPIES.parents[3])!r})
raise SystemExit(done.returncode)
"""

EVERY_KIND = pytest.mark.parametrize("kind", ["ext4", "xfs"])


@EVERY_KIND
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(FREEZE_AND_THAW, id="frozen until thawed by another process"),
        pytest.param(TIMER, id="thawed by its own timer"),
        pytest.param(ENGINE_KILLED, id="thawed within a second of kill -9", marks=pytest.mark.quiet),
        pytest.param(
            COMMAND_LINE_KILLED,
            id="thawed within a second of kill -9 of the command line",
            marks=pytest.mark.quiet,
        ),
        pytest.param(HOLDER_KILLED, id="thawed although its holder was killed"),
        pytest.param(FROZEN_BY_SOMEBODY, id="somebody else's freeze is left alone"),
        pytest.param(NESTED, id="what lies on a frozen one is refused"),
        pytest.param(REFUSED, id="what quiesce needs itself is refused"),
        pytest.param(RESTORED, id="not frozen when something on it is put back"),
    ],
)
def test_a_real_file_system_is(program: str, kind: str, tmp_path: Path) -> None:
    run(program, kind, tmp_path)


@EVERY_KIND
def test_a_real_file_system_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    run(CONTRACT, kind, tmp_path)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_cut_shares_its_data_where_the_file_system_can(kind: str, tmp_path: Path) -> None:
    run(REFLINK, kind, tmp_path)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_what_changes_after_the_copy_is_in_the_cut(kind: str, tmp_path: Path) -> None:
    """Each has its own times, and its own way of listing a directory that grows."""
    run(COPIED, kind, tmp_path)


def run(program: str, kind: str, tmp_path: Path) -> None:
    skip_without(kind)
    script = tmp_path / "program.py"
    script.write_text(PROLOGUE + program)
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, script, tmp_path, kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    finally:
        detach(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def skip_without(kind: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("freezing a file system needs root")
    for tool in ("unshare", "mount", "losetup", "fsfreeze", f"mkfs.{kind}"):
        if shutil.which(tool) is None:
            package = {"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}.get(tool, "util-linux, e2fsprogs")
            pytest.skip(f"{tool} is missing (package {package})")
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine has no loop devices")


def detach(tmp_path: Path) -> None:
    """The loop devices go with the namespace's mounts; whatever is left is ours to detach."""
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"], capture_output=True, check=False
    )
    for line in listed.stdout.decode().splitlines():
        device, _, file = line.partition(" ")
        if file.strip().startswith(str(tmp_path)):
            subprocess.run(["losetup", "--detach", device], check=False)
