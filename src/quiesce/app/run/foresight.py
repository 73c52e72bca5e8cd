"""What is to be known before a restore, and why it would be refused; nothing is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from quiesce.app.elsewhere import elsewhere_of
from quiesce.app.points.former import kept_states
from quiesce.app.points.targets import Targets, inspect_targets
from quiesce.app.points.verify import refuse_found_damaged
from quiesce.app.services import Services
from quiesce.errors import QuiesceError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan
from quiesce.model.report import PlanReport, Refusal, RestorePreview, Room
from quiesce.model.restore_point import RestorePoint
from quiesce.planning import predict_total_s


def with_foresight(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    points: Sequence[RestorePoint],
    report: PlanReport,
    *,
    error: QuiesceError | None,
) -> PlanReport:
    """Return *report* with what a plan that replaces or extracts something would meet.

    *error* is why it would be refused after all that is looked at here.
    """
    reading = [step.instance for step in plan.steps if step.operation in REPLACING | {Operation.EXTRACT}]
    if not reading:
        return replace(report, refused=None if error is None else _refusal(error))
    targets = inspect_targets(services, deployment, plan, points)
    former = kept_states(services, deployment)
    error = why_refused(services, deployment, plan, points, targets) or error
    replaces = any(step.operation is Operation.APPLY for step in plan.steps)
    return replace(
        report,
        restore=_preview(services, deployment, plan, points[0], targets) if points and replaces else None,
        users=targets.users,
        differences={i: target.differences for i, target in targets.found.items() if target.differences},
        lost={i: target.lost for i, target in targets.found.items() if target.lost},
        former={instance: former[instance] for instance in reading if instance in former},
        refused=None if error is None else _refusal(error),
    )


def why_refused(
    services: Services, deployment: Deployment, plan: Plan, points: Sequence[RestorePoint], targets: Targets
) -> QuiesceError | None:
    """Return all that is known to be wrong with sources and targets, as one error; None: nothing."""
    wrong = targets.error()
    for _, point, held in sources(services, deployment, plan, points, targets.found):
        try:
            refuse_found_damaged(point, held)
        except QuiesceError as damaged:
            if wrong is None:
                return damaged
            return type(damaged)(f"{damaged}; {wrong}", hint=f"{damaged.hint} {wrong.hint}".strip())
    return wrong


def sources(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    points: Sequence[RestorePoint],
    instances: Iterable[InstanceId],
) -> Sequence[tuple[Deployment, RestorePoint, set[InstanceId]]]:
    """Return whose restore points are read for *instances*, and which instances' parts of them."""
    elsewhere = elsewhere_of(services, deployment, plan.parameters)
    if elsewhere is None:
        return [(deployment, point, set(instances)) for point in points]
    return [(elsewhere.source, elsewhere.point, elsewhere.origins_of(instances))]


def _refusal(error: QuiesceError) -> Refusal:
    return Refusal(code=error.code, message=str(error), hint=error.hint, exit_status=int(error.exit_status))


def _preview(
    services: Services, deployment: Deployment, plan: Plan, point: RestorePoint, targets: Targets
) -> RestorePreview:
    known = services.catalog.list(point.deployment)
    names = [each.name for each in known]
    applied, undoable, safe = (
        tuple(step.instance for step in plan.steps if step.operation is operation)
        for operation in (Operation.APPLY, Operation.CONFIRM, Operation.SNAPSHOT)
    )
    if plan.parameters.keep_undo_s == 0:
        undoable = ()
    not_lost = {*undoable, *safe, *(step.instance for step in plan.steps if step.beside)}
    return RestorePreview(
        point=point.name,
        made_at=point.made_at,
        age_s=services.clock.now() - point.made_at,
        newer=tuple(names[names.index(point.name) + 1 :]) if point.name in names else (),
        trust=point.trust,
        checked_at=point.proofs[-1].at if point.proofs else None,
        expected_s=predict_total_s(plan, services.executions.durations(deployment.name)),
        rooms=_rooms(targets),
        undoable=undoable,
        safe=safe,
        no_way_back=tuple(each for each in applied if each not in not_lost),
    )


def _rooms(targets: Targets) -> tuple[Room, ...]:
    rooms: dict[str, list[InstanceId]] = {}
    for instance, target in targets.found.items():
        if target.needed_bytes is not None:
            rooms.setdefault(target.room, []).append(instance)
    found: Mapping[InstanceId, int] = {i: t.needed_bytes or 0 for i, t in targets.found.items()}
    return tuple(
        Room(
            instances=tuple(instances),
            needed_bytes=sum(found[instance] for instance in instances),
            free_bytes=min(targets.found[instance].free_bytes or 0 for instance in instances),
        )
        for instances in rooms.values()
    )
