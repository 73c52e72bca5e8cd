"""A restored domain is asked whether it runs, and its agent where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quiesce.errors import ProbeFailedError
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.provider_kit import machine_probing
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_subject import FakeSubject

FULL = pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probing, "_PAUSE_S", 0.01)
    monkeypatch.setattr(machine_probing, "_RUNNING_S", 0.1)
    monkeypatch.setattr(machine_probing, "_ANSWER_S", 0.1)


def do(subject: FakeSubject, operation: Operation, **changes: Any) -> Outcome:
    outcome: Outcome = subject.provider().perform(subject.call(operation, **changes), RecordingContext())
    return outcome


def saved(subject: FakeSubject, *, full: bool) -> Any:
    artifact = do(subject, Operation.SNAPSHOT, full=full).artifact
    return do(subject, Operation.COPY, full=full, artifact=artifact).artifact if full else artifact


@FULL
def test_a_restored_domain_runs_and_its_agent_answers(made: Callable[..., FakeSubject], full: bool) -> None:
    subject = made()
    artifact = saved(subject, full=full)
    do(subject, Operation.APPLY, full=full, artifact=artifact)
    told = do(subject, Operation.PROBE, full=full, artifact=artifact).note
    assert told == "libvirt says that vm is running, and its guest agent answers"


@FULL
def test_one_that_ran_at_the_cut_and_does_not_now_fails(made: Callable[..., FakeSubject], full: bool) -> None:
    subject = made()
    artifact = saved(subject, full=full)
    do(subject, Operation.APPLY, full=full, artifact=artifact)
    subject.machine.state = "off"
    with pytest.raises(ProbeFailedError, match="vm ran at the cut; libvirt says that it is off"):
        do(subject, Operation.PROBE, full=full, artifact=artifact)


@FULL
def test_one_that_was_off_at_the_cut_may_be_off(made: Callable[..., FakeSubject], full: bool) -> None:
    subject = made()
    subject.machine.state = "off"
    artifact = saved(subject, full=full)
    do(subject, Operation.APPLY, full=full, artifact=artifact)
    assert do(subject, Operation.PROBE, full=full, artifact=artifact).note.endswith("nothing in it was asked")


def test_a_channel_without_an_agent_is_no_failure_unless_it_is_declared(
    made: Callable[..., FakeSubject],
) -> None:
    silent = made()
    silent.machine.has_agent = False
    assert "its guest agent has not answered yet" in do(silent, Operation.PROBE).note
    declared = made(probe_agent=True)
    declared.machine.has_agent = False
    call = declared.call(Operation.PROBE)
    with pytest.raises(ProbeFailedError, match="its guest agent does not answer"):
        declared.provider().perform(call, RecordingContext(timeout_s=0.5))
    unasked = made(probe_agent=False)
    unasked.machine.has_agent = False
    assert do(unasked, Operation.PROBE).note == "libvirt says that vm is running; nothing in it was asked"


def test_an_agent_that_has_to_answer_and_has_no_channel_fails(made: Callable[..., FakeSubject]) -> None:
    """A domain that was restored from an older definition has none, and its operator counts on one."""
    declared = made(probe_agent=True)
    declared.machine.has_channel = False
    with pytest.raises(ProbeFailedError, match="no way to ask its guest agent"):
        do(declared, Operation.PROBE)
    undeclared = made()
    undeclared.machine.has_channel = False
    assert do(undeclared, Operation.PROBE).note.endswith("nothing in it was asked")


def test_it_is_the_new_domain_that_is_asked(made: Callable[..., FakeSubject]) -> None:
    subject = made(restore_as="other")
    artifact = saved(subject, full=True)
    do(subject, Operation.APPLY, full=True, artifact=artifact)
    subject.machine.state = "off"
    told = do(subject, Operation.PROBE, full=True, artifact=artifact).note
    assert told == "libvirt says that other is running, and its guest agent answers"
