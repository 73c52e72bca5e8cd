"""A restored machine is asked whether it runs; what is no failure is told, and not called one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quiesce.errors import ProbeFailedError
from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import RESTORE_PROBE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.provider_kit import machine_probing
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.machine_probing import MachineProbe, SeenMachine, probe_machine
from quiesce.testing import RecordingContext

CALL = Call(
    operation=Operation.PROBE,
    interface=RESTORE_PROBE,
    function="quiesce.made.probe",
    deployment=DeploymentName("made"),
    execution=ExecutionId("restore-1"),
    step=StepId("vm_1.probe"),
    attempt=1,
    instance=InstanceId("vm_1"),
    node=Node(id=NodeId("vm"), type="made.Machine", type_hierarchy=("made.Machine",)),
    parameters=Parameters(),
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probing, "_PAUSE_S", 0.01)
    monkeypatch.setattr(machine_probing, "_RUNNING_S", 0.2)
    monkeypatch.setattr(machine_probing, "_ANSWER_S", 0.2)


def seen(state: str, broken: str = "") -> SeenMachine:
    return SeenMachine(name="vm", running=state == "running", state=state, broken=broken)


def note(probe: MachineProbe) -> str:
    return probe_machine(Job(call=CALL, context=RecordingContext(timeout_s=30)), probe).note


def test_it_is_waited_for_and_its_guest_too() -> None:
    """A machine boots after it was started."""
    states: Iterator[str] = iter(["off", "off", "running"])
    answers: Iterator[str] = iter(["not connected", "not connected", ""])
    told = note(
        MachineProbe(
            platform="Cloud",
            look=lambda: seen(next(states)),
            should_run=True,
            ask=lambda: next(answers),
            asked="its agent",
        )
    )
    assert told == "Cloud says that vm is running, and its agent answers"


@pytest.mark.parametrize("should_run", [None, False])
def test_what_was_off_may_be_off(should_run: bool | None) -> None:
    told = note(MachineProbe(platform="Cloud", look=lambda: seen("off"), should_run=should_run))
    assert told == "Cloud says that vm is off, so nothing in it was asked"


def test_what_ran_and_does_not_is_a_failure() -> None:
    with pytest.raises(ProbeFailedError, match="vm ran at the cut; Cloud says that it is off"):
        note(MachineProbe(platform="Cloud", look=lambda: seen("off"), should_run=True))


def test_what_is_broken_is_a_failure_at_once() -> None:
    looked = []

    def look() -> SeenMachine:
        looked.append(1)
        return seen("ERROR", "no valid host")

    with pytest.raises(ProbeFailedError, match="vm is ERROR: no valid host"):
        note(MachineProbe(platform="Cloud", look=look))
    assert len(looked) == 1


def test_without_anybody_to_ask_it_says_so() -> None:
    told = note(MachineProbe(platform="Cloud", look=lambda: seen("running")))
    assert told == "Cloud says that vm is running; nothing in it was asked"


def test_a_guest_that_is_not_to_be_asked_is_not() -> None:
    told = note(
        MachineProbe(platform="Cloud", look=lambda: seen("running"), ask=lambda: "busy", wanted=False)
    )
    assert told == "Cloud says that vm is running; nothing in it was asked"


def test_one_that_has_to_answer_and_cannot_be_asked_is_a_failure() -> None:
    with pytest.raises(ProbeFailedError, match="no way to ask its agent, which has to answer"):
        note(MachineProbe(platform="Cloud", look=lambda: seen("running"), asked="its agent", wanted=True))


def test_a_guest_that_may_be_silent_is_no_failure_and_one_that_may_not_is() -> None:
    def probe(*, wanted: bool | None) -> MachineProbe:
        return MachineProbe(
            platform="Cloud",
            look=lambda: seen("running"),
            ask=lambda: "not connected",
            asked="its agent",
            wanted=wanted,
        )

    assert note(probe(wanted=None)).endswith("its agent has not answered yet: not connected")
    job = Job(call=CALL, context=RecordingContext(timeout_s=0.5))
    with pytest.raises(ProbeFailedError, match="its agent does not answer: not connected"):
        probe_machine(job, probe(wanted=True))
