"""What the guard process does: wait, and thaw and start what the journal owes when the engine does not."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from quiesce.app.run.execution import Watching, prepare_run
from quiesce.app.run.write_behind import WriteBehindJournal
from quiesce.app.services import Services
from quiesce.engine import Purpose
from quiesce.errors import BusyError, QuiesceError, StoreError, SupersededError
from quiesce.model.history import History
from quiesce.model.ids import ExecutionId, settler_of
from quiesce.model.operation import Operation
from quiesce.model.plan import Role
from quiesce.model.records import Begun, Record
from quiesce.ports import Lease

#: how much longer than ``max_freeze`` the guard gives a living engine, in seconds
GRACE_S: Final = 1.0
#: pause before the guard tries again when it could not even try, in seconds
PAUSE_S: Final = 0.2
#: how long the guard waits, in seconds, for what it did to be written before it looks at everything anew
WRITE_PATIENCE_S: Final = 10.0
#: how long the guard asks, in seconds, for a lease where none can be asked for, before it thaws without one
LEASE_PATIENCE_S: Final = 10.0


class Order(enum.Enum):
    """What the guard hears from its engine."""

    #: the first freeze begins
    OPENED = enum.auto()
    #: all is thawed: the guard may end
    SETTLED = enum.auto()
    #: the engine has given up on a thaw: the guard continues
    OWING = enum.auto()
    #: the engine's process is dead
    GONE = enum.auto()


class Orders(Protocol):
    """Where the guard's orders come from."""

    def next(self, until_tick: float | None) -> Order | None:
        """Return the next order; None when *until_tick* passes first."""
        ...


class GuardLoop:
    """The guard of one execution."""

    def __init__(self, services: Services, execution: ExecutionId, pause: Callable[[float], None]) -> None:
        """Load everything that a thaw or a start will need, so that nothing has to be loaded then."""
        self._services = services
        self._execution_run = prepare_run(services, services.executions.get(execution))
        self._pause = pause
        for name in {s.provider for s in self._execution_run.plan.steps if s.role is Role.SETTLE}:
            services.provider(name)

    def run(self, orders: Orders, max_freeze_s: float) -> None:
        """Return when nothing is owed and the engine is done, or dead and settled."""
        bound: float | None = None
        latest: float | None = None
        while True:
            match orders.next(bound):
                case Order.OPENED:
                    bound = self._services.clock.tick() + max_freeze_s + GRACE_S
                case Order.SETTLED:
                    return
                case Order.OWING:
                    self._settle_with_lease()
                    return
                case Order.GONE:
                    self._settle_with_lease(self._never_answered())
                    return
                case None if self._only_starts_are_owed() and bound != latest:
                    # the engine is alive and starts what it has stopped, which takes its time
                    bound = latest = self._services.clock.tick() + Operation.START.timeout_s
                case None:
                    bound = None
                    self._settle()  # the engine is alive but does not act: take its journal over
                    self._settle()  # and what it had still written until then

    def _settle_with_lease(self, again: Sequence[Record] = ()) -> None:
        execution, clock = self._execution_run.execution, self._services.clock
        ends = clock.tick() + LEASE_PATIENCE_S
        while again or self._owes():
            lease: Lease | None = None
            try:
                lease = self._services.leases.acquire(execution.deployment, settler_of(execution.id))
            except BusyError:  # another engine has resumed it, and settles first of all
                self._pause(PAUSE_S)
                continue
            except StoreError:  # nobody else gets one either; the fencing token stops who has one
                if clock.tick() < ends:
                    self._pause(PAUSE_S)
                    continue
            try:
                if self._settle(again):
                    again = ()
            finally:
                if lease is not None:
                    lease.release()

    def _settle(self, again: Sequence[Record] = ()) -> bool:
        """Thaw first, write later; tell whether it is written. *again* are signs of freezes to be added."""
        if not again and not self._owes():
            return True
        execution = self._execution_run.execution.id
        journal = WriteBehindJournal(self._services.executions, execution, again)
        watching = Watching(by="guard", settle_patience_s=math.inf)
        try:
            try:
                self._execution_run.run(Purpose.SETTLE, journal, watching)
            finally:
                journal.close(WRITE_PATIENCE_S)
        except (StoreError, SupersededError):
            self._pause(PAUSE_S)
            return False  # thawed all the same; whether it could be written is looked at again
        with suppress(StoreError):
            self._execution_run.note_debts(self._history())
        return True

    def _owes(self) -> bool:
        try:
            return bool(self._history().debts(self._execution_run.plan))
        except QuiesceError:
            return True

    def _only_starts_are_owed(self) -> bool:
        try:
            debts = self._history().debts(self._execution_run.plan)
        except QuiesceError:
            return False
        return bool(debts) and all(step.operation is Operation.START for step in debts)

    def _history(self) -> History:
        return History.of(self._services.executions.journal(self._execution_run.execution.id).read())

    def _never_answered(self) -> Sequence[Record]:
        """Owe it again for each freeze, stop or apply that the dead engine began without receiving an answer.

        Its effect may have come after an earlier thaw or start of ours.
        """
        while True:
            try:
                return self._unanswered(self._history())
            except StoreError:  # nothing can be settled before it can be read
                self._pause(PAUSE_S)
            except QuiesceError:
                return ()

    def _unanswered(self, history: History) -> Sequence[Record]:
        clock, plan = self._services.clock, self._execution_run.plan
        given_up, indebting = frozenset(history.unanswered()), plan.indebting
        return [
            Begun(at=clock.now(), tick=clock.tick(), step=step.id, attempt=history.attempts[step.id])
            for step in plan.steps
            if step.id in indebting
            and history.begun_at.get(step.id, -1) > history.done_at.get(step.id, -1)
            and (step.id not in history.failed or step.id in given_up)
        ]
