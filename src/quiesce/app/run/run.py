"""Plan and run a workflow on a deployment."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from quiesce.app.elsewhere import elsewhere_of
from quiesce.app.hosts import refuse_other_host
from quiesce.app.points.consistency import ConsistencyAssessment
from quiesce.app.points.former import (
    Former,
    former_states,
    last_replacing,
    of_last_restore,
    refuse_half_undo,
    wanted_side,
)
from quiesce.app.points.manifests import refuse_missing_repositories, refuse_taken_name
from quiesce.app.points.naming import LATEST, point_named
from quiesce.app.points.targets import inspect_targets
from quiesce.app.points.verify import refuse_damaged, refuse_damaged_entry
from quiesce.app.run.execution import Watching, execute, failure_of
from quiesce.app.run.forecast import Forecast, forecast_of, too_long
from quiesce.app.run.foresight import sources, why_refused, with_foresight
from quiesce.app.run.recover import refuse_to_go_on_here, settle_all, take_up_unfinished, write_off
from quiesce.app.run.report import report_execution, report_plan, way_back
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import BusyError, OtherHostError, PlanError, QuiesceError, UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan
from quiesce.model.report import ExecutionReport, PlanReport
from quiesce.model.request import WorkflowRequest
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.planning import (
    REMOVE_BACKUP,
    Workflow,
    declared_options,
    idle_options,
    makes_full_point,
    parameters_of,
    plan_workflow,
    read_parameters,
    workflow_named,
)
from quiesce.planning.selection import select
from quiesce.ports import Guard, Lease

#: what is done with what a restore point holds, where the machine matters
_OF_POINTS = frozenset({Operation.APPLY, Operation.DELETE})
_IF_HERE = "Let that machine do it, or a worker there. If this one is meant, say --here."
#: how long a busy lease is asked for again, in seconds, and how often
LEASE_PATIENCE_S = 2.0
LEASE_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result: always a report, and the error that an exit status follows from."""

    report: ExecutionReport
    error: QuiesceError | None = None


def preview(services: Services, request: WorkflowRequest) -> PlanReport:
    """Return what *request* would do and how long things would be frozen; touches nothing.

    Raises:
        UsageError, UnknownNameError, PlanError: when it would be refused.
    """
    deployment = _target(services, request)
    plan, points = _plan(services, deployment, request)
    forecast = forecast_of(services, deployment, plan)
    report = report_plan(
        deployment.name, with_window_warning(plan, forecast), forecast, _labels(plan, deployment)
    )
    error: QuiesceError | None = _too_low(plan, deployment) or too_long(plan, forecast)
    try:
        if not request.here:
            _refuse_others_points(services, plan, points)
    except OtherHostError as other:
        error = other
    return with_foresight(services, deployment, plan, points, report, error=error)


def run_workflow(
    services: Services,
    request: WorkflowRequest,
    watching: Watching,
    execution_id: ExecutionId | None = None,
) -> Result:
    """Run *request* to its end, under a new id unless one is given.

    What an interrupted execution of the same deployment owes is settled first, and of the one whose restore
    point it reads: while that is held, nobody else could.

    Raises:
        UsageError, UnknownNameError, PlanError: nothing was touched.
        BusyError: another execution runs on the deployment; nothing was touched.
        StoreError: the database could not be written; everything that was frozen is thawed.
    """
    deployment = _target(services, request)
    workflow = workflow_named(request.workflow)
    execution_id = execution_id or new_execution_id(services, workflow)
    if not workflow.mutating:
        return _run(services, deployment, execution_id, request, watching)
    source = services.deployments.get(request.deployment).name
    with leased(services, {deployment.name, source}, execution_id):
        if source != deployment.name:
            settle_all(services, source, watching)
        take_up_unfinished(services, deployment.name, workflow, watching)
        return _run(services, deployment, execution_id, request, watching)


def new_execution_id(services: Services, workflow: Workflow) -> ExecutionId:
    """Return an id that no execution has: it begins with the workflow's name."""
    return ExecutionId(f"{workflow.name.replace('_', '-')}-{services.random_text(10)}")


