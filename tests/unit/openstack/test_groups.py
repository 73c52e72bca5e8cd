"""Snapshots of groups of volumes, as Cinder has them: where they are used, and what the cut is worth then.

Read in Cinder's sources: cinder/group/api.py (``create_group_snapshot``: every volume of the group, with its
name and description), cinder/volume/api.py (``delete_snapshot``: none of them alone),
cinder/api/v3/views/group_types.py (specs are shown to those whom a policy allows), and its specification of
group snapshots: ``consistent_group_snapshot_enabled`` promises one instant. The API was seen on the
lab (tests/integration/test_openstack_groups.py), a storage that promises one instant never.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands, neighbour, node

from quiesce.errors import ForeignObjectError, OperationTimeoutError, RecoverableError
from quiesce.model.consistency import Consistency
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.topology import Implementation
from quiesce.testing import RecordingContext

FULL = pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
ASKED = re.compile(r"POST /group_snapshots$")


def hooked(function: str = "script_runner.tasks.run") -> Any:
    """Return a node with a freeze of its own."""
    hook = Implementation(plugin="p", function=function)
    return node("cloudify.nodes.openstack.Server", operations={FS_PREPARE: hook})


def grouped(cloud: FakeOpenStack, *, one_instant: bool = True, **boot: Any) -> str:
    """Make a server with three volumes that are a group."""
    server = cloud.boot(**({"from_volume": True, "volumes": 2} | boot))
    cloud.group(cloud.attached(server), one_instant=one_instant)
    return server


def asked(cloud: FakeOpenStack) -> int:
    """Return how often a snapshot of a group was asked for."""
    return sum(bool(ASKED.search(line)) for line in cloud.log)


def moments(cloud: FakeOpenStack) -> int:
    """Return at how many moments the snapshots were cut."""
    return len({cloud.data[snapshot] for snapshot in cloud.snapshots})


class TestWhatItIsWorth:
    def test_volumes_that_nothing_freezes_are_cut_at_one_instant(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = grouped(cloud)
        cloud.write_always()
        outcome = hands.do(Operation.SNAPSHOT, server)
        assert (len(cloud.snapshots), moments(cloud)) == (3, 1)
        assert outcome.consistency is None
        assert "at one instant" in outcome.note

    def test_without_a_group_they_may_contradict_each_other_and_that_is_said(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = cloud.boot(from_volume=True, volumes=2)
        cloud.write_always()
        outcome = hands.do(Operation.SNAPSHOT, server)
        assert moments(cloud) == 3
        assert outcome.consistency is Consistency.NONE
        assert "may contradict each other" in outcome.note

    def test_a_group_that_does_not_promise_one_instant_is_not_used(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        outcome = hands.do(Operation.SNAPSHOT, grouped(cloud, one_instant=False))
        assert asked(cloud) == 0
        assert outcome.consistency is Consistency.NONE
        assert "does not promise one instant" in hands.said

    @pytest.mark.parametrize("agent", [False, True], ids=["no-agent", "agent"])
    def test_what_a_hook_has_frozen_is_cut_without_novas_thaw(
        self, cloud: FakeOpenStack, hands: Hands, agent: bool
    ) -> None:
        server = grouped(cloud, agent=agent)
        cloud.frozen[server] = True
        outcome = hands.do(Operation.SNAPSHOT, server, node=hooked())
        cloud.settle()
        assert asked(cloud) == 1
        assert cloud.frozen[server]
        assert not cloud.cut_thawed
        assert outcome.consistency is None

    @pytest.mark.parametrize("function", ["", "quiesce.openstack.server.freeze"], ids=["offered", "bound"])
    def test_where_nova_freezes_its_own_snapshot_is_the_cut(
        self, cloud: FakeOpenStack, hands: Hands, function: str
    ) -> None:
        server = grouped(cloud, agent=True)
        changes = {"node": hooked(function)} if function else {}
        outcome = hands.do(Operation.SNAPSHOT, server, **changes)
        assert asked(cloud) == 0
        assert outcome.consistency is None

    def test_volumes_beside_an_image_are_one_instant_and_the_root_disk_another(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = grouped(cloud, from_volume=False, volumes=3, agent=False)
        cloud.write_always()
        outcome = hands.do(Operation.SNAPSHOT, server)
        assert moments(cloud) == 1
        assert outcome.consistency is Consistency.NONE
        assert "its root disk at another" in outcome.note
        again = hands.do(Operation.SNAPSHOT, server, node=hooked(), point="tuesday")
        assert again.consistency is None

    def test_a_server_that_is_off_is_worth_what_it_was_before(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = grouped(cloud)
        cloud.servers[server]["status"] = "SHUTOFF"
        outcome = hands.do(Operation.SNAPSHOT, server)
        assert outcome.consistency is Consistency.CRASH
        assert "Nova froze nothing" in outcome.note


class TestWhereItIsUsed:
    def test_volumes_of_others_are_not_snapshotted(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = cloud.boot(from_volume=True, volumes=1)
        cloud.group([*cloud.attached(server), cloud.volume(name="theirs")])
        hands.do(Operation.SNAPSHOT, server)
        assert asked(cloud) == 0

    def test_a_volume_with_a_node_is_left_to_it(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        related = (neighbour(cloud.attached(server)[2], "Volume"),)
        hands.do(Operation.SNAPSHOT, server, related=related)
        assert asked(cloud) == 0

    def test_who_is_not_told_what_a_type_promises_may_know_it(
        self, cloud: FakeOpenStack, hands: Hands
    ) -> None:
        server = grouped(cloud)
        cloud.shows_specs = False
        hands.do(Operation.SNAPSHOT, server)
        assert asked(cloud) == 0
        assert "group_snapshots: always" in hands.said
        always = {"resource_id": server, "group_snapshots": "always"}
        hands.do(Operation.SNAPSHOT, server, properties=always, execution="exec2", point="tuesday")
        assert asked(cloud) == 1

    def test_an_operator_may_do_without(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        never = {"resource_id": server, "group_snapshots": "never"}
        hands.do(Operation.SNAPSHOT, server, properties=never)
        assert asked(cloud) == 0

    def test_what_a_type_promises_is_asked_once(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        for point in ("monday", "tuesday"):
            hands.do(Operation.SNAPSHOT, server, point=point)
        assert sum("GET /group_types" in line for line in cloud.log) == 1

    @pytest.mark.parametrize("status", [400, 403])
    def test_one_that_is_refused_is_told_and_done_without(
        self, cloud: FakeOpenStack, hands: Hands, status: int
    ) -> None:
        server = grouped(cloud)
        cloud.fail(ASKED.pattern, status)
        outcome = hands.do(Operation.SNAPSHOT, server)
        assert "no snapshot of the group" in hands.said
        assert outcome.consistency is Consistency.NONE
        assert len(cloud.snapshots) == 3

    def test_names_that_are_too_long_for_a_mark_are_told(self, cloud: FakeOpenStack, hands: Hands) -> None:
        hands.do(Operation.SNAPSHOT, grouped(cloud), deployment="d" * 200)
        assert asked(cloud) == 0
        assert "too long" in hands.said


class TestItsLife:
    @FULL
    @pytest.mark.parametrize("from_volume", [False, True], ids=["image", "volume"])
    def test_it_comes_back_and_goes_again(
        self, cloud: FakeOpenStack, hands: Hands, full: bool, from_volume: bool
    ) -> None:
        server = grouped(cloud, from_volume=from_volume, volumes=2)
        before = cloud.objects()
        volumes = cloud.attached(server)
        cloud.data.update(dict.fromkeys(volumes, "then"))
        artifact = hands.back_up(server, full=full)
        assert bool(cloud.group_snapshots) is not full
        cloud.data.update(dict.fromkeys(volumes, "now"))
        hands.do(Operation.APPLY, server, artifact=artifact, full=full)
        assert {cloud.data[volume] for volume in volumes} == {"then"}
        hands.do(Operation.DELETE, server, artifact=artifact, full=full)
        assert cloud.objects() == before

    @FULL
    def test_one_whose_answer_was_lost_is_taken_up(
        self, cloud: FakeOpenStack, hands: Hands, full: bool
    ) -> None:
        server = grouped(cloud)
        cloud.lose_answer(ASKED)
        with pytest.raises(OperationTimeoutError):
            hands.do(Operation.SNAPSHOT, server, full=full)
        hands.do(Operation.SNAPSHOT, server, full=full)
        assert asked(cloud) == 1
        assert len(cloud.group_snapshots) == 1

    def test_one_whose_answer_was_lost_is_undone(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        before = cloud.objects()
        cloud.lose_answer(ASKED)
        with pytest.raises(OperationTimeoutError):
            hands.do(Operation.SNAPSHOT, server)
        hands.do(Operation.DELETE, server, undo=True)
        assert cloud.objects() == before

    def test_one_that_failed_is_made_anew(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        cloud.failing.add("snapshot")
        with pytest.raises(RecoverableError):
            hands.do(Operation.SNAPSHOT, server)
        cloud.failing.clear()
        hands.do(Operation.SNAPSHOT, server)
        assert [each["status"] for each in cloud.snapshots.values()] == ["available"] * 3

    def test_another_executions_is_not_taken(self, cloud: FakeOpenStack, hands: Hands) -> None:
        server = grouped(cloud)
        hands.do(Operation.SNAPSHOT, server)
        with pytest.raises(ForeignObjectError, match="exec1"):
            hands.do(Operation.SNAPSHOT, server, execution="exec2")
        hands.do(Operation.DELETE, server, execution="exec2", undo=True)
        assert len(cloud.group_snapshots) == 1


class Nodes:
    """Volumes that are a group, each with a node of its own."""

    def __init__(self, cloud: FakeOpenStack, hands: Hands, *, one_instant: bool = True) -> None:
        self.cloud, self.hands = cloud, hands
        self.volumes = [cloud.volume(name=name) for name in ("wal", "data", "index")]
        self.group = cloud.group(self.volumes, one_instant=one_instant)

    def do(self, operation: Operation, volume: str, **changes: Any) -> Outcome:
        """Perform one operation on one of them, in one execution with the others."""
        others = (each for each in self.volumes if each != volume)
        context = RecordingContext(timeout_s=5)
        context.together = tuple(neighbour(each, "Volume") for each in others)
        outcome = self.hands.provider.perform(
            self.hands.call(operation, volume, "Volume", **changes), context
        )
        self.hands.context.lines.extend(context.lines)
        return outcome

    def each(self, operation: Operation, **changes: Any) -> list[Outcome]:
        """Perform one operation on all of them side by side, as the engine does."""
        with ThreadPoolExecutor(len(self.volumes)) as threads:
            return list(threads.map(lambda volume: self.do(operation, volume, **changes), self.volumes))

    def back_up(self, *, full: bool) -> list[Any]:
        """Cut and copy all of them; return the artifacts."""
        cuts = self.each(Operation.SNAPSHOT, full=full)
        return [
            self.do(Operation.COPY, volume, full=full, artifact=cut.artifact).artifact
            for volume, cut in zip(self.volumes, cuts, strict=True)
        ]


@pytest.fixture
def nodes(cloud: FakeOpenStack, hands: Hands) -> Nodes:
    return Nodes(cloud, hands)


class TestVolumesWithNodesOfTheirOwn:
    def test_they_are_cut_at_one_instant_and_that_is_said(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        cloud.write_always()
        outcomes = nodes.each(Operation.SNAPSHOT)
        assert (asked(cloud), len(cloud.snapshots), moments(cloud)) == (1, 3, 1)
        assert {outcome.note for outcome in outcomes} == {
            f"cut at one instant with 2 more, as their group {nodes.group}"
        }

    @pytest.mark.parametrize("why", ["no promise", "not cut", "never"])
    def test_else_each_is_cut_alone_and_why_is_said(
        self, cloud: FakeOpenStack, hands: Hands, why: str
    ) -> None:
        cloud.write_always()
        nodes = Nodes(cloud, hands, one_instant=why != "no promise")
        if why == "not cut":
            cloud.volumes[cloud.volume(name="theirs")]["group_id"] = nodes.group
        options = {"inputs": {"group_snapshots": "never"}} if why == "never" else {}
        outcomes = nodes.each(Operation.SNAPSHOT, **options)
        assert (asked(cloud), moments(cloud)) == (0, 3)
        assert [outcome.note for outcome in outcomes] == [""] * 3
        told = {
            "no promise": "does not promise one instant",
            "not cut": "has no node that is cut",
            "never": "",
        }
        assert told[why] in hands.said

    def test_one_that_is_refused_is_told_and_done_without(
        self, cloud: FakeOpenStack, hands: Hands, nodes: Nodes
    ) -> None:
        cloud.fail(ASKED.pattern, 403)
        outcomes = nodes.each(Operation.SNAPSHOT)
        assert [outcome.note for outcome in outcomes] == [""] * 3
        assert "no snapshot of the group" in hands.said
        assert not cloud.group_snapshots
        assert len(cloud.snapshots) == 3

    @FULL
    def test_they_come_back_and_go_again(self, cloud: FakeOpenStack, nodes: Nodes, full: bool) -> None:
        before = cloud.objects()
        cloud.data.update(dict.fromkeys(nodes.volumes, "then"))
        artifacts = nodes.back_up(full=full)
        assert bool(cloud.group_snapshots) is not full
        cloud.data.update(dict.fromkeys(nodes.volumes, "now"))
        for volume, artifact in zip(nodes.volumes, artifacts, strict=True):
            nodes.do(Operation.APPLY, volume, artifact=artifact, full=full)
        assert {cloud.data[volume] for volume in nodes.volumes} == {"then"}
        for volume, artifact in zip(nodes.volumes, artifacts, strict=True):
            nodes.do(Operation.DELETE, volume, artifact=artifact, full=full)
        assert cloud.objects() == before

    def test_what_another_needs_stays(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        """A restore point of three volumes of which two are removed is still one of the third."""
        artifacts = nodes.back_up(full=False)
        for volume, artifact in list(zip(nodes.volumes, artifacts, strict=True))[:2]:
            nodes.do(Operation.DELETE, volume, artifact=artifact)
        cloud.settle()
        assert len(cloud.group_snapshots) == 1
        cloud.data[nodes.volumes[2]] = "now"
        nodes.do(Operation.APPLY, nodes.volumes[2], artifact=artifacts[2])
        assert cloud.data[nodes.volumes[2]] != "now"
        nodes.do(Operation.DELETE, nodes.volumes[2], artifact=artifacts[2])
        cloud.settle()
        assert not cloud.group_snapshots

    def test_all_let_go_of_it_at_once(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        nodes.each(Operation.SNAPSHOT)
        nodes.each(Operation.DELETE)
        assert not cloud.group_snapshots
        assert not cloud.snapshots

    def test_one_whose_answer_was_lost_is_taken_up(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        cloud.lose_answer(ASKED)
        with pytest.raises(OperationTimeoutError):
            nodes.do(Operation.SNAPSHOT, nodes.volumes[0])
        nodes.each(Operation.SNAPSHOT)
        assert (asked(cloud), len(cloud.group_snapshots)) == (1, 1)

    def test_one_whose_answer_was_lost_is_undone_by_whoever_asked(
        self, cloud: FakeOpenStack, nodes: Nodes
    ) -> None:
        before = cloud.objects()
        cloud.lose_answer(ASKED)
        with pytest.raises(OperationTimeoutError):
            nodes.do(Operation.SNAPSHOT, nodes.volumes[0])
        nodes.do(Operation.DELETE, nodes.volumes[0], undo=True)
        assert cloud.objects() == before

    def test_one_that_failed_is_made_anew_for_all(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        cloud.failing.add("snapshot")
        for volume in nodes.volumes:
            with pytest.raises(RecoverableError):
                nodes.do(Operation.SNAPSHOT, volume)
        cloud.failing.clear()
        nodes.each(Operation.SNAPSHOT)
        assert [each["status"] for each in cloud.snapshots.values()] == ["available"] * 3

    def test_another_executions_is_neither_taken_nor_removed(
        self, cloud: FakeOpenStack, nodes: Nodes
    ) -> None:
        nodes.each(Operation.SNAPSHOT)
        with pytest.raises(ForeignObjectError, match="exec1"):
            nodes.do(Operation.SNAPSHOT, nodes.volumes[0], execution="exec2")
        nodes.each(Operation.DELETE, execution="exec2", undo=True)
        assert len(cloud.group_snapshots) == 1

    def test_a_cut_of_its_own_is_taken_up_as_such(self, cloud: FakeOpenStack, nodes: Nodes) -> None:
        never = {"inputs": {"group_snapshots": "never"}}
        nodes.do(Operation.SNAPSHOT, nodes.volumes[0], **never)
        nodes.do(Operation.SNAPSHOT, nodes.volumes[0])
        assert (asked(cloud), len(cloud.snapshots)) == (0, 1)
