"""What a child is told about its operation, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from quiesce.model.call import Call, Related
from quiesce.model.ids import Json
from quiesce.model.topology import COMPUTE, Node


def context_data(call: Call, *, plugin: str, inputs: Mapping[str, Json]) -> dict[str, Json]:
    """Return everything that a child's ``ctx`` is made of. It may hold secrets: never log it."""
    return {
        "node": _node(call.node, call.properties),
        "instance": {
            "id": call.instance,
            "runtime_properties": dict(call.runtime_properties),
            "host_id": _host_id(call),
            "host_ip": _host_ip(call),
            "relationships": [_relationship(each) for each in call.related if not each.dependent],
        },
        "operation": {
            "name": call.interface,
            "retry_number": call.attempt - 1,
            "max_retries": call.parameters.task_retries,
        },
        "deployment": call.deployment,
        "blueprint": Path(call.blueprint_dir).name,
        "blueprint_dir": call.blueprint_dir,
        "execution_id": call.execution,
        "workflow_id": call.workflow,
        "task_id": call.step,
        "task_name": call.function,
        "plugin": plugin,
        "inputs": dict(inputs),
    }


def _node(node: Node, properties: Mapping[str, Json]) -> Json:
    return {
        "id": node.id,
        "type": node.type,
        "type_hierarchy": list(node.type_hierarchy),
        "properties": dict(properties),
    }


def _relationship(related: Related) -> Json:
    return {
        "type": related.relationship,
        "node": _node(related.node, related.properties),
        "instance": {"id": related.instance, "runtime_properties": dict(related.runtime_properties)},
    }


def _host_id(call: Call) -> str:
    host = None if COMPUTE in call.node.type_hierarchy else _host(call)
    return host.instance if host else call.instance


def _host_ip(call: Call) -> Json:
    if COMPUTE in call.node.type_hierarchy:
        return _first_ip([call.runtime_properties, call.properties])
    host = _host(call)
    return _first_ip([host.runtime_properties, host.properties]) if host else None


def _host(call: Call) -> Related | None:
    """Return the nearest machine that it depends on."""
    below = (each for each in call.related if not each.dependent)
    return next((each for each in below if COMPUTE in each.node.type_hierarchy), None)


def _first_ip(places: Iterable[Mapping[str, Json]]) -> Json:
    return next((place["ip"] for place in places if place.get("ip")), None)