def _run(
    services: Services,
    deployment: Deployment,
    execution_id: ExecutionId,
    request: WorkflowRequest,
    watching: Watching,
) -> Result:
    plan, points = _plan(services, deployment, request)
    if not request.here:
        _refuse_others_points(services, plan, points)
    forecast = check_first(services, deployment, plan, points, watching)
    plan = with_window_warning(plan, forecast)
    execution = Execution(
        id=execution_id,
        deployment=deployment.name,
        workflow=plan.workflow,
        parameters=dict(request.parameters),
        created_at=services.clock.now(),
        host=services.host,
        points=_points_of(plan, points, deployment),
        cut_sizes=forecast.sizes,
    )
    services.executions.add(execution, plan)
    guard = guard_of(services, plan, execution)
    ended, plan, history = execute(services, execution, Purpose.FORWARD, watching, guard=guard, plan=plan)
    return result_of(services, ended, plan, history)


def _refuse_others_points(services: Services, plan: Plan, points: Sequence[RestorePoint]) -> None:
    """Refuse to put back or remove here what was made on another machine, of its own paths.

    A restore into another deployment says itself what it is for, and what is extracted goes to a directory
    that was named.

    Raises:
        OtherHostError: naming that machine.
    """
    for point in () if plan.parameters.source else points:
        steps = [s for s in plan.steps if s.point == point.name and s.operation in _OF_POINTS]
        providers = {step.provider for step in steps}
        refuse_other_host(services, point.host, providers, f"restore point {point.name} was made", _IF_HERE)


def _refuse_others_restore(services: Services, deployment: Deployment) -> None:
    """Refuse to undo here, or to forget, what the last restore has replaced on another machine.

    Raises:
        OtherHostError: naming that machine.
    """
    if (last := last_replacing(services, deployment)) is not None:
        providers = {step.provider for step in services.executions.plan(last.id).steps}
        refuse_other_host(services, last.host, providers, f"{last.id} ran", _IF_HERE)


def _target(services: Services, request: WorkflowRequest) -> Deployment:
    """Return the deployment that *request* works on: another one, where it is restored elsewhere."""
    return services.deployments.get(str(request.parameters.get("to") or request.deployment))


def _read_by(plan: Plan) -> set[InstanceId]:
    """Return the instances of which *plan* reads what a restore point holds."""
    reading = (Operation.APPLY, Operation.EXTRACT)
    return {step.instance for step in plan.steps if step.operation in reading}


def check_first(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    points: Sequence[RestorePoint],
    watching: Watching,
) -> Forecast:
    """Refuse *plan* for all that is known to be wrong beforehand; return how long it will freeze things.

    Raises:
        PlanError, TargetError, UnreachableError, DamagedError, CancelledError: nothing was touched.
    """
    if error := _too_low(plan, deployment):
        raise error
    for name in {step.provider for step in plan.steps}:
        services.provider(name)  # refused here when its SDK is missing
    if makes_full_point(plan):
        _refuse_other_repositories(services, deployment, plan)
    targets = inspect_targets(services, deployment, plan, points)
    reading = points if _read_by(plan) else ()
    if wrong := why_refused(services, deployment, plan, reading, targets):
        raise wrong
    _refuse_damaged_sources(services, deployment, plan, points, watching)
    forecast = forecast_of(services, deployment, plan)
    if late := too_long(plan, forecast):
        raise late
    return forecast


def _refuse_other_repositories(services: Services, deployment: Deployment, plan: Plan) -> None:
    cut = {step.instance for step in plan.steps if step.operation is Operation.SNAPSHOT}
    refuse_missing_repositories(services, deployment, cut)
    if plan.parameters.snapshot_name is not None:
        refuse_taken_name(services, deployment, plan.parameters.snapshot_name, cut)


def _refuse_damaged_sources(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    points: Sequence[RestorePoint],
    watching: Watching,
) -> None:
    read = _read_by(plan)
    for whose, point, held in sources(services, deployment, plan, points if read else (), read):
        refuse_damaged(
            services,
            whose,
            point,
            held,
            mode=plan.parameters.verify_first,
            cancelled=watching.cancel_asked,
            checking=watching.on_checking,
        )


