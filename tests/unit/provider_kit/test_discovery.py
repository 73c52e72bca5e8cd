"""A discovered blueprint has legal names, none of them twice, and can be read back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.discovery import CONTAINED_IN, BlueprintBuilder, first_line


@given(st.lists(st.tuples(st.sampled_from(["disk", "machine"]), st.text()), unique=True))
def test_every_resource_gets_one_legal_name_of_its_own(resources: list[tuple[str, str]]) -> None:
    builder = BlueprintBuilder()
    names = [builder.name(kind, resource) for kind, resource in resources]
    assert len(set(names)) == len(resources)
    assert all(re.fullmatch("[A-Za-z0-9_]+", name) for name in names)
    assert names == [builder.name(kind, resource) for kind, resource in resources]


def test_a_wish_is_honoured_when_it_is_free() -> None:
    builder = BlueprintBuilder()
    assert builder.name("disk", "projects/p/disks/data", "data") == "data"
    assert builder.name("disk", "projects/q/disks/data", "data") == "data_disk"
    assert builder.name("disk", "projects/r/disks/data", "data") == "data_disk_2"


def test_the_blueprint_holds_inputs_nodes_and_relationships_once() -> None:
    builder = BlueprintBuilder()
    where = builder.add_input("uri", "string", "qemu:///system")
    builder.add("pool", "acme.Pool", {"uri": where})
    builder.add("disk", "acme.Disk", {}, [(CONTAINED_IN, "pool"), (CONTAINED_IN, "pool")])
    assert builder.blueprint() == {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
        "inputs": {"uri": {"type": "string", "default": "qemu:///system"}},
        "node_templates": {
            "pool": {"type": "acme.Pool", "properties": {"uri": {"get_input": "uri"}}},
            "disk": {
                "type": "acme.Disk",
                "properties": {},
                "relationships": [{"type": CONTAINED_IN, "target": "pool"}],
            },
        },
    }


def test_a_password_is_the_first_line_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\nnot this\n")
    assert first_line(str(tmp_path / "password")) == "open sesame"


@pytest.mark.parametrize("special", ["pipe", "none", "binary", "/dev/zero"])
def test_what_holds_no_password_is_refused_and_not_waited_for(tmp_path: Path, special: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(NonRecoverableError, match="password"):
        first_line(str(tmp_path / special))
