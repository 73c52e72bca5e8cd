"""What cfy keeps in its local profile, read as plain files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quiesce.blueprint import default_profile, read_cfy_local
from quiesce.errors import BlueprintError, UnknownNameError
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.topology import Instance, Link

BLUEPRINT = {"blueprint_filename": "main.yaml", "blueprint_path": "/elsewhere/main.yaml"}
DEPLOYMENT: dict[str, Any] = {
    "id": "examples",
    "blueprint_id": "tiers",
    "inputs": {"size": 3},
    "nodes": {
        "service": {
            "relationships": [
                {
                    "type": "my.contained_in",
                    "type_hierarchy": ["cloudify.relationships.contained_in", "my.contained_in"],
                }
            ]
        },
        "vm": {},
    },
}
SERVICE = {
    "id": "service_ab12cd",
    "node_id": "service",
    "relationships": [{"type": "my.contained_in", "target_name": "vm", "target_id": "vm_ef34gh"}],
    "runtime_properties": {"port": 80},
    "scaling_groups": [{"name": "pair", "id": "pair_1"}],
}
VM = {"id": "vm_ef34gh", "node_id": "vm", "relationships": [], "runtime_properties": {"ip": "10.0.0.7"}}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    _write(tmp_path / "blueprints/tiers/blueprint.json", BLUEPRINT)
    _write(tmp_path / "deployments/examples/deployment.json", DEPLOYMENT)
    _write(tmp_path / "deployments/examples/node-instances/service_ab12cd.json", SERVICE)
    _write(tmp_path / "deployments/examples/node-instances/vm_ef34gh.json", VM)
    return tmp_path


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_instances_keep_their_names_and_runtime_properties(profile: Path) -> None:
    read = read_cfy_local(profile, "examples")
    link = Link(target=InstanceId("vm_ef34gh"), type="my.contained_in", contained=True)
    service, vm = InstanceId("service_ab12cd"), InstanceId("vm_ef34gh")
    assert read.instances == {
        service: Instance(id=service, node=NodeId("service"), links=(link,), groups=("pair_1",)),
        vm: Instance(id=vm, node=NodeId("vm")),
    }
    assert read.runtime_properties == {service: {"port": 80}, vm: {"ip": "10.0.0.7"}}
    assert read.inputs == {"size": 3}


def test_the_copy_that_cfy_keeps_is_the_blueprint(profile: Path) -> None:
    assert read_cfy_local(profile, "examples").blueprint == Path("/elsewhere/main.yaml")
    kept = profile / "blueprints/tiers/resources/main.yaml"
    kept.parent.mkdir()
    kept.write_text("")
    assert read_cfy_local(profile, "examples").blueprint == kept


def test_an_unknown_deployment_is_refused_with_those_there_are(profile: Path) -> None:
    with pytest.raises(UnknownNameError, match="examples"):
        read_cfy_local(profile, "../examples")


@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_what_is_no_profile_is_a_clear_error(profile: Path, content: str) -> None:
    (profile / "deployments/examples/deployment.json").write_text(content)
    with pytest.raises(BlueprintError):
        read_cfy_local(profile, "examples")


def test_the_profile_is_where_cfy_has_it() -> None:
    assert default_profile({"HOME": "/home/me"}) == Path("/home/me/.cloudify/profiles/local")
    assert default_profile({"HOME": "/home/me", "CFY_WORKDIR": "/srv/profiles"}) == Path(
        "/srv/profiles/.cloudify/profiles/local"
    )
