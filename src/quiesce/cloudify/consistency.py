"""The consistency of a backup made inside Cloudify."""

from __future__ import annotations

from typing import Any

from cloudify.exceptions import NonRecoverableError

from quiesce.app.points.catalog import points_made
from quiesce.model.consistency import weakest
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.plan import Plan
from quiesce.model.topology import Topology
from quiesce.planning import workflow_named


def judge(plan: Plan, history: History, topology: Topology, context: Any) -> None:
    """Log how long the deployment was frozen, and the backup's consistency.

    Raises:
        cloudify's NonRecoverableError: when that is less than ``min_consistency``. The backup stays.
    """
    if not workflow_named(plan.workflow).makes_point:
        return
    execution = Execution(
        id=ExecutionId(context.execution_id),
        deployment=DeploymentName(context.deployment.id),
        workflow=plan.workflow,
        created_at=0.0,
    )
    for point in points_made(plan, history, execution, topology):
        context.logger.debug(
            "%s: consistency %s, frozen for %.3f s, cuts within %.3f s",
            point.name,
            point.consistency.label,
            point.window_s,
            point.skew_s,
        )
        consistency = weakest(artifact.consistency for artifact in point.artifacts)
        if consistency < plan.parameters.min_consistency:
            least = plan.parameters.min_consistency.label
            raise NonRecoverableError(
                f"{point.name} has the consistency {consistency.label}; min_consistency is {least}"
            )
