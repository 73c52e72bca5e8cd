"""A deployment that cfy has installed in its local profile is taken over and run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ExitStatus

from .shop import CommandLine

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}, size: {default: 1}}
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}}
    relationships: [{type: cloudify.relationships.contained_in, target: box}]
  box:
    type: cloudify.nodes.Compute
    interfaces:
      cloudify.interfaces.freeze: {fs_prepare: note.sh, fs_finalize: note.sh, suspend: note.sh}
"""
NOTE = '#!/bin/sh\nctx logger info "$(ctx instance runtime_properties ip) of $(ctx instance id)"\n'
CONTAINED = {
    "type": "cloudify.relationships.contained_in",
    "type_hierarchy": ["cloudify.relationships.contained_in"],
}


@pytest.fixture
def installed(quiesce: CommandLine) -> Path:
    """A local profile as cfy leaves it after an install; gives the directory that it manages."""
    data = quiesce.directory / "data"
    data.mkdir()
    (data / "hours.txt").write_text("nine to five")
    profile = quiesce.directory / "cfy" / ".cloudify" / "profiles" / "local"
    resources = profile / "blueprints" / "tiers" / "resources"
    resources.mkdir(parents=True)
    (resources / "main.yaml").write_text(BLUEPRINT)
    (resources / "note.sh").write_text(NOTE)
    blueprint = {"blueprint_filename": "main.yaml", "blueprint_path": "/elsewhere/main.yaml"}
    write(profile / "blueprints" / "tiers" / "blueprint.json", blueprint)
    deployment = profile / "deployments" / "shop"
    told = {"id": "shop", "blueprint_id": "tiers", "inputs": {"data": str(data), "size": 3}}
    nodes = {"files": {"relationships": [CONTAINED]}, "box": {"relationships": []}}
    write(deployment / "deployment.json", {**told, "nodes": nodes})
    link = {"type": CONTAINED["type"], "target_name": "box", "target_id": "box_ab12cd"}
    write_instance(deployment, "files_ef34gh", "files", [link], {})
    write_instance(deployment, "box_ab12cd", "box", [], {"ip": "10.0.0.7"})
    quiesce.environment = {"CFY_WORKDIR": str(quiesce.directory / "cfy")}
    return data


def write(path: Path, content: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_instance(
    deployment: Path, name: str, node: str, links: list[Any], properties: dict[str, str]
) -> None:
    """Write one node instance."""
    content = {
        "id": name,
        "node_id": node,
        "relationships": links,
        "runtime_properties": properties,
        "scaling_groups": [],
    }
    write(deployment / "node-instances" / f"{name}.json", content)


def test_instances_inputs_and_runtime_properties_are_those_that_cfy_has(
    quiesce: CommandLine, installed: Path
) -> None:
    made = quiesce("init", "--from-cfy-local", "shop", "--json").json["deployment"]
    topology = made["topology"]
    assert made["name"] == "shop"
    assert set(topology["instances"]) == {"files_ef34gh", "box_ab12cd"}
    assert topology["instances"]["files_ef34gh"]["links"] == [
        {"target": "box_ab12cd", "type": "cloudify.relationships.contained_in", "contained": True}
    ]
    assert topology["inputs"] == {"data": str(installed), "size": 3}
    assert "INFO: 10.0.0.7 of box_ab12cd" in quiesce("suspend", "shop").out


def test_it_is_backed_up_and_restored(quiesce: CommandLine, installed: Path) -> None:
    quiesce("init", "--from-cfy-local", "shop")
    told = quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false").out
    assert "[box_ab12cd] Starting to cloudify.interfaces.freeze.fs_prepare" in told
    assert quiesce.points("shop")["one"]["artifacts"][0]["instance"] == "files_ef34gh"
    (installed / "hours.txt").write_text("closed")
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert (installed / "hours.txt").read_text() == "nine to five"


def test_it_may_be_called_otherwise_and_an_input_given_here_wins(
    quiesce: CommandLine, installed: Path
) -> None:
    made = quiesce("init", "--from-cfy-local", "shop", "-b", "store", "-i", "size=5", "--json").json
    assert made["deployment"]["name"] == "store"
    assert made["deployment"]["topology"]["inputs"]["size"] == 5


def test_what_cfy_does_not_have_is_refused(quiesce: CommandLine, installed: Path) -> None:
    unknown = quiesce("init", "--from-cfy-local", "bank", status=ExitStatus.NOT_FOUND)
    assert "there is: shop" in unknown.err
    both = quiesce("init", "main.yaml", "--from-cfy-local", "shop", status=ExitStatus.USAGE)
    assert "leave BLUEPRINT out" in both.err
    two_ways = ("--from-cfy-local", "shop", "--from-repository", str(installed))
    assert "choose one" in quiesce("init", *two_ways, status=ExitStatus.USAGE).err
    assert quiesce("deployments", "list", "--json").json["deployments"] == []


@pytest.mark.parametrize("what", ["pipe", "link", "endless"])
def test_a_profile_of_somebody_else_neither_hangs_nor_leads_elsewhere(
    quiesce: CommandLine, installed: Path, tmp_path: Path, what: str
) -> None:
    """Root reads what another user has installed."""
    (path,) = tmp_path.rglob("deployment.json")
    content = path.read_bytes()
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "endless":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        (tmp_path / "private").write_bytes(content)
        path.symlink_to(tmp_path / "private")
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a link to another user")
        os.lchown(path, 54321, 54321)
    answer = quiesce("init", "--from-cfy-local", "shop", status=ExitStatus.BLUEPRINT)
    assert "cannot be read" in answer.err
