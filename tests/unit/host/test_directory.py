"""Directories: everything of a tree comes back, damage is refused, restoring is safe to interrupt."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quiesce.backups import Draft
from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    ResourceNotFoundError,
)
from quiesce.files import content
from quiesce.files.mounts import times_tell
from quiesce.files.walking import Entry
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.providers import host
from quiesce.providers.host import directory, entries, former_states, snapshot_dir, taking, tree_copies
from quiesce.providers.host.cut_sizes import cut_size_of
from quiesce.providers.host.inspecting import can_share
from quiesce.testing import RecordingContext
from tests.repository_objects import cut_off, packs, spoil

from .machine import Machine, Node, forget

BOTH = pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])


def fill(data: Path) -> None:
    """Make one of everything that a tree may hold."""
    (data / "empty").mkdir()
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "ümläut \n file").write_bytes(os.urandom(300_000))
    (data / "run.sh").write_text("#!/bin/sh\n")
    (data / "run.sh").chmod(0o4750)
    (data / "same").hardlink_to(data / "run.sh")
    (data / "to nowhere").symlink_to("/no/such/place")
    (data / ("long" * 30)).write_text("x" * 200)
    os.mkfifo(data / "pipe")
    with (data / "sparse").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.seek(10 << 20)
        file.write(b"middle" * 100_000)
        file.truncate(60 << 20)
    (data / "only a hole").touch()
    os.truncate(data / "only a hole", 20 << 20)
    (data / "read only").mkdir()
    (data / "read only" / "file").write_text("kept")
    os.utime(data / "run.sh", ns=(1, 1_234_567_890_123_456_789))
    set_attribute(data / "run.sh", b"\x00\xff binary \n")
    set_attribute(data / "deep", b"text")
    os.utime(data / "to nowhere", ns=(5, 1_000_000_000_000_000_001), follow_symlinks=False)
    (data / "read only").chmod(0o555)


def set_attribute(path: Path, value: bytes) -> None:
    try:
        os.setxattr(path, "user.quiesce", value)
    except OSError:
        return


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """Return everything that must come back, by path."""
    inodes: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([root, *root.rglob("*")]):
        status, name = path.lstat(), str(path.relative_to(root))
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = path.readlink()
        first = inodes.setdefault(status.st_ino, name) if status.st_nlink > 1 and content else name
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
            first,
            tuple(sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in attributes(path))),
        )
    return found


def attributes(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


@BOTH
def test_everything_of_a_tree_comes_back(machine: Machine, data: Path, full: bool) -> None:
    node = Node(host.DIRECTORY, path=str(data), allow_privileged=True)
    fill(data)
    before = picture(data)
    machine.save(node, full=full)
    (data / "read only").chmod(0o755)
    shutil.rmtree(data / "read only")
    (data / "run.sh").write_text("overwritten")
    (data / "new").touch()

    machine.do(node, Operation.APPLY, full=full)

    assert picture(data) == before
    assert (data / "sparse").stat().st_blocks * 512 < (5 << 20), "holes are holes again"
    assert (data / "only a hole").stat().st_blocks == 0


@BOTH
def test_what_gives_rights_comes_back_only_where_that_is_allowed(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    """It is counted when it is saved, so that a plan can tell, and again when it is restored."""
    (data / "suid").touch()
    (data / "suid").chmod(0o4755)
    (data / "sgid").mkdir()
    (data / "sgid").chmod(0o2755)
    found = 1
    if os.geteuid() == 0:
        os.mknod(data / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (data / "sgid/other").hardlink_to(data / "device")
        found = 3
    outcome = machine.save(node, full=full)
    assert outcome.artifact is not None
    assert outcome.artifact["privileged"] == found

    applied = machine.do(node, Operation.APPLY, full=full)

    assert "set-user-ID and set-group-ID are not allowed here and were left out: 1" in applied.note
    assert found == 1 or "devices are not allowed here and were left out: 2" in applied.note
    assert sorted(path.name for path in data.iterdir()) == ["sgid", "suid"]
    assert not list((data / "sgid").iterdir())
    assert (data / "suid").stat().st_mode & 0o7777 == 0o755
    assert (data / "sgid").stat().st_mode & 0o7777 == 0o2755


@BOTH
def test_a_destroyed_directory_comes_back(machine: Machine, node: Node, data: Path, full: bool) -> None:
    (data / "file").write_text("was there")
    machine.save(node, full=full)
    shutil.rmtree(data)

    machine.do(node, Operation.APPLY, full=full)

    assert (data / "file").read_text() == "was there"


def test_a_backup_survives_the_loss_of_everything_beside_the_repository(
    machine: Machine, node: Node, data: Path
) -> None:
    (data / "file").write_text("was there")
    machine.save(node, full=True)
    shutil.rmtree(data.parent)

    machine.do(node, Operation.APPLY, full=True)

    assert (data / "file").read_text() == "was there"


def test_the_cut_of_a_backup_is_let_go_when_it_is_stored(machine: Machine, node: Node, data: Path) -> None:
    (data / "file").touch()
    machine.save(node, full=True)

    assert list(data.parent.iterdir()) == [data]


def test_what_is_written_in_place_after_a_snapshot_does_not_reach_it(
    machine: Machine, node: Node, data: Path
) -> None:
    (data / "file").write_text("before")
    machine.save(node, full=False)
    with (data / "file").open("r+") as file:
        file.write("AFTER!")

    machine.do(node, Operation.APPLY)

    assert (data / "file").read_text() == "before"


def test_a_cut_that_copies_says_so(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "share_content", lambda *_: False)
    (data / "file").write_text("x" * 1_000_000)

    outcome = machine.do(node, Operation.SNAPSHOT)

    assert "1000000 bytes of big files were copied within the frozen window" in outcome.note
    assert outcome.artifact is not None
    assert outcome.artifact["copied_bytes"] == 1_000_000


def test_a_file_that_changes_while_it_is_cut_takes_the_consistency_away(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "log").write_text("x" * 1_000_000)
    (data / "log-shm").write_text("x" * 1_000_000)
    take = taking.copy_content

    def written_meanwhile(*args: Any) -> int:
        copied = take(*args)
        for path in data.iterdir():
            path.write_text("written while it is copied")
        return copied

    monkeypatch.setattr(taking, "copy_content", written_meanwhile)

    outcome = machine.do(node, Operation.SNAPSHOT)

    assert outcome.consistency is Consistency.NONE
    assert "1 files changed while they were cut (log)" in outcome.note


def test_a_quiet_tree_keeps_what_the_freeze_is_worth(machine: Machine, node: Node, data: Path) -> None:
    (data / "file").touch()
    assert machine.do(node, Operation.SNAPSHOT).consistency is None


def test_sockets_are_left_out_and_named(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as listener, monkeypatch.context() as patch:
        patch.chdir(data)
        listener.bind("talk")
    outcome = machine.do(node, Operation.SNAPSHOT, full=True)
    machine.do(node, Operation.COPY, full=True)

    assert "sockets and devices are left out (talk)" in outcome.note
    machine.do(node, Operation.APPLY, full=True)
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_a_very_deep_directory_costs_itself_and_nothing_else(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    """Whoever may write into the data could keep it from ever being backed up."""
    (data / "file").write_text("kept")
    above = os.open(data, os.O_RDONLY)
    for _ in range(400):
        os.mkdir(b"\xff" * 250, dir_fd=above)
        below = os.open(b"\xff" * 250, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    outcome = machine.do(node, Operation.SNAPSHOT, full=full)
    machine.do(node, Operation.COPY, full=full)
    assert "what is deeper than 16384 bytes of its path is left out" in outcome.note
    assert len(outcome.note) < 1000
    machine.do(node, Operation.APPLY, full=full)
    assert (data / "file").read_text() == "kept"
    assert machine.do(node, Operation.MEASURE).measurements["directories"] < 100


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_a_file_of_holes_needs_no_room(machine: Machine, node: Node, data: Path, full: bool) -> None:
    """It costs nobody anything to make one of 8 TiB, and no restore would have been begun any more."""
    (data / "file").write_bytes(b"x" * 100_000)
    with (data / "hole").open("wb") as file:
        file.truncate(8 << 40)
    machine.do(node, Operation.SNAPSHOT, full=full)
    made = machine.do(node, Operation.COPY, full=full)
    call = machine.call(node, Operation.APPLY, full=full, artifact=made.artifact)
    target = machine.provider.inspect_target(call, RecordingContext())
    assert (target.needed_bytes or 0) < 1_000_000
    machine.do(node, Operation.APPLY, full=full)
    assert (data / "hole").stat().st_size == 8 << 40


@pytest.mark.parametrize("harm", [spoil, cut_off])
def test_a_damaged_backup_is_refused_and_nothing_is_touched(
    machine: Machine, node: Node, data: Path, harm: Callable[[list[Path]], None]
) -> None:
    (data / "file").write_bytes(os.urandom(100_000))
    machine.save(node, full=True)
    (data / "file").write_text("the present")
    harm(packs(machine.root / "repository"))

    with pytest.raises(DamagedArtifactError):
        machine.do(node, Operation.APPLY, full=True)

    assert (data / "file").read_text() == "the present"
    proof = machine.provider.verify(machine.call(node, Operation.APPLY, full=True), RecordingContext())
    assert not proof.passed
    assert "is lost" in proof.detail


@BOTH
def test_a_sound_restore_point_is_verified(machine: Machine, node: Node, data: Path, full: bool) -> None:
    (data / "file").touch()
    machine.save(node, full=full)
    assert machine.provider.verify(machine.call(node, Operation.APPLY, full=full), RecordingContext()).passed


@BOTH
def test_a_restore_point_that_is_gone_is_no_sound_one(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    machine.save(node, full=full)
    machine.do(node, Operation.DELETE, full=full)
    call = machine.call(node, Operation.APPLY, full=full)
    proof = machine.provider.verify(call, RecordingContext())
    assert not proof.passed
    assert proof.detail


@BOTH
def test_what_was_replaced_is_kept_until_the_next_restore(
    machine: Machine, node: Node, data: Path, full: bool
) -> None:
    (data / "file").write_text("old")
    machine.save(node, full=full)
    (data / "file").write_text("new")

    context = RecordingContext()
    machine.do(node, Operation.APPLY, full=full, execution="restore1", context=context)
    [undo] = data.parent.glob(".quiesce-data/.undo/content")
    assert (undo / "file").read_text() == "new"
    assert str(undo) in context.lines[-1][1]

    machine.do(node, Operation.APPLY, full=full, execution="restore1")
    assert (undo / "file").read_text() == "new", "a repeated step does not lose the undo"

    machine.do(node, Operation.CONFIRM, full=full, execution="restore1")
    assert (undo / "file").read_text() == "new"

    (data / "file").write_text("newer")
    machine.do(node, Operation.APPLY, full=full, execution="restore2")
    assert (undo / "file").read_text() == "newer"
    [older] = data.parent.glob(".quiesce-data/.former-*/content/file")
    assert older.read_text() == "new", "it goes only when the next restore has succeeded"
    machine.do(node, Operation.CONFIRM, full=full, execution="restore2")
    assert not older.exists()
    assert (undo / "file").read_text() == "newer"

    machine.do(node, Operation.DELETE, full=full)
    assert (undo / "file").read_text() == "newer", "a restore point that goes leaves the undo alone"
    forget(machine, node)
    assert list(data.parent.iterdir()) == [data]


@BOTH
@pytest.mark.parametrize("touch", range(12))
def test_a_restore_that_dies_at_any_point_is_finished_by_its_repetition(
    machine: Machine,
    node: Node,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
    touch: int,
) -> None:
    (data / "file").write_text("saved")
    machine.save(node, full=full)
    (data / "file").write_text("present")
    with monkeypatch.context() as patch:
        cut_the_power(patch, touch)
        with contextlib.suppress(KeyboardInterrupt):
            machine.do(node, Operation.APPLY, full=full, execution="restore")

    machine.do(node, Operation.APPLY, full=full, execution="restore")

    assert (data / "file").read_text() == "saved"
    assert (data.parent / ".quiesce-data" / ".undo" / "content" / "file").read_text() == "present"
    assert sorted(path.name for path in (data.parent / ".quiesce-data").iterdir() if path.name != "one") == [
        ".undo"
    ]


def cut_the_power(patch: pytest.MonkeyPatch, touch: int) -> None:
    """Die before the *touch*-th change that a restore makes to the snapshot directory or the data."""
    left = iter(range(touch))

    def touched(action: object) -> object:
        def perform(*args: object, **options: object) -> object:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return action(*args, **options)  # type: ignore[operator]

        return perform

    touches = (
        (entries, ("write_durably_in", "remove_tree")),
        (former_states, ("exchange", "move")),
        (snapshot_dir, ("make_directory",)),
    )
    for module, names in touches:
        for name in names:
            patch.setattr(module, name, touched(getattr(module, name)))


def test_a_snapshot_that_died_half_way_is_made_anew(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "a").write_text("1")
    (data / "b").write_text("2" * 1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(taking, "copy_content", interrupted)
        with pytest.raises(KeyboardInterrupt):
            machine.do(node, Operation.SNAPSHOT)
    with pytest.raises(ResourceNotFoundError):
        machine.do(node, Operation.APPLY)

    machine.save(node, full=False)
    shutil.rmtree(data)
    machine.do(node, Operation.APPLY)
    assert sorted(path.read_text()[0] for path in data.iterdir()) == ["1", "2"]


@BOTH
def test_a_copy_that_died_half_way_is_finished(
    machine: Machine, data: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    node = Node(host.DIRECTORY, path=str(data), allow_privileged=True)
    fill(data)
    before = picture(data)
    machine.do(node, Operation.SNAPSHOT, full=full)
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "complete", interrupted)
        patch.setattr(directory, "spend", interrupted)
        with pytest.raises(KeyboardInterrupt):
            machine.do(node, Operation.COPY, full=full)

    machine.do(node, Operation.COPY, full=full)
    machine.do(node, Operation.APPLY, full=full)

    assert picture(data) == before


@BOTH
def test_a_cut_that_was_not_durable_when_the_machine_was_restarted_is_not_copied(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    (data / "file").touch()
    machine.do(node, Operation.SNAPSHOT, full=full)
    monkeypatch.setattr(snapshot_dir, "_boot", lambda: "another boot")

    with pytest.raises(ResourceNotFoundError):
        machine.do(node, Operation.COPY, full=full)


def interrupted(*_: object, **__: object) -> int:
    raise KeyboardInterrupt


def test_a_cut_that_nobody_waits_for_stops(machine: Machine, node: Node, data: Path) -> None:
    (data / "file").write_text("x" * 1000)
    context = RecordingContext()
    context.give_up()
    with pytest.raises(ProviderError, match="given up"):
        machine.do(node, Operation.SNAPSHOT, context=context)


def test_a_cut_stops_by_itself_when_its_time_is_over(machine: Machine, node: Node, data: Path) -> None:
    (data / "file").write_text("x" * 1000)
    with pytest.raises(OperationTimeoutError):
        machine.do(node, Operation.SNAPSHOT, context=RecordingContext(timeout_s=0))


def test_a_missing_directory_cannot_be_saved(machine: Machine, tmp_path: Path) -> None:
    node = Node(host.DIRECTORY, path=str(tmp_path / "nothing"))
    with pytest.raises(ResourceNotFoundError, match="nothing"):
        machine.do(node, Operation.SNAPSHOT)


@pytest.mark.parametrize("path", ["relative", "/srv/../etc", ""])
def test_a_path_that_is_not_plain_and_absolute_is_refused(machine: Machine, path: str) -> None:
    with pytest.raises(NonRecoverableError):
        machine.do(Node(host.DIRECTORY, path=path), Operation.SNAPSHOT)


def test_a_workflow_parameter_never_says_which_directory_is_meant(
    machine: Machine, node: Node, data: Path, tmp_path: Path
) -> None:
    (data / "file").touch()
    other = tmp_path / "other"
    other.mkdir()

    outcome = machine.do(node, Operation.MEASURE, inputs={"path": str(other)})

    assert outcome.measurements is not None
    assert outcome.measurements["files"] == 1


def test_the_cuts_may_be_kept_elsewhere(machine: Machine, data: Path, tmp_path: Path) -> None:
    node = Node(host.DIRECTORY, path=str(data), snapshot_dir=str(tmp_path / "cuts"))
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    (data / "file").write_text("present")

    assert (tmp_path / "cuts" / "one" / "content" / "file").read_text() == "saved"
    machine.do(node, Operation.APPLY)
    assert (data / "file").read_text() == "saved"


def test_the_doctor_says_how_a_directory_is_cut(machine: Machine, node: Node, data: Path) -> None:
    findings = machine.provider.doctor(machine.call(node, Operation.SNAPSHOT), RecordingContext())
    assert {finding.check: finding.passed for finding in findings} == {
        "readable": True,
        "exchange": True,
        "snapshot directory": True,
        "space": True,
    }
    shutil.rmtree(data)
    [finding] = machine.provider.doctor(machine.call(node, Operation.SNAPSHOT), RecordingContext())
    assert not finding.passed
    assert finding.remedy


def test_a_cut_whose_first_record_was_never_finished_is_made_anew_or_removed(
    machine: Machine, node: Node, data: Path
) -> None:
    """What a killed writer left is not somebody else's."""
    for operation in (Operation.SNAPSHOT, Operation.DELETE):
        for name in ("one", "two"):
            left = data.parent / f".quiesce-{data.name}" / name / ".mark.json.quiesce-new"
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_bytes(b"half")
            machine.do(node, operation, point=name)
            assert not left.exists()


