"""What public sources of OpenStack say, as tests on a cloud in memory that does so."""

from __future__ import annotations

from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands, neighbour, node

from quiesce.errors import NonRecoverableError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Implementation
from quiesce.providers.openstack.errors import NotAllowedError

APPLY = {"parameters": Parameters(apply_network=True)}


class TestTwoFreezes:
    """Nova's thaw ends a hook's freeze.

    Nova freezes and thaws around its own snapshot where the image has ``hw_qemu_guest_agent``
    (nova/virt/libvirt/driver.py, ``_live_snapshot``; nova/compute/api.py, ``snapshot_volume_backed``). The
    agent takes EBUSY, which a frozen file system answers, for success, and its thaw repeats FITHAW on every
    mount until that fails (qemu, qga/commands-linux.c).
    """

    HOOK = node(
        "cloudify.nodes.openstack.Server",
        operations={FS_PREPARE: Implementation(plugin="script", function="script_runner.tasks.run")},
    )

    @pytest.mark.parametrize("agent", [False, True], ids=["no-agent", "agent"])
    @pytest.mark.parametrize("volumes", [0, 1])
    @pytest.mark.parametrize("from_volume", [False, True], ids=["image", "volume"])
    def test_no_more_is_claimed_than_held(
        self, cloud: FakeOpenStack, hands: Hands, from_volume: bool, volumes: int, agent: bool
    ) -> None:
        server = cloud.boot(from_volume=from_volume, volumes=volumes, agent=agent)
        cloud.frozen[server] = True
        outcome = hands.do(Operation.SNAPSHOT, server, node=self.HOOK)
        cloud.settle()
        assert (outcome.consistency is Consistency.CRASH) or not cloud.cut_thawed
        if not agent:
            assert outcome.consistency is None
        if outcome.consistency is Consistency.CRASH:
            assert "Nova" in outcome.note

    def test_a_volume_with_steps_of_its_own_is_cut_outside_of_it(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = cloud.boot(volumes=1, agent=True)
        volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
        cloud.frozen[server] = True
        related = (neighbour(volume, "Volume"),)
        outcome = hands.do(Operation.SNAPSHOT, server, node=self.HOOK, related=related)
        assert outcome.consistency is Consistency.CRASH

    def test_an_image_that_is_gone_may_have_said_so(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(volumes=1)
        assert hands.do(Operation.SNAPSHOT, server, node=self.HOOK).consistency is Consistency.CRASH

    def test_a_hook_that_is_skipped_freezes_nothing(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(volumes=1, agent=True)
        skipped = node(
            "cloudify.nodes.openstack.Server",
            operations=self.HOOK.operations,
            properties={"skip_actions": [FS_PREPARE]},
        )
        assert hands.do(Operation.SNAPSHOT, server, node=skipped).consistency is Consistency.NONE


class TestDoctor:
    """What would be found out in the night otherwise."""

    def _findings(self, hands: Hands, server: str, **changes: Any) -> dict[str, Any]:
        call = hands.call(Operation.SNAPSHOT, server, **changes)
        return {one.check: one for one in hands.provider.doctor(call, hands.context)}

    def test_a_locked_server(self, cloud: FakeOpenStack, hands: Hands) -> None:
        """Nova shows ``locked`` (Compute API, 2.9), and refuses its snapshot to all but who has locked it."""
        server = cloud.boot()
        assert "locked" not in self._findings(hands, server)
        cloud.servers[server]["locked"] = True
        found = self._findings(hands, server)["locked"]
        assert (found.passed, "openstack server unlock" in found.remedy) == (False, True)

    @pytest.mark.parametrize("agent", [False, True], ids=["no-agent", "agent"])
    def test_two_freezes(self, cloud: FakeOpenStack, hands: Hands, agent: bool) -> None:
        server = cloud.boot(volumes=1, agent=agent)
        assert ("two-freezes" in self._findings(hands, server, node=TestTwoFreezes.HOOK)) is agent
        assert "two-freezes" not in self._findings(hands, server)
        whole = cloud.boot(from_volume=True, volumes=1, agent=agent)
        assert "two-freezes" not in self._findings(hands, whole, node=TestTwoFreezes.HOOK)

    def test_a_volume_that_several_servers_write(self, cloud: FakeOpenStack, hands: Hands) -> None:
        """Block Storage API, "multiattach"."""
        server = cloud.boot(volumes=1)
        (volume,) = cloud.attached(server)
        assert "shared" not in self._findings(hands, server)
        cloud.volumes[volume]["attachments"].append({"server_id": "other", "device": "/dev/vdb"})
        assert not self._findings(hands, server)["shared"].passed
        assert not self._findings(hands, volume, type_="Volume")["shared"].passed

    def test_how_many_disks_are_cut(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(from_volume=True, volumes=1)
        assert "one after the other" in self._findings(hands, server)["group"].detail
        cloud.group(cloud.attached(server))
        assert "one snapshot of it" in self._findings(hands, server)["group"].detail
        assert "group" not in self._findings(hands, cloud.boot())

    def test_a_group_that_is_not_to_be_used(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(from_volume=True, volumes=1)
        cloud.group(cloud.attached(server))
        never = {"resource_id": server, "group_snapshots": "never"}
        assert "one after the other" in self._findings(hands, server, properties=never)["group"].detail

    def test_a_volume_of_a_group_that_its_own_node_cuts(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(from_volume=True, volumes=1)
        one, _ = cloud.attached(server)
        assert "group" not in self._findings(hands, one, type_="Volume")
        cloud.group(cloud.attached(server))
        found = self._findings(hands, one, type_="Volume")["group"]
        assert "one of 2 volumes" in found.detail


class TestWhatAVolumeIs:
    """A volume that a backup is restored into is of the default type, unless one is made for it.

    Block Storage API, "Restore a backup": "If not specified (a volume), the backup will be restored to a new
    volume"; cinder/backup/api.py makes that with its size and name alone.
    """

    def _gone(self, cloud: FakeOpenStack, hands: Hands) -> tuple[str, Any]:
        """Return a volume that was saved and is gone."""
        volume = cloud.volume(name="ledger", size=3)
        cloud.volumes[volume].update(
            volume_type="fast", availability_zone="cellar", metadata={"team": "blue"}
        )
        cloud.data[volume] = "before"
        artifact = hands.back_up(volume, "Volume", full=True)
        del cloud.volumes[volume]
        return volume, artifact

    def _again(self, cloud: FakeOpenStack) -> dict[str, Any]:
        (again,) = cloud.volumes.values()
        assert cloud.data[again["id"]] == "before"
        return again

    def test_one_that_was_gone_is_as_it_was(self, cloud: FakeOpenStack, hands: Hands) -> None:
        volume, artifact = self._gone(cloud, hands)
        outcome = hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        again = self._again(cloud)
        assert (again["name"], again["size"], again["metadata"]) == ("ledger", 3, {"team": "blue"})
        assert (again["volume_type"], again["availability_zone"]) == ("fast", "cellar")
        assert f"its id {volume}" in outcome.note

    def test_a_type_that_is_gone_is_told_and_the_data_comes_back(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        volume, artifact = self._gone(cloud, hands)
        cloud.gone_types.add("fast")
        hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        assert self._again(cloud)["volume_type"] is None
        assert "no volume of type fast" in hands.said

    def test_a_restore_that_is_cut_off_is_finished_with_the_same_volume(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        volume, artifact = self._gone(cloud, hands)
        cloud.fail("POST /backups/.*/restore", 403)
        with pytest.raises(NonRecoverableError):
            hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        assert self._again(cloud)["name"] == "ledger"

    def test_one_that_was_given_up_is_removed_by_the_next(self, cloud: FakeOpenStack, hands: Hands) -> None:
        volume, artifact = self._gone(cloud, hands)
        cloud.fail("POST /backups/.*/restore", 403)
        with pytest.raises(NonRecoverableError):
            hands.do(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        changes = {"full": True, "artifact": artifact, "execution": "exec2"}
        hands.do(Operation.APPLY, volume, "Volume", **changes)
        cloud.settle()
        assert self._again(cloud)["name"] == "ledger"

    @pytest.mark.parametrize("gone", [False, True], ids=["in-place", "anew"])
    def test_what_is_lost_is_foreseen(self, cloud: FakeOpenStack, hands: Hands, gone: bool) -> None:
        server = cloud.boot(volumes=1)
        (volume,) = cloud.attached(server)
        cloud.group([volume])
        artifact = hands.back_up(volume, "Volume", full=True)
        if gone:
            del cloud.volumes[volume]
        call = hands.call(Operation.APPLY, volume, "Volume", full=True, artifact=artifact)
        lost = " ".join(hands.provider.inspect_target(call, hands.context).lost)
        assert all((told in lost) is gone for told in ("its id", "its group", "its attachment as /dev/vdb"))


class TestGateways:
    """Only administrators set enable_snat and external_fixed_ips of a router's gateway.

    neutron/conf/policies/router.py, ``update_router:external_gateway_info:...``. Without enable_snat it is
    true: Network API, "Update router's external gateway info".
    """

    def test_a_user_puts_the_network_back(self, cloud: FakeOpenStack, hands: Hands) -> None:
        artifact = _router(cloud, hands, _gateway("public"), _gateway("other"))
        outcome = hands.do(Operation.APPLY, "r1", "Router", artifact=artifact, **APPLY)
        gateway = cloud.network["routers"]["r1"]["external_gateway_info"]
        assert gateway["network_id"] == "public"
        assert "external_fixed_ips" in hands.said + outcome.note

    def test_what_is_the_same_is_not_sent(self, cloud: FakeOpenStack, hands: Hands) -> None:
        artifact = _router(cloud, hands, _gateway("public"), _gateway("public"), name="other")
        hands.do(Operation.APPLY, "r1", "Router", artifact=artifact, **APPLY)
        assert cloud.network["routers"]["r1"]["name"] == "router"

    def test_a_gateway_without_address_translation_is_not_made_one_with_it(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        saved = _gateway("public") | {"enable_snat": False}
        artifact = _router(cloud, hands, saved, _gateway("other"))
        with pytest.raises(NotAllowedError):
            hands.do(Operation.APPLY, "r1", "Router", artifact=artifact, **APPLY)
        assert cloud.network["routers"]["r1"]["external_gateway_info"]["network_id"] == "other"

    def test_a_gateway_that_was_not_there_is_taken_away(self, cloud: FakeOpenStack, hands: Hands) -> None:
        artifact = _router(cloud, hands, None, _gateway("other"))
        hands.do(Operation.APPLY, "r1", "Router", artifact=artifact, **APPLY)
        assert cloud.network["routers"]["r1"]["external_gateway_info"] is None


def test_name_servers_keep_their_order(cloud: FakeOpenStack, hands: Hands) -> None:
    """neutron/db/models_v2.py: ``DNSNameServer.order``; a guest asks the first one first."""
    cloud.network["subnets"] = {"s1": {"id": "s1", "dns_nameservers": ["9.9.9.9", "1.1.1.1"]}}
    artifact = hands.do(Operation.SNAPSHOT, "s1", "Subnet").artifact
    cloud.network["subnets"]["s1"]["dns_nameservers"].reverse()
    hands.do(Operation.APPLY, "s1", "Subnet", artifact=artifact, **APPLY)
    assert cloud.network["subnets"]["s1"]["dns_nameservers"] == ["9.9.9.9", "1.1.1.1"]


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
def test_a_locked_server_is_not_asked_again(cloud: FakeOpenStack, hands: Hands, full: bool) -> None:
    """nova/exception.py, InstanceIsLocked: a 409 like any other; only somebody's unlocking helps."""
    server = cloud.boot()
    cloud.servers[server]["locked"] = True
    with pytest.raises(NonRecoverableError, match="is locked") as caught:
        hands.do(Operation.SNAPSHOT, server, full=full)
    assert "openstack server unlock" in caught.value.hint


def _gateway(network: str) -> dict[str, Any]:
    addresses = [{"subnet_id": f"s-{network}", "ip_address": "203.0.113.7"}]
    return {"network_id": network, "enable_snat": True, "external_fixed_ips": addresses}


def _router(cloud: FakeOpenStack, hands: Hands, saved: Any, now: Any, *, name: str = "router") -> Any:
    """Return what was saved of a router that has another gateway, or *name*, now."""
    cloud.network["routers"] = {"r1": {"id": "r1", "name": "router", "external_gateway_info": saved}}
    artifact = hands.do(Operation.SNAPSHOT, "r1", "Router").artifact
    cloud.network["routers"]["r1"].update(external_gateway_info=now, name=name)
    return artifact
