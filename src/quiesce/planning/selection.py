"""Which instances take part in a workflow."""

from __future__ import annotations

from collections.abc import Iterable

from quiesce.errors import PlanError, UnknownNameError
from quiesce.model.ids import InstanceId
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node, Topology


def select(topology: Topology, parameters: Parameters) -> tuple[InstanceId, ...]:
    """Return the instances that *parameters* choose, in the topology's order.

    Raises:
        UnknownNameError: when an instance, node or type is named that the deployment does not have.
        PlanError: when nothing is left.
    """
    _check_names(topology, parameters)
    chosen = tuple(
        instance.id
        for instance in topology.instances.values()
        if _instance_chosen(instance.id, parameters)
        and _node_chosen(topology.nodes[instance.node], parameters)
    )
    if not chosen:
        raise PlanError(
            "no instance takes part", hint="Look at include_* and exclude_*: together they leave nothing."
        )
    return chosen


def _check_names(topology: Topology, parameters: Parameters) -> None:
    types = {name for node in topology.nodes.values() for name in node.type_hierarchy}
    _check("node instance", parameters.include_instances, topology.instances)
    _check("node", (*parameters.include_nodes, *parameters.exclude_nodes), topology.nodes)
    _check("node type", (*parameters.include_types, *parameters.exclude_types), types)


def _check(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = frozenset(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)


def _instance_chosen(instance: InstanceId, parameters: Parameters) -> bool:
    return not parameters.include_instances or instance in parameters.include_instances


def _node_chosen(node: Node, parameters: Parameters) -> bool:
    types = frozenset(node.type_hierarchy)
    if parameters.include_nodes and node.id not in parameters.include_nodes:
        return False
    if parameters.include_types and not types & frozenset(parameters.include_types):
        return False
    return node.id not in parameters.exclude_nodes and not types & frozenset(parameters.exclude_types)
