"""What is kept of a domain, and what is believed when it comes back (docs/security.md)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    ResourceNotFoundError,
    UntrustedPathError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.testing import RecordingContext

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.disk import qemu_img

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

    def stored(self) -> list[Path]:
        return sorted((self.folder / "repository" / "contract" / "one" / self.instance).iterdir())


@pytest.fixture
def subject(made: Callable[..., Any]) -> Guarded:
    subject: Guarded = made(Guarded)
    subject.write("before")
    return subject


def test_no_password_of_a_display_lies_in_the_repository_and_it_comes_back(subject: Guarded) -> None:
    subject.machine.password = "xyzzy-77"
    made = subject.backup()
    assert [path.name for path in subject.stored() if b"xyzzy-77" in path.read_bytes()] == []
    subject.machine.password = "changed"
    subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    assert subject.machine.password == "xyzzy-77"


def test_a_lost_key_costs_the_password_and_never_the_lock(subject: Guarded) -> None:
    subject.machine.password = "xyzzy-77"
    made = subject.backup()
    (subject.folder / "keys").unlink()
    del subject.world.machines[subject.machine.uuid]
    subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    (restored,) = subject.world.machines.values()
    assert restored.password not in {None, "xyzzy-77"}
    assert any("passwords" in told for _, told in subject.context.lines)


def test_a_definition_that_somebody_else_wrote_is_not_defined(subject: Guarded) -> None:
    """With all checksums made to agree, as whoever can write to the repository would."""
    made = subject.backup()
    evil = subject.folder / "of-root"
    write_image(evil, "precious")
    manifest = next(path for path in subject.stored() if path.name == "manifest.json")
    definition = next(path for path in subject.stored() if path.name == "domain.xml")
    definition.write_text(definition.read_text().replace(subject.machine.disk, str(evil)))
    _agree(manifest, definition)
    with pytest.raises(DamagedArtifactError):
        subject.do(Operation.APPLY, full=True, artifact=made.artifact)
    with pytest.raises(DamagedArtifactError):
        subject.do(Operation.APPLY, full=True, artifact=None)
    assert token_of(evil) == "precious"


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
    assert next(path for path in subject.stored() if path.name == "nvram").read_text() == "variables"
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


def _agree(manifest: Path, changed: Path) -> None:
    import hashlib

    body = json.loads(manifest.read_bytes())
    code = body.pop("code", None)
    del body["checksum"]
    size, digest = changed.stat().st_size, hashlib.sha256(changed.read_bytes()).hexdigest()
    for file in (*body["files"], *body["content"]["files"]):
        if file["path"] == changed.name:
            file |= {"size_bytes": size, "sha256": digest}
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True, indent=1).encode()).hexdigest()
    manifest.write_text(json.dumps({**body, "checksum": checksum, "code": code}))


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
