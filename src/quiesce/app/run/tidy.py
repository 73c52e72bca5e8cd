"""Which executions may be forgotten: those that nothing else needs any more."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.app.points.former import former_states
from quiesce.app.services import Services
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import ExecutionId
from quiesce.planning import workflow_named


def forgettable(
    services: Services, deployment: Deployment, *, keep_last: int, older_than_s: float
) -> Sequence[Execution]:
    """Return the executions of *deployment* that may be forgotten, oldest first.

    Kept are the last *keep_last*, all younger than *older_than_s*, the last of each workflow, what has not
    ended or owes something, and what made a restore point or a former state that is still there: their report
    says what those are worth, and an undo reads it.
    """
    found = services.executions.list(deployment.name)
    needed = {point.execution for point in services.catalog.list(deployment.name)}
    needed |= {execution.id for execution in found[-keep_last:]}
    needed |= {execution.id for execution in {each.workflow: each for each in found}.values()}
    needed |= _that_replaced(services, deployment, found)
    until = services.clock.now() - older_than_s
    return [
        each
        for each in found
        if each.id not in needed
        and not each.owes
        and each.state is not ExecutionState.RUNNING
        and each.created_at < until
    ]


def forget(services: Services, executions: Sequence[Execution]) -> None:
    """Forget *executions*, their plans and their journals."""
    services.executions.remove([each.id for each in executions])


def _that_replaced(
    services: Services, deployment: Deployment, found: Sequence[Execution]
) -> set[ExecutionId]:
    """Return what has replaced something, as long as any of that is kept."""
    if not former_states(services, deployment):
        return set()
    return {each.id for each in found if workflow_named(each.workflow).replaces}
