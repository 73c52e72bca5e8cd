"""What restores have replaced and is kept: found out from the providers, and what an undo does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError, UnknownNameError
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.former_state import FormerState, Side
from quiesce.model.history import History
from quiesce.model.ids import ExecutionId, InstanceId
from quiesce.model.operation import RESTORE_REVERT, Operation
from quiesce.planning import UNDO_RESTORE, workflow_named
from quiesce.planning.binding import bind
from quiesce.ports import FormerStateKeeper

Former = Mapping[InstanceId, FormerState]


def former_states(services: Services, deployment: Deployment) -> Former:
    """Return what is kept of each instance of *deployment*, where anything is.

    Raises:
        ProviderError: when a provider cannot look.
        PlanError: when a provider's SDK is missing.
    """
    topology = deployment.topology
    bindings = bind(topology.nodes.values(), services.descriptions, (RESTORE_REVERT,))
    inquiry = Inquiry(services, deployment, "former-states")
    found: dict[InstanceId, FormerState] = {}
    for instance in topology.instances.values():
        binding = bindings[instance.node].get(RESTORE_REVERT)
        if binding is None:
            continue
        provider = services.provider(binding.provider)
        if isinstance(provider, FormerStateKeeper):
            step = replace(question(instance, binding), interface=RESTORE_REVERT, declared=binding.declared)
            state = provider.former_state(inquiry.call_of(step), inquiry.context_of(step))
            if state is not None:
                found[instance.id] = state
    return found


def kept_states(services: Services, deployment: Deployment) -> Former:
    """Return the same for people: nothing, where it cannot be looked at."""
    try:
        return former_states(services, deployment)
    except (ProviderError, PlanError):
        return {}


def of_last_restore(former: Former, chosen: Sequence[InstanceId]) -> Former:
    """Return those of *chosen* instances that the last restore among theirs has replaced."""
    among = {instance: state for instance, state in former.items() if instance in chosen}
    if not among:
        return {}
    last = max(among.values(), key=lambda state: state.replaced_at).execution
    return {instance: state for instance, state in among.items() if state.execution == last}


def last_replacing(services: Services, deployment: Deployment) -> Execution | None:
    """Return the last execution of *deployment* that may have put another state in place."""
    replacing = [e for e in services.executions.list(deployment.name) if workflow_named(e.workflow).replaces]
    return replacing[-1] if replacing else None


def wanted_side(services: Services, deployment: Deployment, former: Former) -> Side:
    """Return which state an undo is to put in place: the other one, on every instance.

    An undo that has not come to its end is gone on with, not taken back half-way.
    """
    last = last_replacing(services, deployment)
    if last is not None and last.workflow == UNDO_RESTORE.name and last.state is not ExecutionState.COMPLETED:
        return services.executions.plan(last.id).parameters.undo_to
    former_is_kept = any(state.kept is Side.FORMER for state in former.values())
    return Side.FORMER if former_is_kept else Side.RESTORED


def refuse_half_undo(
    services: Services, deployment: Deployment, former: Former, chosen: Sequence[InstanceId]
) -> None:
    """Refuse to undo a restore on some instances only, where nothing is kept of others that it replaced.

    Raises:
        PlanError: naming them, and how they go back.
    """
    for execution in {state.execution for state in former.values()}:
        left = [i for i in _replaced_by(services, execution) if i in chosen and i not in former]
        if left:
            names = ", ".join(left)
            raise PlanError(
                f"{execution} has replaced {names} too, of which nothing is kept",
                hint=f"{_way_back(services, deployment, execution)} To undo it on the others only, leave "
                f"those out: --include-instances {','.join(former)}",
            )


def _replaced_by(services: Services, execution: ExecutionId) -> Sequence[InstanceId]:
    try:
        plan = services.executions.plan(execution)
    except UnknownNameError:
        # it belongs to another database: what is kept is all that is known
        return ()
    history = History.of(services.executions.journal(execution).read())
    keeping = {step.instance for step in plan.steps if step.operation is Operation.CONFIRM}
    # of one that keeps what it replaces, and died on the way, what is kept says whether it has replaced it
    return [
        step.instance
        for step in plan.steps
        if step.operation is Operation.APPLY
        and (step.id in history.done or (step.id in history.begun_at and step.instance not in keeping))
    ]


def _way_back(services: Services, deployment: Deployment, execution: ExecutionId) -> str:
    safe = [p for p in services.catalog.list(deployment.name) if p.safety and p.execution == execution]
    if not safe:
        return "Restore a restore point of the state that you want."
    return f"Go back there: quiesce restore {deployment.name} -p snapshot_name={safe[0].name}."
