"""A node that surely was not frozen owes no thaw, whatever kind of error says so."""

from __future__ import annotations

from quiesce.app.run.execution import NoGuard
from quiesce.engine import Attempt, RunEnvironment, Runner
from quiesce.errors import CannotFreezeError
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Ending
from quiesce.stores.memory import MemoryRecords
from quiesce.testing import FakeClock, InlineWorkers

from ..planning.made import node, planned, topology  # noqa: TID252  the same plans


class NoAgentError(CannotFreezeError):
    """A platform's own kind of the error."""

    code = "no-agent-of-mine"


def test_a_kind_of_cannot_freeze_with_a_code_of_its_own_owes_no_thaw() -> None:
    plan = planned("backup", topology([node("vm", operations=[FS_PREPARE, FS_FINALIZE, SNAPSHOT_CREATE])]))

    def perform(attempt: Attempt) -> Outcome:
        if attempt.step.operation in (Operation.FREEZE, Operation.THAW):
            raise NoAgentError("nobody answers there")
        return NOTHING

    clock = FakeClock()
    environment = RunEnvironment(
        journal=MemoryRecords().take_over(),
        perform=perform,
        workers=InlineWorkers(clock),
        clock=clock,
        guard=NoGuard(),
    )
    history = Runner(plan, environment).run()
    assert history.debts(plan) == []
    assert history.ended is not None
    assert history.ended.ending is Ending.FAILED
    assert "nobody answers there" in history.ended.message
