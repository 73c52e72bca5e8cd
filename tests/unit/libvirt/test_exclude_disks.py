"""What `exclude_disks` names is left alone: in place, under another name, and by snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.model.ids import BackupName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from .fake_hypervisor import read_image, token_of, write_image
from .fake_subject import FakeSubject


class TwoDisks(FakeSubject):
    """A machine with the disks vda and vdb."""

    def do(self, operation: Operation, point: str = "one", **changes: Any) -> Outcome:
        self.context = RecordingContext()
        fields = {"point": BackupName(point), "execution": ExecutionId(f"exec-{point}")} | changes
        outcome: Outcome = self.provider().perform(self.call(operation, **fields), self.context)
        return outcome

    def backup(self, **inputs: Json) -> None:
        cut = self.do(Operation.SNAPSHOT, full=True, inputs=inputs)
        self.do(Operation.COPY, full=True, inputs=inputs, artifact=cut.artifact)

    def write_both(self, token: str) -> None:
        for path in self.machine.disks.values():
            write_image(Path(path), token, read_image(Path(path))["backing"])

    def read_both(self, machine: Any = None) -> dict[str, str]:
        disks = (machine or self.machine).disks
        return {target: token_of(Path(path)) for target, path in disks.items()}


@pytest.fixture
def subject(made: Callable[..., Any]) -> TwoDisks:
    subject: TwoDisks = made(TwoDisks, more_disks=("vdb",))
    subject.write_both("before")
    return subject


@pytest.mark.parametrize("inputs", [{"exclude_disks": ["vdb"]}, {"libvirt_exclude_disks": "vdb"}])
def test_a_restore_in_place_leaves_an_excluded_disk_as_it_is(
    subject: TwoDisks, inputs: dict[str, Json]
) -> None:
    subject.backup()
    subject.write_both("after")
    subject.do(Operation.APPLY, full=True, inputs=inputs)
    assert subject.read_both() == {"vda": "before", "vdb": "after"}


def test_without_exclude_disks_every_disk_comes_back(subject: TwoDisks) -> None:
    subject.backup()
    subject.write_both("after")
    subject.do(Operation.APPLY, full=True)
    assert subject.read_both() == {"vda": "before", "vdb": "before"}


def test_a_disk_that_was_excluded_from_the_backup_stays_on_the_file_it_is_on_now(subject: TwoDisks) -> None:
    subject.backup(exclude_disks=["vdb"])
    subject.write_both("after")
    subject.do(Operation.SNAPSHOT, "overlay")
    now = subject.machine.disks["vdb"]
    subject.do(Operation.APPLY, full=True)
    assert subject.machine.disks["vdb"] == now
    assert subject.read_both() == {"vda": "before", "vdb": "after"}


def test_another_domain_gets_no_disk_of_the_original(subject: TwoDisks) -> None:
    subject.backup(exclude_disks=["vdb"])
    subject.write_both("after")
    subject.do(Operation.APPLY, full=True, inputs={"restore_as": "other"})
    (other,) = (machine for machine in subject.world.machines.values() if machine.name == "other")
    assert subject.read_both(other) == {"vda": "before"}
    assert not set(other.disks.values()) & set(subject.machine.disks.values())
    assert any("vdb" in line for _, line in subject.context.lines)
    assert subject.read_both() == {"vda": "after", "vdb": "after"}


def test_going_back_to_a_snapshot_leaves_an_excluded_disk_as_it_is(subject: TwoDisks) -> None:
    subject.do(Operation.SNAPSHOT)
    subject.write_both("after")
    subject.do(Operation.APPLY, inputs={"exclude_disks": ["vdb"]})
    assert subject.read_both() == {"vda": "before", "vdb": "after"}


def test_an_internal_snapshot_is_not_applied_where_a_disk_is_to_be_left_alone(subject: TwoDisks) -> None:
    subject.do(Operation.SNAPSHOT, inputs={"snapshot_kind": "internal"})
    subject.write_both("after")
    with pytest.raises(UnsupportedError, match="vdb"):
        subject.do(Operation.APPLY, inputs={"exclude_disks": ["vdb"]})
    assert subject.read_both() == {"vda": "after", "vdb": "after"}


@pytest.mark.parametrize("full", [False, True])
def test_an_excluded_disk_that_there_is_not_is_an_error_that_names_those_there_are(
    subject: TwoDisks, full: bool
) -> None:
    subject.backup()
    subject.do(Operation.SNAPSHOT, "two")
    for operation in (Operation.SNAPSHOT, Operation.APPLY):
        point = {Operation.SNAPSHOT: "three", Operation.APPLY: "one" if full else "two"}[operation]
        with pytest.raises(NonRecoverableError, match="vdz") as caught:
            subject.do(operation, point, full=full, inputs={"exclude_disks": "vdz"})
        assert "vda, vdb" in str(caught.value.hint)


def test_a_restore_that_leaves_out_every_disk_is_refused(subject: TwoDisks) -> None:
    subject.backup()
    with pytest.raises(UnsupportedError, match="no disk"):
        subject.do(Operation.APPLY, full=True, inputs={"exclude_disks": "vda,vdb"})


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("state", ["running", "off"])
def test_an_encrypted_disk_is_not_saved_in_clear(subject: TwoDisks, full: bool, state: str) -> None:
    subject.machine.encrypted = frozenset({"vdb"})
    subject.machine.state = state
    before = subject.objects()
    with pytest.raises(UnsupportedError, match="vdb are encrypted") as caught:
        subject.do(Operation.SNAPSHOT, full=full)
    assert "exclude_disks" in str(caught.value.hint)
    assert subject.objects() == before
    subject.do(Operation.SNAPSHOT, full=full, inputs={"exclude_disks": "vdb"})


def test_doctor_tells_of_an_encrypted_disk(subject: TwoDisks) -> None:
    subject.machine.encrypted = frozenset({"vdb"})
    findings = subject.provider().doctor(subject.call(Operation.SNAPSHOT), RecordingContext())
    failed = {finding.check: finding for finding in findings if not finding.passed}
    assert "exclude_disks" in failed["disk vdb"].remedy
    assert "disk vda" not in failed
