"""A transient domain, which libvirt forgets when it stops: what cannot be done is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import UnsupportedError
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_hypervisor import token_of
from .fake_subject import FakeSubject


def _do(subject: FakeSubject, operation: Operation, **changes: Any) -> Outcome:
    outcome: Outcome = subject.provider().perform(subject.call(operation, **changes), RecordingContext())
    return outcome


@pytest.fixture
def subject(made: Callable[..., Any]) -> FakeSubject:
    subject: FakeSubject = made()
    subject.machine.persistent = False
    subject.write("before")
    return subject


def test_doctor_says_so_and_what_to_do(subject: FakeSubject) -> None:
    findings = subject.provider().doctor(subject.call(Operation.SNAPSHOT), RecordingContext())
    failed = {finding.check: finding for finding in findings if not finding.passed}
    assert "virsh define" in failed["persistent"].remedy


def test_it_is_restored_only_when_it_was_stopped_and_nothing_is_lost_before(subject: FakeSubject) -> None:
    cut = _do(subject, Operation.SNAPSHOT, full=True)
    made = _do(subject, Operation.COPY, full=True, artifact=cut.artifact)
    subject.write("after")
    with pytest.raises(UnsupportedError, match="transient") as caught:
        _do(subject, Operation.APPLY, full=True, artifact=made.artifact)
    assert "virsh destroy vm" in str(caught.value.hint)
    assert subject.read() == "after"
    assert subject.machine.state == "running"
    del subject.world.machines[subject.machine.uuid]
    _do(subject, Operation.APPLY, full=True, artifact=made.artifact)
    (restored,) = subject.world.machines.values()
    assert restored.state == "running"
    assert token_of(Path(restored.disk)) == "before"
