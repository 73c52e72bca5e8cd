"""The workflows, as ``plugin.yaml`` names them: a function for each row of `WORKFLOWS`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cloudify.decorators import workflow
from cloudify.exceptions import NonRecoverableError

from quiesce.app.masking import Masking, masked_error
from quiesce.app.points.former import Former
from quiesce.app.run.run import (
    check_first,
    former_for,
    leased,
    refuse_names_and_lower,
    with_window_warning,
)
from quiesce.app.services import Services
from quiesce.cloudify.errors import in_cloudifys_words, in_one_line
from quiesce.cloudify.planning import (
    Retries,
    parameters_given,
    parameters_read,
    plan_in_cloudify,
    with_agents_apart,
    with_retries_that_fit,
)
from quiesce.cloudify.points import wanted_points
from quiesce.cloudify.running import (
    Interruptions,
    continue_known,
    interruptions,
    known_execution,
    run_plan,
    settle_unknown,
    take_up,
)
from quiesce.cloudify.state import deployment_of, keep_deployment, open_services
from quiesce.cloudify.topology import topology_of
from quiesce.errors import QuiesceError
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import ExecutionId
from quiesce.model.plan import Plan
from quiesce.model.restore_point import RestorePoint
from quiesce.planning import WORKFLOWS, Workflow


def __getattr__(name: str) -> Any:
    """Return the workflow called *name*, which Cloudify looks up in this module."""
    if name not in WORKFLOWS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _function(name)


@functools.cache
def _function(name: str) -> Callable[..., None]:
    row = WORKFLOWS[name]

    def run(ctx: Any, **parameters: Any) -> None:
        parameters.pop("ctx", None)
        _run(row, ctx, parameters)

    run.__name__ = row.name
    run.__doc__ = row.help
    marked: Callable[..., None] = workflow(resumable=True)(run)
    return marked


def _run(row: Workflow, context: Any, parameters: dict[str, Any]) -> None:
    context.graph_mode()
    masking = Masking()
    try:
        with open_services(context, masking) as services:
            now = deployment_of(services, context, topology_of(context))
            if str(parameters.pop("dry_run", "")).lower() == "true":
                _show(services, now, row, context, parameters)
                return
            with interruptions() as interrupted:
                _run_on_deployment(services, now, row, context, parameters, interrupted=interrupted)
        return
    except QuiesceError as error:
        masked_error(masking, error)
        failure: Exception = NonRecoverableError(in_one_line(error))
    except Exception as error:  # noqa: BLE001  whatever it is, Cloudify keeps and shows it
        failure = in_cloudifys_words(masking, error)
    # not within the block above, so that it does not lead to what it was made of
    raise failure


def _run_on_deployment(
    services: Services,
    now: Deployment,
    row: Workflow,
    context: Any,
    parameters: dict[str, Any],
    *,
    interrupted: Interruptions,
) -> None:
    with leased(services, {now.name} if row.mutating else set(), ExecutionId(context.execution_id)):
        deployment = keep_deployment(services, context, now, renewing=row.mutating)
        known = known_execution(services, context) if context.resume else None
        if known is not None:
            ended = continue_known(services, known, interrupted)
        else:
            ended = _begin(services, deployment, row, context, parameters, interrupted=interrupted)
    _tell(services, row, ended, context)


def _begin(
    services: Services,
    deployment: Deployment,
    row: Workflow,
    context: Any,
    parameters: dict[str, Any],
    *,
    interrupted: Interruptions,
) -> Execution:
    if not context.resume:
        take_up(services, deployment, row, interrupted.watching, context)
    plan, points = _plan(services, deployment, row, context, parameters)
    if context.resume and plan.indebting:
        settle_unknown(services, deployment, plan, context, interrupted)
    refuse_names_and_lower(services, deployment.name, row, points, plan.parameters)
    known = [point for point in points if point.execution]
    forecast = check_first(services, deployment, plan, known, interrupted.watching)
    warned = with_window_warning(plan, forecast)
    for warning in warned.warnings:
        context.logger.warning("%s", warning)
    return run_plan(services, deployment, warned, context, interrupted, cut_sizes=forecast.sizes)


def _tell(services: Services, row: Workflow, ended: Execution, context: Any) -> None:
    """Say what was made, in the old plugin's words and in ours."""
    for point in services.catalog.list(ended.deployment):
        if point.execution == ended.id:
            context.logger.debug(
                "%s: consistency %s, frozen for %.3f s, cuts within %.3f s",
                point.name,
                point.consistency.label,
                point.window_s,
                point.skew_s,
            )
    if row.closing:
        name = services.executions.plan(ended.id).parameters.snapshot_name or ", ".join(ended.points)
        context.logger.info("%s %r", row.closing, str(name))


def _plan(
    services: Services, deployment: Deployment, row: Workflow, context: Any, parameters: dict[str, Any]
) -> tuple[Plan, Sequence[RestorePoint]]:
    topology = topology_of(context)
    wanted = parameters_given(row.name, parameters)
    points = wanted_points(services, deployment.name, row, wanted, topology)
    configured = context.internal.get_task_configuration()
    retries = Retries(tries=configured["total_retries"], interval_s=configured["retry_interval"])
    others = next((point.name for point in points if not point.execution), None)
    read = parameters_read(row.name, wanted, retries, unchecked_name=others)
    former: Former | None = None
    if row.takes_former:
        former, read = former_for(services, deployment, row, read)
    plan = plan_in_cloudify(row.name, topology, read, points, services.descriptions, former=former)
    plan = with_retries_that_fit(plan, wanted)
    if not context.local:
        plan = with_agents_apart(plan, topology)
    parallel = _parallel(plan, context, parameters)
    return replace(plan, parameters=replace(plan.parameters, parallel=parallel)), points


def _parallel(plan: Plan, context: Any, parameters: dict[str, Any]) -> int:
    """Return how many operations run side by side: what Cloudify's local engine can run is never queued."""
    if not context.local:
        return plan.parameters.parallel
    pool = context.internal.local_tasks_processor._local_task_processing_pool  # noqa: SLF001  no other way
    hands = max(1, len(pool))
    return min(plan.parameters.parallel, hands) if parameters.get("parallel") else hands


def _show(
    services: Services, deployment: Deployment, row: Workflow, context: Any, parameters: dict[str, Any]
) -> None:
    plan, points = _plan(services, deployment, row, context, parameters)
    refuse_names_and_lower(services, deployment.name, row, points, plan.parameters)
    for warning in plan.warnings:
        context.logger.warning("%s", warning)
    for number, group in enumerate(plan.groups):
        names = [step.instance for step in plan.steps if step.group == number]
        if names:
            context.logger.info("would %s: %s", group.title, ", ".join(names))
