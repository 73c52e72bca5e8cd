"""A restore that dies at any request leaves no server shut off that ran, and no volume detached."""

from __future__ import annotations

from typing import Any

import pytest
from fake_openstack import FakeClient, FakeOpenStack
from hands import QUICK, Hands

from quiesce.model.operation import Operation
from quiesce.providers.openstack.provider import OpenStackProvider
from quiesce.testing import Fuse, PowerCut, RecordingContext

#: more requests than any restore makes
MOST_TOUCHES = 400


class FusedClient(FakeClient):
    """A client whose every request that changes something is touched before and after it is served."""

    def __init__(self, cloud: FakeOpenStack, fuse: Fuse) -> None:
        super().__init__(cloud)
        self._fuse = fuse

    def request(self, service: Any, method: str, path: str, **named: Any) -> dict[str, Any]:
        if method == "GET":
            return super().request(service, method, path, **named)
        self._fuse.burn()
        answer = super().request(service, method, path, **named)
        self._fuse.burn()
        return answer


def _do(
    cloud: FakeOpenStack, operation: Operation, what: tuple[str, str], fuse: Fuse, **changes: Any
) -> None:
    """Perform one operation in a process of its own."""
    provider = OpenStackProvider(connect=lambda _: FusedClient(cloud, fuse), pace=QUICK)
    provider.perform(Hands(cloud).call(operation, *what, **changes), RecordingContext(timeout_s=5))


def _shape(cloud: FakeOpenStack, server: str) -> tuple[str, list[str]]:
    return cloud.servers[server]["status"], [volume["status"] for volume in cloud.volumes.values()]


def _marks(cloud: FakeOpenStack) -> list[str]:
    things = [*cloud.servers.values(), *cloud.volumes.values()]
    return [key for thing in things for key in thing["metadata"] if key.startswith("quiesce:")]


@pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
@pytest.mark.parametrize("kind", ["Server", "Volume"])
def test_wherever_a_restore_dies_the_server_runs_with_its_volumes_after_the_start(
    cloud: FakeOpenStack, hands: Hands, kind: str, full: bool
) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    what = (server if kind == "Server" else volume, kind)
    cloud.data[volume] = "before"
    saved = {"full": full, "artifact": hands.back_up(*what, full=full)}
    cloud.settle()
    was_off = was_away = 0
    for touches in range(MOST_TOUCHES):
        cloud.data[volume] = "after"
        try:
            _do(cloud, Operation.APPLY, what, Fuse(touches), **saved)
        except PowerCut:
            pass
        else:
            break
        status, volumes = _shape(cloud, server)
        was_off += status != "ACTIVE"
        was_away += volumes != ["in-use"]
        for _ in range(2):
            _do(cloud, Operation.START, what, Fuse(None), **saved)
            cloud.settle()
            assert _shape(cloud, server) == ("ACTIVE", ["in-use"]), f"after touch {touches}"
        assert _marks(cloud) == []
        _do(cloud, Operation.APPLY, what, Fuse(None), **saved)
        assert cloud.data[volume] == "before"
    else:
        pytest.fail("the restore does not come to its end")
    assert was_off > 0
    assert was_away > 0
    assert _shape(cloud, server) == ("ACTIVE", ["in-use"])


def test_a_server_that_was_shut_off_gets_its_volume_back_and_is_not_started(cloud: FakeOpenStack) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.servers[server].update(status="SHUTOFF")
    cloud.servers[server]["os-extended-volumes:volumes_attached"] = []
    cloud.volumes[volume].update(status="available", attachments=[])
    cloud.volumes[volume]["metadata"] = {"quiesce:attached-to": f"{server} /dev/vdb"}
    _do(cloud, Operation.START, (server, "Server"), Fuse(None))
    cloud.settle()
    assert _shape(cloud, server) == ("SHUTOFF", ["in-use"])


def test_a_volume_that_cannot_be_attached_keeps_no_server_down(cloud: FakeOpenStack) -> None:
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    cloud.servers[server].update(status="SHUTOFF", metadata={"quiesce:restart": "yes"})
    cloud.servers[server]["os-extended-volumes:volumes_attached"] = []
    cloud.volumes[volume].update(status="error_restoring", attachments=[])
    cloud.volumes[volume]["metadata"] = {"quiesce:attached-to": f"{server} /dev/vdb"}
    _do(cloud, Operation.START, (server, "Server"), Fuse(None))
    cloud.settle()
    assert _shape(cloud, server) == ("ACTIVE", ["error_restoring"])


def test_what_is_not_there_or_was_never_detached_is_owed_no_start(cloud: FakeOpenStack) -> None:
    """Its restore is refused before anything is touched; a start that fails would be owed for ever."""
    server = cloud.boot(volumes=1)
    volume = cloud.servers[server]["os-extended-volumes:volumes_attached"][0]["id"]
    attachment = cloud.volumes[volume]["attachments"][0]
    cloud.volumes[volume]["attachments"] = [attachment, {**attachment, "server_id": "another"}]
    _do(cloud, Operation.START, (volume, "Volume"), Fuse(None))
    cloud.volumes[volume].update(
        status="available", attachments=[], metadata={"quiesce:attached-to": f"{server} /dev/vdb"}
    )
    del cloud.servers[server]
    _do(cloud, Operation.START, (volume, "Volume"), Fuse(None))
    _do(cloud, Operation.START, (server, "Server"), Fuse(None))


def test_a_server_that_was_shut_off_stays_so_wherever_its_restore_dies(
    cloud: FakeOpenStack, hands: Hands
) -> None:
    server = cloud.boot(volumes=1)
    saved = {"full": False, "artifact": hands.back_up(server, "Server", full=False)}
    cloud.settle()
    cloud.servers[server].update(status="SHUTOFF")
    for touches in range(MOST_TOUCHES):
        try:
            _do(cloud, Operation.APPLY, (server, "Server"), Fuse(touches), **saved)
        except PowerCut:
            pass
        else:
            break
        _do(cloud, Operation.START, (server, "Server"), Fuse(None), **saved)
        cloud.settle()
        assert _shape(cloud, server) == ("SHUTOFF", ["in-use"]), f"after touch {touches}"
    else:
        pytest.fail("the restore does not come to its end")
    assert _shape(cloud, server)[0] == "SHUTOFF"
