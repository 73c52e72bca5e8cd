"""Runs a workflow over Cloudify's tasks, by the common engine, journal and guard.

Whatever happens, what was frozen is thawed, and what was stopped is started.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from cloudify.exceptions import NonRecoverableError as CloudifyNonRecoverableError
from cloudify.workflows import workflow_api

from quiesce.app.run.execution import Watching, execute
from quiesce.app.run.recover import Unfinished, find_unfinished, recover, take_up_unfinished
from quiesce.app.run.run import guard_of
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import UnfinishedError
from quiesce.model.cut_size import CutSize
from quiesce.model.debts import Owed
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import ExecutionId, InstanceId
from quiesce.model.operation import INDEBTING, REPLACING
from quiesce.model.plan import Plan
from quiesce.model.records import Begun, Record, Started
from quiesce.planning import Workflow

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions:
    """How a workflow hears that it is to stop."""

    signals: list[int]
    watching: Watching


@contextlib.contextmanager
def interruptions() -> Iterator[Interruptions]:
    """Note cancel requests, Ctrl-C and its like instead of breaking off; a second one skips no thaw."""
    wakes: list[Callable[[], None]] = []

    def wake() -> None:
        for each in wakes:
            each()

    with _noting_signals(wake) as signals:

        def cancel_asked() -> str | None:
            return "it was cancelled" if signals or workflow_api.has_cancel_request() else None

        workflow_api.cancel_callbacks.add(wake)
        try:
            yield Interruptions(
                signals=signals, watching=Watching(cancel_asked=cancel_asked, on_wake=wakes.append)
            )
        finally:
            workflow_api.cancel_callbacks.discard(wake)


def take_up(
    services: Services, deployment: Deployment, workflow: Workflow, watching: Watching, context: Any
) -> None:
    """Tell of interrupted executions of *deployment*, settle what they owe, and end those that can be.

    Raises:
        UnfinishedError: when a restore was interrupted and *workflow* would work on its half-replaced state.
    """
    found = find_unfinished(services, deployment.name)
    for each in found:
        context.logger.warning(
            "%s %s was interrupted: %s", each.execution.workflow, each.execution.id, _what_is_left(each)
        )
    settling = replace(watching, by="the next workflow")
    if not workflow.mutating:
        recover(services, settling, deployment.name)
        return
    try:
        take_up_unfinished(services, deployment.name, workflow, settling)
    except UnfinishedError as error:
        raise UnfinishedError(str(error), hint="Run the restore again, to its end.") from None


def _what_is_left(unfinished: Unfinished) -> str:
    if not unfinished.owed:
        return "what it had frozen or stopped goes on already"
    names = ", ".join(unfinished.owed.instances)
    how = "its guard settles that now" if unfinished.being_settled else "that is settled first"
    return f"{names} was left frozen or stopped; {how}"


def run_plan(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    context: Any,
    interrupted: Interruptions,
    *,
    cut_sizes: Mapping[InstanceId, CutSize],
) -> Execution:
    """Run *plan* for *context* (a workflow's ``ctx``) to its end; *cut_sizes* are what it will cut.

    Raises:
        cloudify's ExecutionCancelled: when it was cancelled.
        KeyboardInterrupt: when it was interrupted.
        cloudify's NonRecoverableError: when it failed; the message says what may still be frozen or stopped.
    """
    execution = _begin(services, deployment, plan, context, cut_sizes)
    guard = guard_of(services, plan, execution)
    ended, _, _ = execute(services, execution, Purpose.FORWARD, interrupted.watching, guard=guard)
    _conclude(ended, interrupted.signals)
    return ended


def known_execution(services: Services, context: Any) -> Execution | None:
    """Return what an earlier process has begun for *context*, under the same id."""
    known = {each.id: each for each in services.executions.list(context.deployment.id)}
    return known.get(context.execution_id)


def continue_known(services: Services, execution: Execution, interrupted: Interruptions) -> Execution:
    """Bring *execution*, which died, to its end; one that may have frozen or stopped something, back.

    Raises:
        cloudify's NonRecoverableError: after the way back: it has to be started again.
        And what `run_plan` raises.
    """
    if services.executions.plan(execution.id).indebting:
        _roll_back(services, execution, interrupted)
    ended, _, _ = execute(services, execution, Purpose.FORWARD, interrupted.watching)
    _conclude(ended, interrupted.signals)
    return ended


def settle_unknown(
    services: Services, deployment: Deployment, plan: Plan, context: Any, interrupted: Interruptions
) -> None:
    """Thaw and start all that a run of *plan* of which nothing is known may have frozen or stopped.

    Raises:
        cloudify's NonRecoverableError: always: it has to be started again.
    """
    execution = _begin(services, deployment, plan, context, {})
    services.executions.take_over(execution.id).append(_as_if_at_rest(plan))
    _roll_back(services, execution, interrupted)


def _roll_back(services: Services, execution: Execution, interrupted: Interruptions) -> NoReturn:
    _, plan, history = execute(services, execution, Purpose.ROLL_BACK, interrupted.watching)
    debts = history.debts(plan)
    if debts:
        raise CloudifyNonRecoverableError(str(Owed.of(debts)))
    raise CloudifyNonRecoverableError(
        f"{plan.workflow} was interrupted; everything it may have frozen is thawed, "
        "everything it may have stopped is started. Start it again."
    )


def _begin(
    services: Services,
    deployment: Deployment,
    plan: Plan,
    context: Any,
    cut_sizes: Mapping[InstanceId, CutSize],
) -> Execution:
    execution = Execution(
        id=ExecutionId(context.execution_id),
        deployment=deployment.name,
        workflow=plan.workflow,
        parameters=dict(plan.parameters.raw),
        created_at=services.clock.now(),
        points=tuple(sorted({step.point for step in plan.steps if step.point is not None})),
        cut_sizes=cut_sizes,
    )
    services.executions.add(execution, plan)
    return execution


def _conclude(ended: Execution, signals: Sequence[int]) -> None:
    if ended.state is ExecutionState.COMPLETED and not ended.owes:
        return
    if not ended.owes and signals:
        raise KeyboardInterrupt
    if not ended.owes and ended.state is ExecutionState.CANCELLED:
        raise workflow_api.ExecutionCancelled
    raise CloudifyNonRecoverableError(ended.message or "it did not end")


def _as_if_at_rest(plan: Plan) -> list[Record]:
    """Return the records of a run that died when everything was frozen and stopped."""
    begun = [
        Begun(at=0.0, tick=0.0, step=step.id)
        for step in plan.steps
        if step.operation in INDEBTING | REPLACING
    ]
    return [Started(at=0.0, tick=0.0, plan_digest=plan.digest), *begun]


@contextlib.contextmanager
def _noting_signals(wake: Callable[[], None]) -> Iterator[list[int]]:
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, _: object) -> None:
        noted.append(number)
        wake()

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
