"""A restore that dies at any moment leaves no domain switched off that ran: its START knows what it owes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.unit.lives import Fused, Life

from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import Fuse, PowerCut

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.provider import LibvirtProvider

from .fake_hypervisor import FakeDomain, FakeHypervisor
from .fake_subject import FakeSubject

#: more often than this no restore touches its hypervisor
MOST_TOUCHES = 200


class Room:
    """One domain with two disks, and every process that comes to work on it."""

    def __init__(self, subject: FakeSubject) -> None:
        self.subject = subject
        self.kept: dict[str, Json] = {}

    def do(self, operation: Operation, fuse: Fuse | None = None, **changes: Any) -> Outcome:
        fuse = fuse or Fuse(None)

        def connect(_: str) -> Any:
            return Fused(FakeHypervisor(self.subject.world), fuse, parts=(FakeDomain,))

        call = self.subject.call(operation, runtime_properties=dict(self.kept), **changes)
        return LibvirtProvider(self.subject.settings, connect).perform(call, Life(self.kept, fuse))

    def save(self, *, full: bool) -> Mapping[str, Any]:
        self.subject.write("before")
        made = self.do(Operation.SNAPSHOT, full=full)
        if full:
            made = self.do(Operation.COPY, full=full, artifact=made.artifact)
        self.subject.write("after")
        return {"full": full, "artifact": made.artifact}


@pytest.fixture
def room(made: Callable[..., Any]) -> Callable[..., Room]:
    return lambda **properties: Room(made(more_disks=("vdb",), **properties))


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_wherever_a_restore_dies_the_domain_runs_after_its_start(
    room: Callable[..., Room], full: bool
) -> None:
    was_off = 0
    for touches in range(MOST_TOUCHES):
        place = room()
        saved = place.save(full=full)
        fuse = Fuse(touches)
        try:
            place.do(Operation.APPLY, fuse, **saved)
        except PowerCut:
            pass
        else:
            break
        was_off += place.subject.machine.state == "off"
        for _ in range(2):
            place.do(Operation.START, **saved)
            assert place.subject.machine.state == "running"
        assert place.kept == {}
        place.do(Operation.APPLY, **saved)
        assert place.subject.read() == "before"
        assert place.subject.machine.state == "running"
    else:
        pytest.fail("the restore does not come to its end")
    assert was_off > 0
    assert place.kept == {}
    assert place.subject.machine.state == "running"


def test_what_was_off_and_is_to_be_off_is_never_started(room: Callable[..., Room]) -> None:
    for touches in range(0, MOST_TOUCHES, 3):
        place = room()
        place.subject.machine.state = "off"
        saved = place.save(full=False)
        try:
            place.do(Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            place.do(Operation.START, **saved)
            assert place.subject.machine.state == "off"
        else:
            break
    assert place.subject.machine.state == "off"
    assert place.subject.read() == "before"


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_what_was_switched_off_since_the_cut_stays_off_when_the_restore_dies(
    room: Callable[..., Room], full: bool
) -> None:
    """It is for the restore to start it, not for whoever cleans up behind it."""
    place = room()
    saved = place.save(full=full)
    for touches in range(MOST_TOUCHES):
        place.subject.machine.state = "off"
        try:
            place.do(Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            off = place.subject.machine.state == "off"
            place.do(Operation.START, **saved)
            assert (place.subject.machine.state == "off") is off, f"after touch {touches}"
        else:
            break
    assert place.subject.machine.state == "running"


def test_a_stop_that_is_still_on_its_way_is_brought_to_its_end(room: Callable[..., Room]) -> None:
    """What goes down looks like what runs until it is down."""
    place = room()
    saved = place.save(full=False)
    place.kept["quiesce_switched_off"] = "begun"
    destroyed: list[str] = []
    destroy = FakeDomain.destroy

    def note(domain: FakeDomain) -> None:
        destroyed.append(domain.name)
        destroy(domain)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeDomain, "destroy", note)
        place.do(Operation.START, **saved)
    assert destroyed == ["vm"]
    assert place.subject.machine.state == "running"


def test_a_domain_that_somebody_has_removed_is_not_waited_for(room: Callable[..., Room]) -> None:
    place = room()
    place.kept["quiesce_switched_off"] = "done"
    place.subject.world.machines.clear()
    outcome = place.do(Operation.START)
    assert "not there" in outcome.note
    assert place.kept == {}


def test_nothing_is_owed_for_a_domain_that_is_made_beside(room: Callable[..., Room]) -> None:
    for touches in range(0, MOST_TOUCHES, 10):
        place = room(restore_as="other")
        saved = place.save(full=True)
        try:
            place.do(Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            assert place.kept == {}
        else:
            break
    assert place.kept == {}
    assert {machine.state for machine in place.subject.world.machines.values()} == {"running"}
