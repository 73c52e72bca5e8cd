"""What is kept of a domain, and what is believed when it comes back (docs/security.md)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.repository_objects import packs, spoil

from quiesce.backups import Backups
from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    ResourceNotFoundError,
    UntrustedPathError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.domain.backup import DEFINITION

from .fake_hypervisor import FakeDomain, read_image, token_of, write_image
from .fake_subject import FakeSubject


class Guarded(FakeSubject):
    """A machine, and a short way to do something to it."""

    def do(self, operation: Operation, point: str = "one", **changes: Any) -> Outcome:
        self.context = RecordingContext()
        fields = {"point": BackupName(point), "execution": ExecutionId(f"exec-{point}")} | changes
        outcome: Outcome = self.provider().perform(self.call(operation, **fields), self.context)
        return outcome

    def backup(self) -> Outcome:
        cut = self.do(Operation.SNAPSHOT, full=True)
        return self.do(Operation.COPY, full=True, artifact=cut.artifact)

    def objects_stored(self) -> list[bytes]:
        """Everything that lies in the repository, as it lies there."""
        return [path.read_bytes() for path in (self.folder / "repository").rglob("*") if path.is_file()]

    def item(self, name: str) -> bytes:
        """What an item of the backup holds."""
        backups = Backups(self.settings.repository, self.home())
        (manifest,) = backups.of_instance(DeploymentName("contract"), InstanceId(self.instance))
        with backups.open(manifest, name) as stored:
            return stored.read()


@pytest.fixture
def subject(made: Callable[..., Any]) -> Guarded:
    subject: Guarded = made(Guarded)
    subject.write("before")
    return subject


def test_no_password_of_a_display_lies_in_the_repository_and_it_comes_back(subject: Guarded) -> None:
    subject.machine.password = "xyzzy-77"
    made = subject.backup()
    assert not any(b"xyzzy-77" in data for data in subject.objects_stored())
    assert b"xyzzy-77" not in subject.item(DEFINITION)
    subject.machine.password = "changed"
    subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    assert subject.machine.password == "xyzzy-77"


def test_a_definition_that_the_catalog_does_not_know_is_not_defined(subject: Guarded) -> None:
    """It is authentic, by whoever has a key; another backup was meant."""
    made = subject.backup()
    evil = subject.folder / "of-root"
    write_image(evil, "precious")
    backups = Backups(subject.settings.repository, subject.home())
    (manifest,) = backups.of_instance(DeploymentName("contract"), InstanceId(subject.instance))
    backups.delete(manifest.place)
    draft = backups.begin(manifest.place, execution=manifest.execution, provider="libvirt")
    with draft.create(DEFINITION) as out:
        out.write(b"<domain><name>evil</name></domain>")
    draft.complete(function=manifest.function, consistency=manifest.consistency, content=manifest.content)
    with pytest.raises(DamagedArtifactError):
        subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    assert token_of(evil) == "precious"


def test_a_changed_byte_anywhere_keeps_the_definition_from_being_defined(subject: Guarded) -> None:
    made = subject.backup()
    spoil(packs(subject.folder / "repository"))
    with pytest.raises(DamagedArtifactError):
        subject.do(Operation.APPLY, full=True, artifact=made.artifact)


def test_the_plan_shows_the_files_that_are_not_the_hypervisors_of_now(subject: Guarded) -> None:
    loader, nvram, disk = (str(subject.folder / "disks" / name) for name in ("code", "vars", "vm.qcow2"))
    subject.machine.firmware = f"<loader>{loader}</loader><nvram>{nvram}</nvram>"
    made = subject.backup()
    assert _differences(subject, made) == ()
    moved = str(Path(shutil.move(disk, f"{disk}.moved")))
    subject.machine.disks["vda"] = moved
    subject.machine.firmware = f"<loader>{loader}.new</loader>"
    assert _differences(subject, made) == (
        f"loader: {loader}, which is {loader}.new now",
        f"nvram: {nvram}, which the domain of now does not have",
        f"disk vda: {disk}, which is {moved} now; it is written to {moved}",
    )
    del subject.world.machines[subject.machine.uuid]
    told = f"disk vda: {disk}, which the domain of now does not have; it is written to {disk}"
    assert told in _differences(subject, made)
    other = f"{subject.folder}/disks/other-vda.qcow2"
    assert _differences(subject, made, restore_as="other")[-1].endswith(f"it is written to {other}")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_link_that_qemus_user_put_in_place_of_the_nvram_leads_nowhere(subject: Guarded) -> None:
    """A guest that has taken QEMU over would have root read any file, and write over any."""
    theirs, precious = subject.folder / "nvram", subject.folder / "of-root"
    theirs.mkdir()
    precious.write_text("precious")
    nvram = theirs / "vm_VARS.fd"
    nvram.write_text("variables")
    subject.machine.firmware = f"<nvram>{nvram}</nvram>"
    made = subject.backup()
    assert subject.item("nvram") == b"variables"
    nvram.unlink()
    nvram.symlink_to(precious)
    for path in (theirs, nvram):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    with pytest.raises(UntrustedPathError):
        subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    assert precious.read_text() == "precious"
    cut = subject.do(Operation.SNAPSHOT, "two", full=True)
    with pytest.raises(UntrustedPathError):
        subject.do(Operation.COPY, "two", full=True, artifact=cut.artifact)


def _differences(subject: Guarded, made: Outcome, **inputs: Any) -> tuple[str, ...]:
    call = subject.call(
        Operation.APPLY, full=True, artifact=made.artifact, point=BackupName("one"), inputs=inputs
    )
    target = subject.provider().inspect_target(call, RecordingContext())
    assert target.problems == ()
    differences: tuple[str, ...] = target.differences
    return differences


@pytest.mark.parametrize("changed", ["frozen", "below"])
def test_a_snapshot_whose_files_somebody_wrote_to_is_refused_and_told(subject: Guarded, changed: str) -> None:
    """As virsh blockcommit does, to the frozen file itself or to what it is read through."""
    subject.do(Operation.SNAPSHOT, "one")
    subject.write("between")
    frozen = Path(subject.machine.disk)
    made = subject.do(Operation.SNAPSHOT, "two")
    subject.write("after")
    path = frozen if changed == "frozen" else Path(str(read_image(frozen)["backing"]))
    write_image(path, "of somebody else", read_image(path)["backing"])
    call = subject.call(Operation.APPLY, point=BackupName("two"), artifact=made.artifact)
    assert not subject.provider().verify(call, RecordingContext()).passed
    findings = subject.provider().doctor(call, RecordingContext())
    assert any("was changed since" in each.detail for each in findings if not each.passed)
    with pytest.raises(DamagedArtifactError, match="was changed since"):
        subject.do(Operation.APPLY, "two", artifact=made.artifact)
    assert subject.read() == "after"


def test_what_our_own_merges_change_is_no_change_of_somebody_elses(subject: Guarded) -> None:
    for point in ("one", "two", "three"):
        subject.write(point)
        subject.do(Operation.SNAPSHOT, point)
    subject.write("after")
    subject.do(Operation.DELETE, "two")
    subject.do(Operation.DELETE, "one")
    subject.do(Operation.APPLY, "three")
    assert subject.read() == "three"


def test_there_is_no_safety_point_of_a_domain_that_is_not_there(subject: Guarded) -> None:
    made = subject.backup()
    del subject.world.machines[subject.machine.uuid]
    safety = subject.do(Operation.SNAPSHOT, "safety", restoring=True)
    assert safety.consistency is Consistency.NONE
    assert "no domain" in safety.note
    with pytest.raises(ResourceNotFoundError):
        subject.do(Operation.SNAPSHOT, "backup")
    subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    (subject.machine,) = subject.world.machines.values()
    assert subject.read() == "before"


def test_restoring_as_another_domain_takes_no_snapshot_of_the_first(subject: Guarded) -> None:
    subject.do(Operation.SNAPSHOT, "safety", restoring=True, inputs={"restore_as": "other"})
    before = replace(subject.machine)
    subject.do(Operation.SNAPSHOT, "more", restoring=True, inputs={"libvirt_restore_as": "other"})
    assert (subject.machine.disks, subject.machine.config_metadata) == (before.disks, None)


@pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed")
def test_a_domain_whose_memory_is_saved_is_read_without_being_started(
    subject: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever is killed meanwhile leaves it as it was."""
    subject.machine.state, subject.machine.saved = "off", True

    def start(*_: object, **__: object) -> None:
        raise AssertionError("it was started")

    monkeypatch.setattr(FakeDomain, "start", start)
    subject.properties["backup_mode"] = "incremental"
    made = subject.backup()
    assert (subject.machine.state, subject.machine.saved) == ("off", True)
    subject.write("after")
    subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    assert subject.read() == "before"


@pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed")
def test_a_saved_domain_that_is_written_to_meanwhile_gives_no_backup(
    subject: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.machine.state, subject.machine.saved = "off", True
    cut = subject.do(Operation.SNAPSHOT, full=True)
    serve = qemu_img.serve

    def written(path: str, *arguments: Any) -> Any:
        server = serve(path, *arguments)
        subject.write("of somebody else")
        return server

    monkeypatch.setattr(qemu_img, "serve", written)
    with pytest.raises(NonRecoverableError, match="was started"):
        subject.do(Operation.COPY, full=True, artifact=cut.artifact)
