"""Disks as nodes, the doctor's findings, and the blueprint of what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.model.call import Related
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import COMPUTE, Node

Options = Callable[..., dict[str, Any]]

SERVER = Related(
    instance=InstanceId("server_ab12"),
    node=Node(id=NodeId("server"), type="t", type_hierarchy=("cloudify.nodes.Root", COMPUTE, "t")),
    relationship="cloudify.vsphere.storage_connected_to_server",
)
DISK = Node(
    id=NodeId("disk"),
    type="cloudify.vsphere.nodes.Storage",
    type_hierarchy=(
        "cloudify.nodes.Root",
        "cloudify.nodes.vsphere.Storage",
        "cloudify.vsphere.nodes.Storage",
    ),
)


def _disk(site: Any, operation: Operation, **changes: Any) -> Any:
    changes.setdefault("related", (SERVER,))
    return site.perform(operation, node=DISK, instance="disk_cd34", **changes)


def test_a_disk_is_saved_and_restored_with_its_machine(site: Any) -> None:
    outcome = _disk(site, Operation.SNAPSHOT)
    assert outcome.artifact["with"] == "server_ab12"
    assert "server_ab12" in _disk(site, Operation.APPLY, artifact=outcome.artifact).note
    _disk(site, Operation.DELETE, artifact=outcome.artifact)


@pytest.mark.parametrize(
    "asked",
    [
        {"include_instances": ("disk_cd34",)},
        {"include_nodes": ("disk",)},
        {"exclude_nodes": ("server",)},
        {"exclude_types": (COMPUTE,)},
        {"include_types": ("cloudify.nodes.vsphere.Storage",)},
    ],
)
def test_a_disk_without_its_machine_is_refused(site: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        _disk(site, Operation.SNAPSHOT, parameters=Parameters(**asked))
    assert "server_ab12" in caught.value.hint


def test_a_disk_that_is_connected_to_nothing_is_refused(site: Any) -> None:
    with pytest.raises(UnsupportedError, match="no machine"):
        _disk(site, Operation.SNAPSHOT, related=())


def test_a_disk_has_no_operations_of_its_own(site: Any) -> None:
    with pytest.raises(UnsupportedError):
        _disk(site, Operation.SUSPEND)


# -- doctor ------------------------------------------------------------------------------------------------


def _findings(site: Any, **changes: Any) -> dict[str, Any]:
    call = site.call(Operation.SNAPSHOT, **changes)
    return {finding.check: finding for finding in site.provider().doctor(call, site.context)}


def _change(site: Any, **changes: Any) -> None:
    site.world.machines[site.machine] = replace(site.world.machines[site.machine], **changes)


def test_a_healthy_machine_passes_every_check(site: Any) -> None:
    findings = _findings(site)
    assert all(finding.passed for finding in findings.values())
    assert {"machine", "tools", "quiesce", "disks", "changed-blocks", "snapshots", "space", "rights"} <= set(
        findings
    )


def test_a_machine_that_is_not_there_is_told(site: Any) -> None:
    findings = _findings(
        site, properties={"connection_config": {"host": "h", "username": "u", "password": "p"}}
    )
    assert not findings["found"].passed


def test_missing_tools_are_told_with_a_remedy(site: Any) -> None:
    _change(site, tools_running=False)
    findings = _findings(site)
    assert "open-vm-tools" in findings["tools"].remedy
    assert "crash" in findings["quiesce"].detail


@pytest.mark.parametrize(("heartbeat", "told"), [("green", False), ("gray", False), ("red", True)])
def test_a_guest_that_hangs_is_told_though_its_tools_run(site: Any, heartbeat: str, told: bool) -> None:
    """Tools that run may hold the guest frozen (vmware/open-vm-tools#27)."""
    _change(site, heartbeat=heartbeat)
    assert ("heartbeat" in _findings(site)) is told


@pytest.mark.parametrize("label", ["CD/DVD drive 1", "Virtual TPM"])
def test_devices_that_a_copy_does_not_hold_are_told(site: Any, option: Options, label: str) -> None:
    hardware = replace(site.world.machines[site.machine].hardware, others=(label,))
    _change(site, hardware=hardware)
    found = _findings(site)["devices"]
    assert label in found.detail
    assert found.passed is ("TPM" not in label)
    assert "devices" not in _findings(site, properties=option(backup_to="clone"))


def test_saving_memory_means_that_the_guest_is_not_quiesced(site: Any, option: Options) -> None:
    assert not _findings(site, properties=option(snapshot_memory=True))["quiesce"].passed


def test_disks_that_cannot_be_saved_are_told(site: Any) -> None:
    (disk,) = site.world.machines[site.machine].disks
    _change(site, disks=(replace(disk, shared=True),))
    assert "shared" in _findings(site)["disks"].detail


def test_a_long_chain_is_told(site: Any) -> None:
    for number in range(5):
        site.perform(Operation.SNAPSHOT, point=f"p{number}")
    assert "5 snapshots" in _findings(site)["snapshots"].detail
    assert not _findings(site)["snapshots"].passed


def test_consolidation_that_is_due_is_told(site: Any) -> None:
    _change(site, consolidation_needed=True)
    assert not _findings(site)["consolidation"].passed


def test_a_temporary_snapshot_that_stayed_is_told(site: Any) -> None:
    site.perform(Operation.SNAPSHOT, full=True)
    finding = _findings(site)["leftovers"]
    assert not finding.passed
    assert "exec1" in finding.detail


# -- discovery ---------------------------------------------------------------------------------------------

ASK = {"endpoint": "vc.example.com:8443", "username": "u", "password": "hush"}


def test_every_machine_becomes_a_node(site: Any) -> None:
    site.world.add("data base")
    blueprint = site.provider().discover(ASK)
    templates = blueprint["node_templates"]
    assert set(templates) == {"web", "data_base"}
    properties = templates["web"]["properties"]
    assert properties["resource_id"] == site.world.machines[site.machine].uuid
    assert properties["connection_config"]["port"] == "8443"
    assert "hush" not in str(blueprint)


def test_templates_and_full_copies_are_no_machines_of_a_deployment(site: Any, option: Options) -> None:
    _change(site, name="app")
    site.world.machines["vm-t"] = replace(site.world.machines[site.machine], id="vm-t", template=True)
    site.backup(properties={**option(backup_to="clone"), "resource_id": "app"})
    assert len(site.world.machines) == 3
    assert set(site.provider().discover(ASK)["node_templates"]) == {"app"}


def test_machines_are_chosen_by_name(site: Any) -> None:
    site.world.add("db")
    assert set(site.provider().discover({**ASK, "name": "^d"})["node_templates"]) == {"db"}
    with pytest.raises(NonRecoverableError, match="regular expression"):
        site.provider().discover({**ASK, "name": "("})


def test_two_machines_of_one_name_become_two_nodes(site: Any) -> None:
    site.world.add("web")
    assert len(site.provider().discover(ASK)["node_templates"]) == 2


def test_the_password_may_lie_in_a_file(site: Any, tmp_path: Any) -> None:
    (tmp_path / "password").write_text("hush\n")
    asked = {"endpoint": "vc", "username": "u", "password_file": str(tmp_path / "password")}
    assert "web" in site.provider().discover(asked)["node_templates"]
    with pytest.raises(NonRecoverableError, match="cannot be read"):
        site.provider().discover({**asked, "password_file": str(tmp_path / "nothing")})
