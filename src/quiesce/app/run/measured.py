"""What executions of `statistics` have measured, as series in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from quiesce.app.run.report import measurements_of
from quiesce.app.services import Services
from quiesce.model.execution import Execution
from quiesce.model.figures import Measured, numbers_of
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName
from quiesce.planning import workflow_named

#: how long before and after an execution its workload is looked at, in seconds
AROUND_S: Final = 900.0
#: measurings in one picture
_MOST: Final = 200


def measured_around(services: Services, execution: Execution) -> Sequence[Measured]:
    """Return what was measured of *execution*'s deployment while it ran, shortly before, and after."""
    ended = execution.ended_at if execution.ended_at is not None else services.clock.now()
    return measured_between(services, execution.deployment, execution.created_at - AROUND_S, ended + AROUND_S)


def measured_between(
    services: Services, deployment: DeploymentName, begin: float = -math.inf, end: float = math.inf
) -> Sequence[Measured]:
    """Return what was measured between two moments, oldest first; of very many the newest."""
    found = [
        each
        for each in services.executions.list(deployment)
        if begin <= each.created_at <= end and workflow_named(each.workflow).measures
    ]
    return [_measured(services, each) for each in found[-_MOST:]]


def _measured(services: Services, execution: Execution) -> Measured:
    history = History.of(services.executions.journal(execution.id).read())
    found = measurements_of(services.executions.plan(execution.id), history)
    return Measured(
        at=execution.created_at,
        figures={instance: dict(numbers_of(figures)) for instance, figures in found.items()},
    )