def result_of(services: Services, ended: Execution, plan: Plan, history: History) -> Result:
    """Return the report of a run that is over, and its error where there is one."""
    points = services.catalog.list(ended.deployment)
    report = report_execution(ended, plan, history, points)
    error = failure_of(ended, plan, history, way_back=way_back(ended, plan, history))
    return Result(report=report, error=error)


def _plan(
    services: Services, deployment: Deployment, request: WorkflowRequest
) -> tuple[Plan, Sequence[RestorePoint]]:
    workflow = workflow_named(request.workflow)
    given = dict(request.parameters)
    elsewhere = bool(given.get("to")) and workflow.applies_points
    whose = services.deployments.get(request.deployment) if elsewhere else deployment
    points = _points(services, whose, workflow, given) if workflow.takes_points else ()
    parameters = read_parameters(
        workflow.name,
        given,
        now=services.clock.now(),
        options=declared_options(services.descriptions),
        allow_custom=request.allow_custom_parameters,
    )
    if elsewhere:
        parameters = replace(parameters, source=whose.name)
        found = elsewhere_of(services, deployment, parameters)
        points = (found.mapped_point,) if found is not None else ()
    refuse_names_and_lower(services, deployment.name, workflow, points, parameters)
    former: Former | None = None
    if workflow.takes_former:
        if not request.here:
            _refuse_others_restore(services, deployment)
        former, parameters = former_for(services, deployment, workflow, parameters)
    plan = plan_workflow(
        workflow.name,
        deployment.topology,
        services.descriptions,
        parameters,
        points=points,
        safety_name=BackupName(f"safety-{int(services.clock.now())}-{services.random_text(4)}"),
        former=former,
    )
    providers = {step.provider for step in plan.steps}
    idle = idle_options(
        given, providers, services.descriptions, own={each.name for each in parameters_of(workflow.name)}
    )
    return replace(plan, warnings=(*plan.warnings, *idle)), points


def former_for(
    services: Services, deployment: Deployment, workflow: Workflow, parameters: Parameters
) -> tuple[Former, Parameters]:
    """Return what *workflow* is to work on, and its parameters with the state that it is to put in place."""
    chosen, every = select(deployment.topology, parameters), former_states(services, deployment)
    if not workflow.replaces:
        return {instance: every[instance] for instance in chosen if instance in every}, parameters
    former = of_last_restore(every, chosen)
    refuse_half_undo(services, deployment, former, chosen)
    if "undo_to" in parameters.raw:
        return former, parameters
    side = wanted_side(services, deployment, former)
    return former, replace(parameters, undo_to=side, raw={**parameters.raw, "undo_to": side.value})


def _points(
    services: Services, deployment: Deployment, workflow: Workflow, given: dict[str, Json]
) -> Sequence[RestorePoint]:
    known = services.catalog.list(deployment.name)
    if workflow.removes_points and given.get("all") in (True, "true"):
        return known
    name = given.get("snapshot_name")
    if not name:
        names = ", ".join(point.name for point in known) or "none"
        raise UsageError(
            f"{workflow.name} needs a snapshot_name; there is: {names}",
            hint=f"quiesce {workflow.command} {deployment.name} -p snapshot_name=NAME",
        )
    point = find_point(services, deployment.name, workflow, str(name), given)
    if workflow.reads_points:
        remedy = f"quiesce {REMOVE_BACKUP.command} {deployment.name} -p snapshot_name={point.name}"
        refuse_unfinished(point, hint=f"Remove what is left of it: {remedy}")
    return (point,)


def find_point(
    services: Services, deployment: DeploymentName, workflow: Workflow, name: str, given: dict[str, Json]
) -> RestorePoint:
    """Return the restore point that *name* means to *workflow*; *given* says its name and kind afterwards.

    Raises:
        UnknownNameError: when the catalog has none such.
        DamagedError: when it is to be read, and its entry cannot be.
        UsageError: when *given* says that it is of another kind.
    """
    find = point_named if workflow.reads_points else _named_exactly
    point = find(services, deployment, name)
    given["snapshot_name"] = point.name
    if workflow.reads_points:
        refuse_damaged_entry(point)
    _fill_in_kind(point, given)
    return point


def refuse_unfinished(point: RestorePoint, *, hint: str) -> None:
    """Refuse to restore what is not all there: it was never finished, or is being removed.

    Raises:
        PlanError: with that *hint*.
    """
    if point.state not in (PointState.COMPLETE, PointState.PARTIAL):
        raise PlanError(f"{point.name} is {point.state}, so it cannot be restored", hint=hint)


