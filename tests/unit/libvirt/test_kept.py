"""What of a domain stands outside of its definition comes back, or is told before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.domain import overlays

from .fake_hypervisor import FakeHypervisor, token_of, write_image
from .fake_subject import FakeSubject


def do(subject: FakeSubject, operation: Operation, **changes: Any) -> Outcome:
    call = subject.call(operation, full=True, **changes)
    outcome: Outcome = subject.provider().perform(call, RecordingContext())
    return outcome


def saved(subject: FakeSubject) -> Any:
    cut = do(subject, Operation.SNAPSHOT)
    return do(subject, Operation.COPY, artifact=cut.artifact).artifact


def foreseen(subject: FakeSubject, artifact: Any) -> tuple[str, ...]:
    call = subject.call(Operation.APPLY, full=True, artifact=artifact)
    found: tuple[str, ...] = subject.provider().inspect_target(call, RecordingContext()).lost
    return found


@pytest.mark.parametrize("autostart", [False, True])
def test_a_domain_that_was_gone_starts_with_the_host_as_it_did(
    made: Callable[..., FakeSubject], autostart: bool
) -> None:
    subject = made()
    subject.machine.autostart = autostart
    artifact = saved(subject)
    subject.world.machines.clear()
    assert foreseen(subject, artifact) == ()
    do(subject, Operation.APPLY, artifact=artifact)
    (again,) = subject.world.machines.values()
    assert again.autostart is autostart


def test_the_one_that_is_there_stays_as_its_operator_has_it_now(made: Callable[..., FakeSubject]) -> None:
    subject = made()
    subject.machine.autostart = True
    artifact = saved(subject)
    subject.machine.autostart = False
    do(subject, Operation.APPLY, artifact=artifact)
    assert not subject.machine.autostart


def test_a_second_one_never_starts_by_itself_and_that_is_said(made: Callable[..., FakeSubject]) -> None:
    subject = made(restore_as="other")
    subject.machine.autostart = True
    artifact = saved(subject)
    assert any("start with the host" in each for each in foreseen(subject, artifact))
    note = do(subject, Operation.APPLY, artifact=artifact).note
    other = next(one for one in subject.world.machines.values() if one.name == "other")
    assert not other.autostart
    assert "start with the host" in note


@pytest.mark.parametrize("gone", [False, True], ids=["in-place", "anew"])
def test_what_becomes_of_a_virtual_tpm_is_said_before_and_after(
    made: Callable[..., FakeSubject], gone: bool
) -> None:
    subject = made()
    subject.machine.has_tpm = True
    artifact = saved(subject)
    if gone:
        subject.world.machines.clear()
    (told,) = foreseen(subject, artifact)
    assert ("sealed to the old one" if gone else "state of now") in told
    assert told in do(subject, Operation.APPLY, artifact=artifact).note


def _snapshot(subject: FakeSubject, operation: Operation, point: str) -> Outcome:
    return subject.provider().perform(subject.call(operation, full=False, point=point), RecordingContext())


def test_a_restored_domain_has_its_first_files_again_and_nothing_stays_behind(
    made: Callable[..., FakeSubject],
) -> None:
    subject = made()
    first, before = subject.machine.disk, subject.objects()
    artifact = saved(subject)
    for turn in ("one", "two", "three"):
        subject.write(turn)
        _snapshot(subject, Operation.SNAPSHOT, turn)
        do(subject, Operation.APPLY, artifact=artifact)
        assert subject.machine.disk == first
        assert subject.read() == "new"
    for turn in ("two", "one", "three"):
        assert _snapshot(subject, Operation.DELETE, turn).note == ""
    assert subject.machine.disk == first
    assert subject.read() == "new"
    assert {path for path in subject.objects() - before if "/disks/" in path} == set()


def test_what_was_there_before_a_restore_can_be_restored(made: Callable[..., FakeSubject]) -> None:
    subject = made()
    first, before = subject.machine.disk, subject.objects()
    artifact = saved(subject)
    subject.write("one")
    _snapshot(subject, Operation.SNAPSHOT, "one")
    subject.write("two")
    _snapshot(subject, Operation.SNAPSHOT, "two")
    do(subject, Operation.APPLY, artifact=artifact)
    for point in ("one", "two", "one"):
        _snapshot(subject, Operation.APPLY, point)
        assert subject.read() == point
    for point in ("one", "two"):
        assert _snapshot(subject, Operation.DELETE, point).note == ""
    assert (subject.machine.disk, subject.read()) == (first, "one")
    assert {path for path in subject.objects() - before if "/disks/" in path} == set()


@pytest.mark.parametrize(
    ("step", "skip"),
    [("hardlink_to", 1), ("replace", 0), ("replace", 1), ("define_domain", 0), ("_with", 0), ("_with", 1)],
)
def test_a_restore_that_dies_on_its_way_to_the_first_files_is_finished_by_the_next(
    made: Callable[..., FakeSubject], monkeypatch: pytest.MonkeyPatch, step: str, skip: int
) -> None:
    subject = made()
    first = subject.machine.disk
    artifact = saved(subject)
    subject.write("one")
    _snapshot(subject, Operation.SNAPSHOT, "one")
    where: Any = {"define_domain": FakeHypervisor, "_with": overlays}.get(step, Path)
    with monkeypatch.context() as dying:
        dying.setattr(where, step, _dies(getattr(where, step), skip=skip))
        with pytest.raises(KeyboardInterrupt):
            do(subject, Operation.APPLY, artifact=artifact)
    assert subject.read() == "one"
    do(subject, Operation.APPLY, artifact=artifact)
    assert (subject.machine.disk, subject.read()) == (first, "new")
    _snapshot(subject, Operation.APPLY, "one")
    assert subject.read() == "one"


@pytest.mark.parametrize("step", ["hardlink_to", "replace", "unlink"])
def test_going_back_that_dies_while_it_gives_names_back_is_finished_by_the_next(
    made: Callable[..., FakeSubject], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    subject = made()
    first, before = subject.machine.disk, subject.objects()
    artifact = saved(subject)
    subject.write("one")
    _snapshot(subject, Operation.SNAPSHOT, "one")
    do(subject, Operation.APPLY, artifact=artifact)
    with monkeypatch.context() as dying:
        dying.setattr(Path, step, _dies(getattr(Path, step), skip=0))
        with pytest.raises(KeyboardInterrupt):
            _snapshot(subject, Operation.APPLY, "one")
    assert subject.read() == "one"
    _snapshot(subject, Operation.APPLY, "one")
    assert subject.read() == "one"
    _snapshot(subject, Operation.DELETE, "one")
    assert subject.read() == "one"
    # who has died before he took the name back cannot tell any more that what has it is nobody's
    do(subject, Operation.APPLY, artifact=artifact)
    assert (subject.read(), subject.machine.disk) == ("new", first)
    assert {path for path in subject.objects() - before if "/disks/" in path} == set()


def test_a_file_that_somebody_has_put_under_the_first_name_stays(
    made: Callable[..., FakeSubject],
) -> None:
    subject = made()
    first = Path(subject.machine.disk)
    artifact = saved(subject)
    subject.write("one")
    _snapshot(subject, Operation.SNAPSHOT, "one")
    do(subject, Operation.APPLY, artifact=artifact)
    _snapshot(subject, Operation.SNAPSHOT, "two")
    _snapshot(subject, Operation.DELETE, "two")
    moved = first.rename(first.with_name("moved.qcow2"))
    subject.machine.disks["vda"] = str(moved)
    first.write_text("theirs")
    _snapshot(subject, Operation.APPLY, "one")
    assert subject.read() == "one"
    assert first.read_text() == "theirs"


def _dies(real: Callable[..., Any], *, skip: int) -> Callable[..., Any]:
    """Return what does as *real* does so many times, and then dies instead."""
    left = iter(range(skip))

    def call(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*args, **options)

    return call


def test_where_files_cannot_have_two_names_the_disk_stays_where_it_is_and_that_is_said(
    made: Callable[..., FakeSubject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = made()
    artifact = saved(subject)
    _snapshot(subject, Operation.SNAPSHOT, "one")
    overlay = subject.machine.disk

    def refuse(*_: object) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    context = RecordingContext()
    subject.provider().perform(subject.call(Operation.APPLY, full=True, artifact=artifact), context)
    assert (subject.machine.disk, subject.read()) == (overlay, "new")
    assert any("two names" in line for _, line in context.lines)


def test_a_snapshot_that_is_merged_leaves_no_file_to_be_told_of(made: Callable[..., FakeSubject]) -> None:
    subject = made()
    subject.provider().perform(subject.call(Operation.SNAPSHOT, full=False), RecordingContext())
    assert (
        subject.provider().perform(subject.call(Operation.DELETE, full=False), RecordingContext()).note == ""
    )


def test_a_domain_whose_disk_is_gone_gets_it_back(made: Callable[..., FakeSubject]) -> None:
    subject = made()
    disk = Path(subject.machine.disk)
    artifact = saved(subject)
    disk.unlink()
    assert foreseen(subject, artifact) == ()
    do(subject, Operation.APPLY, artifact=artifact)
    assert (subject.machine.disk, subject.read()) == (str(disk), "new")


def test_an_image_that_other_domains_are_read_through_is_not_taken_for_the_first_file(
    made: Callable[..., FakeSubject],
) -> None:
    """The disk's own name looks like one that quiesce gives: the domain's, the target's, and one more."""
    subject = made()
    artifact, shared = saved(subject), Path(subject.machine.disk)
    own = shared.with_name("vm-vda.own.qcow2")
    write_image(own, "own", str(shared))
    subject.machine.disks["vda"] = str(own)
    before = shared.read_bytes()
    do(subject, Operation.APPLY, artifact=artifact)
    assert (subject.machine.disk, subject.read()) == (str(own), "new")
    assert shared.read_bytes() == before
    assert shared.stat().st_nlink == 1


