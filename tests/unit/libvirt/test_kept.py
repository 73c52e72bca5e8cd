"""What of a domain stands outside of its definition comes back, or is told before and after."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_subject import FakeSubject


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeSubject]]:
    subjects: list[FakeSubject] = []

    def make(**properties: Any) -> FakeSubject:
        subjects.append(FakeSubject(Path(tempfile.mkdtemp(prefix="q")), monkeypatch, **properties))
        return subjects[-1]

    yield make
    for subject in subjects:
        subject.world.close()
        shutil.rmtree(subject.folder)


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


def test_a_file_that_a_restore_leaves_for_good_is_told_before_and_when_nothing_needs_it(
    made: Callable[..., FakeSubject],
) -> None:
    """A full copy is put on top of restore points; the file that they lie in is read by nobody after them."""
    subject = made()
    first = subject.machine.disk
    snapshot = subject.call(Operation.SNAPSHOT, full=False, point="before")
    subject.provider().perform(snapshot, RecordingContext())
    artifact = saved(subject)
    assert any("the file of vda" in each for each in foreseen(subject, artifact))
    do(subject, Operation.APPLY, artifact=artifact)
    removal = subject.call(Operation.DELETE, full=False, point="before")
    note = subject.provider().perform(removal, RecordingContext()).note
    assert f"nothing reads {first} any more" in note
    assert Path(first).exists()


def test_a_snapshot_that_is_merged_leaves_no_file_to_be_told_of(made: Callable[..., FakeSubject]) -> None:
    subject = made()
    subject.provider().perform(subject.call(Operation.SNAPSHOT, full=False), RecordingContext())
    assert (
        subject.provider().perform(subject.call(Operation.DELETE, full=False), RecordingContext()).note == ""
    )
