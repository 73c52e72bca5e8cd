"""What the provider tells: doctor, verify, discover; and what it refuses."""

from __future__ import annotations

import hashlib

import pytest
from fake_openstack import FakeOpenStack
from hands import Hands

from quiesce.errors import DamagedArtifactError, NonRecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.operation import Operation
from quiesce.ports import Discoverer, Doctor, Finding, Verifier


def findings(hands: Hands, resource_id: str, type_: str = "Server") -> dict[str, Finding]:
    found = hands.provider.doctor(hands.call(Operation.SNAPSHOT, resource_id, type_), hands.context)
    return {f"{finding.check} {finding.detail}": finding for finding in found}


def failed(found: dict[str, Finding]) -> list[str]:
    return sorted({finding.check for finding in found.values() if not finding.passed})


def test_the_provider_examines_verifies_and_discovers(hands: Hands) -> None:
    assert isinstance(hands.provider, Doctor)
    assert isinstance(hands.provider, Verifier)
    assert isinstance(hands.provider, Discoverer)


def test_a_server_on_an_image_fails_only_the_agents_check(cloud: FakeOpenStack, hands: Hands) -> None:
    assert failed(findings(hands, cloud.boot())) == ["agent"]


def test_a_server_whose_image_demands_the_agent_passes(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(from_volume=True)
    (root,) = cloud.volumes.values()
    root["volume_image_metadata"] = {"hw_qemu_guest_agent": "yes", "os_require_quiesce": "yes"}
    assert failed(findings(hands, server)) == []


def test_a_quota_that_is_used_up_is_found(cloud: FakeOpenStack, hands: Hands) -> None:
    cloud.limits.update(maxTotalSnapshots=10, totalSnapshotsUsed=10, maxTotalBackups=-1, totalBackupsUsed=4)
    found = findings(hands, cloud.volume(), "Volume")
    assert failed(found) == ["quota"]
    assert "quota 4 of unlimited backups used" in found


def test_missing_rights_to_the_backup_service_are_found(cloud: FakeOpenStack, hands: Hands) -> None:
    cloud.fail("GET /backups", 403)
    assert failed(findings(hands, cloud.volume(), "Volume")) == ["backups"]


def test_a_server_in_error_is_found(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.servers[server]["status"] = "ERROR"
    assert "server" in failed(findings(hands, server))


@pytest.mark.parametrize("type_", ["Server", "Volume"])
def test_what_is_not_there_is_found(hands: Hands, type_: str) -> None:
    assert failed(findings(hands, "nothing", type_)) == [type_.lower()]


def test_examining_changes_nothing(cloud: FakeOpenStack, hands: Hands) -> None:
    findings(hands, cloud.boot(volumes=1))
    assert all(line.startswith("GET") for line in cloud.log)


def verified(hands: Hands, resource_id: str, type_: str, artifact: object) -> tuple[bool, str]:
    call = hands.call(Operation.SNAPSHOT, resource_id, type_, artifact=artifact)
    proof = hands.provider.verify(call, hands.context)
    return proof.passed, proof.detail


def test_an_image_is_read_and_its_checksum_compared(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    cloud.data[server] = "content"
    artifact = dict(hands.back_up(server))
    artifact["checksum"] = hashlib.sha512(b"content").hexdigest()
    assert verified(hands, server, "Server", artifact)[0]
    cloud.data[str(artifact["image"])] = "contend"
    passed, detail = verified(hands, server, "Server", artifact)
    assert not passed
    assert "another checksum" in detail


def test_of_a_volume_it_is_said_that_nothing_was_read(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    artifact = hands.back_up(volume, "Volume", full=True)
    passed, detail = verified(hands, volume, "Volume", artifact)
    assert passed
    assert "its data was not read" in detail


def test_a_backup_that_is_gone_fails_its_proof(cloud: FakeOpenStack, hands: Hands) -> None:
    volume = cloud.volume()
    artifact = hands.back_up(volume, "Volume", full=True)
    cloud.backups.clear()
    assert not verified(hands, volume, "Volume", artifact)[0]


def test_a_project_is_discovered_as_a_blueprint(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot(name="Web 1", volumes=1)
    cloud.boot(name="Web 1")
    cloud.network["networks"] = {"n1": {"id": "n1", "name": "lan"}}
    cloud.network["subnets"] = {"s1": {"id": "s1", "name": "", "network_id": "n1"}}
    blueprint = hands.provider.discover({})
    templates = blueprint["node_templates"]
    assert isinstance(templates, dict)
    assert templates["Web_1"] == {
        "type": "quiesce.nodes.openstack.Server",
        "properties": {"resource_id": server},
    }
    assert templates["Web_1_0"]["relationships"] == [
        {"type": "cloudify.relationships.connected_to", "target": "Web_1"}
    ]
    assert templates["Subnet_s1"]["relationships"][0]["target"] == "lan"
    assert len(templates) == 5


def test_an_operation_that_means_nothing_is_refused(cloud: FakeOpenStack, hands: Hands) -> None:
    with pytest.raises(UnsupportedError, match="suspend"):
        hands.do(Operation.SUSPEND, cloud.volume(), "Volume")


def test_a_node_of_another_sort_is_refused(hands: Hands) -> None:
    with pytest.raises(UnsupportedError, match="Flavor"):
        hands.do(Operation.SNAPSHOT, "x", "cloudify.nodes.openstack.Flavor")


def test_a_function_of_the_old_plugin_says_what_its_node_is(cloud: FakeOpenStack, hands: Hands) -> None:
    server = cloud.boot()
    hands.do(Operation.SUSPEND, server, "my.own.Type", function="nova_plugin.server.freeze_suspend")
    assert cloud.servers[server]["status"] == "SUSPENDED"


def test_an_unknown_option_is_refused_with_those_that_there_are(cloud: FakeOpenStack, hands: Hands) -> None:
    with pytest.raises(NonRecoverableError, match="no option 'swap'") as caught:
        hands.do(Operation.SNAPSHOT, cloud.volume(), "Volume", inputs={"openstack_swap": True})
    assert "openstack_swap_volume" in caught.value.hint
    assert not cloud.log


def test_a_wrong_value_is_refused(cloud: FakeOpenStack, hands: Hands) -> None:
    with pytest.raises(NonRecoverableError, match="'perhaps' is not true or false"):
        hands.do(Operation.SNAPSHOT, cloud.volume(), "Volume", inputs={"swap_volume": "perhaps"})
    assert not cloud.log


@pytest.mark.parametrize("name", ["client_config", "openstack_config"])
def test_how_to_log_in_is_an_input_but_no_option(cloud: FakeOpenStack, hands: Hands, name: str) -> None:
    config = {name: {"username": "demo", "password": "x"}}
    assert hands.do(Operation.SNAPSHOT, cloud.volume(), "Volume", inputs=config).artifact


@pytest.mark.parametrize("artifact", [{}, {"server": 5}, {"volume": "x", "size_gib": "large"}])
@pytest.mark.parametrize("type_", ["Server", "Volume", "Network"])
def test_what_is_no_artifact_is_damaged(
    cloud: FakeOpenStack, hands: Hands, artifact: dict[str, object], type_: str
) -> None:
    with pytest.raises(DamagedArtifactError):
        hands.do(Operation.APPLY, cloud.boot(), type_, artifact=artifact)


def test_an_answer_that_was_lost_leaves_nothing_to_put_back(cloud: FakeOpenStack, hands: Hands) -> None:
    with pytest.raises(ResourceNotFoundError, match="nothing is known of what monday holds"):
        hands.do(Operation.APPLY, cloud.boot())