def test_what_is_counted_before_a_cut_is_what_it_takes(tmp_path: Path) -> None:
    """The window is foretold by it: holes and second names cost nothing, small files always do."""
    data, place = tmp_path / "data", tmp_path / "place"
    data.mkdir()
    place.mkdir()
    fill(data)
    with contextlib.ExitStack() as stack:
        source, target = (os.open(path, os.O_RDONLY) for path in (data, place))
        stack.callback(os.close, source)
        stack.callback(os.close, target)
        size = cut_size_of(source, shares=can_share(place))
        tally = tree_copies.cut_tree(source, target, b"raw", content.nobody)
    assert size.entries == tally.entries
    taken = (place / "raw" / "pack").stat().st_size + tally.copied_bytes
    assert abs(size.copied_bytes - taken) <= 64 << 10


@BOTH
def test_a_copy_beforehand_that_failed_is_never_gone_on_with(
    machine: Machine, data: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan may go on without it: then the cut takes everything."""
    node = Node(host.DIRECTORY, path=str(data))
    (data / "folder").mkdir()
    (data / "folder" / "a").write_text("a")
    (data / "folder" / "b").write_text("b")
    before, take = picture(data), taking.Taker.take

    def failing(taker: taking.Taker, entry: Entry) -> bool:
        if entry.path == b"folder/b":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return take(taker, entry)

    with monkeypatch.context() as patch:
        patch.setattr(taking.Taker, "take", failing)
        if content_is_copied_beforehand(data):
            with pytest.raises(ProviderError):
                machine.do(node, Operation.PREPARE, full=full)
    machine.save(node, full=full)
    (data / "folder" / "a").unlink()
    machine.do(node, Operation.APPLY, full=full)

    assert picture(data) == before


@BOTH
def test_what_changes_after_the_copy_beforehand_comes_back(machine: Machine, data: Path, full: bool) -> None:
    node = Node(host.DIRECTORY, path=str(data), allow_privileged=True)
    fill(data)
    machine.do(node, Operation.PREPARE, full=full)
    (data / "new").write_text("made after it")
    (data / "deep").rename(data / "moved")
    before = picture(data)
    machine.save(node, full=full)
    (data / "new").unlink()
    machine.do(node, Operation.APPLY, full=full)

    assert picture(data) == before


def content_is_copied_beforehand(data: Path) -> bool:
    descriptor = os.open(data, os.O_RDONLY)
    try:
        return times_tell(descriptor)
    finally:
        os.close(descriptor)
