"""What a workflow would do inside Cloudify: the common planners, told what Cloudify's engine can do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quiesce.errors import UsageError
from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, Json, backup_name
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import Topology
from quiesce.planning import default_of, parameters_of, plan_workflow, read_parameters, workflow_named

#: what a blueprint may name in Cloudify that is ours, and may have a copy after the thaw
_OURS = "quiesce."


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How Cloudify's engine was told to retry."""

    tries: int
    interval_s: float


def plan_in_cloudify(
    workflow: str,
    topology: Topology,
    given: Mapping[str, Any],
    *,
    deployment: str,
    execution: str,
    retries: Retries,
    descriptions: Sequence[Description] = (),
) -> Plan:
    """Return the plan of *workflow*; *given* are its parameters, defaults included.

    Raises:
        QuiesceError: when it cannot be done; nothing was touched.
    """
    parameters = _parameters(workflow, given, retries)
    points = _points(workflow, topology, parameters, deployment, execution)
    safety = backup_name(f"safety-{int(time.time())}") if parameters.safety_snapshot else None
    answering = [*_with_ours_only(descriptions), _everything_else(topology)]
    return plan_workflow(workflow, topology, answering, parameters, points=points, safety_name=safety)


def _parameters(workflow: str, given: Mapping[str, Any], retries: Retries) -> Parameters:
    if given.get("all"):
        raise UsageError(
            "all: true needs a catalog of restore points, which Cloudify does not keep: name one"
        )
    declared = {parameter.name: default_of(parameter, workflow) for parameter in parameters_of(workflow)}
    wanted: dict[str, Json] = {
        name: value
        for name, value in given.items()
        if not (name in declared and (value in ("", None) or value == declared[name]))
    }
    wanted.pop("dry_run", None)
    if workflow_named(workflow).takes_points and "snapshot_name" not in wanted:
        raise UsageError("Backup name must be provided: snapshot_name")
    parameters = read_parameters(workflow, wanted, now=time.time(), allow_custom=True)
    return replace(
        parameters,
        task_retries=parameters.task_retries if "task_retries" in wanted else retries.tries,
        task_retry_interval_s=(
            parameters.task_retry_interval_s if "task_retry_interval" in wanted else retries.interval_s
        ),
    )


def _points(
    workflow: str, topology: Topology, parameters: Parameters, deployment: str, execution: str
) -> tuple[RestorePoint, ...]:
    """Assume that the named restore point exists: Cloudify keeps no catalog to look in."""
    if parameters.snapshot_name is None or not workflow_named(workflow).takes_points:
        return ()
    return (_point(parameters.snapshot_name, topology, parameters, deployment, execution),)


def _point(
    name: BackupName, topology: Topology, parameters: Parameters, deployment: str, execution: str
) -> RestorePoint:
    artifacts = tuple(
        Artifact(
            instance=instance,
            provider="cloudify",
            function="",
            state=PointState.COMPLETE,
            consistency=Consistency.NONE,
        )
        for instance in topology.instances
    )
    return RestorePoint(
        deployment=DeploymentName(deployment),
        name=name,
        full=not parameters.snapshot_incremental,
        type=parameters.snapshot_type,
        rotation=parameters.snapshot_rotation,
        execution=ExecutionId(execution),
        state=PointState.COMPLETE,
        consistency=Consistency.NONE,
        made_at=0.0,
        artifacts=artifacts,
    )


def _with_ours_only(descriptions: Iterable[Description]) -> list[Description]:
    """Leave only what blueprints name as ``quiesce.…``: all else is performed by other plugins here."""
    return [
        replace(
            description,
            kinds=tuple(_named_only(kind) for kind in description.kinds),
            functions=_ours(description.functions),
        )
        for description in descriptions
    ]


def _named_only(kind: Kind) -> Kind:
    return replace(
        kind,
        capabilities=replace(kind.capabilities, offered=False, cheap_snapshot=False),
        functions=_ours(kind.functions),
    )


def _ours(functions: frozenset[str]) -> frozenset[str]:
    return frozenset(function for function in functions if function.startswith(_OURS))


def _everything_else(topology: Topology) -> Description:
    functions = {each.function for node in topology.nodes.values() for each in node.operations.values()}
    return Description(
        name="cloudify", factory="", functions=frozenset(functions), capabilities=Capabilities()
    )
