"""Stored disks put together, without a hypervisor: checked on the way, and only then in their places."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import signal
from pathlib import Path

import pytest
from tests.unit.fixed_keyring import FixedKeyring

from quiesce.archives import Archives, BackupKey, Compression, Manifest, StoredFile
from quiesce.errors import DamagedArtifactError, ProviderError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.providers.libvirt.disk.assembling import Assembly, DiskTarget
from quiesce.providers.libvirt.disk.qcow2 import CLUSTER
from quiesce.testing import RecordingContext

from .test_qcow2 import CLUSTERS, expected, read, write

LAYERS = ([1, 0, 2, 1] * (CLUSTERS // 4), [0, 1, 1, 0] * (CLUSTERS // 4), [2, 0, 0, 0] * (CLUSTERS // 4))
PLACE = BackupKey(deployment=DeploymentName("shop"), point=BackupName("one"), instance=InstanceId("vm_1"))


@pytest.fixture
def repository(tmp_path: Path) -> Archives:
    return Archives(tmp_path / "repository", FixedKeyring())


@pytest.fixture
def manifest(repository: Archives) -> Manifest:
    """A backup of a full copy and two increments."""
    return _stored(repository, Compression.NONE)


def _stored(repository: Archives, compression: Compression) -> Manifest:
    draft = repository.begin(PLACE, execution=ExecutionId("e1"), provider="libvirt")
    for number, marks in enumerate(LAYERS):
        name = f"vda.{number}.qcow2"
        write(draft.path(name), marks, tag=number)
        stored = draft.path(name).read_bytes()
        if compression is not Compression.NONE:
            draft.path(name).unlink()
            with draft.create(name, compression) as file:
                file.write(stored)
            continue
        sha256 = hashlib.sha256(stored).hexdigest()
        draft.enter(StoredFile(path=name, size_bytes=len(stored), sha256=sha256))
    return draft.complete(function="f", consistency=Consistency.CRASH)


def target(tmp_path: Path, image_format: str, size_bytes: int = CLUSTERS * CLUSTER) -> DiskTarget:
    return DiskTarget(
        name="vda",
        path=tmp_path / "disk",
        format=image_format,
        size_bytes=size_bytes,
        layers=tuple(f"vda.{number}.qcow2" for number in range(len(LAYERS))),
    )


def put_together(repository: Archives, manifest: Manifest, disk: DiskTarget) -> None:
    assembly = Assembly(repository, manifest, [disk], "key", RecordingContext())
    with assembly.prepared():
        assembly.put()


def test_a_chain_becomes_one_qcow2_image(repository: Archives, manifest: Manifest, tmp_path: Path) -> None:
    disk = target(tmp_path, "qcow2")
    put_together(repository, manifest, disk)
    assert read([disk.path]) == expected(*LAYERS)


@pytest.mark.parametrize("missing", [0, 512, CLUSTER - 512, 3 * CLUSTER])
def test_a_chain_becomes_a_raw_disk_of_any_size(
    repository: Archives, manifest: Manifest, tmp_path: Path, missing: int
) -> None:
    disk = target(tmp_path, "raw", CLUSTERS * CLUSTER - missing)
    put_together(repository, manifest, disk)
    assert disk.path.read_bytes() == expected(*LAYERS)[: disk.size_bytes]


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_a_flipped_byte_anywhere_is_found_before_anything_is_replaced(
    repository: Archives, manifest: Manifest, tmp_path: Path, number: int
) -> None:
    disk = target(tmp_path, "qcow2")
    disk.path.write_text("old")
    stored = repository.path(manifest, f"vda.{number}.qcow2")
    good = stored.read_bytes()
    said = [position for position, byte in enumerate(good[: 8 * CLUSTER]) if byte]
    chosen = random.Random(number)
    anywhere = [chosen.randrange(len(good)) for _ in range(20)]
    for position in (*range(104), *chosen.sample(said, min(20, len(said))), *anywhere):
        flipped = bytearray(good)
        flipped[position] ^= 1 << chosen.randrange(8)
        stored.write_bytes(flipped)
        with pytest.raises(DamagedArtifactError):
            put_together(repository, manifest, disk)
    stored.write_bytes(good[:-1])
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
    repository: Archives, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = target(tmp_path, "raw", CLUSTERS * CLUSTER - 512)
    _as_device(disk, monkeypatch)
    put_together(repository, manifest, disk)
    assert disk.path.read_bytes() == expected(*LAYERS)[: disk.size_bytes]


def test_a_device_that_takes_less_than_it_is_given_fails_the_restore(
    repository: Archives, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.GZIP])
def test_a_restore_that_is_killed_half_way_leaves_nothing_of_its_copy(
    repository: Archives, tmp_path: Path, compression: Compression
) -> None:
    """A cancelled one that does not come to an end in time ends like this, too, with its process."""
    manifest = _stored(repository, compression)
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "repository"]
    assert disk.path.read_text() == "old"


def test_a_restore_that_nobody_waits_for_leaves_nothing_of_its_copy(
    repository: Archives, manifest: Manifest, tmp_path: Path
) -> None:
    disk = target(tmp_path, "raw")
    context = RecordingContext()
    context.give_up()
    with (
        pytest.raises(ProviderError, match="given up"),
        Assembly(repository, manifest, [disk], "key", context).prepared(),
    ):
        pytest.fail("it was put together all the same")
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
