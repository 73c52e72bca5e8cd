"""Reports of plans and executions, from their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quiesce.app.points.window import frozen_intervals, window_s
from quiesce.app.run.forecast import Forecast
from quiesce.model.debts import Owed
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, InstanceId, Json
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.report import ExecutionReport, PlanReport, StepReport
from quiesce.model.restore_point import RestorePoint
from quiesce.planning import workflow_named


def report_execution(
    execution: Execution, plan: Plan, history: History, points: Sequence[RestorePoint] = ()
) -> ExecutionReport:
    """Return the result of every step of *execution*, and its window."""
    zero = history.first_started.tick if history.first_started is not None else 0.0
    intervals = frozen_intervals(plan, history)
    freezes = [step for step in plan.steps if step.operation is Operation.FREEZE]
    begun = [step for step in freezes if step.id in history.begun_at and step.id not in history.void_at]
    owed = history.debts(plan)
    owing = {step.of for step in owed}
    without_thaw = {step.id for step in begun} - {s.of for s in plan.steps if s.role is Role.SETTLE}
    return ExecutionReport(
        execution=execution,
        groups=tuple(group.title for group in plan.groups),
        steps=tuple(_step(step, history, zero) for step in plan.steps if _concerns(step, history)),
        window_s=window_s(plan, history),
        frozen_s={instance: end - begin for instance, (begin, end) in intervals.items()},
        frozen=len(begun) - len(without_thaw),
        thawed=sum(step.id not in owing for step in begun) - len(without_thaw),
        owed=Owed.of(owed).frozen,
        stopped=Owed.of(owed).stopped,
        points=tuple(point for point in points if point.name in execution.points),
        measurements=measurements_of(plan, history),
        results={
            step.id: done.outcome.result
            for step in plan.steps
            if (done := history.done.get(step.id)) is not None and done.outcome.result is not None
        },
        notes=_notes(plan, history),
        warnings=plan.warnings,
        advice=_advice(execution, plan, history),
    )


def measurements_of(plan: Plan, history: History) -> dict[InstanceId, Mapping[str, Json]]:
    """Return what was measured, by instance."""
    return {
        step.instance: done.outcome.measurements
        for step in plan.steps
        if (done := history.done.get(step.id)) is not None and done.outcome.measurements is not None
    }


def report_plan(
    deployment: DeploymentName, plan: Plan, forecast: Forecast, consistency: Mapping[InstanceId, str]
) -> PlanReport:
    """Return *plan* for people."""
    groups: list[list[StepReport]] = [[] for _ in plan.groups]
    nothing = History()
    for step in plan.steps:
        groups[step.group].append(_step(step, nothing, 0.0))
    return PlanReport(
        deployment=deployment,
        workflow=plan.workflow,
        parameters=plan.parameters.raw,
        groups=tuple(
            (group.title, tuple(steps)) for group, steps in zip(plan.groups, groups, strict=True) if steps
        ),
        warnings=plan.warnings,
        predicted_window_s=forecast.window_s,
        max_freeze_s=plan.parameters.max_freeze_s,
        unmeasured=forecast.unmeasured,
        cuts=forecast.cuts,
        consistency=consistency,
        digest=plan.digest,
    )


def _concerns(step: Step, history: History) -> bool:
    if step.role is Role.MAIN or step.id in history.begun_at:
        return True
    return history.is_owed(step) and (step.role is Role.SETTLE or history.aborted is not None)


def _step(step: Step, history: History, zero: float) -> StepReport:
    done, failed = history.done.get(step.id), history.failed.get(step.id)
    first, progress = history.first_tick.get(step.id), history.progress.get(step.id)
    began = done.began if done is not None and done.began else first
    ended = done.ended if done is not None else failed.tick if failed is not None else None
    return StepReport(
        step=step.id,
        instance=step.instance,
        operation=step.operation,
        interface=step.interface,
        role=step.role,
        group=step.group,
        state=_state(step, history),
        attempts=history.attempts.get(step.id, 0),
        began_s=began - zero if began is not None else None,
        ended_s=ended - zero if ended is not None else None,
        message=failed.message if failed is not None else "",
        done_bytes=progress.done_bytes if progress is not None else None,
        total_bytes=progress.total_bytes if progress is not None else None,
    )


def _state(step: Step, history: History) -> str:
    failed = history.failed.get(step.id)
    if step.id in history.done:
        return "done"
    if failed is not None:
        return "skipped" if failed.passed_over else "failed"
    return "running" if step.id in history.begun_at else "waiting"


def _notes(plan: Plan, history: History) -> dict[InstanceId, str]:
    notes: dict[InstanceId, list[str]] = {}
    for step in plan.steps:
        done, failed = history.done.get(step.id), history.failed.get(step.id)
        note = done.outcome.note if done is not None else failed.message if failed is not None else ""
        if note:
            notes.setdefault(step.instance, []).append(note)
    return {instance: "; ".join(dict.fromkeys(texts)) for instance, texts in notes.items()}


def way_back(execution: Execution, plan: Plan, history: History) -> str:
    """Return how to go back from what *execution* has replaced; empty when there is no way that we know."""
    replaced = {
        step.instance
        for step in plan.steps
        if step.operation in REPLACING and not step.beside and step.id in history.begun_at
    }
    kept = replaced & _kept(plan, history)
    undo = f"quiesce restore --undo {execution.deployment}"
    if kept and kept == replaced:
        return f"To go back: {undo}"
    safe = {
        step.instance: step.point
        for step in plan.steps
        if step.id.endswith(".safety") and step.id in history.done and step.instance in replaced
    }
    ways = [f"quiesce restore {execution.deployment} -p snapshot_name={name}" for name in {*safe.values()}]
    if kept - safe.keys():
        # the others would keep it from being undone
        ways.insert(0, f"{undo} --include-instances {','.join(sorted(kept - safe.keys()))}")
    lost = sorted(replaced - kept - safe.keys())
    nothing = f"; nothing is kept of {', '.join(lost)}" if lost else ""
    return f"To go back: {' and '.join(ways)}{nothing}" if ways else ""


def _kept(plan: Plan, history: History) -> set[InstanceId]:
    """Return of whom it is kept what was replaced, as far as the records tell."""
    return {
        step.instance
        for step in plan.steps
        if step.operation is Operation.CONFIRM
        and not (plan.parameters.keep_undo_s == 0 and step.id in history.done)
    }


def _advice(execution: Execution, plan: Plan, history: History) -> str:
    if back := way_back(execution, plan, history):
        return back
    if execution.owes:
        return "Something may still be frozen or stopped: quiesce recover"
    if execution.state is ExecutionState.FAILED:
        return workflow_named(execution.workflow).advice.format(deployment=execution.deployment)
    return ""
