"""Cloudify's nodes and instances as a topology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.operation import INTERFACES
from quiesce.model.topology import (
    CONTAINED_IN,
    Implementation,
    Instance,
    Link,
    Node,
    Relationship,
    Topology,
)


def topology_of(context: Any) -> Topology:
    """Return what *context* (a workflow's ``ctx``) knows of its deployment.

    Only the operations of our workflows are taken over, because Cloudify's nodes list each twice.
    """
    nodes = {NodeId(node.id): _node(node) for node in context.nodes}
    instances = {
        InstanceId(instance.id): _instance(instance)
        for node in context.nodes
        for instance in sorted(node.instances, key=lambda each: str(each.id))
    }
    return Topology(nodes=nodes, instances=instances)


def _node(node: Any) -> Node:
    return Node(
        id=NodeId(node.id),
        type=node.type,
        type_hierarchy=tuple(node.type_hierarchy),
        properties=dict(node.properties),
        relationships=tuple(_relationship(each) for each in node.relationships),
        operations={
            name: _implementation(operation)
            for name, operation in node.operations.items()
            if name in INTERFACES and operation.get("operation")
        },
    )


def _relationship(relationship: Any) -> Relationship:
    return Relationship(
        target=NodeId(relationship.target_id),
        type=relationship.type,
        type_hierarchy=(CONTAINED_IN, relationship.type) if _contains(relationship) else (relationship.type,),
    )


def _implementation(operation: Mapping[str, Any]) -> Implementation:
    return Implementation(
        plugin=operation.get("plugin") or "",
        function=operation["operation"],
        inputs=operation.get("inputs") or {},
        executor=operation.get("executor"),
    )


def _instance(instance: Any) -> Instance:
    return Instance(
        id=InstanceId(instance.id),
        node=NodeId(instance.node_id),
        links=tuple(
            Link(
                target=InstanceId(each.target_id),
                type=each.type,
                contained=_contains(each.relationship),
            )
            for each in instance.relationships
        ),
    )


def _contains(relationship: Any) -> bool:
    return bool(relationship.is_derived_from(CONTAINED_IN))
