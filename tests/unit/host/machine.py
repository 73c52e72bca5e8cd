"""What the tests of the host provider share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quiesce.model.call import Call
from quiesce.model.capabilities import Capabilities
from quiesce.model.ids import BackupName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.providers.host.provider import HostProvider
from quiesce.testing import RecordingContext, Subject


class Node(Subject):
    """One thing of this machine, by type and properties."""

    capabilities = Capabilities()

    def __init__(self, node_type: str, **properties: Json) -> None:
        self.node_type = node_type
        self.properties: Mapping[str, Json] = properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A provider whose state lies under *root*, and who asks it."""

    root: Path
    provider: HostProvider

    def do(
        self,
        node: Node,
        operation: Operation,
        *,
        full: bool = False,
        point: str = "one",
        execution: str = "exec1",
        context: RecordingContext | None = None,
        **changes: object,
    ) -> Outcome:
        """Let the provider perform *operation* on *node*."""
        call = self.call(node, operation, full=full, point=point, execution=execution, **changes)
        return self.provider.perform(call, context or RecordingContext(timeout_s=20))

    def call(
        self,
        node: Node,
        operation: Operation,
        *,
        point: str = "one",
        execution: str = "exec1",
        **changes: object,
    ) -> Call:
        """Return the call that an engine would make."""
        return node.call(operation, point=BackupName(point), execution=ExecutionId(execution), **changes)

    def save(self, node: Node, *, full: bool, point: str = "one", execution: str = "exec1") -> Outcome:
        """Make a restore point of *node*, copy included."""
        self.do(node, Operation.SNAPSHOT, full=full, point=point, execution=execution)
        return self.do(node, Operation.COPY, full=full, point=point, execution=execution)


def forget(machine: Machine, node: Node) -> None:
    """Let go of all that restores have replaced."""
    machine.do(node, Operation.CONFIRM, parameters=Parameters(keep_undo_s=0))


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Return when *condition* holds."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)
