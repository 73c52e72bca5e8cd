"""Stored disks put together, without a hypervisor: checked on the way, and only then in their places."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
from pathlib import Path

import pytest
from tests.repository_objects import packs
from tests.unit.fixed_keyring import a_home

from quiesce.backups import BackupKey, Backups, Manifest
from quiesce.errors import DamagedArtifactError, ProviderError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.providers.libvirt.disk.assembling import Assembly, DiskTarget
from quiesce.testing import RecordingContext

from .images import disk_of

MIB = 1 << 20
SIZE = 6 * MIB
PLACE = BackupKey(deployment=DeploymentName("shop"), point=BackupName("one"), instance=InstanceId("vm_1"))


def disk_content(size_bytes: int = SIZE) -> bytes:
    """A disk with data in its second, fourth and last MiB."""
    chosen, disk = random.Random(1), bytearray(size_bytes)
    for begin in (MIB, 3 * MIB + 4096, size_bytes - 1000):
        disk[begin : begin + 900] = chosen.randbytes(900)
    return bytes(disk)


@pytest.fixture
def repository(tmp_path: Path) -> Backups:
    return Backups(str(tmp_path / "repository"), a_home(tmp_path / "drafts"))


@pytest.fixture
def manifest(repository: Backups) -> Manifest:
    return stored(repository, SIZE)


def stored(repository: Backups, size_bytes: int) -> Manifest:
    """Return a backup of a disk of that size, and of a definition."""
    content = disk_content(size_bytes)
    draft = repository.begin(PLACE, execution=ExecutionId("e1"), provider="libvirt")
    draft.store_disk("vda", size_bytes, lambda at, length: content[at : at + length], data=[(0, size_bytes)])
    with draft.create("domain.xml") as out:
        out.write(b"<domain/>")
    return draft.complete(function="f", consistency=Consistency.CRASH)


def target(tmp_path: Path, image_format: str, size_bytes: int = SIZE) -> DiskTarget:
    return DiskTarget(
        name="vda", path=tmp_path / "disk", format=image_format, size_bytes=size_bytes, item="vda"
    )


def put_together(repository: Backups, manifest: Manifest, disk: DiskTarget) -> None:
    assembly = Assembly(repository, manifest, [disk], "key", RecordingContext())
    with assembly.prepared():
        assembly.put()


def test_a_disk_becomes_a_qcow2_image(repository: Backups, manifest: Manifest, tmp_path: Path) -> None:
    disk = target(tmp_path, "qcow2")
    put_together(repository, manifest, disk)
    assert disk_of(disk.path, SIZE) == disk_content()
    assert disk.path.stat().st_size < 5 * MIB, "zeros are not in it"


@pytest.mark.parametrize("missing", [0, 512, MIB - 512])
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_disk_of_any_size_comes_back(
    repository: Backups, tmp_path: Path, image_format: str, missing: int
) -> None:
    size_bytes = SIZE - missing
    manifest = stored(repository, size_bytes)
    disk = target(tmp_path, image_format, size_bytes)
    put_together(repository, manifest, disk)
    found = disk_of(disk.path, size_bytes) if image_format == "qcow2" else disk.path.read_bytes()
    assert found == disk_content(size_bytes)


@pytest.mark.parametrize("number", range(8))
def test_a_flipped_byte_anywhere_is_found_before_anything_is_replaced(
    repository: Backups, manifest: Manifest, tmp_path: Path, number: int
) -> None:
    disk = target(tmp_path, "qcow2")
    disk.path.write_text("old")
    chosen = random.Random(number)
    path = chosen.choice(packs(tmp_path / "repository"))
    good = path.read_bytes()
    # what follows the blobs is only read where no index tells what is in the pack
    for position in chosen.sample(range(max(24, len(good) // 4)), 10):
        flipped = bytearray(good)
        flipped[position] ^= 1 << chosen.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(DamagedArtifactError):
            put_together(repository, manifest, disk)
    path.write_bytes(b"")
    with pytest.raises(DamagedArtifactError):
        put_together(repository, manifest, disk)
    assert disk.path.read_text() == "old"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def _as_device(disk: DiskTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file be written in place, as a block device is."""
    disk.path.write_bytes(b"old" * (disk.size_bytes // 3 + 1))
    os.truncate(disk.path, disk.size_bytes)
    monkeypatch.setattr(DiskTarget, "is_device", property(lambda _: True))


def test_a_device_is_written_from_its_first_byte_to_its_last(
    repository: Backups, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = target(tmp_path, "raw")
    _as_device(disk, monkeypatch)
    put_together(repository, manifest, disk)
    assert disk.path.read_bytes() == disk_content()


def test_a_device_that_takes_less_than_it_is_given_fails_the_restore(
    repository: Backups, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may take a part of a write and say so; the rest must not be lost without a word."""
    disk = target(tmp_path, "raw")
    _as_device(disk, monkeypatch)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assembly = Assembly(repository, manifest, [disk], "key", RecordingContext())
    with assembly.prepared():
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk.size_bytes - 512, hard))
        try:
            with pytest.raises(ProviderError, match="too large"):
                assembly.put()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_restore_that_is_killed_half_way_leaves_nothing_of_its_copy(
    repository: Backups, manifest: Manifest, tmp_path: Path
) -> None:
    """A cancelled one that does not come to an end in time ends like this, too, with its process."""
    disk = target(tmp_path, "qcow2")
    disk.path.write_text("old")
    child = os.fork()
    if child == 0:
        context = RecordingContext()
        calls = iter(range(2))
        context.progress = lambda *_: next(calls, None) is None and os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign, func-returns-value]
        with (
            contextlib.suppress(BaseException),
            Assembly(repository, manifest, [disk], "key", context).prepared(),
        ):
            pass
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "drafts", "repository"]
    assert disk.path.read_text() == "old"


def test_a_restore_that_nobody_waits_for_leaves_nothing_of_its_copy(
    repository: Backups, manifest: Manifest, tmp_path: Path
) -> None:
    disk = target(tmp_path, "raw")
    context = RecordingContext()
    context.give_up()
    with (
        pytest.raises(ProviderError, match="given up"),
        Assembly(repository, manifest, [disk], "key", context).prepared(),
    ):
        pytest.fail("it was put together all the same")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drafts", "repository"]
