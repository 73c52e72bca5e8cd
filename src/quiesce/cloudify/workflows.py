"""The workflows, as ``plugin.yaml`` names them: a function for each row of `WORKFLOWS`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cloudify.decorators import workflow
from cloudify.exceptions import NonRecoverableError

from quiesce.cloudify.consistency import judge
from quiesce.cloudify.planning import Retries, plan_in_cloudify
from quiesce.cloudify.running import run_plan, settle_after_interruption
from quiesce.cloudify.topology import topology_of
from quiesce.errors import QuiesceError
from quiesce.model.operation import INDEBTING
from quiesce.model.plan import Plan
from quiesce.model.topology import Topology
from quiesce.planning import WORKFLOWS
from quiesce.providers.registry import describe_providers


def __getattr__(name: str) -> Any:
    """Return the workflow called *name*, which Cloudify looks up in this module."""
    if name not in WORKFLOWS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _function(name)


@functools.cache
def _function(name: str) -> Callable[..., None]:
    row = WORKFLOWS[name]

    def run(ctx: Any, **parameters: Any) -> None:
        plan = _run(row.name, ctx, parameters)
        if row.closing and plan is not None:
            ctx.logger.info("%s %r", row.closing, str(plan.parameters.snapshot_name))

    run.__name__ = row.name
    run.__doc__ = row.help
    marked: Callable[..., None] = workflow(resumable=True)(run)
    return marked


def _run(name: str, context: Any, parameters: dict[str, Any]) -> Plan | None:
    """Run the workflow and return its plan; None when it was only to be shown."""
    topology = topology_of(context)
    try:
        plan = _plan(name, context, topology, parameters)
    except QuiesceError as error:
        raise NonRecoverableError(f"{error} {error.hint}".strip()) from None
    for warning in plan.warnings:
        context.logger.warning("%s", warning)
    if str(parameters.get("dry_run", "")).lower() == "true":
        _show(plan, context)
        return None
    if context.resume and any(step.operation in INDEBTING for step in plan.steps):
        settle_after_interruption(plan, context)
    else:
        judge(plan, run_plan(plan, context), topology, context)
    return plan


def _plan(name: str, context: Any, topology: Topology, parameters: dict[str, Any]) -> Plan:
    configured = context.internal.get_task_configuration()
    plan = plan_in_cloudify(
        name,
        topology,
        {key: value for key, value in parameters.items() if key != "ctx"},
        deployment=context.deployment.id,
        execution=context.execution_id,
        retries=Retries(tries=configured["total_retries"], interval_s=configured["retry_interval"]),
        descriptions=describe_providers(),
    )
    return replace(plan, parameters=replace(plan.parameters, parallel=_parallel(plan, context, parameters)))


def _parallel(plan: Plan, context: Any, parameters: dict[str, Any]) -> int:
    """Return how many operations run side by side: what Cloudify's local engine can run is never queued."""
    if not context.local:
        return plan.parameters.parallel
    pool = context.internal.local_tasks_processor._local_task_processing_pool  # noqa: SLF001  no other way
    hands = max(1, len(pool))
    return min(plan.parameters.parallel, hands) if parameters.get("parallel") else hands


def _show(plan: Plan, context: Any) -> None:
    for number, group in enumerate(plan.groups):
        names = [step.instance for step in plan.steps if step.group == number]
        if names:
            context.logger.info("would %s: %s", group.title, ", ".join(names))
