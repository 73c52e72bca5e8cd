"""Full copies whose cut's answer was lost: the job that runs tells what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.operation import Operation
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_subject import FakeSubject


@pytest.fixture
def subject(made: Callable[..., Any]) -> FakeSubject:
    subject: FakeSubject = made(backup_mode="incremental")
    subject.write("before")
    return subject


def _copy_without_the_cuts_answer(subject: FakeSubject) -> dict[str, object]:
    outcome = subject.provider().perform(subject.call(Operation.COPY, full=True), RecordingContext())
    return dict(outcome.artifact)


def test_a_copy_finds_its_job_again(subject: FakeSubject) -> None:
    subject.provider().perform(subject.call(Operation.SNAPSHOT, full=True), RecordingContext())
    subject.write("after")
    made = _copy_without_the_cuts_answer(subject)
    assert made["checkpoint"] == f"{subject.instance}-one"
    assert made["active"] is True
    subject.provider().perform(subject.call(Operation.APPLY, full=True, artifact=made), RecordingContext())
    assert subject.read() == "before"


def test_a_copy_without_answer_and_job_says_what_is_gone(subject: FakeSubject) -> None:
    with pytest.raises(NonRecoverableError, match="backup job of vm is gone"):
        _copy_without_the_cuts_answer(subject)


def test_doctor_tells_of_a_disk_that_others_write_to(subject: FakeSubject) -> None:
    subject.machine.shareable = frozenset({"vda"})
    findings = subject.provider().doctor(subject.call(Operation.SNAPSHOT), RecordingContext())
    (found,) = (one for one in findings if one.check == "disk vda")
    assert not found.passed
    assert "shareable" in found.detail


@pytest.mark.parametrize("has_tpm", [True, False])
def test_a_virtual_tpm_that_is_not_saved_is_named(subject: FakeSubject, has_tpm: bool) -> None:
    subject.machine.has_tpm = has_tpm
    findings = subject.provider().doctor(subject.call(Operation.SNAPSHOT), RecordingContext())
    assert ("tpm" in {finding.check for finding in findings if not finding.passed}) is has_tpm
    subject.provider().perform(subject.call(Operation.SNAPSHOT, full=True), RecordingContext())
    for _ in range(2):
        outcome = subject.provider().perform(subject.call(Operation.COPY, full=True), RecordingContext())
        assert ("virtual TPM" in outcome.note) is has_tpm