def _fill_in_kind(point: RestorePoint, given: dict[str, Json]) -> None:
    wanted_full = given.setdefault("snapshot_incremental", not point.full) in (False, "false")
    if wanted_full != point.full:
        kind = "backup (a full copy)" if point.full else "snapshot"
        raise UsageError(
            f"{point.name} is a {kind}",
            hint=f"Leave snapshot_incremental out, or say snapshot_incremental={str(not point.full).lower()}",
        )


def _named_exactly(services: Services, deployment: DeploymentName, name: str) -> RestorePoint:
    return services.catalog.get(deployment, name)


def refuse_names_and_lower(
    services: Services,
    deployment: DeploymentName,
    workflow: Workflow,
    points: Sequence[RestorePoint],
    parameters: Parameters,
) -> None:
    """Refuse a name that is there already or means another, and a restore of less than is asked for.

    Raises:
        UsageError, PlanError: naming it.
    """
    if workflow.makes_point:
        _refuse_known_name(services, deployment, parameters)
    if workflow.applies_points:
        _refuse_lower(points, parameters)


def _refuse_known_name(services: Services, deployment: DeploymentName, parameters: Parameters) -> None:
    if parameters.snapshot_name == LATEST:
        raise UsageError(f"{LATEST!r} is what the newest restore point is called: choose another name")
    for point in services.catalog.list(deployment):
        if point.name == parameters.snapshot_name:
            raise PlanError(
                f"a restore point {point.name!r} of {deployment} already exists ({point.state})",
                hint="Choose another snapshot_name, or remove that one first.",
            )


def _refuse_lower(points: Sequence[RestorePoint], parameters: Parameters) -> None:
    for point in points:
        if point.consistency < parameters.min_consistency:
            raise PlanError(
                f"{point.name} has the consistency {point.consistency.label}; "
                f"min_consistency is {parameters.min_consistency.label}",
                hint="Choose a better restore point, or lower min_consistency.",
            )


def _points_of(plan: Plan, points: Sequence[RestorePoint], deployment: Deployment) -> tuple[BackupName, ...]:
    """Return the names of *deployment*'s own restore points that *plan* has to do with."""
    given = {point.name: point.deployment == deployment.name for point in points}
    made = {step.point for step in plan.steps if step.point is not None and given.get(step.point, True)}
    return tuple(sorted(made | {name for name, own in given.items() if own}))


def with_window_warning(plan: Plan, forecast: Forecast) -> Plan:
    """Return *plan* with a warning where it may not be done within its ``max_freeze``."""
    bound = plan.parameters.max_freeze_s
    if forecast.window_s <= bound:
        return plan
    expected = "expected (not measured)" if forecast.unmeasured else "predicted"
    warning = (
        f"the {expected} frozen window of {forecast.window_s:.1f} s is over max_freeze ({bound:g} s): "
        "raise max_freeze, raise parallel, or back up fewer nodes together"
    )
    return replace(plan, warnings=(*plan.warnings, warning))


def _labels(plan: Plan, deployment: Deployment) -> Mapping[InstanceId, str]:
    return {instance: consistency.label for instance, consistency in _reachable(plan, deployment).items()}


def _reachable(plan: Plan, deployment: Deployment) -> Mapping[InstanceId, Consistency]:
    around = ConsistencyAssessment.of(plan, History(), deployment.topology)
    cuts = [step for step in plan.steps if step.operation is Operation.SNAPSHOT]
    return {step.instance: around.reachable(step) for step in cuts}


def _too_low(plan: Plan, deployment: Deployment) -> PlanError | None:
    """Return why the restore point would be worth less than is asked for; None: it may be worth it."""
    least = plan.parameters.min_consistency
    if least is Consistency.NONE or not workflow_named(plan.workflow).makes_point:
        return None
    lower = {i: consistency for i, consistency in _reachable(plan, deployment).items() if consistency < least}
    if not lower:
        return None
    shown = ", ".join(
        f"{instance} ({consistency.label})" for instance, consistency in sorted(lower.items())[:10]
    )
    return PlanError(
        f"min_consistency {least.label} cannot be met by {shown}",
        hint="Give those nodes fs_prepare and fs_finalize, exclude them, or lower min_consistency.",
    )


