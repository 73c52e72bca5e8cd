"""What an execution has made of restore points: a pure fold of its plan and history.

Saving the result again after a crash changes nothing, so the catalog can always be corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from quiesce.app.points.consistency import ConsistencyAssessment
from quiesce.app.points.window import window_s
from quiesce.errors import UnreachableError
from quiesce.model.consistency import Consistency, weakest
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import BackupName, InstanceId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import Topology
from quiesce.planning import makes_full_point, workflow_named


def points_made(plan: Plan, history: History, execution: Execution, topology: Topology) -> list[RestorePoint]:
    """Return the restore points that *execution* makes (a backup's, or a restore's safety one)."""
    names = {step.point for step in plan.steps if step.operation is Operation.SNAPSHOT and step.point}
    return [_made(name, plan, history, execution, topology) for name in sorted(names)]


def points_removed(plan: Plan, history: History, points: Iterable[RestorePoint]) -> list[RestorePoint]:
    """Return *points* without what *plan*'s finished deletions have removed."""
    deleting = {
        (step.point, step.instance): step
        for step in plan.steps
        if step.operation is Operation.DELETE and step.role is Role.MAIN
    }
    return [_without(point, deleting, history) for point in points]


def _made(
    name: BackupName, plan: Plan, history: History, execution: Execution, topology: Topology
) -> RestorePoint:
    cuts = [step for step in plan.steps if step.operation is Operation.SNAPSHOT and step.point == name]
    artifacts = _artifacts([step for step in cuts if step.id in history.begun_at], plan, history, topology)
    done = [history.done[step.id] for step in cuts if step.id in history.done]
    complete = [a for a in artifacts if a.state is PointState.COMPLETE]
    return RestorePoint(
        deployment=execution.deployment,
        name=name,
        full=makes_full_point(plan),
        type=plan.parameters.snapshot_type,
        rotation=plan.parameters.snapshot_rotation,
        execution=execution.id,
        state=_state(plan, history, cuts, artifacts),
        consistency=weakest(a.consistency for a in complete),
        made_at=execution.created_at,
        window_s=window_s(plan, history),
        skew_s=max((d.ended for d in done), default=0.0) - min((d.ended for d in done), default=0.0),
        host=execution.host,
        safety=not workflow_named(plan.workflow).makes_point,
        artifacts=artifacts,
    )


def _artifacts(
    begun: Sequence[Step], plan: Plan, history: History, topology: Topology
) -> tuple[Artifact, ...]:
    if not begun:
        return ()
    around = ConsistencyAssessment.of(plan, history, topology)
    return tuple(artifact for step in begun if (artifact := _artifact(step, history, around)) is not None)


def _state(plan: Plan, history: History, cuts: Sequence[Step], artifacts: Sequence[Artifact]) -> PointState:
    complete = sum(artifact.state is PointState.COMPLETE for artifact in artifacts)
    if complete == len(cuts):
        return PointState.COMPLETE
    if history.aborted is None:
        return PointState.INCOMPLETE
    if not artifacts:
        return PointState.REMOVED
    return PointState.PARTIAL if plan.parameters.keep_partial and complete else PointState.INCOMPLETE


def _artifact(step: Step, history: History, around: ConsistencyAssessment) -> Artifact | None:
    undo = around.undos.get(step.id)
    if undo is not None and not history.is_owed(undo):
        return None
    cut = history.done.get(step.id)
    copy = around.copies.get((step.instance, step.point))
    copied = history.done.get(copy.id) if copy is not None else None
    finished = cut is not None and (copy is None or copied is not None)
    last = copied if copied is not None and copied.outcome.artifact is not None else cut
    consistency, note = around.assess(step) if cut is not None else (Consistency.NONE, "the cut is not done")
    return Artifact(
        instance=step.instance,
        provider=step.provider,
        function=step.function,
        state=PointState.COMPLETE if finished else PointState.INCOMPLETE,
        consistency=consistency,
        content=(last.outcome.artifact or {}) if last is not None else {},
        note=note,
        cut_at=cut.at if cut is not None else None,
        cut_s=cut.ended - cut.began if cut is not None else None,
        frozen_s=around.frozen_s(step.instance),
    )


def _without(
    point: RestorePoint, deleting: Mapping[tuple[BackupName | None, InstanceId], Step], history: History
) -> RestorePoint:
    asked = [deleting.get((point.name, artifact.instance)) for artifact in point.artifacts]
    begun = [step for step in asked if step is not None and step.id in history.begun_at]
    if asked and all(_was_refused(step, history) for step in begun):
        # it was announced that it will be removed; killed then, nobody knows any more what it was before
        announced = point.state is PointState.REMOVING
        return replace(point, state=_state_of(point.artifacts, len(asked))) if announced else point
    kept: list[Artifact] = []
    for artifact, step in zip(point.artifacts, asked, strict=True):
        if step not in begun:
            kept.append(artifact)
        elif step is not None and step.id not in history.done:
            kept.append(replace(artifact, state=PointState.REMOVING))
    return replace(point, artifacts=tuple(kept), state=_state_of(kept, len(point.artifacts)))


def _was_refused(step: Step, history: History) -> bool:
    """Tell whether *step* could not reach what it was to remove, and so has touched nothing of it."""
    failed = history.failed.get(step.id)
    if failed is None or failed.abandoned or history.attempts[step.id] > 1:
        return False
    return failed.code == UnreachableError.code


def _state_of(kept: Sequence[Artifact], there_were: int) -> PointState:
    states = {artifact.state for artifact in kept}
    if not kept:
        return PointState.REMOVED
    if states == {PointState.COMPLETE} and len(kept) == there_were:
        return PointState.COMPLETE
    if PointState.COMPLETE in states:
        return PointState.PARTIAL
    return PointState.REMOVING if PointState.REMOVING in states else PointState.INCOMPLETE
