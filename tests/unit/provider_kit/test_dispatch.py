"""Every operation reaches the method of its name, and nothing else is ever run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import DamagedArtifactError, NonRecoverableError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.ids import NodeId
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.topology import Node
from quiesce.ports import Context, Finding
from quiesce.provider_kit.dispatch import CheckedOperations, PlatformProvider, perform, unsupported
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.saving import proof
from quiesce.testing.contexts import RecordingContext
from tests.unit.provider_kit.calls import a_call


class _Noting:
    """Writes down what it was asked, whatever operations there are."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.damage = ""

    suspend = resume = unsupported

    def doctor(self, job: Job, /) -> list[Finding]:
        raise NonRecoverableError("no route to it", hint="Look at the cable.")

    def verify(self, job: Job, /) -> Proof:
        self.asked.append("verify")
        return proof("presence", damage=self.damage)


def _noting(name: str) -> Callable[[Any, Job], Outcome]:
    def method(self: Any, job: Job, /) -> Outcome:
        self.asked.append(name)
        return NOTHING

    return method


_NOTED = {each.value: _noting(each.value) for each in Operation if not hasattr(_Noting, each.value)}
Disk: Any = type("Disk", (_Noting, CheckedOperations), _NOTED)


DISK = Kind(
    name="disk",
    types=frozenset({"acme.Disk"}),
    capabilities=Capabilities(operations=frozenset(Operation) - {Operation.MEASURE}),
    functions=frozenset({"acme_plugin.disk."}),
)
DESCRIPTION = Description(name="acme", factory="", kinds=(DISK,))


class Acme(PlatformProvider[Job]):
    def __init__(self, disk: Any) -> None:
        super().__init__(DESCRIPTION, {"disk": disk})

    def job(self, call: Call, context: Context) -> Job:
        return Job(call=call, context=context)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("operation", sorted(Operation))
def test_an_operation_reaches_the_method_of_its_name_or_is_refused(operation: Operation) -> None:
    disk = Disk()
    job = Job(call=a_call(operation), context=RecordingContext())
    if operation in (Operation.SUSPEND, Operation.RESUME):
        with pytest.raises(UnsupportedError, match="Disk cannot do this"):
            perform(disk, operation, job)
    else:
        perform(disk, operation, job)
        assert disk.asked == [operation.value]


def test_a_check_that_finds_damage_is_no_success() -> None:
    disk = Disk()
    disk.damage = "one byte is another"
    job = Job(call=a_call(Operation.VERIFY), context=RecordingContext())
    with pytest.raises(DamagedArtifactError, match="one byte is another"):
        perform(disk, Operation.VERIFY, job)


def test_what_the_capabilities_do_not_list_is_refused_and_never_run() -> None:
    disk = Disk()
    with pytest.raises(UnsupportedError, match="measure is nothing that a disk of acme can do"):
        Acme(disk).perform(a_call(Operation.MEASURE), RecordingContext())
    assert disk.asked == []


def test_a_node_of_no_kind_is_refused_and_the_types_that_are_known_are_named() -> None:
    foreign = Node(id=NodeId("x"), type="other.Thing", type_hierarchy=("other.Thing",))
    with pytest.raises(UnsupportedError, match=r"vm_1 is a other\.Thing") as caught:
        Acme(Disk()).perform(a_call(node=foreign), RecordingContext())
    assert "acme.Disk" in caught.value.hint


def test_a_node_of_no_kind_is_known_by_its_implementation() -> None:
    disk = Disk()
    foreign = Node(id=NodeId("x"), type="other.Thing", type_hierarchy=("other.Thing",))
    Acme(disk).perform(a_call(node=foreign, function="acme_plugin.disk.snapshot"), RecordingContext())
    assert disk.asked == ["snapshot"]


def test_a_provider_whose_kinds_and_operations_differ_cannot_be_made() -> None:
    class Forgetful(Acme):
        def __init__(self) -> None:
            other = replace(DISK, name="tape", types=frozenset({"acme.Tape"}))
            PlatformProvider.__init__(self, replace(DESCRIPTION, kinds=(DISK, other)), {"disk": Disk()})

    with pytest.raises(LookupError, match="tape"):
        Forgetful()


def test_a_doctor_that_cannot_reach_the_node_says_so_as_a_finding() -> None:
    (finding,) = Acme(Disk()).doctor(a_call(), RecordingContext())
    assert (finding.passed, finding.detail, finding.remedy) == (False, "no route to it", "Look at the cable.")


def test_who_cannot_tell_whether_it_is_frozen_says_none() -> None:
    assert Acme(Disk()).is_frozen(a_call(), RecordingContext()) is None
