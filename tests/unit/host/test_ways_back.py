"""The way back of a directory loses nothing, reaches nothing outside, and trusts only what is ours."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import (
    DamagedArtifactError,
    InUseError,
    MountInsideError,
    NonRecoverableError,
    ProviderError,
    UnreachableError,
    UnsafeNameError,
    UntrustedPathError,
)
from quiesce.files import content as contents
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.providers import host
from quiesce.providers.host import former_states
from quiesce.testing import RecordingContext

from .machine import Machine, Node, forget

BOTH = pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user owns, and mount")
NOBODY = 65534


def test_cuts_are_not_kept_where_somebody_else_could_have_made_them(
    machine: Machine, node: Node, data: Path
) -> None:
    """Finding S1: what lies beside the data was believed, whoever had made it."""
    (data / "file").touch()
    forged = data.parent / ".quiesce-data"
    forged.mkdir()
    forged.chmod(0o777)

    with pytest.raises(UntrustedPathError) as refused:
        machine.do(node, Operation.SNAPSHOT)

    assert "snapshot_dir" in refused.value.hint
    assert list(forged.iterdir()) == []
    findings = machine.provider.doctor(machine.call(node, Operation.SNAPSHOT), RecordingContext())
    [finding] = [finding for finding in findings if finding.check == "snapshot directory"]
    assert not finding.passed
    assert "snapshot_dir" in finding.remedy


@ROOT
def test_the_parent_of_another_user_holds_no_cuts_but_is_saved_elsewhere(
    machine: Machine, data: Path, tmp_path: Path
) -> None:
    (data / "file").write_text("saved")
    os.chown(data.parent, NOBODY, NOBODY)
    with pytest.raises(UntrustedPathError, match=f"belongs to user {NOBODY}"):
        machine.save(Node(host.DIRECTORY, path=str(data)), full=False)
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"], "nothing was made there"

    elsewhere = Node(host.DIRECTORY, path=str(data), snapshot_dir=str(tmp_path / "cuts"))
    machine.save(elsewhere, full=False)
    (data / "file").write_text("present")
    machine.do(elsewhere, Operation.APPLY)

    assert (data / "file").read_text() == "saved"


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_name_that_leads_out_of_the_target_is_not_restored(
    machine: Machine, node: Node, data: Path, name: str
) -> None:
    """Findings S1 and S3: names of the index were not checked."""
    (data / "inside").write_text("x")
    machine.save(node, full=False)
    index = data.parent / ".quiesce-data" / "one" / "raw" / "index"
    index.write_text(index.read_text().replace('"inside"', f'"{name}"'))
    (data.parent / "outside").write_text("kept")

    with pytest.raises((UnsafeNameError, ProviderError)):
        machine.do(node, Operation.APPLY)

    assert (data.parent / "outside").read_text() == "kept"
    assert (data / "inside").read_text() == "x"


@BOTH
def test_nothing_is_written_through_a_link(machine: Machine, node: Node, data: Path, full: bool) -> None:
    """Finding S3: what a link of the tree leads to stays as it is."""
    outside = data.parent / "outside"
    outside.mkdir(mode=0o750)
    (outside / "file").write_text("kept")
    (data / "to outside").symlink_to(outside)
    before = outside.lstat()
    machine.save(node, full=full)
    (data / "to outside").unlink()

    machine.do(node, Operation.APPLY, full=full)

    assert (data / "to outside").readlink() == outside
    assert (outside.lstat().st_mode, outside.lstat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (outside / "file").read_text() == "kept"


@BOTH
def test_a_path_that_is_a_link_means_the_same_directory_both_ways(
    machine: Machine, data: Path, full: bool
) -> None:
    """Finding W10: the cut followed the link, the restore replaced it."""
    link = data.parent / "link"
    link.symlink_to(data)
    (data / "file").write_text("saved")
    node = Node(host.DIRECTORY, path=str(link))
    machine.save(node, full=full)
    (data / "file").write_text("present")

    machine.do(node, Operation.APPLY, full=full)

    assert link.is_symlink()
    assert (data / "file").read_text() == "saved"


@BOTH
def test_short_writes_are_continued(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Finding W3: what was not written at once was dropped, and zeros stood in its place."""
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(contents, "share_content", lambda *_: False)
    monkeypatch.setattr(os, "write", lambda descriptor, piece: write(descriptor, piece[:1000]))
    monkeypatch.setattr(
        os, "pwrite", lambda descriptor, piece, offset: pwrite(descriptor, piece[:1000], offset)
    )
    monkeypatch.setattr(os, "copy_file_range", unsupported)
    saved = os.urandom(61_000)
    (data / "small").write_bytes(saved)
    (data / "big").write_bytes(saved * 5)
    machine.save(node, full=full)
    (data / "small").unlink()

    machine.do(node, Operation.APPLY, full=full)

    assert (data / "small").read_bytes() == saved
    assert (data / "big").read_bytes() == saved * 5


