"""restore: stop and freeze what is replaced, put every instance back, start and probe it."""

from __future__ import annotations

from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId, StepId
from quiesce.model.operation import (
    FS_FINALIZE,
    SNAPSHOT_APPLY,
    SNAPSHOT_CREATE,
    Operation,
)
from quiesce.model.plan import Plan
from quiesce.model.restore_point import PRIVILEGED, PointState, RestorePoint
from quiesce.planning.drafting import PlanDraft, PlanRequest, step_id
from quiesce.planning.stopping import add_power_on, add_starts_and_probes, add_stops
from quiesce.planning.undo import add_confirmation, warn_of_no_way_back
from quiesce.planning.window import add_freezes, add_thaws


def plan_restore(request: PlanRequest) -> Plan:
    """Stop, freeze, take a safety restore point where wanted, apply, thaw, start, probe.

    Dependents are stopped and frozen before what they depend on, and applied, thawed, started and probed
    after it. A thaw is also owed where nothing was frozen, because the restored state may hold the freeze
    that was in force at its cut. A start is owed from the moment its stop begins, and what an apply has
    switched off is owed its power from the moment that apply begins.

    Raises:
        PlanError: when the restore point holds nothing of the chosen instances, or one that would be stopped
            could not be started.
    """
    draft = PlanDraft(request)
    (point,) = request.points
    instances = _instances_to_apply(draft, point)
    stopped = add_stops(draft)
    add_freezes(draft, for_apply=True, stopped=stopped)
    safe = [instance for instance in instances if _wants_safety(draft, instance)]
    draft.add_group("safety cut", SNAPSHOT_CREATE, safe, suffix=".safety", point=request.safety_name)
    safety_cuts = [step for step in draft.steps if step.operation is Operation.SNAPSHOT]
    order = draft.dependents_last(instances)
    draft.add_group("apply", SNAPSHOT_APPLY, instances, order=order, point=point.name)
    applied = frozenset(instances)

    def owed_since(instance: InstanceId) -> StepId | None:
        return step_id(instance, SNAPSHOT_APPLY) if instance in applied else None

    add_power_on(draft, applied, point.name)
    add_thaws(draft, owed_since, stopped=stopped)
    add_starts_and_probes(draft, stopped, applied, point.name)
    add_confirmation(draft, instances)
    draft.add_undo("remove the unused safety cut", safety_cuts)
    warn_of_no_way_back(draft, instances, safe)
    _warn_of_missing_thaws(draft, instances)
    _warn_of_privileges(draft, point, instances)
    return draft.finish()


def _instances_to_apply(draft: PlanDraft, point: RestorePoint) -> tuple[InstanceId, ...]:
    held = {a.instance for a in point.artifacts if a.state is PointState.COMPLETE}
    half_made = {artifact.instance for artifact in point.artifacts} - held
    able = draft.having(SNAPSHOT_APPLY)
    instances = tuple(instance for instance in able if instance in held)
    if not instances:
        raise PlanError(
            f"{point.name} holds nothing that can be applied to the chosen instances; "
            f"it holds: {', '.join(sorted(held)) or 'nothing'}"
        )
    for instance in sorted(held.intersection(draft.request.instances) - set(instances)):
        draft.warnings.append(f"{instance} is in {point.name}, but its node has no operation to apply it")
    for instance in sorted(half_made.intersection(draft.request.instances)):
        draft.warnings.append(f"what {point.name} holds of {instance} is incomplete: it is not applied")
    return instances


def _wants_safety(draft: PlanDraft, instance: InstanceId) -> bool:
    wanted = draft.request.parameters.safety_snapshot
    binding = draft.binding(instance, SNAPSHOT_CREATE)
    if binding is None or wanted is False:
        return False
    return wanted is True or binding.capabilities.cheap_snapshot


def _warn_of_privileges(draft: PlanDraft, point: RestorePoint, instances: tuple[InstanceId, ...]) -> None:
    for artifact in point.artifacts:
        count = artifact.content.get(PRIVILEGED)
        if artifact.instance not in instances or not isinstance(count, int) or not count:
            continue
        allowed = draft.request.topology.node_of(artifact.instance).properties.get("allow_privileged")
        if allowed is not True:
            draft.warnings.append(
                f"{artifact.instance}: {count} entries of {point.name} (files with set-user-ID, set-group-ID "
                "or capabilities, devices) come back without it, or not at all, unless its node says "
                "allow_privileged"
            )


def _warn_of_missing_thaws(draft: PlanDraft, instances: tuple[InstanceId, ...]) -> None:
    frozen = {step.instance for step in draft.steps if step.operation is Operation.FREEZE}
    for instance in instances:
        if instance in frozen and draft.binding(instance, FS_FINALIZE) is None:
            draft.warnings.append(
                f"{instance} has fs_prepare but no fs_finalize: it is prepared before it is applied, "
                "and never finalized"
            )
