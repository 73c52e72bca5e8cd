"""The node types that providers bring fit what the providers describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from quiesce.blueprint import brought_sections, load_blueprint
from quiesce.model.operation import INTERFACES, Operation
from quiesce.model.topology import Node
from quiesce.provider_kit.installed import InstalledProvider, installed_providers

BRINGING = [each for each in installed_providers() if each.node_types is not None]


VALUES: dict[str, Any] = {"list": [], "dict": {}, "integer": 1, "boolean": True}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Node]:
    """A node of every type that any provider brings."""
    types: dict[str, Any] = {}
    for each in BRINGING:
        types |= brought_sections(each.distribution)["node_types"]
    blueprint = {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
        "node_templates": {
            name: {"type": name, "properties": _properties(content)} for name, content in types.items()
        },
    }
    path = tmp_path_factory.mktemp("blueprint") / "blueprint.yaml"
    path.write_text(yaml.safe_dump(blueprint))
    return {node.type: node for node in load_blueprint(path).nodes.values()}


def _properties(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each property that has none; what is inherited may be left out of what exists."""
    own = content.get("properties", {}).items()
    given = {name: VALUES.get(each.get("type"), "x") for name, each in own if "default" not in each}
    return {"use_external_resource": True, **given}


def _operations(nodes: Mapping[str, Node], provider: str) -> Iterator[tuple[Node, str, str]]:
    for node in nodes.values():
        for interface, implementation in node.operations.items():
            if implementation.function.startswith(f"quiesce.{provider}."):
                yield node, interface, implementation.function


@pytest.mark.parametrize("provider", BRINGING, ids=lambda each: each.description.name)
def test_every_operation_of_a_node_type_is_one_that_its_kind_can_do(
    provider: InstalledProvider, nodes: Mapping[str, Node]
) -> None:
    """Under the interface that means it, and by a name that Cloudify can import."""
    description = provider.description
    found = list(_operations(nodes, description.name))
    assert found
    for node, interface, function in found:
        operation = Operation(function.rpartition(".")[2])
        assert INTERFACES[interface] is operation, (node.type, interface)
        kind = description.kind_of(function, node)
        assert kind is None or operation in kind.capabilities.operations, (node.type, interface)


@pytest.mark.parametrize("provider", BRINGING, ids=lambda each: each.description.name)
def test_every_type_of_quiesces_own_that_a_provider_serves_is_brought_by_it(
    provider: InstalledProvider, nodes: Mapping[str, Node]
) -> None:
    """What a blueprint can name has its properties and operations."""
    named = {name for kind in provider.description.kinds for name in kind.types}
    assert {name for name in named if name.startswith("quiesce.nodes.")} <= set(nodes)