def unsupported(*_: object) -> int:
    raise OSError(errno.EOPNOTSUPP, "not here")


@BOTH
def test_a_restore_without_room_leaves_nothing_half_made(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    (data / "file").write_bytes(os.urandom(61_000))
    machine.save(node, full=full)
    (data / "file").write_text("present")

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("quiesce.files.writing.write_all", no_room)
        patch.setattr("quiesce.files.writing.copy_content", no_room)
        with pytest.raises(NonRecoverableError, match="No space left"):
            machine.do(node, Operation.APPLY, full=full)

    assert (data / "file").read_text() == "present"
    assert not (data.parent / ".quiesce-data" / ".incoming").exists()


def test_a_snapshot_that_somebody_changed_is_neither_sound_nor_restored(
    machine: Machine, node: Node, data: Path
) -> None:
    """Finding W4: a changed, then a deleted file of a snapshot was called good."""
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    call = machine.call(node, Operation.APPLY)
    assert machine.provider.verify(call, RecordingContext()).passed
    stored = data.parent / ".quiesce-data" / "one" / "content" / "file"
    status = stored.stat()
    stored.write_text("wrong")
    os.utime(stored, ns=(status.st_atime_ns, status.st_mtime_ns))

    proof = machine.provider.verify(call, RecordingContext())

    assert not proof.passed
    assert proof.kind == "presence"
    with pytest.raises(DamagedArtifactError):
        machine.do(node, Operation.APPLY)
    stored.unlink()
    assert not machine.provider.verify(call, RecordingContext()).passed


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[object]:
    """Mount one directory on another, and take it away afterwards."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root and mount (package mount)")

    def bind(source: Path, point: Path) -> None:
        done = subprocess.run(["mount", "--bind", source, point], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine does not let us mount: {done.stderr.decode().strip()}")

    yield bind
    # asked of the kernel: what is mounted inside moves along when its directory is renamed
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed(mounted):
        if Path(point).is_relative_to(tmp_path):
            subprocess.run(["umount", "--lazy", point], check=True)


@BOTH
def test_what_is_mounted_inside_is_neither_saved_nor_moved_nor_removed(
    machine: Machine, node: Node, data: Path, tmp_path: Path, mount: object, full: bool
) -> None:
    """Finding W2: a bind mount of the same device was copied in, carried away and emptied."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (data / "volume").mkdir()
    machine.save(node, full=full)
    mount(precious, data / "volume")  # type: ignore[operator]

    with pytest.raises(MountInsideError, match="volume"):
        machine.do(node, Operation.SNAPSHOT, full=full, point="two")
    with pytest.raises(MountInsideError, match="volume"):
        machine.do(node, Operation.APPLY, full=full)

    assert (data / "volume" / "file").read_text() == "precious"
    assert not (data.parent / ".quiesce-data" / ".undo").exists()


def test_a_former_state_with_a_mount_in_it_is_never_emptied(
    machine: Machine, node: Node, data: Path, tmp_path: Path, mount: object
) -> None:
    (data / "volume").mkdir()
    machine.save(node, full=False)
    machine.do(node, Operation.APPLY, execution="restore1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    mount(precious, data.parent / ".quiesce-data" / ".undo" / "content" / "volume")  # type: ignore[operator]

    with pytest.raises(NonRecoverableError, match="could not be removed"):
        forget(machine, node)
    with pytest.raises(NonRecoverableError, match="could not be removed"):
        forget(machine, node)

    assert (precious / "file").read_text() == "precious"


@BOTH
def test_snapshots_on_another_file_system_are_restored(machine: Machine, data: Path, full: bool) -> None:
    """Finding W9: every restore ended in 'Invalid cross-device link'."""
    elsewhere = Path("/dev/shm") / f"quiesce-test-{os.getpid()}"
    if not elsewhere.parent.is_dir() or elsewhere.parent.stat().st_dev == data.stat().st_dev:
        pytest.skip("/dev/shm is no other file system")
    node = Node(host.DIRECTORY, path=str(data), snapshot_dir=str(elsewhere))
    try:
        (data / "file").write_text("saved")
        machine.save(node, full=full)
        (data / "file").write_text("present")
        machine.do(node, Operation.APPLY, full=full)
        assert (data / "file").read_text() == "saved"
        undo = data.parent / ".quiesce-data" / ".undo" / "content" / "file"
        assert undo.read_text() == "present"
        machine.do(node, Operation.DELETE, full=full)
        forget(machine, node)
        assert list(data.parent.iterdir()) == [data]
        assert not elsewhere.exists()
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_missing_parents_are_open_to_others(machine: Machine, node: Node, data: Path) -> None:
    """Finding W14: they were made for quiesce's own user alone."""
    machine.save(node, full=True)
    shutil.rmtree(data.parent)
    before = os.umask(0o077)
    try:
        machine.do(node, Operation.APPLY, full=True)
    finally:
        os.umask(before)

    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o755


@BOTH
def test_immutable_files_come_back_and_go(machine: Machine, node: Node, data: Path, full: bool) -> None:
    """Finding W15: the flags were lost, the second restore failed, and whole trees stayed."""
    (data / "locked").write_bytes(os.urandom(300_000))
    (data / "small").write_text("locked too")
    if subprocess.run(["chattr", "+i", *data.iterdir()], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system, or this user, has no immutable files")
    try:
        machine.save(node, full=full)
        for execution in ("restore1", "restore2"):
            machine.do(node, Operation.APPLY, full=full, execution=execution)
            assert all(flags_of(path) & 0x10 for path in data.iterdir())
            machine.do(node, Operation.CONFIRM, execution=execution)
        machine.do(node, Operation.DELETE, full=full)
        forget(machine, node)
        assert list(data.parent.iterdir()) == [data]
    finally:
        subprocess.run(["chattr", "-R", "-i", data.parent], check=False)


def flags_of(path: Path) -> int:
    from quiesce.files.system_calls import inode_flags

    descriptor = os.open(path, os.O_RDONLY)
    try:
        return inode_flags(descriptor)
    finally:
        os.close(descriptor)


@BOTH
def test_names_links_attributes_and_times_come_back_byte_for_byte(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    """Finding W16."""
    targets = (b"./rel", b"dir/", b"a//b", b"\xff")
    for number, target in enumerate(targets):
        os.symlink(os.fsdecode(target), data / f"link{number}")  # noqa: PTH211  Path changes it
    (data / "file").touch()
    with contextlib.suppress(OSError):
        os.setxattr(data / "file", "user.a=b", b"value")
    attributes = os.listxattr(data / "file")
    (data / (os.fsdecode(b"\xff\xfe name"))).write_text("no text")
    os.utime(data / "file", ns=(0, -1_500_000_000))
    os.mkfifo(data / "pipe")
    os.link(data / "pipe", data / "same pipe")
    os.link(data / "link0", data / "same link", follow_symlinks=False)
    machine.save(node, full=full)
    shutil.rmtree(data)

    machine.do(node, Operation.APPLY, full=full)

    for number, target in enumerate(targets):
        assert os.readlink(data / f"link{number}") == os.fsdecode(target)  # noqa: PTH115  Path changes it
    assert (data / os.fsdecode(b"\xff\xfe name")).read_text() == "no text"
    assert os.listxattr(data / "file") == attributes
    assert (data / "file").stat().st_mtime_ns == -1_500_000_000
    assert (data / "pipe").samefile(data / "same pipe")
    assert (data / "link0").lstat().st_ino == (data / "same link").lstat().st_ino


@pytest.mark.parametrize("again", ["restore1", "restore2"])
def test_an_interrupted_restore_that_is_run_again_keeps_the_former_state(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Finding W18: the second run kept as undo what the first had restored; the former state was gone."""
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    (data / "file").write_text("former")

    def killed(states: former_states.FormerStates) -> None:
        if states.holds_replaced():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(former_states.FormerStates, "take", killed)
        with pytest.raises(KeyboardInterrupt):
            machine.do(node, Operation.APPLY, execution="restore1")
    assert (data / "file").read_text() == "saved"

    machine.do(node, Operation.APPLY, execution=again)

    undo = data.parent / ".quiesce-data" / ".undo" / "content" / "file"
    assert undo.read_text() == "former"


@contextlib.contextmanager
def program_in(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that has the file *path* open."""
    with subprocess.Popen(["tail", "-f", path], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.read(1)
        try:
            yield program
        finally:
            program.kill()


@BOTH
def test_data_that_a_program_uses_are_not_replaced(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    """Finding W1: the program went on in the former state, which was then removed."""
    (data / "file").write_text("saved")
    machine.save(node, full=full)
    (data / "file").write_text("present")

    with program_in(data / "file") as program, pytest.raises(InUseError) as refused:
        machine.do(node, Operation.APPLY, full=full)

    assert f"pid {program.pid}" in str(refused.value)
    assert "tail -f" in str(refused.value)
    assert "allow_in_use" in refused.value.hint
    assert (data / "file").read_text() == "present"


def test_a_former_state_that_a_program_uses_is_kept_and_said(
    machine: Machine, node: Node, data: Path
) -> None:
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    context = RecordingContext()
    state = data.parent / ".quiesce-data"
    with program_in(data / "file") as program:
        inputs = {"allow_in_use": True}
        machine.do(node, Operation.APPLY, execution="restore1", context=context, inputs=inputs)
        assert f"pid {program.pid}" in context.lines[-1][1]
        machine.do(node, Operation.CONFIRM, execution="restore1")
        machine.do(node, Operation.APPLY, execution="restore2", inputs=inputs)
        note = machine.do(node, Operation.CONFIRM, execution="restore2").note
        assert f"pid {program.pid}" in note
        [kept] = state.glob(".kept-*")
        assert (kept / "content" / "file").exists()

    machine.do(node, Operation.DELETE)
    forget(machine, node)

    assert list(data.parent.iterdir()) == [data]


def test_snapshots_whose_file_system_is_not_mounted_are_no_damage(
    machine: Machine, data: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    node = Node(host.DIRECTORY, path=str(data), snapshot_dir=str(kept))
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    kept.rename(tmp_path / "away")
    for make in (lambda: None, kept.mkdir):
        make()
        with pytest.raises(UnreachableError, match="mounted"):
            machine.provider.verify(machine.call(node, Operation.VERIFY), RecordingContext())
    kept.rmdir()
    (tmp_path / "away").rename(kept)
    machine.do(node, Operation.APPLY)


@pytest.mark.parametrize("beside", [False, True], ids=["snapshot-dir", "beside"])
def test_nothing_is_called_removed_whose_file_system_is_not_mounted(
    machine: Machine, tmp_path: Path, beside: bool
) -> None:
    """It is a bind mount: its device tells nothing."""
    place, source, data = tmp_path / "place", tmp_path / "source", tmp_path / "data"
    for directory in (place, source, data):
        directory.mkdir()
    with mounted(source, place):
        tree = place / "data" if beside else data
        tree.mkdir(exist_ok=True)
        properties = {} if beside else {"snapshot_dir": str(place / "kept")}
        node = Node(host.DIRECTORY, path=str(tree), **properties)
        (tree / "file").write_text("saved")
        artifact = machine.save(node, full=False).artifact
    for make in (lambda: None, (place / "kept").mkdir):
        make()
        for operation in (Operation.DELETE, Operation.VERIFY):
            with pytest.raises(UnreachableError, match=f"not mounted at {place}"):
                _asked(machine, machine.call(node, operation, artifact=artifact))
    (place / "kept").rmdir()
    with mounted(source, place):
        machine.do(node, Operation.APPLY, artifact=artifact)
        for _ in range(2):
            machine.do(node, Operation.DELETE, artifact=artifact)
        forget(machine, node)
    assert [path for path in source.rglob("*") if path.name not in {"data", "file"}] == []


@pytest.mark.parametrize("above", [False, True], ids=["snapshot-dir", "above"])
def test_nothing_is_called_removed_that_something_is_mounted_over(
    machine: Machine, data: Path, tmp_path: Path, above: bool
) -> None:
    """It lies on a file system that is mounted, and cannot be seen."""
    place, other = tmp_path / "place", tmp_path / "other"
    kept = place / "kept"
    for directory in (place, other, kept):
        directory.mkdir(mode=0o700)
    node = Node(host.DIRECTORY, path=str(data), snapshot_dir=str(kept))
    (data / "file").write_text("saved")
    artifact = machine.save(node, full=False).artifact
    covered = place if above else kept
    with mounted(other, covered):
        for operation in (Operation.DELETE, Operation.VERIFY):
            with pytest.raises(UnreachableError, match=f"something is mounted over it at {covered}"):
                _asked(machine, machine.call(node, operation, artifact=artifact))
    assert any(kept.iterdir())
    machine.do(node, Operation.APPLY, artifact=artifact)
    for _ in range(2):
        machine.do(node, Operation.DELETE, artifact=artifact)
    forget(machine, node)
    assert [path for path in place.rglob("*") if path != kept] == []


def _asked(machine: Machine, call: Call) -> None:
    if call.operation is Operation.VERIFY:
        machine.provider.verify(call, RecordingContext())
    else:
        machine.provider.perform(call, RecordingContext())


@contextlib.contextmanager
def mounted(source: Path, place: Path) -> Iterator[None]:
    if subprocess.run(["mount", "--bind", str(source), str(place)], check=False).returncode:
        pytest.skip("only root can mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
