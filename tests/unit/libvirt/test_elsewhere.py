"""A backup of a domain, restored by another deployment: a new domain of its own, and nothing replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ForeignObjectError
from quiesce.model.call import Call, Origin
from quiesce.model.ids import DeploymentName, InstanceId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_hypervisor import Machine, token_of
from .fake_subject import FakeSubject


class Staging:
    """The deployment that restores what the one of *subject* has saved."""

    def __init__(self, subject: FakeSubject) -> None:
        self.subject = subject
        self.properties = {**subject.properties, "resource_id": "staging-vm"}
        self.context = RecordingContext()
        subject.write("saved")
        cut = self._do(subject.call(Operation.SNAPSHOT, full=True))
        self.artifact = self._do(subject.call(Operation.COPY, full=True, artifact=cut.artifact)).artifact
        subject.write("present")

    def call(self, operation: Operation) -> Call:
        saved = self.subject.call(operation)
        return self.subject.call(
            operation,
            full=True,
            artifact=self.artifact,
            deployment=DeploymentName("staging"),
            instance=InstanceId("other_1"),
            properties=self.properties,
            parameters=Parameters(source="contract", to="staging"),
            origin=Origin(
                deployment=saved.deployment,
                instance=saved.instance,
                node=saved.node,
                properties=saved.properties,
            ),
        )

    def apply(self) -> Outcome:
        return self._do(self.call(Operation.APPLY))

    def inspect(self) -> Any:
        return self.subject.provider().inspect_target(self.call(Operation.APPLY), self.context)

    def probe(self) -> Outcome:
        return self._do(self.call(Operation.PROBE))

    @property
    def made(self) -> Machine:
        (found,) = (each for each in self.subject.world.machines.values() if each.name == "staging-vm")
        return found

    def _do(self, call: Call) -> Outcome:
        outcome: Outcome = self.subject.provider().perform(call, self.context)
        return outcome


@pytest.fixture
def staging(made: Callable[..., Any]) -> Staging:
    return Staging(made())


def test_it_becomes_a_domain_of_its_own(staging: Staging) -> None:
    assert staging.inspect().problems == ()
    staging.apply()
    original, made = staging.subject.machine, staging.made
    assert made.uuid != original.uuid
    assert set(made.disks.values()).isdisjoint(original.disks.values())
    assert (token_of(Path(made.disk)), made.state) == ("saved", "running")
    assert (staging.subject.read(), original.state) == ("present", "running")


def test_the_new_domain_is_the_one_that_is_probed(staging: Staging) -> None:
    staging.apply()
    staging.subject.machine.state = "off"
    assert staging.probe().note == "libvirt says that staging-vm is running, and its guest agent answers"


def test_applying_again_is_applying_once(staging: Staging) -> None:
    """After a crash nobody knows whether it was done."""
    staging.apply()
    uuid = staging.made.uuid
    assert staging.inspect().problems == ()
    staging.apply()
    assert staging.made.uuid == uuid
    assert len(staging.subject.world.machines) == 2


def test_a_domain_that_is_there_is_never_replaced(staging: Staging) -> None:
    theirs = staging.subject.world.add("staging-vm", "theirs")
    (problem,) = staging.inspect().problems
    assert (problem.code, "staging-vm already" in problem.detail) == ("foreign-object", True)
    with pytest.raises(ForeignObjectError):
        staging.apply()
    assert token_of(Path(theirs.disk)) == "theirs"
    assert theirs.state == "running"
