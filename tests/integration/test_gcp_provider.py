"""What the provider does on the Compute Engine stand-in, beyond the contract."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Fault, serve
from fakegce.bench import SNAPSHOT, VM, VOLUME, Bench
from fakegce.estate import PROJECT, REGION, ZONE

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Related
from quiesce.model.consistency import Consistency
from quiesce.model.ids import InstanceId, Json
from quiesce.model.operation import Operation


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


# -- suspend and resume ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"guestAccelerators": [{"acceleratorType": "x", "acceleratorCount": 2}]}, "2 GPU"),
        ({"confidentialInstanceConfig": {"enableConfidentialCompute": True}}, "Confidential"),
        ({"scratch": [{"type": "SCRATCH"}]}, "Local SSD"),
    ],
)
def test_what_cannot_be_suspended_is_refused_before_anything_is_asked(
    bench: Bench, fields: dict[str, Json], reason: str
) -> None:
    bench.estate.machine_with_disks("vm", 1, **fields)
    with pytest.raises(UnsupportedError, match=reason):
        bench.do(Operation.SUSPEND, "vm")
    assert bench.status() == "RUNNING"
    assert not [entry for entry in bench.cloud.log if entry[2] == "compute.instances.suspend"]


def test_a_machine_with_local_ssd_is_suspended_once_somebody_has_decided(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1, scratch=[{"type": "SCRATCH"}])
    bench.do(Operation.SUSPEND, "vm", discard_local_ssd=False)
    assert bench.status() == "SUSPENDED"


def test_a_stopped_machine_is_neither_suspended_nor_resumed(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.estate.find(VM)["status"] = "TERMINATED"
    with pytest.raises(UnsupportedError, match="TERMINATED"):
        bench.do(Operation.SUSPEND, "vm")
    with pytest.raises(NonRecoverableError, match="memory is gone"):
        bench.do(Operation.RESUME, "vm")


def test_a_machine_that_was_suspended_for_too_long_has_lost_its_memory(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.do(Operation.SUSPEND, "vm")
    bench.cloud.suspended_at[bench.estate.find(VM)["selfLink"]] -= 61 * 86400
    with pytest.raises(NonRecoverableError, match="memory is gone") as caught:
        bench.do(Operation.RESUME, "vm")
    assert "60 days" in caught.value.hint


def test_stop_and_start_of_the_official_plugin_can_stand_for_suspend_and_resume(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.do(Operation.SUSPEND, "vm", function="cloudify_gcp.compute.instance.stop")
    assert bench.status() == "TERMINATED"
    bench.do(Operation.RESUME, "vm", function="cloudify_gcp.compute.instance.start")
    assert bench.status() == "RUNNING"


# -- what a copy consists of -----------------------------------------------------------------------


def kinds(artifact: Mapping[str, Json]) -> list[str]:
    objects = artifact["objects"]
    assert isinstance(objects, list)
    return [str(path).split("/")[-2] for path in objects]


def test_several_disks_that_nothing_freezes_become_one_machine_image(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 3)
    assert kinds(bench.make("vm")) == ["machineImages"]


def test_one_disk_or_a_frozen_machine_becomes_snapshots(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 3)
    bench.estate.machine_with_disks("small", 1)
    assert kinds(bench.make("vm", hooked=True)) == ["snapshots"] * 3
    assert kinds(bench.make("small")) == ["snapshots"]
    assert kinds(bench.make("small", full=False, execution="exec-1")) == ["instantSnapshots"]


def test_snapshots_at_different_moments_promise_nothing_unless_something_is_frozen(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    loose = bench.do(Operation.SNAPSHOT, "vm", copy_as="disks")
    assert loose.consistency is Consistency.NONE
    assert "one by one" in loose.note
    assert bench.do(Operation.SNAPSHOT, "vm", copy_as="disks", hooked=True).consistency is None


@pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
def test_a_guest_flush_is_part_of_the_cut(bench: Bench, copy_as: str) -> None:
    bench.estate.machine_with_disks("vm", 2)
    outcome = bench.do(Operation.SNAPSHOT, "vm", copy_as=copy_as, guest_flush=True, full=False)
    copies = [
        item for (kind, _, _), item in bench.cloud.items.items() if kind in ("snapshots", "machineImages")
    ]
    assert copies
    assert all(copy["guestFlush"] for copy in copies)
    assert "guest flush" in outcome.note


def test_no_guest_flush_is_asked_of_a_machine_that_is_off(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.estate.find(VM)["status"] = "TERMINATED"
    assert "no guest flush" in bench.do(Operation.SNAPSHOT, "vm", guest_flush=True).note


def test_backups_are_stored_where_the_operator_says(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.make("vm", storage_locations="eu")
    (copy,) = (item for (kind, _, _), item in bench.cloud.items.items() if kind == "snapshots")
    assert copy["storageLocations"] == ["eu"]


def test_a_disk_with_a_node_of_its_own_is_left_to_it(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 3)
    config: dict[str, Json] = {"project": PROJECT, "zone": ZONE, "api_endpoint": bench.url}
    properties: dict[str, Json] = {"name": "vm-d1", "gcp_config": config}
    volume = Related(
        instance=InstanceId("data_1"),
        node=bench.node(VOLUME, properties),
        relationship="cloudify.relationships.connected_to",
        properties=properties,
    )
    artifact = bench.make("vm", copy_as="disks", related=(volume,))
    sources = [
        item["sourceDisk"].rpartition("/")[2]
        for (kind, _, _), item in bench.cloud.items.items()
        if kind == "snapshots"
    ]
    assert sorted(sources) == ["vm-d0", "vm-d2"]
    bench.do(Operation.APPLY, "vm", artifact=artifact, related=(volume,))
    assert bench.estate.attached(VM)["device-1"].endswith("/vm-d1")


def test_a_copy_is_proved_by_presence_identity_and_status(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    assert bench.verify("vm", artifact).passed
    first, second = (item for (kind, _, _), item in bench.cloud.items.items() if kind == "snapshots")
    first["id"], second["status"] = "42", "FAILED"
    proof = bench.verify("vm", artifact)
    assert not proof.passed
    assert "another object of the same name" in proof.detail
    assert "is FAILED" in proof.detail


def test_a_machine_whose_disks_all_have_nodes_passes_its_check(bench: Bench) -> None:
    """It holds nothing of its own, and says so; the disks' nodes are checked by themselves."""
    bench.estate.machine_with_disks("vm", 1)
    config: dict[str, Json] = {"project": PROJECT, "zone": ZONE, "api_endpoint": bench.url}
    properties: dict[str, Json] = {"name": "vm-d0", "gcp_config": config}
    volume = Related(
        instance=InstanceId("data_1"),
        node=bench.node(VOLUME, properties),
        relationship="cloudify.relationships.connected_to",
        properties=properties,
    )
    proof = bench.verify("vm", bench.make("vm", related=(volume,)))
    assert proof.passed
    assert "nothing of its own" in proof.detail