def guard_of(services: Services, plan: Plan, execution: Execution) -> Guard | None:
    """Return a guard that gets ready for *execution*; None when it will owe nothing."""
    if not plan.indebting:
        return None
    guard = services.guard()
    guard.prepare(execution.id)
    return guard


@contextlib.contextmanager
def leased(
    services: Services, deployments: Collection[DeploymentName], execution: ExecutionId
) -> Iterator[None]:
    """Hold the leases of *deployments*, taken in one order by everybody."""
    with contextlib.ExitStack() as held:
        for deployment in sorted(deployments):
            held.callback(_lease(services, deployment, execution).release)
        yield


def _lease(services: Services, deployment: DeploymentName, execution: ExecutionId) -> Lease:
    """Take the lease; a guard that settles for a dead engine releases it in a moment."""
    ends = services.clock.tick() + LEASE_PATIENCE_S
    while True:
        try:
            return services.leases.acquire(deployment, execution)
        except BusyError:
            if services.clock.tick() >= ends:
                raise
            services.pause(LEASE_PAUSE_S)


def run_job(
    services: Services, request: WorkflowRequest, watching: Watching, execution_id: ExecutionId
) -> Result:
    """Run *request* as *execution_id*; what an earlier process has begun of it goes on.

    Raises:
        BusyError: when it runs, or another execution of the deployment.
        And what `run_workflow` raises.
    """
    try:
        execution = services.executions.get(execution_id)
    except UnknownNameError:
        return run_workflow(services, request, watching, execution_id)
    if any(each.id == execution.id for each in services.executions.open_ones(execution.deployment)):
        return continue_execution(services, execution.id, Purpose.FORWARD, watching)
    history = History.of(services.executions.journal(execution.id).read())
    return result_of(services, execution, services.executions.plan(execution.id), history)


def cancel(services: Services, execution_id: str) -> Execution:
    """Ask for *execution_id* to be cancelled; a running engine stops by itself, a dead one is rolled back.

    Raises:
        UnknownNameError: when there is none of that id.
        UsageError: when it is over.
    """
    execution = _open_execution(services, execution_id, "it needs no cancelling")
    services.executions.ask_cancel(execution.id, "it was cancelled on request")
    return execution


def give_up(services: Services, execution_id: str) -> Execution:
    """End an interrupted execution as failed without doing anything: what it may have left is no matter.

    Raises:
        UnknownNameError: when there is none of that id.
        BusyError: when it runs.
        UsageError: when it is over.
    """
    execution = _open_execution(services, execution_id, "there is nothing to write off")
    with leased(services, {execution.deployment}, execution.id):
        return write_off(services, execution, "it was written off on request; nothing more was done")


def _open_execution(services: Services, execution_id: str, otherwise: str) -> Execution:
    """Return an execution that is not over; of one that is, say *otherwise*."""
    execution = services.executions.get(execution_id)
    if not any(e.id == execution.id for e in services.executions.open_ones(execution.deployment)):
        raise UsageError(f"execution {execution.id} is {execution.state}; {otherwise}")
    return execution


def continue_execution(
    services: Services, execution_id: str, purpose: Purpose, watching: Watching, *, here: bool = False
) -> Result:
    """Continue an interrupted execution: to its end, or back (*purpose*).

    *here*: this machine is meant by what it has begun, although it was called by another name then.

    Raises:
        BusyError: when it runs.
        UsageError: when it is over and owes nothing.
        OtherHostError: when it has to go on on another machine; nothing was touched.
    """
    execution = _open_execution(services, execution_id, "there is nothing to resume")
    plan = services.executions.plan(execution.id)
    source = DeploymentName(plan.parameters.source or execution.deployment)
    with leased(services, {execution.deployment, source}, execution.id):
        if here:
            execution = replace(execution, host=services.host)
            services.executions.update(execution)
        refuse_to_go_on_here(services, execution)
        guard = guard_of(services, plan, execution) if purpose is Purpose.FORWARD else None
        return result_of(services, *execute(services, execution, purpose, watching, guard=guard))
