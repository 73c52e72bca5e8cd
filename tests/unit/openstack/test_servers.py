"""One server: what is made, refused, put back and said."""

from __future__ import annotations

from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands, neighbour

from quiesce.errors import (
    CannotFreezeError,
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    ProbeFailedError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters


def test_an_image_bears_the_type_the_id_and_the_points_name(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    hands.back_up(server)
    assert [image["name"] for image in cloud.images.values()] == [f"server-{server}-monday"]


@pytest.mark.parametrize("rotation", [0, -1])
@pytest.mark.parametrize("operation", [Operation.FREEZE, Operation.SNAPSHOT])
def test_a_rotation_that_keeps_nothing_is_refused_before_anything_is_made(
    cloud: FakeOpenStack, hands: Hands, rotation: int, operation: Operation
) -> None:
    server = cloud.boot()
    with pytest.raises(UnsupportedError, match="snapshot_rotation"):
        hands.do(operation, server, full=True, parameters=Parameters(snapshot_rotation=rotation))
    assert cloud.objects() == frozenset()


def test_a_backup_returns_when_the_rotation_is_seen_to_be_honoured(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot()
    for number in range(4):
        hands.back_up(
            server,
            full=True,
            point=BackupName(f"day-{number}"),
            execution=ExecutionId(f"exec{number}"),
            parameters=Parameters(snapshot_type="daily", snapshot_rotation=2),
        )
    assert sorted(image["name"] for image in cloud.images.values()) == [
        f"server-{server}-day-2",
        f"server-{server}-day-3",
    ]
    assert f"Nova removes server-{server}-day-1" in hands.said


def test_a_rotation_that_would_remove_somebody_elses_image_is_refused(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot()
    theirs = {"image_type": "backup", "backup_type": "irregular", "instance_uuid": server}
    cloud.plant_image("nightly", **theirs)
    before = cloud.objects()
    with pytest.raises(ForeignObjectError, match="nightly"):
        hands.do(Operation.SNAPSHOT, server, full=True)
    assert cloud.objects() == before


def test_an_image_that_vanishes_during_the_upload_is_an_error_that_says_so(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot()
    cloud.failing.add("upload")
    cut = hands.do(Operation.SNAPSHOT, server)
    with pytest.raises(NonRecoverableError, match="has vanished"):
        hands.do(Operation.COPY, server, artifact=cut.artifact)
    assert cloud.objects() == frozenset()


def test_an_image_that_vanishes_while_queued_can_be_made_again(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.lose_answer()
    with pytest.raises(Exception, match="lost"):
        hands.do(Operation.SNAPSHOT, server)
    cloud.images.clear()
    cloud.settle()
    cut = hands.do(Operation.SNAPSHOT, server)
    assert cut.artifact is not None
    assert cut.artifact["image"] in cloud.images


def test_a_server_that_is_busy_is_asked_again_later(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.servers[server]["OS-EXT-STS:task_state"] = "image_snapshot"
    with pytest.raises(RecoverableError, match="busy"):
        hands.do(Operation.SNAPSHOT, server)


def test_a_server_deleted_during_its_backup_is_named(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cut = hands.do(Operation.SNAPSHOT, server)
    del cloud.servers[server]
    cloud.images.clear()
    with pytest.raises(ResourceNotFoundError, match="was deleted during its backup"):
        hands.do(Operation.COPY, server, artifact=cut.artifact)


def test_a_full_backup_of_a_server_on_volumes_leaves_backups_only(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True, volumes=1)
    hands.back_up(server, full=True)
    cloud.settle()
    assert len(cloud.backups) == 2
    assert not cloud.snapshots
    assert not cloud.images


def test_removing_a_snapshot_of_a_server_on_volumes_removes_novas_snapshots_too(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(from_volume=True, volumes=1)
    before = cloud.objects()
    artifact = hands.back_up(server)
    cloud.images.clear()  # somebody has deleted the image: the snapshots outlive it
    hands.do(Operation.DELETE, server, artifact=artifact)
    assert cloud.objects() == before


def given_up_restore(cloud: FakeOpenStack, hands: Hands, server: str, **changes: Any) -> None:
    """A restore that ends before Nova has rebuilt anything."""
    cloud.fail(f"POST /servers/{server}/action", 500)
    with pytest.raises(RecoverableError):
        hands.do(Operation.APPLY, server, **changes)


def test_what_a_restore_left_half_way_is_removed_by_the_next_one(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True)
    artifact = hands.back_up(server)
    before = cloud.objects()
    given_up_restore(cloud, hands, server, artifact=artifact)
    assert len(cloud.objects() - before) == 2
    hands.do(Operation.APPLY, server, artifact=artifact, execution=ExecutionId("exec2"))
    assert cloud.objects() == before


def test_what_a_restore_left_half_way_is_removed_with_the_restore_point(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(from_volume=True)
    before = cloud.objects()
    artifact = hands.back_up(server)
    given_up_restore(cloud, hands, server, artifact=artifact)
    hands.do(Operation.DELETE, server, artifact=artifact)
    assert cloud.objects() == before


def test_a_volume_with_a_node_of_its_own_is_left_to_its_own_step(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(volumes=2)
    first, second = (v["id"] for v in cloud.servers[server]["os-extended-volumes:volumes_attached"])
    hands.back_up(server, related=(neighbour(first, "Volume"),))
    assert [snapshot["volume_id"] for snapshot in cloud.snapshots.values()] == [second]


def test_novas_extra_snapshot_of_a_volume_with_its_own_node_is_removed(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(from_volume=True, volumes=1)
    root, extra = (v["id"] for v in cloud.servers[server]["os-extended-volumes:volumes_attached"])
    hands.back_up(server, related=(neighbour(extra, "Volume"),))
    cloud.settle()
    assert [snapshot["volume_id"] for snapshot in cloud.snapshots.values()] == [root]


def test_an_image_whose_checksum_has_changed_is_refused_before_the_server_is_touched(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot()
    cloud.data[server] = "before"
    artifact = hands.back_up(server)
    cloud.images[str(artifact["image"])]["os_hash_value"] = "something else"
    cloud.data[server] = "after"
    with pytest.raises(DamagedArtifactError):
        hands.do(Operation.APPLY, server, artifact=artifact)
    assert cloud.data[server] == "after"
    assert cloud.servers[server]["status"] == "ACTIVE"


def test_a_missing_snapshot_of_one_volume_is_noticed_before_the_server_is_touched(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(volumes=2)
    artifact = hands.back_up(server)
    cloud.snapshots.popitem()
    calls = len(cloud.log)
    with pytest.raises(ResourceNotFoundError, match="not there any more"):
        hands.do(Operation.APPLY, server, artifact=artifact)
    assert all(line.startswith("GET") for line in cloud.log[calls:])


def test_a_bootable_volume_of_a_server_that_boots_from_an_image_comes_back(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    """On another bus than the root disk, its device is called as a root device would be."""
    server = cloud.boot(volumes=1)
    (volume,) = cloud.volumes.values()
    volume["bootable"] = "true"
    volume["attachments"][0]["device"] = "/dev/sda"
    cloud.data[volume["id"]] = "before"
    artifact = hands.back_up(server)
    cloud.data[volume["id"]] = "after"
    hands.do(Operation.APPLY, server, artifact=artifact)
    assert cloud.data[volume["id"]] == "before"


def test_a_server_that_was_shut_off_is_shut_off_after_its_restore(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(volumes=1)
    artifact = hands.back_up(server)
    cloud.servers[server]["status"] = "SHUTOFF"
    hands.do(Operation.APPLY, server, artifact=artifact)
    assert cloud.servers[server]["status"] == "SHUTOFF"


@pytest.mark.parametrize("status", ["SUSPENDED", "PAUSED"])
def test_a_server_that_nova_would_not_rebuild_is_woken_first(
    cloud: FakeOpenStack, hands: Hands, status: str
) -> None:
    server = cloud.boot()
    cloud.data[server] = "before"
    artifact = hands.back_up(server)
    cloud.data[server] = "after"
    cloud.servers[server]["status"] = status
    hands.do(Operation.APPLY, server, artifact=artifact)
    assert cloud.data[server] == "before"


def test_a_restore_that_died_with_the_server_stopped_starts_it_when_repeated(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(volumes=1)
    artifact = hands.back_up(server)
    cloud.fail("POST /volumes/.*/action", 500)
    cloud.fail("POST /servers/.*/os-volume_attachments", 500)
    cloud.fail("GET /servers", 403)
    with pytest.raises(Exception, match="HTTP"):
        hands.do(Operation.APPLY, server, artifact=artifact)
    cloud.faults.clear()
    cloud.settle()
    hands.do(Operation.APPLY, server, artifact=artifact)
    assert cloud.servers[server]["status"] == "ACTIVE"
    assert [v["status"] for v in cloud.volumes.values()] == ["in-use"]
    assert not any(key.startswith("quiesce:") for v in cloud.volumes.values() for key in v["metadata"])
    assert cloud.servers[server]["metadata"] == {}


def test_a_deleted_server_names_the_image_to_boot_from(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    artifact = hands.back_up(server)
    del cloud.servers[server]
    with pytest.raises(ResourceNotFoundError) as caught:
        hands.do(Operation.APPLY, server, artifact=artifact)
    assert str(artifact["image"]) in caught.value.hint


# -- freeze ----------------------------------------------------------------------------------------------


def with_agent(cloud: FakeOpenStack, server: str, **properties: str) -> None:
    root = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.volumes[root]["volume_image_metadata"] = properties


def test_a_freeze_is_promised_when_nova_refuses_to_snapshot_without_one(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(from_volume=True, volumes=1)
    with_agent(cloud, server, hw_qemu_guest_agent="yes", os_require_quiesce="yes")
    assert hands.do(Operation.FREEZE, server).consistency is Consistency.FILESYSTEM


def test_a_freeze_that_nova_may_skip_silently_is_not_promised(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True)
    with_agent(cloud, server, hw_qemu_guest_agent="yes")
    with pytest.raises(CannotFreezeError, match="os_require_quiesce=yes"):
        hands.do(Operation.FREEZE, server)


def test_a_server_that_boots_from_an_image_cannot_prove_a_freeze(cloud: FakeOpenStack, hands: Hands) -> None:
    with pytest.raises(CannotFreezeError, match="does not tell"):
        hands.do(Operation.FREEZE, cloud.boot())


def test_a_freeze_does_not_reach_to_a_volume_with_its_own_step(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True, volumes=1)
    with_agent(cloud, server, hw_qemu_guest_agent="yes", os_require_quiesce="yes")
    extra = cloud.servers[server]["os-extended-volumes:volumes_attached"][1]["id"]
    with pytest.raises(CannotFreezeError, match=extra):
        hands.do(Operation.FREEZE, server, related=(neighbour(extra, "Volume"),))


def test_a_thaw_waits_until_nova_cannot_hold_the_guest_any_more(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.servers[server]["OS-EXT-STS:task_state"] = "image_pending_upload"
    cloud.later(5, lambda: cloud.servers[server].update({"OS-EXT-STS:task_state": "image_uploading"}))
    hands.do(Operation.THAW, server)
    assert cloud.servers[server]["OS-EXT-STS:task_state"] == "image_uploading"


def test_thawing_a_server_that_is_gone_is_fine(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    del cloud.servers[server]
    assert "gone" in hands.do(Operation.THAW, server).note


# -- the rest --------------------------------------------------------------------------------------------


def test_a_server_that_is_shut_off_is_neither_suspended_nor_started(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot()
    cloud.servers[server]["status"] = "SHUTOFF"
    assert "nothing to suspend" in hands.do(Operation.SUSPEND, server).note
    assert "left so" in hands.do(Operation.RESUME, server).note
    assert cloud.servers[server]["status"] == "SHUTOFF"


def test_without_the_right_to_diagnostics_size_and_state_are_left(cloud: FakeOpenStack, hands: Hands) -> None:
    outcome = hands.do(Operation.MEASURE, cloud.boot())
    assert outcome.measurements is not None
    assert outcome.measurements["memory_bytes"] == 128 << 20
    assert "no diagnostics" in outcome.note


def test_a_name_that_two_servers_have_is_refused(cloud: FakeOpenStack, hands: Hands) -> None:
    cloud.boot(name="web")
    cloud.boot(name="web")
    with pytest.raises(NonRecoverableError, match="2 have it"):
        hands.do(Operation.SUSPEND, "web")


@pytest.mark.parametrize(
    ("properties", "runtime"),
    [
        ({"resource_config": {"name": "web"}}, {}),
        ({"server": {"name": "web"}, "resource_id": ""}, {}),
        ({}, {"external_name": "web"}),
    ],
    ids=["version 3", "version 2", "runtime"],
)
def test_a_server_is_found_by_the_name_that_its_blueprint_gives(
    cloud: FakeOpenStack, hands: Hands, properties: dict[str, object], runtime: dict[str, str]
) -> None:
    server = cloud.boot(name="web")
    hands.do(Operation.SUSPEND, "", properties=properties, runtime_properties=runtime)
    assert cloud.servers[server]["status"] == "SUSPENDED"


@pytest.mark.parametrize("key", ["id", "external_id"])
def test_a_server_is_found_by_the_id_that_its_plugin_remembered(
    cloud: FakeOpenStack, hands: Hands, key: str
) -> None:
    server = cloud.boot()
    cloud.boot()
    hands.do(Operation.SUSPEND, "", properties={}, runtime_properties={key: server})
    assert cloud.servers[server]["status"] == "SUSPENDED"


def test_ten_servers_share_their_lists_and_polls(cloud: FakeOpenStack, hands: Hands) -> None:
    """Every server costs one request of its own; the rest is shared."""
    import threading

    servers = [cloud.boot(name=f"s{number}") for number in range(10)]
    threads = [threading.Thread(target=hands.do, args=(Operation.SNAPSHOT, server)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("action" in line for line in cloud.log) == 10
    assert sum(line == "GET /servers/detail" for line in cloud.log) <= 10
    assert len(cloud.images) == 10


def test_a_restored_server_is_active_or_told_to_be_off(cloud: FakeOpenStack, hands: Hands) -> None:
    """Nova can ask nobody in it, and says so."""
    server = cloud.boot()
    artifact = hands.back_up(server)
    hands.do(Operation.APPLY, server, artifact=artifact)
    name = cloud.servers[server]["name"]
    assert hands.do(Operation.PROBE, server).note == (
        f"Nova says that {name} is ACTIVE; nothing in it was asked"
    )
    cloud.servers[server]["status"] = "SHUTOFF"
    assert hands.do(Operation.PROBE, server).note == (
        f"Nova says that {name} is SHUTOFF, so nothing in it was asked"
    )


def test_a_server_that_nova_could_not_bring_up_is_a_failure(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.servers[server]["status"] = "ERROR"
    with pytest.raises(ProbeFailedError, match="is ERROR"):
        hands.do(Operation.PROBE, server)