def test_the_official_snapshot_node_names_its_disk(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    function = "cloudify_gcp.compute.snapshot.create"
    options = {"node_type": SNAPSHOT, "function": function, "disk_name": "vm-d1"}
    artifact = bench.make("keeper", **options)
    (copy,) = (item for (kind, _, _), item in bench.cloud.items.items() if kind == "snapshots")
    assert copy["sourceDisk"].endswith("/vm-d1")
    options = {"node_type": SNAPSHOT, "function": "cloudify_gcp.compute.snapshot.delete"}
    bench.do(Operation.DELETE, "keeper", artifact=artifact, **options)  # type: ignore[arg-type]
    assert bench.estate.copies() == frozenset()


def test_an_official_snapshot_is_undone_by_its_marks_alone(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    function = "cloudify_gcp.compute.snapshot.create"
    bench.do(Operation.SNAPSHOT, "keeper", node_type=SNAPSHOT, function=function, disk_name="vm-d0")
    bench.do(Operation.DELETE, "keeper", node_type=SNAPSHOT, disk_name="vm-d0", undo=True)
    assert bench.estate.copies() == frozenset()


def test_more_copies_than_fit_on_a_page_are_all_seen(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 8)
    artifact = bench.make("vm", copy_as="disks")
    assert len(kinds(artifact)) == 8
    bench.do(Operation.DELETE, "vm", artifact=artifact)
    assert bench.estate.copies() == frozenset()


def test_the_cut_is_over_before_the_upload_is(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    bench.cloud.upload_seconds = 3600.0
    try:
        bench.do(Operation.SNAPSHOT, "vm", copy_as="disks")
        found = {item["status"] for (kind, _, _), item in bench.cloud.items.items() if kind == "snapshots"}
        assert found == {"UPLOADING"}
    finally:
        bench.cloud.upload_seconds = 0.002


# -- restore ---------------------------------------------------------------------------------------


def test_replaced_disks_are_kept_until_told_otherwise(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    bench.estate.write_all(VM, "good")
    artifact = bench.make("vm", copy_as="disks")
    bench.estate.write_all(VM, "bad")
    note = bench.do(Operation.APPLY, "vm", artifact=artifact).note
    assert "vm-d0" in note
    assert bench.estate.read(f"zones/{ZONE}/disks/vm-d0").endswith("bad")
    bench.do(Operation.DELETE, "vm", artifact=artifact)
    assert ("disks", f"zones/{ZONE}", "vm-d0") in bench.cloud.items
    bench.do(Operation.DELETE, "vm", artifact=artifact, drop_replaced=True)
    assert ("disks", f"zones/{ZONE}", "vm-d0") not in bench.cloud.items
    assert bench.estate.read_all(VM) == "good"


def test_replaced_disks_go_at_once_when_that_is_asked_for(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    bench.do(Operation.APPLY, "vm", artifact=artifact, keep_replaced=False)
    assert len([key for key in bench.cloud.items if key[0] == "disks"]) == 2


def test_a_replaced_disk_that_instant_snapshots_need_is_not_dropped(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    artifact = bench.make("vm", full=False)
    bench.do(Operation.APPLY, "vm", artifact=artifact, full=False, keep_replaced=False)
    assert ("disks", f"zones/{ZONE}", "vm-d0") in bench.cloud.items
    bench.do(Operation.DELETE, "vm", artifact=artifact, full=False, drop_replaced=True)
    assert ("disks", f"zones/{ZONE}", "vm-d0") not in bench.cloud.items


@pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
def test_a_machine_can_be_restored_beside_the_original(bench: Bench, copy_as: str) -> None:
    bench.estate.machine_with_disks("vm", 2)
    bench.estate.write_all(VM, "good")
    artifact = bench.make("vm", copy_as=copy_as)
    bench.estate.write_all(VM, "newer")
    name = bench.do(Operation.APPLY, "vm", artifact=artifact, restore_beside=True).note.rpartition(" ")[2]
    assert bench.estate.read_all(f"zones/{ZONE}/instances/{name}") == "good"
    assert bench.estate.read_all(VM) == "newer"


def test_a_disk_can_be_restored_beside_the_original(bench: Bench) -> None:
    bench.estate.write(bench.estate.disk("data"), "good")
    artifact = bench.make("data", node_type=VOLUME)
    outcome = bench.do(Operation.APPLY, "data", node_type=VOLUME, artifact=artifact, restore_beside=True)
    assert bench.estate.read(f"zones/{ZONE}/disks/{outcome.note.rpartition(' ')[2]}") == "good"
    assert bench.memory.get("data") is None


@pytest.mark.parametrize("copy_as", ["disks", "machine_image"])
def test_a_machine_that_is_gone_is_made_anew(bench: Bench, copy_as: str) -> None:
    bench.estate.machine_with_disks("vm", 2, tags={"items": ["web"]}, labels={"team": "blue"})
    bench.estate.write_all(VM, "good")
    artifact = bench.make("vm", copy_as=copy_as)
    bench.estate.request("DELETE", f"zones/{ZONE}/instances/vm")
    bench.do(Operation.APPLY, "vm", artifact=artifact)
    assert bench.estate.read_all(VM) == "good"
    assert bench.status() == "RUNNING"
    machine = bench.estate.find(VM)
    assert machine["labels"]["team"] == "blue"
    assert machine["tags"]["items"] == ["web"]


def test_a_restored_disk_is_the_one_that_the_next_backup_takes(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm-d1", node_type=VOLUME)
    bench.do(Operation.APPLY, "vm-d1", node_type=VOLUME, artifact=artifact)
    new = bench.estate.attached(VM)["device-1"]
    assert not new.endswith("/vm-d1")
    assert bench.memory["vm-d1"]["quiesce_disk"] == new
    assert bench.status() == "RUNNING"


def test_a_disk_that_is_gone_is_made_anew(bench: Bench) -> None:
    bench.estate.write(bench.estate.disk("data"), "good")
    artifact = bench.make("data", node_type=VOLUME)
    bench.estate.request("DELETE", f"zones/{ZONE}/disks/data")
    bench.do(Operation.APPLY, "data", node_type=VOLUME, artifact=artifact)
    assert bench.estate.read(str(bench.memory["data"]["quiesce_disk"])) == "good"


def test_a_regional_disk_stays_regional(bench: Bench) -> None:
    machine = bench.estate.machine("vm", [bench.estate.disk("boot"), bench.estate.regional_disk("both")])
    bench.estate.write_all(machine, "good")
    artifact = bench.make("vm", copy_as="disks", full=False)
    bench.estate.write_all(machine, "bad")
    bench.do(Operation.APPLY, "vm", artifact=artifact, full=False)
    new = bench.estate.find(bench.estate.attached(machine)["device-1"])
    assert new["region"].endswith(REGION)
    assert len(new["replicaZones"]) == 2
    assert bench.estate.read_all(machine) == "good"


def test_a_suspended_machine_is_not_restored(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    bench.do(Operation.SUSPEND, "vm")
    with pytest.raises(UnsupportedError, match="memory"):
        bench.do(Operation.APPLY, "vm", artifact=artifact)
    assert bench.status() == "SUSPENDED"


def test_a_stopped_machine_stays_stopped(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    bench.estate.write_all(VM, "good")
    artifact = bench.make("vm", copy_as="disks")
    bench.estate.request("POST", f"zones/{ZONE}/instances/vm/stop")
    bench.do(Operation.APPLY, "vm", artifact=artifact)
    assert bench.status() == "TERMINATED"


@pytest.mark.parametrize("runs", [False, True], ids=["off", "running"])
def test_a_start_after_a_failed_restore_leaves_a_machine_as_it_was(bench: Bench, runs: bool) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    if not runs:
        bench.estate.request("POST", f"zones/{ZONE}/instances/vm/stop")
    for request in range(100):
        fault = Fault(kind="http", status=403, reason="forbidden", skip=request)
        bench.cloud.faults.append(fault)
        with contextlib.suppress(ProviderError):
            bench.do(Operation.APPLY, "vm", artifact=artifact)
        bench.cloud.faults.remove(fault)
        bench.do(Operation.START, "vm", artifact=artifact)
        assert bench.status() == ("RUNNING" if runs else "TERMINATED"), f"request {request}"
        if not fault.struck:
            return
    pytest.fail("the restore does not come to its end")


def test_a_machine_that_somebody_has_started_is_not_stopped_after_a_failed_restore(bench: Bench) -> None:
    """Whoever has started it uses it; what its restore has not finished is told."""
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    notes = []
    for request in range(100):
        fault = Fault(kind="http", status=403, reason="forbidden", skip=request)
        bench.cloud.faults.append(fault)
        with contextlib.suppress(ProviderError):
            bench.do(Operation.APPLY, "vm", artifact=artifact)
        bench.cloud.faults.remove(fault)
        if not fault.struck:
            break
        if bench.status() == "TERMINATED":
            bench.cloud.items["instances", f"zones/{ZONE}", "vm"]["status"] = "RUNNING"
        asked: list[str] = []
        bench.cloud.before = asked.append
        notes.append(bench.do(Operation.START, "vm", artifact=artifact).note)
        bench.cloud.before = lambda _: None
        assert "compute.instances.stop" not in asked, f"request {request}"
        assert bench.status() == "RUNNING"
        bench.do(Operation.APPLY, "vm", artifact=artifact)
    assert any("started by somebody else on disks of two times" in note for note in notes)


def test_a_machine_that_somebody_has_removed_is_owed_no_start(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 2)
    artifact = bench.make("vm", copy_as="disks")
    for request in range(100):
        bench.cloud.faults.append(Fault(kind="http", status=403, reason="forbidden", skip=request))
        with contextlib.suppress(ProviderError):
            bench.do(Operation.APPLY, "vm", artifact=artifact)
        bench.cloud.faults.clear()
        if bench.status() != "RUNNING":
            break
    bench.cloud.items = {key: item for key, item in bench.cloud.items.items() if key[0] != "instances"}
    assert "not there" in bench.do(Operation.START, "vm", artifact=artifact).note
    assert bench.do(Operation.START, "vm", artifact=artifact).note == ""


def test_another_object_of_the_same_name_is_not_restored_from(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    artifact = bench.make("vm")
    (copy,) = (item for (kind, _, _), item in bench.cloud.items.items() if kind == "snapshots")
    copy["id"] = "42"
    with pytest.raises(ResourceNotFoundError, match="not the one"):
        bench.do(Operation.APPLY, "vm", artifact=artifact)
    bench.do(Operation.DELETE, "vm", artifact=artifact)
    assert len(bench.estate.copies()) == 1


# -- the service as it is --------------------------------------------------------------------------


def test_a_quota_that_stays_used_up_is_said_so(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    artifact = bench.make("vm")
    bench.cloud.disk_quota_gb = 10
    with pytest.raises(RecoverableError, match="DISKS_TOTAL_GB"):
        bench.do(Operation.APPLY, "vm", artifact=artifact)
    assert bench.status() == "RUNNING"


def test_missing_rights_are_not_tried_again(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.cloud.denied.add("compute.disks.createSnapshot")
    with pytest.raises(NonRecoverableError) as caught:
        bench.do(Operation.SNAPSHOT, "vm")
    assert "role" in caught.value.hint
    assert len([entry for entry in bench.cloud.log if entry[2] is None]) == 1


def test_an_operation_that_is_undone_again_and_again_is_waited_for(bench: Bench) -> None:
    bench.estate.machine_with_disks("vm", 1)
    bench.cloud.faults.append(Fault(kind="undone", count=5))
    bench.do(Operation.SUSPEND, "vm")
    assert bench.status() == "SUSPENDED"


def test_a_cancelled_call_ends_while_its_operation_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait that the service holds is given up when nobody waits for the call any more."""
    monkeypatch.setattr("quiesce.providers.gcp.client._HELD_S", 0.2)
    bench.estate.machine_with_disks("vm", 1)
    bench.cloud.op_seconds = 3600.0
    try:
        with pytest.raises(OperationTimeoutError):
            bench.do(Operation.SUSPEND, "vm", timeout_s=1.0)
        held = [entry for entry in bench.cloud.log if entry[2] == "compute.zoneOperations.wait"]
        assert bench.status() == "SUSPENDING"
        assert len(held) <= 10
    finally:
        bench.cloud.op_seconds = 0.002


def test_no_request_leaves_the_configured_endpoint(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one connection goes anywhere else, whatever operation is performed."""
    port = int(bench.url.rpartition(":")[2])
    seen: set[tuple[str, int]] = set()
    connect = socket.socket.connect

    def watched(self: socket.socket, address: tuple[str, int]) -> None:
        seen.add((address[0], address[1]))
        assert address[1] == port, f"a request went to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setenv("NO_PROXY", "*")
    bench.estate.machine_with_disks("vm", 2)
    for copy_as in ("disks", "machine_image"):
        artifact = bench.make("vm", copy_as=copy_as)
        bench.do(Operation.APPLY, "vm", artifact=artifact)
        bench.do(Operation.APPLY, "vm", artifact=artifact, restore_beside=True, execution=f"beside-{copy_as}")
        bench.do(Operation.DELETE, "vm", artifact=artifact, drop_replaced=True)
    bench.do(Operation.SUSPEND, "vm")
    bench.do(Operation.RESUME, "vm")
    bench.do(Operation.MEASURE, "vm")
    bench.do(Operation.MEASURE, bench.estate.disk("alone").rpartition("/")[2], node_type=VOLUME)
    assert seen == {("127.0.0.1", port)}
