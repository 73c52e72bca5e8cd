"""Executions whose engine died: found by every later command, settled, and resumed where that is safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from quiesce.app.hosts import other_host, refuse_other_host
from quiesce.app.points.manifests import repositories
from quiesce.app.run.execution import Watching, execute
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import BusyError, DamagedPlanError, OtherHostError, UnfinishedError
from quiesce.model.debts import Owed
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, settler_of
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Step
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
    #: the other machine on which it has to go on; empty: this one can do it
    host: str = ""
    #: why nobody knows what it owes; empty: that is known
    damage: str = ""

    @property
    def settled_here(self) -> bool:
        """Whether it owes something, and this process can settle it."""
        return bool(self.owed) and self.performed_here and not self.host


def find_unfinished(services: Services, deployment: DeploymentName | None = None) -> Sequence[Unfinished]:
    """Return unfinished executions; those that a living engine runs are left out."""
    found = []
    for execution in services.executions.open_ones(deployment):
        mutating = workflow_named(execution.workflow).mutating
        holder = services.leases.holder(execution.deployment)
        if not mutating or holder == execution.id:
            continue
        being_settled = holder == settler_of(execution.id)
        found.append(replace(look_at(services, execution), being_settled=being_settled))
    return found


def look_at(services: Services, execution: Execution) -> Unfinished:
    """Return what *execution* owes, and who can settle it."""
    try:
        plan = services.executions.plan(execution.id)
    except DamagedPlanError as error:
        return Unfinished(execution=execution, owed=Owed(), damage=_damage(services, execution, error))
    debts = _debts(services, execution, plan)
    return Unfinished(
        execution=execution,
        owed=Owed.of(debts),
        performed_here=_is_performed_here(services, plan),
        host=other_host(services, execution.host, {step.provider for step in debts or plan.steps}),
    )


def settle(services: Services, execution: Execution, watching: Watching) -> Unfinished:
    """Settle what *execution* owes, and return what is left."""
    execute(services, execution, Purpose.SETTLE, watching)
    return look_at(services, services.executions.get(execution.id))


def settle_all(services: Services, deployment: DeploymentName, watching: Watching) -> None:
    """Settle what interrupted executions of *deployment*, whose lease the caller holds, owe; no more.

    Raises:
        OtherHostError: when that has to be done on another machine; nothing was touched.
    """
    found = services.executions.open_ones(deployment)
    for execution in found:
        refuse_to_settle_here(services, execution)
    for execution in found:
        if _owed(services, execution):
            settle(services, execution, watching)


def refuse_to_settle_here(services: Services, execution: Execution) -> None:
    """Refuse to thaw or start here what *execution* has frozen or stopped on another machine.

    Raises:
        OtherHostError: naming that machine.
    """
    debts = _debts(services, execution, services.executions.plan(execution.id))
    _refuse_elsewhere(services, execution, debts)


def refuse_to_go_on_here(services: Services, execution: Execution) -> None:
    """Refuse to bring *execution* here to its end, or back, when it belongs to another machine.

    Raises:
        OtherHostError: naming that machine.
    """
    plan = services.executions.plan(execution.id)
    _refuse_elsewhere(services, execution, plan.steps)
    elsewhere = services.host and execution.host not in {"", services.host}
    if elsewhere and _writes_files(services, execution, plan):
        raise OtherHostError(
            f"execution {execution.id} wrote copies into a directory on {execution.host}, and this is "
            f"{services.host}; nothing was touched",
            hint=_elsewhere_hint(execution),
        )


def _refuse_elsewhere(services: Services, execution: Execution, steps: Iterable[Step]) -> None:
    refuse_other_host(
        services,
        execution.host,
        {step.provider for step in steps},
        f"execution {execution.id} ran",
        _elsewhere_hint(execution),
    )


def _elsewhere_hint(execution: Execution) -> str:
    return (
        f"Let {execution.host} do it: quiesce recover, or a worker there. Where that machine has another "
        f"name now: quiesce executions resume {execution.id} --here; where it is gone: "
        f"quiesce executions cancel {execution.id} --write-off"
    )


def _writes_files(services: Services, execution: Execution, plan: Plan) -> bool:
    """Tell whether copies go to a directory, which another machine has not, or another one in its place."""
    copied = {step.instance for step in plan.steps if step.operation is Operation.COPY}
    if services.performer is not None or not copied:
        return False
    kept = repositories(services, services.deployments.get(execution.deployment), copied)
    return any("://" not in place for place in kept.values())


def take_up_unfinished(
    services: Services, deployment: DeploymentName, workflow: Workflow, watching: Watching
) -> None:
    """Settle what earlier executions of *deployment* owe, and end those that it is safe to end.

    The caller holds the deployment's lease.

    Raises:
        UnfinishedError: when a restore was interrupted and *workflow* would work on its half-replaced state.
        OtherHostError: when that has to be done on another machine; nothing was touched.
    """
    found = services.executions.open_ones(deployment)
    for execution in found:
        refuse_to_go_on_here(services, execution)
    for execution in found:
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
        why = "its engine died; another execution was started since"
        services.executions.update(_failed(services, services.executions.get(execution.id), why))


def recover(
    services: Services, watching: Watching, deployment: DeploymentName | None = None
) -> Sequence[Unfinished]:
    """Settle every debt that no living process settles; return what is still unfinished."""
    left = []
    for unfinished in find_unfinished(services, deployment):
        execution = unfinished.execution
        if unfinished.settled_here:
            try:
                lease = services.leases.acquire(execution.deployment, settler_of(execution.id))
            except BusyError:  # its holder settles first
                left.append(unfinished)
                continue
            try:
                unfinished = settle(services, execution, watching)  # noqa: PLW2901  the same one, later
            finally:
                lease.release()
        if unfinished.owed or unfinished.damage or unfinished.execution.state is ExecutionState.RUNNING:
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


def write_off(services: Services, execution: Execution, why: str) -> Execution:
    """End *execution* as failed without doing anything: nothing is owed of it any more."""
    services.executions.take_over(execution.id)
    ended = replace(_failed(services, execution, why), owes=False)
    services.executions.update(ended)
    return ended


def _failed(services: Services, execution: Execution, why: str) -> Execution:
    return replace(execution, state=ExecutionState.FAILED, ended_at=services.clock.now(), message=why)


def _owed(services: Services, execution: Execution) -> Owed:
    return Owed.of(_debts(services, execution, services.executions.plan(execution.id)))


def _debts(services: Services, execution: Execution, plan: Plan) -> Sequence[Step]:
    return tuple(History.of(services.executions.journal(execution.id).read()).debts(plan))


def _damage(services: Services, execution: Execution, error: DamagedPlanError) -> str:
    begun = History.of(services.executions.journal(execution.id).read()).begun_at
    return f"{error}; it had begun: {', '.join(begun) or 'nothing'}"
