"""Runs a plan over Cloudify's tasks.

Whatever happens, what was frozen is thawed, and what was stopped is started, before it returns.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cloudify.exceptions import NonRecoverableError as CloudifyNonRecoverableError
from cloudify.workflows import workflow_api

from quiesce.app.run.execution import NoGuard
from quiesce.clock import SystemClock
from quiesce.cloudify.tasks import CloudifyTasks, CloudifyWorkers
from quiesce.engine import Purpose, RunEnvironment, Runner
from quiesce.model.debts import Owed
from quiesce.model.history import History
from quiesce.model.operation import INDEBTING, REPLACING
from quiesce.model.plan import Plan
from quiesce.model.records import Begun, Ending, Started
from quiesce.stores.memory import MemoryJournal, MemoryRecords

#: how long a thaw that keeps failing is tried, in seconds: there is no guard that would continue
_SETTLE_PATIENCE_S = 1800.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_plan(plan: Plan, context: Any) -> History:
    """Run *plan* for *context* (a workflow's ``ctx``) to its end.

    Raises:
        cloudify's ExecutionCancelled: when it was cancelled.
        KeyboardInterrupt: when it was interrupted.
        cloudify's NonRecoverableError: when it failed; the message says what may still be frozen or stopped.
    """
    history, signals = _run(plan, context, Purpose.FORWARD, _journal())
    _conclude(plan, history, signals)
    return history


def settle_after_interruption(plan: Plan, context: Any) -> None:
    """Thaw and start all that an interrupted run of *plan* may have frozen or stopped.

    Which that was is not known any more.

    Raises:
        cloudify's NonRecoverableError: always: it has to be started again.
    """
    records = _journal(_as_if_at_rest(plan))
    history, _ = _run(plan, context, Purpose.ROLL_BACK, records)
    debts = history.debts(plan)
    if debts:
        raise CloudifyNonRecoverableError(str(Owed.of(debts)))
    raise CloudifyNonRecoverableError(
        f"{plan.workflow} was interrupted; everything it may have frozen is thawed, "
        "everything it may have stopped is started. Start it again."
    )


def _run(plan: Plan, context: Any, purpose: Purpose, journal: MemoryJournal) -> tuple[History, list[int]]:
    context.graph_mode()
    clock = SystemClock()
    workers = CloudifyWorkers(clock, context)
    with _noting_signals(workers.wake) as signals:

        def cancel_asked() -> str | None:
            return "it was cancelled" if signals or workflow_api.has_cancel_request() else None

        environment = RunEnvironment(
            journal=journal,
            perform=CloudifyTasks(context, plan.parameters.raw),
            workers=workers,
            clock=clock,
            guard=NoGuard(),
            cancel_asked=cancel_asked,
            settle_patience_s=_SETTLE_PATIENCE_S,
        )
        workflow_api.cancel_callbacks.add(workers.wake)
        try:
            return Runner(plan, environment, purpose).run(), signals
        finally:
            workflow_api.cancel_callbacks.discard(workers.wake)


def _conclude(plan: Plan, history: History, signals: list[int]) -> None:
    ended = history.ended
    if history.debts(plan) or ended is None:
        raise CloudifyNonRecoverableError(ended.message if ended else "it did not end")
    if ended.ending is Ending.COMPLETED:
        return
    if signals:
        raise KeyboardInterrupt
    if ended.ending is Ending.CANCELLED:
        raise workflow_api.ExecutionCancelled
    raise CloudifyNonRecoverableError(ended.message)


def _journal(*records: list[Any]) -> MemoryJournal:
    kept = MemoryRecords()
    for each in records:
        kept.records.extend(each)
    return kept.take_over()


def _as_if_at_rest(plan: Plan) -> list[Any]:
    """Return the records of a run that died when everything was frozen and stopped."""
    begun = [
        Begun(at=0.0, tick=0.0, step=step.id)
        for step in plan.steps
        if step.operation in INDEBTING | REPLACING
    ]
    return [Started(at=0.0, tick=0.0, plan_digest=plan.digest), *begun]


@contextlib.contextmanager
def _noting_signals(wake: Callable[[], None]) -> Iterator[list[int]]:
    """Note Ctrl-C and its like instead of breaking off; a second one does not skip the thaw either."""
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
