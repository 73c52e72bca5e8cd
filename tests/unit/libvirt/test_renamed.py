"""A domain that somebody renamed (``virsh domrename``) is still the one that its restore points are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_subject import FakeSubject


def _do(subject: FakeSubject, operation: Operation, *, full: bool, made: Outcome | None = None) -> Outcome:
    artifact = made.artifact if made is not None else None
    call = subject.call(operation, full=full, artifact=artifact)
    outcome: Outcome = subject.provider().perform(call, RecordingContext())
    return outcome


@pytest.fixture(params=["external", "internal"])
def subject(request: pytest.FixtureRequest, made: Callable[..., Any]) -> FakeSubject:
    subject: FakeSubject = made(snapshot_kind=request.param)
    subject.write("before")
    return subject


def test_its_snapshots_are_applied_and_removed_under_its_new_name(subject: FakeSubject) -> None:
    before = subject.objects()
    made = _do(subject, Operation.SNAPSHOT, full=False)
    subject.machine.name = "renamed"
    subject.write("after")
    _do(subject, Operation.APPLY, full=False, made=made)
    assert subject.read() == "before"
    _do(subject, Operation.DELETE, full=False, made=made)
    assert subject.objects() == before
    assert subject.read() == "before"


def test_its_backup_is_removed_with_its_checkpoint(subject: FakeSubject) -> None:
    subject.properties["backup_mode"] = "incremental"
    before = subject.objects()
    made = _do(subject, Operation.COPY, full=True, made=_do(subject, Operation.SNAPSHOT, full=True))
    assert subject.machine.checkpoints
    subject.machine.name = "renamed"
    _do(subject, Operation.DELETE, full=True, made=made)
    assert subject.machine.checkpoints == {}
    assert subject.objects() == before
