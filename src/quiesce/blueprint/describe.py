"""A blueprint as plain data: what ``quiesce blueprint show`` prints."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.blueprint.model import Blueprint
from quiesce.model.ids import Json
from quiesce.model.topology import Node


def describe(blueprint: Blueprint) -> dict[str, Json]:
    """Return nodes, instances, operations, inputs and workflows of *blueprint*, nodes by name."""
    nodes: list[Json] = [_node(node) for _, node in sorted(blueprint.nodes.items())]
    workflows: dict[str, Json] = {
        name: {"operation": workflow.function, "plugin": workflow.plugin}
        for name, workflow in sorted(blueprint.workflows.items())
    }
    return {
        "blueprint": blueprint.path,
        "inputs": _copy(blueprint.values),
        "plan": {"nodes": nodes, "workflows": workflows},
    }


def _node(node: Node) -> Json:
    operations: dict[str, Json] = {
        name: {"inputs": _copy(each.inputs), "operation": each.function, "plugin": each.plugin}
        for name, each in sorted(node.operations.items())
    }
    relationships: list[Json] = [
        {"target": each.target, "type": each.type, "type_hierarchy": list(each.type_hierarchy)}
        for each in node.relationships
    ]
    return {
        "id": node.id,
        "instances": node.instances,
        "operations": operations,
        "properties": _copy(node.properties),
        "relationships": relationships,
        "type": node.type,
        "type_hierarchy": list(node.type_hierarchy),
    }


def _copy(values: Mapping[str, Json]) -> dict[str, Json]:
    return dict(sorted(values.items()))
