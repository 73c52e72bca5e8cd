"""Answers the provider port with Compute Engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from quiesce.errors import UnsupportedError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.gcp import cut, discovery, examination, power, removal, restore
from quiesce.providers.gcp.account import Account, account_of
from quiesce.providers.gcp.client import Compute, Connection
from quiesce.providers.gcp.figures import measure
from quiesce.providers.gcp.names import Mark
from quiesce.providers.gcp.notebook import Notebook
from quiesce.providers.gcp.options import options_of
from quiesce.providers.gcp.patience import Patience
from quiesce.providers.gcp.target import Noun, disks_with_own_nodes, target_of
from quiesce.providers.gcp.task import Shared, Task
from quiesce.providers.gcp.verification import verify
from quiesce.providers.gcp.watch import Watch

_STOP = "cloudify_gcp.compute.instance.stop"
_START = "cloudify_gcp.compute.instance.start"


class GcpProvider:
    """One object for all calls of a process; connections and lists are shared between them."""

    def __init__(
        self, settings: ProviderSettings | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self._shared = Shared(copies=Watch(), disks=Watch())

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation; see the port."""
        task = self._task(call, context)
        match call.operation:
            case Operation.SNAPSHOT:
                outcome = cut.cut(task)
            case Operation.COPY:
                outcome = cut.finish_copy(task)
            case Operation.APPLY:
                outcome = restore.apply(task)
            case Operation.DELETE:
                outcome = removal.remove(task)
            case Operation.MEASURE:
                outcome = measure(task)
            case Operation.SUSPEND | Operation.RESUME:
                outcome = _switch(task)
            case Operation.FREEZE | Operation.THAW:
                raise UnsupportedError(
                    "Compute Engine has no freeze of its own; a guest flush is part of the cut",
                    hint="Set guest_flush, or bind a freeze hook in the blueprint.",
                )
            case unknown:
                assert_never(unknown)
        return outcome

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Return None: the service does not know what goes on inside a machine."""
        return None

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return what stands in the way of protecting the instance; changes nothing."""
        return examination.examine(self._task(call, context))

    def verify(self, call: Call, context: Context) -> Proof:
        """Check that every copy of the artifact is there, complete and the one that was made."""
        return verify(self._task(call, context))

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of a project's machines and disks; ``endpoint`` may name it."""
        config: dict[str, Json] = {"project": options.get("endpoint", ""), **options}
        account = account_of({"gcp_config": config})
        connection = self._connection(account)
        project = account.project or connection.default_project
        compute = Compute(connection, Patience(discovery.UNHURRIED, self._sleep))
        return discovery.discover(compute, replace(account, project=project), options)

    def close(self) -> None:
        """Give connections and threads back."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()

    def _task(self, call: Call, context: Context) -> Task:
        account = account_of(call.properties)
        connection = self._connection(account)
        account = replace(account, project=account.project or connection.default_project)
        return Task(
            call=call,
            context=context,
            compute=Compute(connection, Patience(context, self._sleep)),
            target=target_of(call, account),
            options=options_of(call),
            mark=Mark.of(call),
            shared=self._shared,
            notes=Notebook(call, context),
            covered=lambda: disks_with_own_nodes(call, account),
        )

    def _connection(self, account: Account) -> Connection:
        with self._lock:
            if account.key not in self._connections:
                self._connections[account.key] = Connection(account)
            return self._connections[account.key]


def _switch(task: Task) -> Outcome:
    if task.target.noun is not Noun.MACHINE:
        raise UnsupportedError("a disk cannot be suspended")
    machine, discard = task.target.reference, task.options.discard_local_ssd
    if task.call.function == _STOP:
        power.stop(task.compute, machine, discard_local_ssd=discard)
    elif task.call.function == _START:
        power.start(task.compute, machine)
    elif task.call.operation is Operation.SUSPEND:
        power.suspend(task.compute, machine, discard_local_ssd=discard)
    else:
        power.resume(task.compute, machine)
    return NOTHING
