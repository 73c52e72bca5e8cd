"""Full copies whose cut's answer was lost: the job that runs tells what it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import ExecutionId
from quiesce.model.operation import Operation
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.provider_kit.ownership import Owner
from quiesce.providers.libvirt.domain import backup

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


@pytest.mark.parametrize(("made_by", "parent"), [("exec1", "one"), ("another", None)])
def test_nothing_is_built_on_a_point_of_that_name_that_another_execution_made(
    subject: FakeSubject, monkeypatch: pytest.MonkeyPatch, made_by: str, parent: str | None
) -> None:
    """As a copy in another repository may be: it is of another moment than the checkpoint."""

    def back_up(point: str, execution: str) -> Mapping[str, object]:
        provider, artifact = subject.provider(), None
        for operation in (Operation.SNAPSHOT, Operation.COPY):
            call = subject.call(operation, full=True, point=point, execution=execution, artifact=artifact)
            artifact = provider.perform(call, RecordingContext()).artifact
        return artifact

    back_up("one", "exec1")
    known = backup.owners_of_checkpoints

    def owners(domain: object) -> dict[str, Owner | None]:
        return {
            name: owner and replace(owner, execution=ExecutionId(made_by))
            for name, owner in known(domain).items()
        }

    monkeypatch.setattr(backup, "owners_of_checkpoints", owners)
    assert back_up("two", "exec2")["parent"] == parent


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
