"""What blueprints say about the account, and what operators may choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json, NodeId, StepId
from quiesce.model.operation import FS_PREPARE, SNAPSHOT_CREATE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Implementation, Node
from quiesce.provider_kit.options import read_options
from quiesce.providers.gcp import DESCRIPTION
from quiesce.providers.gcp.account import account_of
from quiesce.providers.gcp.options import CopyAs, GcpOptions
from quiesce.providers.gcp.target import target_of
from quiesce.testing import RecordingContext

KEY = {"type": "service_account", "project_id": "from-key", "private_key": "very secret"}


def call(
    properties: dict[str, Json],
    *,
    node_type: str = "cloudify.gcp.nodes.Volume",
    inputs: dict[str, Json] | None = None,
    runtime: dict[str, Json] | None = None,
    hooks: tuple[str, ...] = (),
) -> Call:
    return Call(
        operation=Operation.SNAPSHOT,
        interface=SNAPSHOT_CREATE,
        function="",
        deployment=DeploymentName("d"),
        execution=ExecutionId("e"),
        step=StepId("s"),
        attempt=1,
        instance=InstanceId("disk_ab12cd"),
        node=Node(
            id=NodeId("disk"),
            type=node_type,
            type_hierarchy=("cloudify.nodes.Root", node_type),
            properties=properties,
            operations={hook: Implementation(plugin="", function="run") for hook in hooks},
        ),
        properties=properties,
        runtime_properties=runtime or {},
        inputs=inputs or {},
        parameters=Parameters(),
    )


def path_of(given: Call) -> str:
    kind = DESCRIPTION.kind_of(given.function, given.node)
    assert kind is not None
    return target_of(kind, given, account_of(given.properties)).path


@pytest.mark.parametrize("auth", [KEY, json.dumps(KEY), {"value": KEY}])
def test_credentials_may_be_a_mapping_or_text(auth: Json) -> None:
    assert account_of({"gcp_config": {"auth": auth}}).project == "from-key"


def test_credentials_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps(KEY))
    assert account_of({"client_config": {"auth": str(tmp_path / "key.json")}}).project == "from-key"


def test_credentials_never_show() -> None:
    account = account_of({"gcp_config": {"auth": KEY}})
    assert "very secret" not in repr(account)
    with pytest.raises(NonRecoverableError) as caught:
        account_of({"gcp_config": {"auth": "{very secret"}})
    assert "very secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["ftp://x", "https://host/compute/v1/", "host:443"])
def test_an_endpoint_that_the_client_would_misread_is_refused(endpoint: str) -> None:
    with pytest.raises(NonRecoverableError):
        account_of({"gcp_config": {"api_endpoint": endpoint}})


def test_no_token_is_sent_where_anybody_could_read_it() -> None:
    assert account_of({"gcp_config": {"api_endpoint": "http://127.0.0.1:1", "auth": KEY}}).login.anonymous
    assert not account_of({"gcp_config": {"auth": KEY}}).login.anonymous


CONFIG: dict[str, Json] = {"project": "p", "zone": "us-east1-b"}


@pytest.mark.parametrize(
    ("properties", "runtime", "path"),
    [
        ({"name": "data"}, {}, "projects/p/zones/us-east1-b/disks/data"),
        ({}, {}, "projects/p/zones/us-east1-b/disks/disk-ab12cd"),
        ({"name": "data", "zone": "us-west1-a"}, {}, "projects/p/zones/us-west1-a/disks/data"),
        ({"name": "data", "region": "us-west1"}, {}, "projects/p/regions/us-west1/disks/data"),
        ({"resource_id": "projects/q/zones/us-west1-a/disks/x"}, {}, "projects/q/zones/us-west1-a/disks/x"),
        ({"name": "data"}, {"name": "made"}, "projects/p/zones/us-east1-b/disks/made"),
        (
            {"name": "data"},
            {"resource_id": {"source": "https://h/compute/v1/projects/p/zones/us-east1-b/disks/made"}},
            "projects/p/zones/us-east1-b/disks/made",
        ),
        (
            {"name": "data"},
            {"name": "made", "quiesce_disk": "projects/p/zones/us-east1-b/disks/restored"},
            "projects/p/zones/us-east1-b/disks/restored",
        ),
    ],
)
def test_the_disk_is_found(properties: dict[str, Json], runtime: dict[str, Json], path: str) -> None:
    assert path_of(call({"gcp_config": CONFIG, **properties}, runtime=runtime)) == path


def test_an_operation_may_name_the_disk_itself() -> None:
    given = call(
        {"gcp_config": CONFIG}, node_type="cloudify.gcp.nodes.Snapshot", inputs={"disk_name": "boot"}
    )
    assert path_of(given) == "projects/p/zones/us-east1-b/disks/boot"


@pytest.mark.parametrize("missing", ["project", "zone"])
def test_what_is_not_known_is_said(missing: str) -> None:
    config = {key: value for key, value in CONFIG.items() if key != missing}
    with pytest.raises(NonRecoverableError, match=missing):
        path_of(call({"gcp_config": config, "name": "data"}))


def test_an_input_wins_over_a_property() -> None:
    given = call({"copy_as": "disks", "guest_flush": True}, inputs={"copy_as": "machine_image"})
    options = read_options(GcpOptions, "gcp", given)
    assert options.copy_as is CopyAs.MACHINE_IMAGE
    assert options.guest_flush
    own = call({"copy_as": "disks"}, inputs={"copy_as": "disks", "gcp_copy_as": "machine_image"})
    assert read_options(GcpOptions, "gcp", own).copy_as is CopyAs.MACHINE_IMAGE


def test_one_location_need_not_be_a_list() -> None:
    given = call({}, inputs={"storage_locations": "eu"})
    assert read_options(GcpOptions, "gcp", given).storage_locations == ("eu",)


def test_a_hook_of_the_blueprint_is_known_unless_it_is_skipped() -> None:
    pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
    from quiesce.providers.gcp.provider import GcpProvider

    def is_frozen(**properties: Json) -> bool:
        config: Json = {"project": "p", "zone": "z", "api_endpoint": "http://127.0.0.1:1"}
        given = call({"gcp_config": config, **properties}, hooks=(FS_PREPARE,))
        return GcpProvider().job(given, RecordingContext()).frozen_by_hook

    assert is_frozen()
    assert not is_frozen(skip_actions=[FS_PREPARE])


@pytest.mark.parametrize(
    ("inputs", "right"),
    [
        ({"copy_as": "tape"}, "one of auto, disks, machine_image"),
        ({"gcp_guest_flush": "perhaps"}, "true or false"),
        ({"storage_locations": [{"eu": 1}]}, "a list of names"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(inputs: dict[str, Json], right: str) -> None:
    with pytest.raises(NonRecoverableError, match=right):
        read_options(GcpOptions, "gcp", call({}, inputs=inputs))


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(NonRecoverableError, match="no option 'copy_ass'") as caught:
        read_options(GcpOptions, "gcp", call({}, inputs={"gcp_copy_ass": "disks"}))
    assert "gcp_copy_as" in caught.value.hint
