"""What libvirt and QEMU do to who trusts them: each trap, sprung on purpose, costs nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.repository_objects import points

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    StorageFullError,
    UnsupportedError,
)
from quiesce.model.ids import BackupName
from quiesce.model.operation import Operation
from quiesce.providers.libvirt.domain.domain_xml import read_definition
from quiesce.testing import RecordingContext

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture(scope="module")
def trapped(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    return make_guest("trap")


@pytest.fixture
def guest(trapped: lab.Guest) -> lab.Guest:
    if not trapped.is_fresh():
        trapped.boot()
        trapped.wait_for_writer(5)
    return trapped


@pytest.fixture
def bench(guest: lab.Guest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(guest, tmp_path)
    yield made
    _clear(made)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is soon full."""
    path = lab.FOLDER / "small"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def _clear(bench: Bench) -> None:
    for point in ("one", "two", "three"):
        with contextlib.suppress(ProviderError):
            bench.remove(point)
            bench.do(Operation.DELETE, point)


def _stop_agent(guest: lab.Guest, for_s: int) -> None:
    guest.start_shell(f"killall -STOP qemu-ga; sleep {for_s}; killall -CONT qemu-ga")
    time.sleep(0.5)


def _last_line(bench: Bench, point: str = "one") -> lab.LogCheck:
    return bench.check(point)


# -- freezing ---------------------------------------------------------------------------------------------


def test_a_hung_agent_cannot_freeze_and_holds_nobody_up(bench: Bench) -> None:
    _stop_agent(bench.guest, 9)
    with pytest.raises(CannotFreezeError):
        bench.do(Operation.FREEZE)
    bench.do(Operation.THAW)
    assert not bench.guest.frozen()
    bench.guest.wait_for_writer(5)


def test_a_freeze_that_happens_after_its_time_out_is_thawed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quiesce.providers.libvirt.client import Domain

    ask = Domain.agent

    def ask_a_stuck_agent(domain: Any, command: str, *args: Any, limit_s: float) -> Any:
        if command == "guest-fsfreeze-freeze":
            _stop_agent(bench.guest, 7)
            limit_s = 1.0
        return ask(domain, command, *args, limit_s=limit_s)

    monkeypatch.setattr(Domain, "agent", ask_a_stuck_agent)
    with pytest.raises(OperationTimeoutError):
        bench.do(Operation.FREEZE)
    bench.do(Operation.THAW)
    time.sleep(1.0)
    assert not bench.guest.frozen()
    bench.guest.wait_for_writer(5)


def test_a_mount_point_that_is_not_there_is_noticed(guest: lab.Guest, tmp_path: Path) -> None:
    for mountpoints in (["/nope"], ["/data", "/nope"]):
        bench = Bench(guest, tmp_path, mountpoints=mountpoints)
        with pytest.raises(CannotFreezeError, match="/nope"):
            bench.do(Operation.FREEZE)
        assert not guest.frozen()
    bench = Bench(guest, tmp_path, mountpoints=["/data"])
    bench.do(Operation.FREEZE)
    assert guest.writer_stands()
    bench.do(Operation.THAW)
    guest.wait_for_writer(5)


