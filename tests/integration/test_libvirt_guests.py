"""Real guests that write all the while: what a backup of them is worth, and what it costs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.repository_objects import packs, points, spoil

from quiesce.errors import DamagedArtifactError, ForeignObjectError, ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}


@pytest.fixture(scope="module")
def three(make_guest: Callable[[str], lab.Guest]) -> list[lab.Guest]:  # noqa: F811
    return [make_guest(f"three{number}") for number in range(3)]


@pytest.fixture
def guest(three: list[lab.Guest]) -> lab.Guest:
    if not three[0].is_fresh():
        three[0].boot()
        three[0].wait_for_writer(5)
    return three[0]


@pytest.fixture
def bench(guest: lab.Guest, tmp_path: Path) -> Bench:
    return Bench(guest, tmp_path)


def test_the_writers_log_is_unbroken_up_to_the_cut_and_nothing_is_to_be_replayed(bench: Bench) -> None:
    guest = bench.guest
    before = guest.written()
    bench.backup()
    told = guest.written()
    stored = bench.check()
    assert stored.clean
    assert (stored.broken, stored.gaps) == (0, 0)
    assert before <= stored.last <= told + 10
    guest.wait_for_writer(20)
    bench.restore()
    guest.wait_for_agent()
    guest.wait_for_writer(10)
    assert f"WRITER start after {stored.last}" in guest.said()
    guest.destroy()
    restored = lab.check_log(guest.disk())
    assert (restored.broken, restored.gaps) == (0, 0)
    assert restored.last > stored.last
    bench.remove()


def test_without_a_freeze_the_journal_is_replayed_and_the_log_is_still_unbroken(bench: Bench) -> None:
    bench.backup(freeze=False)
    stored = bench.check()
    assert stored.replayed
    assert (stored.broken, stored.gaps) == (0, 0)
    bench.remove()


def test_an_increment_holds_what_changed_and_its_chain_brings_it_back(bench: Bench) -> None:
    guest = bench.guest
    sizes = []
    for point in ("full", "first", "second", "third"):
        guest.shell(f"dd if=/dev/urandom of=/data/{point} bs=64k count=16 conv=fsync; sync")
        bench.backup(point, **INCREMENTAL)
        sizes.append(sum(path.stat().st_size for path in packs(bench.repository)))
    sums = guest.shell("cd /data; sha256sum full first second")
    assert sizes[-1] - sizes[-2] < 4 << 20, "an increment stores what has changed"
    for point in ("full", "first"):
        bench.remove(point)
    bench.restore("second")
    guest.wait_for_agent()
    assert guest.shell("cd /data; sha256sum full first second") == sums
    assert "third" not in guest.shell("ls /data")
    for point in ("second", "third"):
        bench.remove(point)
    assert guest.checkpoints() == []


def test_compressed_backups_come_back(guest: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(guest, tmp_path, compress=True)
    guest.shell("echo kept >/data/token; sync")
    for point in ("full", "more"):
        bench.backup(point, **INCREMENTAL)
    guest.shell("echo lost >/data/token; sync")
    bench.restore("more")
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "kept"
    for point in ("full", "more"):
        bench.remove(point)


def test_two_disks_are_cut_at_one_instant(guest: lab.Guest, tmp_path: Path) -> None:
    guest.boot(disks=2)
    prepare = "killall writer; umount /data2; mke2fs -q -F /dev/vdb && mount /dev/vdb /data2 && echo ready"
    assert guest.shell(prepare).endswith("ready\n")
    bench = Bench(guest, tmp_path)
    # appended, not replaced: a file that is emptied and then written could be cut in between
    both = "for each in /data /data2; do echo $n >>$each/n; sync; done"
    guest.start_shell(f"n=0; while :; do n=$((n+1)); {both}; done")
    lab.wait(lambda: len(_counted(guest, "data2")) > 10)
    bench.backup()
    at_cut = len(_counted(guest, "data2"))
    lab.wait(lambda: len(_counted(guest, "data2")) > at_cut + 10)
    guest.destroy()
    bench.restore()
    guest.wait_for_agent()
    first, second = _counted(guest, "data"), _counted(guest, "data2")
    assert [first, second] == [[*range(1, len(first) + 1)], [*range(1, len(second) + 1)]]
    assert len(first) - len(second) in (0, 1)
    assert 10 < len(second) <= at_cut
    bench.remove()
    guest.forget()


def _counted(guest: lab.Guest, where: str) -> list[int]:
    """Return the numbers that the guest has written there, one a line."""
    return [int(line) for line in guest.shell(f"cat /{where}/n").splitlines()]


def test_a_restore_under_another_name_leaves_the_first_alone(
    bench: Bench,
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
) -> None:
    other = make_guest("restored")
    other.forget()
    bench.guest.shell("echo one >/data/token; sync")
    bench.backup()
    bench.guest.shell("echo two >/data/token; sync")
    for _ in range(2):
        bench.restore(inputs={"restore_as": "restored"})
    assert bench.guest.shell("cat /data/token").strip() == "two"
    other.wait_for_agent()
    assert other.shell("cat /data/token").strip() == "one"
    with pytest.raises(ForeignObjectError):
        bench.restore(inputs={"restore_as": bench.guest.name})
    other.forget()
    bench.remove()


def test_a_domain_that_is_gone_comes_back(bench: Bench) -> None:
    bench.guest.shell("echo kept >/data/token; sync")
    bench.guest.domain.setAutostart(1)
    bench.backup()
    bench.guest.forget()
    bench.restore()
    bench.guest.wait_for_agent()
    assert bench.guest.shell("cat /data/token").strip() == "kept"
    assert bench.guest.domain.autostart()
    bench.remove()


def test_a_domain_that_is_off_is_read_and_stays_off(bench: Bench) -> None:
    guest = bench.guest
    guest.shell("echo kept >/data/token; sync")
    guest.agent("guest-sync", id=1)
    guest.domain.shutdownFlags(0)
    lab.wait(lambda: not guest.domain.isActive())
    frozen = bench.do(Operation.FREEZE)
    assert frozen.consistency is Consistency.FILESYSTEM
    for point in ("one", "two"):
        bench.backup(point, **INCREMENTAL)
        assert not guest.domain.isActive()
    bench.do(Operation.SNAPSHOT, "three")
    assert not guest.domain.isActive()
    guest.start()
    guest.shell("echo lost >/data/token; sync")
    bench.do(Operation.APPLY, "three")
    assert not guest.domain.isActive()
    bench.do(Operation.DELETE, "three")
    guest.start()
    assert guest.shell("cat /data/token").strip() == "kept"
    bench.restore("two")
    assert not guest.domain.isActive()
    for point in ("one", "two"):
        bench.remove(point)
    guest.forget()


def test_a_paused_domain_and_a_saved_one_are_read_and_stay_as_they_are(bench: Bench) -> None:
    guest = bench.guest
    guest.domain.suspend()
    bench.backup("one", freeze=False)
    assert guest.domain.state()[0] == 3
    guest.domain.resume()
    guest.domain.managedSave()
    bench.backup("two", freeze=False)
    assert guest.domain.hasManagedSaveImage()
    guest.domain.create()
    guest.wait_for_writer(5)
    for point in ("one", "two"):
        bench.remove(point)


def test_suspending_can_write_the_memory_to_disk(guest: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(guest, tmp_path, save_memory=True)
    for _ in range(2):
        bench.do(Operation.SUSPEND)
        assert guest.domain.hasManagedSaveImage()
    for _ in range(2):
        bench.do(Operation.RESUME)
        assert guest.domain.state()[0] == 1
    guest.wait_for_writer(5)


def test_what_is_damaged_is_found_and_nothing_is_restored_from_it(bench: Bench) -> None:
    bench.backup("one", **INCREMENTAL)
    bench.backup("two", **INCREMENTAL)
    ran_since = bench.guest.domain.ID()
    for harmed in (packs(bench.repository), points(bench.repository)):
        good = {path: path.read_bytes() for path in harmed}
        spoil(good)
        with pytest.raises((DamagedArtifactError, ResourceNotFoundError)):
            bench.restore("two")
        for path, data in good.items():
            path.write_bytes(data)
    assert bench.guest.domain.ID() == ran_since
    assert sorted(path.name for path in bench.guest.disk().parent.glob(".*restore*")) == []
    assert bench.verify("two").passed
    for point in ("one", "two"):
        bench.remove(point)


def test_three_guests_are_frozen_together_hardly_longer_than_one(
    three: list[lab.Guest], tmp_path: Path
) -> None:
    for guest in three:
        guest.boot()
    benches = [Bench(guest, tmp_path / guest.name) for guest in three]
    shared = benches[0].provider()
    for bench in benches:
        bench.use(shared)
        bench.repository, bench.folder = benches[0].repository, benches[0].folder
        bench.guest.wait_for_writer(10)
    alone = _stall_of([benches[0]])
    together = _stall_of(benches)
    print(f"frozen, in the guests' own time: one {alone} ms, three {together} ms")
    for bench in benches:
        stored = bench.check("three")
        assert stored.clean
        assert (stored.broken, stored.gaps) == (0, 0)


def _stall_of(benches: list[Bench]) -> int:
    """Back up all of them together, and return the longest that a writer stood still."""
    point = "one" if len(benches) == 1 else "three"
    since = {bench.guest.name: bench.guest.written() for bench in benches}
    with ThreadPoolExecutor(len(benches)) as pool:
        for operation in (Operation.FREEZE, Operation.SNAPSHOT, Operation.THAW, Operation.COPY):
            list(pool.map(lambda bench, what=operation: bench.do(what, point, full=True), benches))
    for bench in benches:
        bench.guest.wait_for_writer(3)
    return max(max(bench.guest.stalls_ms(since[bench.guest.name]), default=0) for bench in benches)


def test_statistics_of_many_domains_are_one_call(three: list[lab.Guest], tmp_path: Path) -> None:
    benches = [Bench(guest, tmp_path / guest.name) for guest in three[:2]]
    shared = benches[0].provider()
    for bench in benches:
        if not bench.guest.is_fresh():
            bench.guest.boot()
        bench.use(shared)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda bench: bench.do(Operation.MEASURE), benches))
    for outcome in found:
        assert outcome.measurements is not None
        assert outcome.measurements["running"] is True
        assert outcome.measurements["memory_bytes"] == 96 << 20
        cpu = outcome.measurements["cpu_percent"]
        assert isinstance(cpu, float)
        assert cpu >= 0
        writes = outcome.measurements["disk_write_bytes_per_s"]
        assert isinstance(writes, float)
        assert writes > 0


def test_the_repository_is_private(bench: Bench) -> None:
    bench.backup()
    for path in (bench.repository, *bench.repository.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0
        assert path.stat().st_uid == os.geteuid()
    bench.remove()
    shutil.rmtree(bench.repository, ignore_errors=True)
