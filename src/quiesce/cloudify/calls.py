"""Cloudify's ``ctx`` and operation inputs as a provider's call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from quiesce.cloudify.names import POINTS
from quiesce.model.call import Call, Related
from quiesce.model.capabilities import Capabilities, Description
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json, NodeId, StepId, backup_name
from quiesce.model.operation import FS_FINALIZE, INTERFACES, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Implementation, Node
from quiesce.planning import BACKUP, WORKFLOWS, parameters_of, read_parameters

#: a node's own timer fires so many seconds after everything should be thawed
_TIMER_MARGIN_S = 5.0


def call_of(
    provider: str,
    operation: Operation,
    context: Any,
    kwargs: Mapping[str, Json],
    description: Description,
    *,
    written: Any,
) -> Call:
    """Return what *provider* is told when Cloudify runs *operation* with *kwargs*.

    *written* is the node as the blueprint has it.

    Raises:
        UsageError: when a parameter has a value that is not accepted.
    """
    parameters = _parameters(context.workflow_id, kwargs)
    node = _node(context, written)
    function = f"quiesce.{provider}.{operation}"
    name = kwargs.get("snapshot_name")
    timed = operation is Operation.FREEZE and capabilities_of(description, node, function).self_thaw
    return Call(
        operation=operation,
        interface=context.operation.name,
        function=function,
        deployment=DeploymentName(context.deployment.id),
        execution=ExecutionId(context.execution_id),
        workflow=context.workflow_id,
        step=StepId(f"{context.instance.id}.{operation}"),
        attempt=(context.operation.retry_number or 0) + 1,
        instance=InstanceId(context.instance.id),
        node=node,
        properties=dict(context.node.properties),
        runtime_properties=dict(context.instance.runtime_properties),
        inputs=dict(kwargs),
        parameters=parameters,
        point=backup_name(name) if name else None,
        full=not parameters.snapshot_incremental,
        artifact=_artifact(operation, name, context),
        thaw_after_s=parameters.max_freeze_s + _TIMER_MARGIN_S if timed else None,
        thaw_inputs=node.operations[FS_FINALIZE].inputs if timed and FS_FINALIZE in node.operations else {},
        related=tuple(_related(each) for each in context.instance.relationships),
    )


def capabilities_of(description: Description, node: Node, function: str) -> Capabilities:
    """Return what is promised for *node*: by its nearest known type, else by the function."""
    kind = description.kind_of(function, node)
    return description.capabilities if kind is None else kind.capabilities


def _parameters(workflow: str, kwargs: Mapping[str, Json]) -> Parameters:
    """Read the parameters of our workflows; of others, those that mean what they mean in a backup."""
    known = WORKFLOWS.get(workflow, BACKUP).name
    declared = {parameter.name for parameter in parameters_of(known)}
    given = {name: value for name, value in kwargs.items() if name in declared and value not in ("", None)}
    return read_parameters(known, given, now=time.time())


def _artifact(operation: Operation, name: Json, context: Any) -> Mapping[str, Json] | None:
    if operation not in (Operation.APPLY, Operation.DELETE):
        return None
    points = context.instance.runtime_properties.get(POINTS) or {}
    artifact: Mapping[str, Json] | None = points.get(name)
    return artifact


def _node(context: Any, written: Any) -> Node:
    return Node(
        id=NodeId(context.node.id),
        type=context.node.type,
        type_hierarchy=tuple(context.node.type_hierarchy),
        properties=dict(context.node.properties),
        operations=_operations(written.operations),
    )


def as_written(context: Any) -> Any:
    """Return the node as the blueprint has it, its functions not evaluated: ctx does not show that."""
    storage = getattr(context._endpoint, "storage", None)  # noqa: SLF001  there is no other way
    if storage is not None:
        return storage.get_node(context.node.id)
    from cloudify.manager import get_rest_client

    return get_rest_client().nodes.get(context.deployment.id, context.node.id)


def _operations(told: Mapping[str, Any]) -> dict[str, Implementation]:
    """Return the node's own operations: a timer needs to know the thaw's."""
    return {
        name: Implementation(
            plugin=each.get("plugin") or "", function=each["operation"], inputs=each.get("inputs") or {}
        )
        for name, each in told.items()
        if name in INTERFACES and each.get("operation")
    }


def _related(relationship: Any) -> Related:
    target = relationship.target
    return Related(
        instance=InstanceId(target.instance.id),
        node=Node(
            id=NodeId(target.node.id),
            type=target.node.type,
            type_hierarchy=tuple(target.node.type_hierarchy),
            properties=dict(target.node.properties),
        ),
        relationship=relationship.type,
        properties=dict(target.node.properties),
        runtime_properties=dict(target.instance.runtime_properties),
    )