def test_without_an_agent_nothing_is_frozen_and_that_is_said(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    silent = make_guest("silent")
    for options in ({"agent": False}, {"arguments": "agent=0"}):
        silent.boot(**options)
        silent.wait_for_writer(3)
        with pytest.raises(CannotFreezeError):
            Bench(silent, tmp_path).do(Operation.FREEZE)
        Bench(silent, tmp_path).do(Operation.THAW)
        silent.wait_for_writer(3)
    silent.forget()


# -- jobs -------------------------------------------------------------------------------------------------


def test_a_failed_backup_leaves_no_checkpoint_that_a_later_one_would_build_on(bench: Bench) -> None:
    bench.do(Operation.SNAPSHOT, full=True, **INCREMENTAL)
    bench.guest.domain.abortJob()
    with pytest.raises(NonRecoverableError):
        bench.do(Operation.COPY, full=True, **INCREMENTAL)
    second = bench.backup("two", **INCREMENTAL).artifact
    assert second is not None
    assert second["parent"] is None
    bench.remove(undo=True)
    assert bench.guest.checkpoints() == [f"{bench.instance}-two"]
    assert bench.leftovers() == []


def test_a_second_job_is_refused_at_once_and_the_first_goes_on(bench: Bench, tmp_path: Path) -> None:
    theirs = bench.scratch / "theirs"
    bench.guest.domain.backupBegin(
        f"<domainbackup mode='pull'><server transport='unix' socket='{bench.scratch}/their.sock'/><disks>"
        f"<disk name='vda' backup='yes' type='file'><scratch file='{theirs}'/></disk></disks></domainbackup>",
        None,
        0,
    )
    try:
        for changes in ({"full": True}, {"full": False}):
            with pytest.raises(RecoverableError):
                bench.do(Operation.SNAPSHOT, **changes)
            bench.do(Operation.DELETE, undo=True, **changes)
        assert bench.guest.job_runs()
        assert theirs.exists()
    finally:
        bench.guest.domain.abortJob()


def test_a_client_killed_in_the_middle_leaves_a_job_that_is_cleared_away(bench: Bench) -> None:
    _run_and_kill(bench, after="cut")
    assert bench.guest.job_runs()
    assert bench.leftovers() != []
    bench.remove(undo=True)
    assert not bench.guest.job_runs()
    assert bench.leftovers() == []
    assert bench.guest.checkpoints() == []
    bench.backup()
    assert _last_line(bench).gaps == 0


def test_a_killed_libvirtd_leaves_a_frozen_guest_that_is_thawed_and_a_job_that_is_finished(
    bench: Bench,
) -> None:
    bench.do(Operation.FREEZE)
    cut = bench.do(Operation.SNAPSHOT, full=True)
    os.kill(lab.daemon_pid(), signal.SIGKILL)
    with pytest.raises(RecoverableError):
        bench.do(Operation.THAW, timeout_s=1.0)
    lab.restart_daemon()
    bench.guest.reconnect()
    bench.do(Operation.THAW)
    bench.guest.wait_for_writer(5)
    bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    assert _last_line(bench).clean
    assert not bench.guest.job_runs()


# -- disks that are full ----------------------------------------------------------------------------------


@needs_root
def test_a_full_scratch_disk_ends_the_copy_and_the_guest_goes_on(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
    small_disk: Path,
) -> None:
    guest = make_guest("full")
    guest.boot(base=lab.make_disk("128", 128, 48))
    bench = Bench(guest, tmp_path, scratch_dir=str(small_disk))
    cut = bench.do(Operation.SNAPSHOT, full=True)
    guest.start_shell("dd if=/dev/urandom of=/data/random.bin bs=1M count=40 conv=notrunc,fsync")
    lab.wait(lambda: guest.domain.state()[0] == 3)
    with pytest.raises(RecoverableError, match="scratch"):
        bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    bench.remove(undo=True)
    assert guest.domain.state()[0] == 1
    guest.wait_for_writer(5)
    assert list(small_disk.iterdir()) == []
    guest.forget()


@needs_root
def test_a_full_repository_fails_the_copy_and_leaves_nothing(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
    small_disk: Path,
) -> None:
    guest = make_guest("full")
    guest.boot(base=lab.make_disk("128", 128, 48))
    bench = Bench(guest, tmp_path)
    bench.repository = small_disk / "repository"
    cut = bench.do(Operation.SNAPSHOT, full=True, **INCREMENTAL)
    with pytest.raises(StorageFullError, match="space"):
        bench.do(Operation.COPY, full=True, artifact=cut.artifact, **INCREMENTAL)
    bench.remove(undo=True)
    assert not guest.job_runs()
    assert guest.checkpoints() == []
    assert bench.leftovers() == []
    assert points(bench.repository) == []
    guest.wait_for_writer(5)
    guest.forget()


# -- bitmaps and images -----------------------------------------------------------------------------------


def test_an_internal_snapshot_is_applied_though_there_are_bitmaps(guest: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(guest, tmp_path, snapshot_kind="internal", backup_mode="incremental")
    bench.backup("two")
    guest.shell("echo before >/data/token; sync")
    bench.do(Operation.SNAPSHOT)
    guest.shell("echo after >/data/token; sync")
    bench.do(Operation.APPLY)
    assert guest.domain.state()[0] == 1
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "before"
    third = bench.backup("three").artifact
    assert third is not None
    assert third["parent"] is None
    _clear(bench)


def test_somebody_elses_checkpoint_stops_a_revert_before_it_stops_the_guest(
    guest: lab.Guest, tmp_path: Path
) -> None:
    bench = Bench(guest, tmp_path, snapshot_kind="internal")
    bench.do(Operation.SNAPSHOT)
    guest.domain.checkpointCreateXML("<domaincheckpoint><name>theirs</name></domaincheckpoint>", 0)
    with pytest.raises(UnsupportedError, match="theirs"):
        bench.do(Operation.APPLY)
    assert guest.domain.state()[0] == 1
    assert guest.checkpoints() == ["theirs"]
    guest.domain.checkpointLookupByName("theirs").delete()
    _clear(bench)


def test_stale_checkpoints_make_the_next_backup_a_full_one(bench: Bench) -> None:
    bench.backup("one", **INCREMENTAL)
    pid = int((lab.FOLDER / f"r/libvirt/qemu/run/{bench.guest.name}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    lab.wait(lambda: bench.guest.domain.state()[0] == 5)
    bench.guest.start()
    outcome = bench.backup("two", **INCREMENTAL)
    assert outcome.artifact is not None
    assert outcome.artifact["parent"] is None
    bench.restore("two")
    bench.guest.wait_for_agent()
    third = bench.backup("three", **INCREMENTAL).artifact
    assert third is not None
    assert third["parent"] is None


def test_an_old_qcow2_is_backed_up_in_full(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    old = make_guest("old")
    for disk_format in ("qcow2-0.10", "raw"):
        old.boot(disk_format=disk_format)
        bench = Bench(old, tmp_path / disk_format)
        outcome = bench.backup(**INCREMENTAL)
        assert outcome.artifact is not None
        assert outcome.artifact["checkpoint"] is None
        old.shell("echo lost >/data/token; sync")
        bench.restore()
        old.wait_for_agent()
        assert old.shell("cat /data/token 2>/dev/null") == ""
        bench.remove()
    old.forget()


def test_a_volume_under_a_running_domain_is_left_alone(guest: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(guest, tmp_path, resource_id=str(guest.disk()))
    bench.node_type = "quiesce.nodes.libvirt.Volume"
    pool = guest.connection.storagePoolDefineXML(
        f"<pool type='dir'><name>trap</name><target><path>{guest.disk().parent}</path></target></pool>", 0
    )
    pool.create(0)
    try:
        for full in (False, True):
            with pytest.raises(UnsupportedError, match=guest.name):
                bench.do(Operation.SNAPSHOT, full=full)
        guest.wait_for_writer(5)
    finally:
        pool.destroy()
        pool.undefine()


# -- helpers ----------------------------------------------------------------------------------------------


def _run_and_kill(bench: Bench, *, after: str) -> None:
    """Let another process begin a backup, and kill it."""
    script = Path(__file__).parents[1] / "labs" / "libvirt" / "child.py"
    command = [
        sys.executable,
        script,
        bench.guest.name,
        bench.guest.uri,
        bench.repository,
        bench.scratch,
        after,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == after
        child.kill()


def test_a_snapshot_below_which_somebody_merged_is_refused_and_told(bench: Bench) -> None:
    guest = bench.guest
    made = {}
    for point in ("s1", "s2"):
        guest.shell(f"echo {point} >/data/token; sync")
        made[point] = bench.do(Operation.SNAPSHOT, point).artifact
    guest.shell("echo now >/data/token; sync")
    merge = [
        "virsh",
        "-q",
        "-c",
        guest.uri,
        "blockcommit",
        guest.name,
        "vda",
        "--active",
        "--pivot",
        "--wait",
    ]
    subprocess.run(merge, check=True, capture_output=True)
    with pytest.raises(ProviderError):
        bench.do(Operation.APPLY, "s2", artifact=made["s2"])
    assert guest.shell("cat /data/token").strip() == "now"
    call = bench.call(Operation.APPLY, point=BackupName("s2"), artifact=made["s2"])
    assert not bench.provider().verify(call, RecordingContext()).passed
    findings = bench.provider().doctor(call, RecordingContext())
    assert any("was changed since" in finding.detail for finding in findings if not finding.passed)


def test_a_snapshot_that_nobody_touched_is_restored_after_our_own_merges(bench: Bench) -> None:
    guest = bench.guest
    for point in ("s1", "s2", "s3"):
        guest.shell(f"echo {point} >/data/token; sync")
        bench.do(Operation.SNAPSHOT, point)
    guest.shell("echo now >/data/token; sync")
    for gone in ("s2", "s1"):
        bench.do(Operation.DELETE, gone)
    bench.do(Operation.APPLY, "s3")
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "s3"
    bench.do(Operation.DELETE, "s3")


def test_the_header_of_an_image_in_a_raw_disk_is_data(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    """A guest writes what looks like a qcow2 image that is read through a file of the host."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"of the host" + bytes(1 << 20))
    header = tmp_path / "header"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, header]
    subprocess.run(command, check=True)
    guest = make_guest("rawguest")
    guest.define(disk_format="raw")
    with guest.disk().open("r+b") as disk:
        disk.write(header.read_bytes()[: 1 << 16])
    bench = Bench(guest, tmp_path)
    bench.do(Operation.SNAPSHOT, "s1")
    bench.do(Operation.APPLY, "s1")
    overlay = read_definition(guest.domain.XMLDesc(0)).disks[0].path
    told = subprocess.run(
        ["qemu-img", "info", "-f", "qcow2", "-U", overlay], check=True, capture_output=True, text=True
    ).stdout
    assert "backing file format: raw" in told
    findings = bench.provider().doctor(bench.call(Operation.SNAPSHOT), RecordingContext())
    assert not any(str(secret) in finding.detail for finding in findings)
    bench.do(Operation.DELETE, "s1")
    assert b"of the host" not in guest.disk().read_bytes()
    guest.forget()


@pytest.mark.parametrize("disk_format", ["qcow2", "raw"])
def test_a_restored_domain_has_its_first_file_again_and_nothing_stays_behind(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
    disk_format: str,
) -> None:
    guest = make_guest("firstfile")
    guest.boot(disk_format=disk_format)
    bench = Bench(guest, tmp_path)
    first, files = str(guest.disk()), _beside(guest)
    guest.shell("echo saved >/data/token; sync")
    bench.backup("saved")
    for turn in ("s1", "s2"):
        guest.shell(f"echo {turn} >/data/token; sync")
        bench.do(Operation.SNAPSHOT, turn)
        bench.restore("saved")
        guest.wait_for_agent()
        assert guest.shell("cat /data/token").strip() == "saved"
        (disk,) = (one for one in read_definition(guest.domain.XMLDesc(0)).disks if one.target == "vda")
        assert (disk.path, disk.format) == (first, disk_format)
        subprocess.run(["qemu-img", "info", "-U", "-f", disk_format, first], check=True, capture_output=True)
    bench.do(Operation.APPLY, "s1")
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "s1"
    bench.restore("saved")
    guest.wait_for_agent()
    for turn in ("s2", "s1"):
        assert bench.do(Operation.DELETE, turn).note == ""
    assert guest.shell("cat /data/token").strip() == "saved"
    assert _beside(guest) == files
    bench.remove("saved")
    guest.forget()


def _beside(guest: lab.Guest) -> set[str]:
    """Return the guest's files that lie where its disk does."""
    return {
        path.name for path in guest.disk().parent.iterdir() if path.name.lstrip(".").startswith(guest.name)
    }