def test_a_disk_that_holds_snapshots_gives_up_no_name(
    made: Callable[..., FakeSubject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = made()
    first = subject.machine.disk
    artifact = saved(subject)
    _snapshot(subject, Operation.SNAPSHOT, "one")
    do(subject, Operation.APPLY, artifact=artifact)
    subject.write("theirs")
    _hold_snapshots(monkeypatch, first)
    _snapshot(subject, Operation.APPLY, "one")
    assert subject.machine.disk != first
    assert token_of(Path(first)) == "theirs"


def test_a_first_file_that_holds_snapshots_keeps_its_name(
    made: Callable[..., FakeSubject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = made()
    first = subject.machine.disk
    artifact = saved(subject)
    _snapshot(subject, Operation.SNAPSHOT, "one")
    overlay = subject.machine.disk
    subject.write("later")
    _hold_snapshots(monkeypatch, first)
    do(subject, Operation.APPLY, artifact=artifact)
    _snapshot(subject, Operation.DELETE, "one")
    assert (subject.machine.disk, subject.read()) == (overlay, "new")
    assert Path(first).stat().st_nlink == 1


def _hold_snapshots(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    real = qemu_img.info

    def info(asked: str, image_format: str) -> qemu_img.DiskImage:
        return replace(real(asked, image_format), snapshots=("theirs",) if asked == path else ())

    monkeypatch.setattr(qemu_img, "info", info)
