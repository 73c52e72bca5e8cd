"""The guard of a workflow inside Cloudify: ``python -m quiesce.cloudify.guard``.

It has a workflow context of its own, and performs a thaw or a start by it as the workflow would have: any
operation, whatever plugin brings it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final

from cloudify.state import current_workflow_ctx

from quiesce.app.masking import Masking
from quiesce.app.run.guard import Order
from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings
from quiesce.cloudify.orphans import end_processes_of
from quiesce.cloudify.state import guards_context, inside_cloudify
from quiesce.engine.runner import LEAST_THAW_PLACES
from quiesce.errors import QuiesceError
from quiesce.guarding import PipeOrders, become_guard, serve
from quiesce.model.history import History
from quiesce.model.ids import ExecutionId
from quiesce.model.operation import INTERFACES, Operation
from quiesce.model.plan import Role

_STANDARD_OUTPUT: Final = 1
#: what a manager answers when the token of an execution that is over is used
_REFUSED: Final = "unauthorized_error"
_SETTLING: Final = {name for name, what in INTERFACES.items() if what in (Operation.THAW, Operation.START)}


class OrdersInCloudify(PipeOrders):
    """Hears that the engine is dead only when what that has left behind is put in order."""

    #: does so, told which execution it was
    put_in_order: Callable[[ExecutionId], None]
    _execution = ExecutionId("")

    def next(self, until_tick: float | None) -> Order | None:
        """Return the next order; None when *until_tick* passes first."""
        order = super().next(until_tick)
        if order is Order.GONE:
            self.put_in_order(self._execution)
        return order

    def words(self, key: bytes) -> str | None:
        """Return what the line that begins with *key* says; None when nobody needs a guard any more."""
        words = super().words(key)
        if key == b"execution" and words is not None:
            self._execution = ExecutionId(words)
        return words


def main() -> None:
    """Be the guard of one execution."""
    become_guard()
    orders = OrdersInCloudify(sys.stdin.fileno())
    answers = os.dup(_STANDARD_OUTPUT)
    os.dup2(sys.stderr.fileno(), _STANDARD_OUTPUT)  # Cloudify prints its events
    told = orders.words(b"context")
    if told is None:
        return
    _serve(orders, json.loads(told), answers)


def _serve(orders: OrdersInCloudify, told: dict[str, Any], answers: int) -> None:
    sys.path[:] = told["path"]
    masking = Masking()
    try:
        with closing(Application(Settings.of(os.environ), masking=masking)) as application:
            context = guards_context(told, hands=LEAST_THAW_PLACES)
            orders.put_in_order = partial(_put_in_order, application.services, context)
            with current_workflow_ctx.push(context):  # a manager is asked only within
                context.graph_mode()
                _load_operations(context)
                with context.internal.local_tasks_processor:
                    serve(orders, inside_cloudify(application.services, context), answers)
    except Exception:  # noqa: BLE001  its errors go to a file, without secrets
        sys.exit(masking.text(traceback.format_exc()))


def _put_in_order(services: Services, context: Any, execution: ExecutionId) -> None:
    _end_when_refused(context)
    if context.local:
        context.internal.handler.storage.mend()
    with suppress(QuiesceError):  # the journal cannot be read: the thaw does not wait for it
        _end_orphans(services, execution)


def _end_when_refused(context: Any) -> None:
    """End this guard when the manager refuses its token: it would only keep others from thawing."""
    if context.local:
        return
    try:
        context.internal.handler.get_execution(context.execution_id)
    except Exception as error:  # noqa: BLE001  a manager that does not answer now may answer the thaw
        if getattr(error, "error_code", "") == _REFUSED:
            sys.exit(f"the manager refuses the execution's token: the next workflow has to thaw: {error}")


def _end_orphans(services: Services, execution: ExecutionId) -> None:
    """Kill the processes of operations whose engine is dead: a freeze among them could come after its thaw.

    Not those that a thaw or a start has started, and none once one of these has begun, but for an operation
    that was given up: what a restore has started is to stay.
    """
    history = History.of(services.executions.journal(execution).read())
    settling = {step.id for step in services.executions.plan(execution).steps if step.role is Role.SETTLE}
    if not settling & history.begun_at.keys() or history.unanswered():
        end_processes_of(execution)


def _load_operations(context: Any) -> None:
    """Import everything that a thaw or a start will need, so that nothing has to be loaded then."""
    for node in context.nodes if context.local else ():
        for interface in _SETTLING & node.operations.keys():
            module = (node.operations[interface].get("operation") or "").rpartition(".")[0]
            with suppress(ImportError):  # the operation says so
                importlib.import_module(module or "cloudify")


if __name__ == "__main__":
    main()
