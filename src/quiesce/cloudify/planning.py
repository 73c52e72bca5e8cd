"""What a workflow would do inside Cloudify: the common planners, told what Cloudify's engine can do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from quiesce.app.points.former import Former
from quiesce.cloudify.names import CLOUDIFYS
from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.ids import BackupName, Json, backup_name
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Topology
from quiesce.planning import default_of, parameters_of, plan_workflow, read_parameters

#: a name that can be checked, for one that cannot
_STAND_IN: Final = "made-elsewhere"
#: so many pauses between tries are to fit into the frozen window
_TRIES_IN_WINDOW: Final = 10
#: performs operations on the machine that they are about
_AGENT: Final = "host_agent"
#: what a blueprint may name in Cloudify that is ours, and may have a copy after the thaw
_OURS = "quiesce."


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How Cloudify's engine was told to retry."""

    tries: int
    interval_s: float


def parameters_given(workflow: str, given: Mapping[str, Any]) -> dict[str, Json]:
    """Return those of *given* that somebody has given: Cloudify adds the defaults of all others."""
    declared = {parameter.name: default_of(parameter, workflow) for parameter in parameters_of(workflow)}
    return {
        name: value
        for name, value in given.items()
        if not (name in declared and (value in ("", None) or value == declared[name]))
    }


def parameters_read(
    workflow: str, wanted: Mapping[str, Json], retries: Retries, *, unchecked_name: BackupName | None = None
) -> Parameters:
    """Return *wanted* as checked values; retries are Cloudify's where nothing else is said.

    *unchecked_name* is the restore point's, where another made it, whose names may hold anything.

    Raises:
        UsageError: for a value that is not accepted.
    """
    checked = wanted if unchecked_name is None else {**wanted, "snapshot_name": _STAND_IN}
    parameters = read_parameters(workflow, checked, now=time.time(), allow_custom=True)
    if unchecked_name is not None:
        raw = {**parameters.raw, "snapshot_name": unchecked_name}
        parameters = replace(parameters, snapshot_name=unchecked_name, raw=raw)
    return replace(
        parameters,
        task_retries=parameters.task_retries if "task_retries" in wanted else retries.tries,
        task_retry_interval_s=(
            parameters.task_retry_interval_s if "task_retry_interval" in wanted else retries.interval_s
        ),
    )


def with_retries_that_fit(plan: Plan, wanted: Mapping[str, Json]) -> Plan:
    """Return *plan* with pauses between tries that fit into its frozen window, and a warning of what changed.

    Cloudify's usual pause is as long as the whole window: nothing would be tried twice. What was *wanted* of
    us by name stays.
    """
    pause = plan.parameters.task_retry_interval_s
    fitting = plan.parameters.max_freeze_s / _TRIES_IN_WINDOW
    if not plan.indebting or pause <= fitting or "task_retry_interval" in wanted:
        return plan
    bound = plan.parameters.max_freeze_s
    told = f"tries are repeated after {fitting:g} s, not {pause:g} s: max_freeze is {bound:g} s"
    parameters = replace(plan.parameters, task_retry_interval_s=fitting)
    return replace(plan, parameters=parameters, warnings=(*plan.warnings, told))


def plan_in_cloudify(
    workflow: str,
    topology: Topology,
    parameters: Parameters,
    points: Sequence[RestorePoint],
    descriptions: Sequence[Description],
    *,
    former: Former | None = None,
) -> Plan:
    """Return the plan of *workflow* on *points*; *former* is what an earlier restore has replaced.

    Raises:
        QuiesceError: when it cannot be done; nothing was touched.
    """
    safety = backup_name(f"safety-{int(time.time())}") if parameters.safety_snapshot else None
    return plan_workflow(
        workflow,
        topology,
        descriptions,
        parameters,
        points=points,
        safety_name=safety,
        former=former,
    )


def with_agents_apart(plan: Plan, topology: Topology) -> Plan:
    """Return *plan* so that nothing is asked here of what agents perform: they are on other machines."""

    def step_of(step: Step) -> Step:
        operation = topology.nodes[step.node].operations.get(step.interface)
        away = operation is not None and operation.executor == _AGENT
        return replace(step, provider=CLOUDIFYS) if away else step

    return replace(plan, steps=tuple(map(step_of, plan.steps)))


def described_in_cloudify(descriptions: Iterable[Description], topology: Topology) -> list[Description]:
    """Return *descriptions* of what blueprints name as ``quiesce.…``, and one of all else.

    What else *topology* names is performed by other plugins.
    """
    ours = [
        replace(
            description,
            kinds=tuple(_named_only(kind) for kind in description.kinds),
            functions=_ours(description.functions),
        )
        for description in descriptions
    ]
    return [*ours, _everything_else(topology)]


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
        name=CLOUDIFYS, factory="", functions=frozenset(functions), capabilities=Capabilities()
    )
