"""`quiesce doctor` on real domains: what would fail a backup is found beforehand, each with its remedy."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quiesce.model.operation import Operation
from quiesce.ports import Finding
from quiesce.testing import RecordingContext

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}


@pytest.fixture(scope="module")
def patient(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    return make_guest("patient")


@pytest.fixture
def guest(patient: lab.Guest) -> lab.Guest:
    if not patient.is_fresh():
        patient.boot()
        patient.wait_for_writer(3)
    return patient


@pytest.fixture
def bench(guest: lab.Guest, tmp_path: Path) -> Bench:
    return Bench(guest, tmp_path)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk with hardly any room."""
    path = lab.FOLDER / "tiny"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def _failed(bench: Bench) -> dict[str, Finding]:
    """Return the checks that did not pass, by name; each says what to do."""
    provider = bench.provider()
    try:
        findings = provider.doctor(bench.call(Operation.SNAPSHOT, full=True), RecordingContext())
    finally:
        provider.close()
    failed = {finding.check: finding for finding in findings if not finding.passed}
    assert all(finding.remedy for finding in failed.values())
    return failed


def test_nothing_is_wrong_with_a_sound_domain(bench: Bench) -> None:
    assert _failed(bench) == {}


def test_an_agent_that_is_not_there_or_hangs(guest: lab.Guest, tmp_path: Path) -> None:
    guest.start_shell("killall -STOP qemu-ga; sleep 12; killall -CONT qemu-ga")
    lab.wait(lambda: "agent" in _failed(Bench(guest, tmp_path)))
    guest.define(agent=False)
    assert "channel" in _failed(Bench(guest, tmp_path))["agent"].detail


def test_file_systems_that_are_frozen(bench: Bench) -> None:
    bench.do(Operation.FREEZE)
    assert "domfsthaw" in _failed(bench)["frozen"].remedy
    bench.do(Operation.THAW)
    assert _failed(bench) == {}


def test_a_job_that_runs_already(bench: Bench) -> None:
    cut = bench.do(Operation.SNAPSHOT, full=True)
    assert "domjobabort" in _failed(bench)["job"].remedy
    bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    assert _failed(bench) == {}


def test_checkpoints_of_others(bench: Bench) -> None:
    bench.guest.domain.checkpointCreateXML("<domaincheckpoint><name>theirs</name></domaincheckpoint>", 0)
    assert "theirs" in _failed(bench)["checkpoints"].detail
    bench.guest.domain.checkpointLookupByName("theirs").delete()
    assert _failed(bench) == {}


def test_checkpoints_whose_bitmaps_were_lost(bench: Bench) -> None:
    bench.backup(**INCREMENTAL)
    pid = int((lab.FOLDER / f"r/libvirt/qemu/run/{bench.guest.name}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    lab.wait(lambda: bench.guest.domain.state()[0] == 5)
    assert f"{bench.instance}-one" in _failed(bench)["bitmaps"].detail


def test_disks_that_keep_no_bitmaps(guest: lab.Guest, tmp_path: Path) -> None:
    guest.define(disk_format="qcow2-0.10")
    assert "amend" in _failed(Bench(guest, tmp_path))["disk vda"].remedy
    guest.define(disk_format="raw")
    assert "qcow2" in _failed(Bench(guest, tmp_path))["disk vda"].remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_too_little_room(guest: lab.Guest, tmp_path: Path, small_disk: Path) -> None:
    bench = Bench(guest, tmp_path, scratch_dir=str(small_disk))
    bench.repository = small_disk / "repository"
    assert {"repository", "scratch"} <= set(_failed(bench))
