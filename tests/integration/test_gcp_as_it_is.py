"""What Google documents of Compute Engine, on a stand-in that does so. Each test names its source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Fault, serve
from fakegce.bench import VM, VOLUME, Bench
from fakegce.estate import PROJECT, REGION, ZONE

from quiesce.errors import ProviderError, UnsupportedError
from quiesce.model.operation import Operation

POLICY = f"projects/{PROJECT}/regions/{REGION}/resourcePolicies/nightly"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/ring/cryptoKeys/key"
POOL = f"projects/{PROJECT}/zones/{ZONE}/storagePools/pool"
OF_THE_DISK = {
    "resourcePolicies": [POLICY],
    "labels": {"team": "blue"},
    "diskEncryptionKey": {"kmsKeyName": KEY},
    "storagePool": POOL,
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Cloud, str]]:
    running, cloud, url = serve(op_seconds=0.002, page=3)
    yield cloud, url
    running.shutdown()
    running.server_close()


@pytest.fixture
def bench(server: tuple[Cloud, str]) -> Iterator[Bench]:
    made = Bench(*server)
    yield made
    made.provider.close()
    assert made.estate.off_schema() == []


def _attached(bench: Bench) -> list[Any]:
    return [bench.estate.find(disk) for disk in bench.estate.attached(VM).values()]


def _forbidden(method: str) -> Fault:
    return Fault(kind="http", method=method, count=0, status=403, reason="forbidden")


class TestWhatADiskIs:
    """A disk that is made of a snapshot has none of these unless they are asked for.

    Discovery document of compute.v1, ``Disk``: resourcePolicies ("for automatic snapshot creations"), labels,
    storagePool; diskEncryptionKey ("if you do not provide an encryption key ... then the disk is encrypted
    using an automatically generated key"; a key *version* is told of a disk, a key is asked for).
    """

    @pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
    def test_a_restored_disk_is_as_the_old_one_was(self, bench: Bench, copy_as: str) -> None:
        disks = [bench.estate.disk(f"d{number}", **OF_THE_DISK) for number in (0, 1)]
        bench.estate.machine("vm", disks)
        artifact = bench.make("vm", hooked=True, copy_as=copy_as)
        bench.do(Operation.APPLY, "vm", artifact=artifact, copy_as=copy_as)
        for disk in _attached(bench):
            assert disk["name"] not in ("d0", "d1")
            assert disk["resourcePolicies"] == [POLICY]
            assert disk["labels"]["team"] == "blue"
            assert disk["diskEncryptionKey"]["kmsKeyName"].startswith(KEY)
            assert disk["storagePool"] == POOL

    def test_a_policy_that_is_gone_is_told_and_the_data_comes_back(self, bench: Bench) -> None:
        bench.estate.machine("vm", [bench.estate.disk("d0", **OF_THE_DISK)])
        bench.estate.write_all(VM, "before")
        artifact = bench.make("vm")
        bench.estate.write_all(VM, "after")
        bench.cloud.gone |= {"nightly", "pool"}
        outcome = bench.do(Operation.APPLY, "vm", artifact=artifact)
        assert bench.estate.read_all(VM) == "before"
        assert "nightly" in outcome.note
        assert any("storage pool" in line for line in bench.lines)

    def test_what_quiesce_marks_is_not_taken_for_the_disks_own(self, bench: Bench) -> None:
        bench.estate.machine("vm", [bench.estate.disk("d0", **OF_THE_DISK)])
        for turn in (1, 2):
            artifact = bench.make("vm", execution=f"exec-{turn}")
            bench.do(Operation.APPLY, "vm", artifact=artifact, execution=f"apply-{turn}")
            bench.do(Operation.DELETE, "vm", artifact=artifact, execution=f"exec-{turn}")
        (disk,) = _attached(bench)
        assert disk["labels"]["team"] == "blue"

    @pytest.mark.parametrize("full", [True, False], ids=["backup", "snapshot"])
    def test_a_customers_own_key_is_refused_before_anything_is_asked(self, bench: Bench, full: bool) -> None:
        """Discovery document, diskEncryptionKey: "you must provide the same key if you use the disk later.
        For example, to create a disk snapshot".
        """
        disks = [bench.estate.disk("d0"), bench.estate.disk("d1", diskEncryptionKey={"rawKey": "AAAA"})]
        bench.estate.machine("vm", disks)
        for name, node_type in (("vm", None), ("d1", VOLUME)):
            kind = {"node_type": node_type} if node_type else {}
            with pytest.raises(UnsupportedError, match="d1"):
                bench.do(Operation.SNAPSHOT, name, full=full, **kind)
        assert bench.estate.copies() == frozenset()


class TestWhatAMachineIs:
    """A machine that is made again has of the old one what it is given; discovery document, ``Instance``."""

    SETTINGS: ClassVar[dict[str, Any]] = {
        "hostname": "db.example.com",
        "description": "the shop's database",
        "resourcePolicies": [POLICY],
        "deletionProtection": False,
        "displayDevice": {"enableDisplay": True},
        "reservationAffinity": {"consumeReservationType": "SPECIFIC_RESERVATION", "values": ["ours"]},
        "scheduling": {"onHostMaintenance": "TERMINATE"},
        "tags": {"items": ["web"]},
        "metadata": {"items": [{"key": "startup-script", "value": "secret"}]},
        "networkInterfaces": [
            {
                "network": "global/networks/default",
                "networkIP": "10.0.0.7",
                "accessConfigs": [{"natIP": "203.0.113.7"}],
            }
        ],
    }

    @pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
    def test_one_that_was_gone_is_as_it_was_and_what_it_lacks_is_told(
        self, bench: Bench, copy_as: str
    ) -> None:
        bench.estate.machine_with_disks("vm", 2, **self.SETTINGS)
        artifact = bench.make("vm", copy_as=copy_as)
        bench.estate.request("DELETE", f"zones/{ZONE}/instances/vm")
        foreseen = bench.foreseen("vm", artifact)
        outcome = bench.do(Operation.APPLY, "vm", artifact=artifact)
        made = bench.estate.find(VM)
        for name in ("hostname", "description", "displayDevice", "reservationAffinity", "scheduling"):
            assert made[name] == self.SETTINGS[name]
        assert [path.split("/")[-1] for path in made["resourcePolicies"]] == ["nightly"]
        assert any("10.0.0.7, 203.0.113.7" in each for each in foreseen)
        assert any("startup-script" in each for each in foreseen) is (copy_as == "disks")
        assert all(each in outcome.note for each in foreseen)
        assert "secret" not in str(artifact)

    def test_one_that_is_there_stays_what_it_is(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 1, **self.SETTINGS)
        assert bench.foreseen("vm", bench.make("vm")) == ()

    def test_one_beside_has_another_name_in_the_network(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 1, **(self.SETTINGS | {"deletionProtection": True}))
        artifact = bench.make("vm")
        assert any("hostname" in each for each in bench.foreseen("vm", artifact, restore_beside=True))
        outcome = bench.do(Operation.APPLY, "vm", artifact=artifact, restore_beside=True)
        assert "deletion_protection, hostname" in outcome.note
        (beside,) = (
            item
            for (kind, _, name), item in bench.cloud.items.items()
            if kind == "instances" and name != "vm"
        )
        assert "hostname" not in beside
        assert not beside.get("deletionProtection")

    @pytest.mark.parametrize("gone", [False, True], ids=["in-place", "anew"])
    def test_a_disk_is_attached_as_it_was(self, bench: Bench, gone: bool) -> None:
        """Discovery document, ``AttachedDisk.interface``: SCSI unless another one is asked for."""
        bench.estate.machine_with_disks("vm", 1)
        bench.estate.find(VM)["disks"][0]["interface"] = "NVME"
        artifact = bench.make("vm")
        if gone:
            bench.estate.request("DELETE", f"zones/{ZONE}/instances/vm")
        bench.do(Operation.APPLY, "vm", artifact=artifact)
        assert bench.estate.find(VM)["disks"][0]["interface"] == "NVME"


class TestInstantSnapshots:
    """One in 30 seconds, 32 of a disk: "About instant snapshots", Limitations. Refused now or at the end."""

    def test_one_that_comes_too_soon_becomes_a_standard_one(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 1)
        bench.cloud.instant_gap_s = 30.0
        first = bench.do(Operation.SNAPSHOT, "vm", full=False)
        bench.do(Operation.DELETE, "vm", full=False, artifact=first.artifact)
        bench.estate.write_all(VM, "now")
        artifact = bench.make("vm", full=False)
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["snapshots"]
        assert any("standard snapshot instead" in line for line in bench.lines)
        assert not any("instantSnapshots" in path for path in bench.estate.copies())
        bench.estate.write_all(VM, "later")
        bench.do(Operation.APPLY, "vm", full=False, artifact=artifact)
        assert bench.estate.read_all(VM) == "now"

    def test_one_too_many_becomes_a_standard_one(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 1)
        bench.cloud.most_instants = 0
        artifact = bench.make("vm", full=False)
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["snapshots"]

    def test_a_used_up_limit_is_not_waited_for_while_a_standard_one_can_be_made(self, bench: Bench) -> None:
        """Google's "Rate quotas": 403 rateLimitExceeded, ask again later; here what is frozen would wait."""
        bench.estate.machine_with_disks("vm", 1)
        method = "compute.instantSnapshots.insert"
        limited = Fault(kind="http", method=method, count=0, status=403, reason="rateLimitExceeded")
        bench.cloud.faults.append(limited)
        asked: list[str] = []
        bench.cloud.before = asked.append
        artifact = bench.make("vm", full=False)
        bench.cloud.before = lambda _: None
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["snapshots"]
        assert asked.count(method) == 1

    def test_doctor_counts_them(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 1)
        bench.do(Operation.SNAPSHOT, "vm", full=False)
        assert "1 of 32" in bench.findings("vm")["instant-snapshots"].detail


def test_a_guest_flush_is_a_parameter(bench: Bench) -> None:
    """Discovery document: ``compute.disks.createSnapshot`` has guestFlush in its query."""
    bench.estate.machine_with_disks("vm", 1)
    bench.make("vm", guest_flush=True)
    asked = [url for url in bench.cloud.urls if "createSnapshot" in url]
    assert asked
    assert all("guestFlush=true" in url for url in asked)


class TestDisksOfMachineImages:
    """``Disk.sourceMachineImage`` is in the discovery document, but in no SDK, and hidden in gcloud."""

    def test_where_it_is_refused_a_machine_is_made_for_a_moment(self, bench: Bench) -> None:
        bench.estate.machine_with_disks("vm", 2)
        bench.estate.write_all(VM, "before")
        artifact = bench.make("vm")
        machines = f"zones/{ZONE}/instances/"
        before = {path for path in bench.estate.objects() if path.startswith(machines)}
        bench.estate.write_all(VM, "after")
        bench.cloud.disks_of_images = False
        bench.do(Operation.APPLY, "vm", artifact=artifact, keep_replaced=False)
        assert bench.estate.read_all(VM) == "before"
        assert {path for path in bench.estate.objects() if path.startswith(machines)} == before
        assert sum(path.startswith(f"zones/{ZONE}/disks/") for path in bench.estate.objects()) == 2
        assert any("started for a moment" in line for line in bench.lines)

    @pytest.mark.parametrize("method", ["compute.instances.stop", "compute.disks.insert"])
    def test_when_that_fails_nothing_of_it_stays(self, bench: Bench, method: str) -> None:
        bench.estate.machine_with_disks("vm", 2)
        bench.estate.write_all(VM, "before")
        artifact = bench.make("vm")
        bench.estate.write_all(VM, "after")
        before = bench.estate.objects()
        bench.cloud.disks_of_images = False
        bench.cloud.faults.append(
            Fault(kind="operation", method=method, count=0, code="INVALID", status=400, message="no")
        )
        with pytest.raises(Exception, match="no"):
            bench.do(Operation.APPLY, "vm", artifact=artifact)
        bench.cloud.faults.clear()
        assert bench.estate.read_all(VM) == "after"
        assert bench.estate.objects() == before
        bench.do(Operation.APPLY, "vm", artifact=artifact)
        assert bench.estate.read_all(VM) == "before"


class TestConsistencyGroups:
    """An instant snapshot group is one instant of every disk of a consistency group.

    Discovery document: ``InstantSnapshotGroup``, ``ResourcePolicy.diskConsistencyGroupPolicy``.
    """

    GROUP = f"projects/{PROJECT}/regions/{REGION}/resourcePolicies/together"

    def _build(self, bench: Bench) -> None:
        bench.cloud.consistency_groups.add("together")
        disks = [
            bench.estate.disk(f"d{number}", resourcePolicies=[POLICY, self.GROUP]) for number in (0, 1, 2)
        ]
        bench.estate.machine("vm", disks)

    def test_disks_that_nothing_freezes_are_cut_at_one_instant(self, bench: Bench) -> None:
        self._build(bench)
        turn = iter(range(1000))
        bench.cloud.before = lambda _: bench.estate.write_all(VM, str(next(turn)))
        artifact = bench.make("vm", full=False)
        bench.cloud.before = lambda _: None
        assert {path.split("/")[-2] for path in artifact["objects"]} == {"instantSnapshots"}
        bench.estate.write_all(VM, "later")
        bench.do(Operation.APPLY, "vm", full=False, artifact=artifact)
        assert bench.estate.read_all(VM).isdigit()  # the same on all of them
        bench.do(Operation.DELETE, "vm", full=False, artifact=artifact)
        assert bench.estate.copies() == frozenset()
        assert not any(kind == "instantSnapshotGroups" for kind, _, _ in bench.cloud.items)

    def test_the_class_and_the_note_say_what_was_used(self, bench: Bench) -> None:
        self._build(bench)
        outcome = bench.do(Operation.SNAPSHOT, "vm", full=False)
        assert outcome.consistency is None
        assert "together" in outcome.note

    def test_doctor_knows_it(self, bench: Bench) -> None:
        self._build(bench)
        assert "consistency group together" in bench.findings("vm")["machine-images"].detail
        bench.estate.disk("theirs", resourcePolicies=[self.GROUP])
        assert "consistency group" not in bench.findings("vm")["machine-images"].detail

    def test_disks_of_others_are_not_snapshotted(self, bench: Bench) -> None:
        self._build(bench)
        bench.estate.disk("theirs", resourcePolicies=[self.GROUP])
        artifact = bench.make("vm", full=False)
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["machineImages"]

    def test_a_group_that_is_refused_is_told_and_done_without(self, bench: Bench) -> None:
        self._build(bench)
        method = "compute.instantSnapshotGroups.insert"
        bench.cloud.faults.append(Fault(kind="http", method=method, count=0, status=400, reason="invalid"))
        artifact = bench.make("vm", full=False)
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["machineImages"]
        assert any("no instant snapshot group" in line for line in bench.lines)

    def test_a_used_up_limit_is_not_waited_for(self, bench: Bench) -> None:
        self._build(bench)
        method = "compute.instantSnapshotGroups.insert"
        bench.cloud.faults.append(Fault(kind="http", method=method, count=0, status=429, reason=""))
        asked: list[str] = []
        bench.cloud.before = asked.append
        artifact = bench.make("vm", full=False)
        bench.cloud.before = lambda _: None
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["machineImages"]
        assert asked.count(method) == 1

    def test_an_account_that_may_not_read_policies_gets_what_it_got_before(self, bench: Bench) -> None:
        self._build(bench)
        bench.cloud.faults.append(_forbidden("compute.resourcePolicies.get"))
        artifact = bench.make("vm", full=False)
        assert [path.split("/")[-2] for path in artifact["objects"]] == ["machineImages"]
        assert any("not known whether its disks are a consistency group" in line for line in bench.lines)

    @pytest.mark.parametrize("undo", [False, True])
    def test_an_account_that_may_not_read_groups_can_remove_what_it_made(
        self, bench: Bench, undo: bool
    ) -> None:
        bench.estate.machine("vm", [bench.estate.disk(name) for name in ("d0", "d1")])
        artifact = bench.make("vm", full=False)
        bench.cloud.faults.append(_forbidden("compute.instantSnapshotGroups.get"))
        bench.do(Operation.DELETE, "vm", full=False, **({"undo": True} if undo else {"artifact": artifact}))
        assert bench.estate.copies() == frozenset()

    @pytest.mark.parametrize(
        "method", ["compute.instantSnapshotGroups.insert", "compute.instantSnapshots.setLabels"]
    )
    def test_a_cut_that_fails_leaves_nothing(self, bench: Bench, method: str) -> None:
        self._build(bench)
        fault = Fault(kind="operation", method=method, count=0, status=500, code="INTERNAL_ERROR")
        bench.cloud.faults.append(fault)
        with pytest.raises(ProviderError):
            bench.do(Operation.SNAPSHOT, "vm", full=False)
        bench.cloud.faults.clear()
        bench.do(Operation.DELETE, "vm", full=False, undo=True)
        assert bench.estate.copies() == frozenset()
        assert not any(kind == "instantSnapshotGroups" for kind, _, _ in bench.cloud.items)

    def test_one_that_was_interrupted_is_taken_up(self, bench: Bench) -> None:
        self._build(bench)
        method = "compute.instantSnapshots.setLabels"
        bench.cloud.faults.append(Fault(kind="operation", method=method, count=1, status=500))
        with pytest.raises(ProviderError):
            bench.do(Operation.SNAPSHOT, "vm", full=False)
        before = bench.estate.copies()
        bench.make("vm", full=False)
        assert bench.estate.copies() == before
