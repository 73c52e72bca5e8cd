"""Run, continue, settle or roll back one execution. Starting and recovering are the same call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from quiesce.app.calls import Performer
from quiesce.app.points.catalog import points_made, points_removed
from quiesce.app.points.manifests import forget_manifests, keep_manifests
from quiesce.app.services import Services
from quiesce.engine import CANCEL_LOOK_S, Purpose, RunEnvironment, Runner
from quiesce.errors import (
    CancelledError,
    ExecutionFailedError,
    ExitStatus,
    InUseError,
    NotConsistentError,
    NotThawedError,
    QuiesceError,
    StoreError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.history import History
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan
from quiesce.model.records import Ending, Record
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.planning import lasted, makes_full_point, workflow_named
from quiesce.ports import Guard, Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How the caller of an execution follows and stops it."""

    #: told every record, in order, from the coordinator's thread
    listener: Callable[[Sequence[Record]], None] = lambda _: None
    #: told which execution follows, before its first record
    on_started: Callable[[Execution, Plan], None] = lambda _execution, _plan: None
    #: why it is to be cancelled (a signal, say); None: it is not
    cancel_asked: Callable[[], str | None] = lambda: None
    #: handed a function that makes the engine look at `cancel_asked` at once; safe in a signal handler
    on_wake: Callable[[Callable[[], None]], None] = lambda _: None
    #: told how many bytes of how many were read, while a restore point is checked before a restore
    on_checking: Callable[[int, int | None], None] = lambda _done, _total: None
    by: str = "engine"
    settle_patience_s: float = 60.0


class NoGuard:
    """For executions that freeze nothing, and for the guard itself."""

    def prepare(self, execution: str) -> None:
        """Nothing to prepare."""

    def watch(self, max_freeze_s: float) -> None:
        """Nothing to watch."""

    def window_opened(self) -> None:
        """Nothing to bound."""

    def release(self, *, settled: bool) -> None:
        """Nothing to release."""


def execute(
    services: Services,
    execution: Execution,
    purpose: Purpose,
    watching: Watching,
    *,
    guard: Guard | None = None,
    plan: Plan | None = None,
) -> tuple[Execution, Plan, History]:
    """Run *execution* for *purpose* and keep the result in the catalog.

    The caller holds the deployment's lease, or is the guard. What is returned is also stored. *plan* is the
    stored one, where the caller has just stored it: it need not be read back.

    Raises:
        StoreError, SupersededError: when the journal could not be written; see `Runner.run`.
    """
    execution_run = prepare_run(services, execution, plan)
    journal = services.executions.take_over(execution.id)
    if purpose is Purpose.SETTLE:
        history = execution_run.run(purpose, journal, watching)
        return execution_run.note_debts(history), execution_run.plan, history
    execution_run.announce(History.of(journal.read()))
    kept: list[str] = []

    def keep(history: History) -> str:
        kept.append(execution_run.keep(history))
        return kept[-1]

    history = execution_run.run(purpose, journal, watching, guard, keep)
    return execution_run.conclude(history, kept=bool(kept)), execution_run.plan, history


def prepare_run(services: Services, execution: Execution, plan: Plan | None = None) -> ExecutionRun:
    """Load everything that running *execution* needs, its plan unless it is given."""
    return ExecutionRun(
        services=services,
        execution=execution,
        deployment=services.deployments.get(execution.deployment),
        plan=plan or services.executions.plan(execution.id),
        points=[p for p in services.catalog.list(execution.deployment) if _is_given(p, execution)],
    )


