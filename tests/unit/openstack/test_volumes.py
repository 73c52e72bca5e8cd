"""One volume: what is made, refused, put back and removed."""

from __future__ import annotations

from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands

from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.operation import Operation
from quiesce.providers.openstack.errors import QuotaExceededError


def another(name: str) -> dict[str, object]:
    return {"point": BackupName(name), "execution": ExecutionId(f"exec-{name}")}


def test_the_objects_bear_the_type_the_id_and_the_points_name(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    hands.back_up(volume, "Volume", full=True)
    hands.back_up(volume, "Volume", **another("tuesday"))
    assert [backup["name"] for backup in cloud.backups.values()] == [f"volume-{volume}-monday"]
    assert [snapshot["name"] for snapshot in cloud.snapshots.values()] == [f"volume-{volume}-tuesday"]


def test_removing_one_backup_leaves_every_other_backup_of_the_volume(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    """The old plugin removed every backup whose volume matched, whatever its name."""
    volume = cloud.volume()
    theirs = cloud.plant_backup("by hand", volume)
    for name in ("one", "two", "three"):
        hands.back_up(volume, "Volume", full=True, **another(name))
    hands.do(Operation.DELETE, volume, "Volume", full=True, **another("two"))
    cloud.settle()
    left = {backup["name"] for backup in cloud.backups.values()}
    assert left == {"by hand", f"volume-{volume}-one", f"volume-{volume}-three"}
    assert theirs in cloud.backups


def test_an_older_snapshot_is_not_reverted_to_unless_a_swap_is_asked_for(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    volume = cloud.volume()
    cloud.data[volume] = "first"
    artifact = hands.back_up(volume, "Volume")
    cloud.data[volume] = "second"
    hands.back_up(volume, "Volume", **another("two"))
    with pytest.raises(UnsupportedError, match="newer ones exist") as caught:
        hands.do(Operation.APPLY, volume, "Volume", artifact=artifact)
    assert "swap_volume" in caught.value.hint
    assert cloud.data[volume] == "second"


@pytest.mark.parametrize(
    ("inputs", "properties"),
    [
        ({"swap_volume": "yes"}, {}),
        ({"openstack_swap_volume": True}, {"swap_volume": False}),
        ({}, {"swap_volume": True}),
    ],
    ids=["parameter", "parameter for OpenStack alone", "node property"],
)
def test_a_new_volume_takes_the_place_of_the_old_one_when_asked(
    cloud: FakeOpenStack, hands: Hands, inputs: dict[str, Any], properties: dict[str, Any]
) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.data[volume] = "first"
    artifact = hands.back_up(volume, "Volume")
    cloud.data[volume] = "second"
    hands.back_up(volume, "Volume", **another("two"))
    chosen = {"inputs": inputs, "properties": {"resource_id": volume, **properties}}
    hands.do(Operation.APPLY, volume, "Volume", artifact=artifact, **chosen)
    (taken,) = cloud.servers[server]["os-extended-volumes:volumes_attached"]
    assert taken["id"] != volume
    assert cloud.data[taken["id"]] == "first"
    assert cloud.data[volume] == "second"
    assert hands.context.runtime_properties is not None
    assert hands.context.runtime_properties["id"] == taken["id"]
    assert cloud.servers[server]["status"] == "ACTIVE"


def test_a_backup_survives_the_removal_of_its_volume(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    cloud.data[volume] = "before"
    artifact = hands.back_up(volume, "Volume", full=True)
    cloud.settle()
    del cloud.volumes[volume]
    hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
    assert hands.context.runtime_properties is not None
    assert cloud.data[str(hands.context.runtime_properties["id"])] == "before"


def test_an_incremental_backup_builds_on_ours_and_keeps_it_from_being_removed(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    volume = cloud.volume()
    wish = {"full": True, "inputs": {"incremental_backup": True}}
    one = hands.back_up(volume, "Volume", **wish, **another("one"))
    two = hands.back_up(volume, "Volume", **wish, **another("two"))
    kinds = [bool(backup["is_incremental"]) for backup in cloud.backups.values()]
    assert kinds == [False, True]
    assert (one["builds_on"], two["builds_on"]) == ([], ["one"])
    before = cloud.objects()
    with pytest.raises(NonRecoverableError, match="incremental backups build on"):
        hands.do(Operation.DELETE, volume, "Volume", full=True, **another("one"))
    assert cloud.objects() == before


def test_an_incremental_backup_never_builds_on_somebody_elses(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    cloud.plant_backup("by hand", volume)
    hands.back_up(volume, "Volume", full=True, inputs={"incremental_backup": True})
    assert not any(backup.get("is_incremental") for backup in cloud.backups.values())
    assert "by hand" in hands.said


def test_a_failed_backup_says_why_and_is_made_anew(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    cloud.failing.add("backup")
    cut = hands.do(Operation.SNAPSHOT, volume, "Volume", full=True)
    with pytest.raises(RecoverableError, match="the disk is full"):
        hands.do(Operation.COPY, volume, "Volume", full=True, artifact=cut.artifact)
    cloud.failing.clear()
    hands.do(Operation.COPY, volume, "Volume", full=True, artifact=cut.artifact)
    cloud.settle()
    assert [backup["status"] for backup in cloud.backups.values()] == ["available"]
    assert not cloud.snapshots


def test_a_failed_snapshot_is_made_anew(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    cloud.failing.add("snapshot")
    with pytest.raises(RecoverableError, match="ended as error"):
        hands.do(Operation.SNAPSHOT, volume, "Volume")
    cloud.failing.clear()
    hands.do(Operation.SNAPSHOT, volume, "Volume")
    cloud.settle()
    assert [snapshot["status"] for snapshot in cloud.snapshots.values()] == ["available"]


def test_a_full_quota_is_an_error_that_is_not_repeated(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    cloud.limits["maxTotalSnapshots"] = 0
    with pytest.raises(QuotaExceededError) as caught:
        hands.do(Operation.SNAPSHOT, volume, "Volume")
    assert not caught.value.retryable


def test_a_volume_that_has_grown_since_is_not_reverted(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume(size=1)
    artifact = hands.back_up(volume, "Volume")
    cloud.volumes[volume]["size"] = 2
    with pytest.raises(UnsupportedError, match="2 GiB now, and had 1 GiB then"):
        hands.do(Operation.APPLY, volume, "Volume", artifact=artifact)


def test_a_damaged_backup_is_refused_before_the_volume_is_detached(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    artifact = hands.back_up(volume, "Volume", full=True)
    cloud.backups[str(artifact["backup"])]["status"] = "error"
    with pytest.raises(DamagedArtifactError):
        hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
    assert cloud.volumes[volume]["status"] == "in-use"


def test_a_volume_that_several_servers_share_is_not_put_back(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    artifact = hands.back_up(volume, "Volume")
    cloud.volumes[volume]["attachments"].append({"server_id": cloud.boot(), "device": "/dev/vdb"})
    with pytest.raises(UnsupportedError, match="2 servers"):
        hands.do(Operation.APPLY, volume, "Volume", artifact=artifact)


def test_the_root_volume_of_a_server_is_written_over_in_its_place(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True)
    root = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.data[root] = "before"
    before = cloud.objects()
    artifact = hands.back_up(root, "Volume")
    cloud.data[root] = "after"
    hands.do(Operation.APPLY, root, "Volume", artifact=artifact)
    assert cloud.data[root] == "before"
    hands.do(Operation.DELETE, root, "Volume", artifact=artifact)
    assert cloud.objects() == before


def test_a_volume_that_is_gone_is_named(hands: Hands) -> None:
    gone = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(ResourceNotFoundError, match=gone):
        hands.do(Operation.SNAPSHOT, gone, "Volume")


def test_a_restore_that_died_with_the_volume_detached_attaches_it_when_repeated(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.data[volume] = "before"
    artifact = hands.back_up(volume, "Volume")
    # what a killed process leaves: the server stopped, the volume detached, both marked
    cloud.servers[server].update(status="SHUTOFF", metadata={"quiesce:restart": "yes"})
    cloud.servers[server]["os-extended-volumes:volumes_attached"] = []
    cloud.volumes[volume].update(status="available", attachments=[])
    cloud.volumes[volume]["metadata"] = {"quiesce:attached-to": f"{server} /dev/vdb", "theirs": "kept"}
    cloud.data[volume] = "after"
    hands.do(Operation.APPLY, volume, "Volume", artifact=artifact)
    assert cloud.data[volume] == "before"
    assert cloud.volumes[volume]["status"] == "in-use"
    assert cloud.volumes[volume]["metadata"] == {"theirs": "kept"}
    assert cloud.servers[server]["status"] == "ACTIVE"
    assert cloud.servers[server]["metadata"] == {}
