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
#: measurings that are read for a picture around an execution, and for the last ones of a deployment: each is
#: an execution of its own, whose plan and journal are read
_MOST_AROUND: Final = 200
_MOST_LAST: Final = 60


def measured_around(services: Services, execution: Execution) -> Sequence[Measured]:
    """Return what was measured of *execution*'s deployment while it ran, shortly before, and after."""
    ended = execution.ended_at if execution.ended_at is not None else services.clock.now()
    begin, end = execution.created_at - AROUND_S, ended + AROUND_S
    found = [each for each in _measurings(services, execution.deployment) if begin <= each.created_at <= end]
    return [_measured(services, each) for each in _thinned(found)]


def last_measured(services: Services, deployment: DeploymentName) -> Sequence[Measured]:
    """Return what was measured last, oldest first."""
    return [_measured(services, each) for each in _measurings(services, deployment)[-_MOST_LAST:]]


def _measurings(services: Services, deployment: DeploymentName) -> Sequence[Execution]:
    return [each for each in services.executions.list(deployment) if workflow_named(each.workflow).measures]


def _thinned(found: Sequence[Execution]) -> Sequence[Execution]:
    """Return so many of *found* as a picture needs, from all of its time."""
    return found[:: max(1, math.ceil(len(found) / _MOST_AROUND))]


def _measured(services: Services, execution: Execution) -> Measured:
    history = History.of(services.executions.journal(execution.id).read())
    found = measurements_of(services.executions.plan(execution.id), history)
    return Measured(
        at=execution.created_at,
        figures={instance: dict(numbers_of(figures)) for instance, figures in found.items()},
    )