def _is_given(point: RestorePoint, execution: Execution) -> bool:
    return point.name in execution.points and point.execution != execution.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRun:
    """One execution, and all that is known of it beside its journal."""

    services: Services
    execution: Execution
    deployment: Deployment
    plan: Plan
    #: restore points that were there before, which are applied or removed
    points: Sequence[RestorePoint]

    def announce(self, history: History) -> None:
        """Put what is about to happen into the catalog, so that a crash leaves a trace of it."""
        for point in self._made(history):
            self.services.catalog.save(replace(point, state=PointState.INCOMPLETE))
        if self._removes_points():
            for point in self.points:
                self.services.catalog.save(replace(point, state=PointState.REMOVING))
            forget_manifests(self.services, self.deployment, self.points)

    def run(
        self,
        purpose: Purpose,
        journal: Journal,
        watching: Watching,
        guard: Guard | None = None,
        keep: Callable[[History], str] | None = None,
    ) -> History:
        """Let the engine run; see `Runner.run`. *keep* is called where a repository is to know the result."""
        performer = (self.services.performer or Performer)(
            self.services,
            self.deployment,
            self.execution,
            self.plan,
            points=self.points,
            history=History.of(journal.read()),
        )
        workers = self.services.workers(self.services.clock)
        watching.on_started(self.execution, self.plan)
        watching.on_wake(workers.wake)
        elsewhere = self._asking_elsewhere()
        environment = RunEnvironment(
            journal=journal,
            perform=performer,
            workers=workers,
            clock=self.services.clock,
            guard=guard or NoGuard(),
            listener=watching.listener,
            cancel_asked=lambda: watching.cancel_asked() or elsewhere(),
            by=watching.by,
            settle_patience_s=watching.settle_patience_s,
            shortfall=self._shortfall,
            keep=keep if makes_full_point(self.plan) or self._removes_points() else None,
        )
        runner = Runner(self.plan, environment, purpose)
        performer.log = runner.log
        return runner.run()

    def note_debts(self, history: History) -> Execution:
        """Keep whether a thaw or a start is still owed."""
        noted = replace(self.execution, owes=bool(history.debts(self.plan)))
        if noted != self.execution:
            self.services.executions.update(noted)
        return noted

    def keep(self, history: History) -> str:
        """Put what has become of restore points into catalog and repositories; return what went wrong."""
        changed = self._made(history)
        if self._removes_points():
            changed = points_removed(self.plan, history, self.points)
        saved = [self.services.catalog.save(point) for point in changed]
        return keep_manifests(self.services, self.deployment, saved)

    def conclude(self, history: History, *, kept: bool = False) -> Execution:
        """Store the result; of what has become of restore points only when it is not *kept* already."""
        problem = "" if kept else self.keep(history)
        self._keep_durations(history)
        ended = history.ended
        state = _STATES[ended.ending] if ended is not None else ExecutionState.RUNNING
        if problem and state is ExecutionState.COMPLETED:
            state = ExecutionState.FAILED
        concluded = replace(
            self.execution,
            state=state,
            ended_at=ended.at if ended is not None else None,
            message="; ".join(filter(None, (ended.message if ended is not None else "", problem))),
            owes=bool(history.debts(self.plan)),
        )
        self.services.executions.update(concluded)
        return concluded

    def _keep_durations(self, history: History) -> None:
        name, executions = self.execution.deployment, self.services.executions
        before, sizes = executions.durations(name), self.execution.cut_sizes
        executions.keep_durations(name, lasted(self.plan, history, before, sizes))

    def _removes_points(self) -> bool:
        return workflow_named(self.plan.workflow).removes_points

    def _made(self, history: History) -> list[RestorePoint]:
        return points_made(self.plan, history, self.execution, self.deployment.topology)

    def _shortfall(self, history: History) -> str:
        least = self.plan.parameters.min_consistency
        if least is Consistency.NONE:
            return ""
        lower = [point for point in self._made(history) if point.consistency < least and not point.safety]
        return "; ".join(
            f"restore point {point.name} has the consistency {point.consistency.label}; "
            f"min_consistency is {least.label}"
            for point in lower
        )

    def _asking_elsewhere(self) -> Callable[[], str | None]:
        """Return a function that tells what another process asked for; it looks twice a second at most."""
        looked_at = -CANCEL_LOOK_S

        def look() -> str | None:
            nonlocal looked_at
            now = self.services.clock.tick()
            if now - looked_at < CANCEL_LOOK_S:
                return None
            looked_at = now
            try:
                return self.services.executions.cancel_asked(self.execution.id)
            except StoreError:
                return None  # the journal meets the same error, and raises it

        return look


_STATES = {
    Ending.COMPLETED: ExecutionState.COMPLETED,
    Ending.NOT_CONSISTENT: ExecutionState.NOT_CONSISTENT,
    Ending.FAILED: ExecutionState.FAILED,
    Ending.CANCELLED: ExecutionState.CANCELLED,
}


_ERRORS = {
    ExecutionState.CANCELLED: CancelledError,
    ExecutionState.NOT_CONSISTENT: NotConsistentError,
}


def failure_of(execution: Execution, plan: Plan, history: History, *, way_back: str) -> QuiesceError | None:
    """Return the error that tells why *execution* did not complete; None when it did."""
    told = f"execution {execution.id}: {execution.message}"
    if execution.owes:
        return NotThawedError(told)
    if execution.state is ExecutionState.COMPLETED:
        return None
    if (kind := _ERRORS.get(execution.state)) is not None:
        return kind(told)
    aborted = history.aborted
    code = aborted.code if aborted is not None else ExecutionFailedError.code
    hint = aborted.hint if aborted is not None else _hint_of(execution, history)
    replaced = any(step.operation in REPLACING and step.id in history.done for step in plan.steps)
    refused = code == InUseError.code and not replaced
    return ExecutionFailedError(
        told,
        code=code,
        hint=" ".join(filter(None, (hint, way_back if _failed_to_answer(plan, history) else ""))),
        exit_status=ExitStatus.REFUSED if refused else ExitStatus.FAILED,
    )


def _hint_of(execution: Execution, history: History) -> str:
    """Return what the steps that have failed, while the others went on, say can be done."""
    failed = [each.hint for each in history.failed.values() if each.hint and not each.passed_over]
    return " ".join((*dict.fromkeys(failed), f"See: quiesce events {execution.id}"))


def _failed_to_answer(plan: Plan, history: History) -> bool:
    return any(step.operation is Operation.PROBE and step.id in history.failed for step in plan.steps)
