"""Executions whose engine died: found by every later command, settled, and resumed where that is safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quiesce.app.run.execution import Watching, execute
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import BusyError, UnfinishedError
from quiesce.model.debts import Owed
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, settler_of
from quiesce.model.plan import Plan
from quiesce.planning import Workflow, workflow_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """One interrupted execution, or one that still owes a thaw or a start."""

    execution: Execution
    owed: Owed
    #: whether this process can perform what is owed; else Cloudify does, whose execution it is
    performed_here: bool = True
    #: whether a guard, or another command, settles it now
    being_settled: bool = False


def find_unfinished(services: Services, deployment: DeploymentName | None = None) -> Sequence[Unfinished]:
    """Return unfinished executions; those that a living engine runs are left out."""
    found = []
    for execution in services.executions.open_ones(deployment):
        mutating = workflow_named(execution.workflow).mutating
        holder = services.leases.holder(execution.deployment)
        if not mutating or holder == execution.id:
            continue
        plan = services.executions.plan(execution.id)
        found.append(
            Unfinished(
                execution=execution,
                owed=_owed_by(services, execution, plan),
                performed_here=_is_performed_here(services, plan),
                being_settled=holder == settler_of(execution.id),
            )
        )
    return found


def settle(services: Services, execution: Execution, watching: Watching) -> Unfinished:
    """Settle what *execution* owes, and return what is left."""
    execute(services, execution, Purpose.SETTLE, watching)
    return Unfinished(execution=services.executions.get(execution.id), owed=_owed(services, execution))


def settle_all(services: Services, deployment: DeploymentName, watching: Watching) -> None:
    """Settle what interrupted executions of *deployment*, whose lease the caller holds, owe; no more."""
    for execution in services.executions.open_ones(deployment):
        if _owed(services, execution):
            settle(services, execution, watching)


def take_up_unfinished(
    services: Services, deployment: DeploymentName, workflow: Workflow, watching: Watching
) -> None:
    """Settle what earlier executions of *deployment* owe, and end those that it is safe to end.

    The caller holds the deployment's lease.

    Raises:
        UnfinishedError: when a restore was interrupted and *workflow* would work on its half-replaced state.
    """
    for execution in services.executions.open_ones(deployment):
        interrupted = workflow_named(execution.workflow)
        if interrupted.safe_to_end:
            execute(services, execution, _how_to_end(services, execution), watching)
            continue
        if _owed(services, execution):
            settle(services, execution, watching)
        if execution.state is not ExecutionState.RUNNING:
            continue
        if interrupted.replaces and workflow.needs_whole_state:
            raise UnfinishedError(
                f"{interrupted.name} {execution.id} was interrupted, so the deployment may be half restored",
                hint=f"Resume it: quiesce executions resume {execution.id}; "
                f"or cancel it: quiesce executions cancel {execution.id}",
            )
        _write_off(services, execution)


def recover(
    services: Services, watching: Watching, deployment: DeploymentName | None = None
) -> Sequence[Unfinished]:
    """Settle every debt that no living process settles; return what is still unfinished."""
    left = []
    for unfinished in find_unfinished(services, deployment):
        execution = unfinished.execution
        if unfinished.owed and unfinished.performed_here:
            try:
                lease = services.leases.acquire(execution.deployment, settler_of(execution.id))
            except BusyError:  # its holder settles first
                left.append(unfinished)
                continue
            try:
                unfinished = settle(services, execution, watching)  # noqa: PLW2901  the same one, later
            finally:
                lease.release()
        if unfinished.owed or unfinished.execution.state is ExecutionState.RUNNING:
            left.append(unfinished)
    return left


def _is_performed_here(services: Services, plan: Plan) -> bool:
    if services.performer is not None:
        return True
    known = {description.name for description in services.descriptions}
    return all(step.provider in known for step in plan.steps)


def _how_to_end(services: Services, execution: Execution) -> Purpose:
    """An execution of which nothing had begun is not begun now: nobody expects it any more."""
    begun = History.of(services.executions.journal(execution.id).read()).begun_at
    return Purpose.FORWARD if begun else Purpose.ROLL_BACK


def _write_off(services: Services, execution: Execution) -> None:
    services.executions.update(
        replace(
            services.executions.get(execution.id),
            state=ExecutionState.FAILED,
            ended_at=services.clock.now(),
            message="its engine died; another execution was started since",
        )
    )


def _owed(services: Services, execution: Execution) -> Owed:
    return _owed_by(services, execution, services.executions.plan(execution.id))


def _owed_by(services: Services, execution: Execution, plan: Plan) -> Owed:
    history = History.of(services.executions.journal(execution.id).read())
    return Owed.of(history.debts(plan))
