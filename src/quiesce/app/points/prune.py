"""Retention: tell what a policy keeps, and remove the rest by ordinary executions of remove_backup."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from quiesce.app.services import Services
from quiesce.errors import ExecutionFailedError, UnknownNameError
from quiesce.model.ids import BackupName, DeploymentName
from quiesce.model.request import WorkflowRequest
from quiesce.model.retention import RetentionPlan, RetentionPolicy
from quiesce.planning import REMOVE_BACKUP, workflow_named
from quiesce.planning.retention import plan_retention


def local_day(at: float) -> dt.date:
    """Return the operator's day at a time, in seconds since the epoch."""
    return dt.datetime.fromtimestamp(at).date()  # noqa: DTZ006


def plan_pruning(services: Services, deployment: str, policy: RetentionPolicy) -> RetentionPlan:
    """Return what *policy* means for the restore points that there are now; touches nothing.

    Raises:
        UnknownNameError: when there is no such deployment.
        UsageError: when the policy has no rule.
    """
    found = services.deployments.get(deployment)
    return plan_retention(
        found.name,
        services.catalog.list(found.name),
        policy,
        day_of=local_day,
        now=services.clock.now(),
        busy=_worked_on(services, found.name),
    )


def remove_unkept(
    services: Services, plan: RetentionPlan, remove: Callable[[WorkflowRequest], object]
) -> None:
    """Let *remove* run one remove_backup after the other; the policy is applied anew before each.

    A removal that fails leaves the others to be tried; anything else (another execution, a cancel) ends it.

    Raises:
        ExecutionFailedError: when any of them failed.
    """
    failed = []
    for point in plan.to_remove:
        now = plan_pruning(services, plan.deployment, plan.policy)
        if point.name not in {unkept.name for unkept in now.to_remove}:
            continue
        request = WorkflowRequest(
            deployment=plan.deployment, workflow=REMOVE_BACKUP.name, parameters={"snapshot_name": point.name}
        )
        try:
            remove(request)
        except ExecutionFailedError:
            failed.append(point.name)
        except UnknownNameError:
            continue  # an interrupted removal of it was finished first
    if failed:
        raise ExecutionFailedError(
            f"{len(failed)} of {len(plan.to_remove)} restore points were not removed: {', '.join(failed)}",
            code=ExecutionFailedError.code,
            hint=f"See: quiesce executions list {plan.deployment}; pruning again tries them again.",
        )


def _worked_on(services: Services, deployment: DeploymentName) -> set[BackupName]:
    """Return the points that unfinished executions use; an interrupted removal does not protect its own."""
    unfinished = services.executions.open_ones(deployment)
    return {name for e in unfinished if not workflow_named(e.workflow).removes_points for name in e.points}
