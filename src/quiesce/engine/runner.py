"""Run a plan to its end, or settle what it owes.

One thread, the coordinator, owns the journal and decides; workers only perform. So every record of what is
going on side by side shares one commit, and there is nothing to lock. Starting and recovering are the same
call: the engine holds no state that the journal does not.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.engine.attempts import (
    GIVEN_UP_PATIENCE_S,
    GRACE_S,
    PROGRESS_S,
    Attempt,
    Perform,
    retry_pause_s,
    timeout_s,
)
from quiesce.engine.recovery import CONTINUE, decide
from quiesce.engine.scheduler import Scheduler
from quiesce.errors import (
    CannotFreezeError,
    GuardError,
    OperationTimeoutError,
    PlanChangedError,
    QuiesceError,
    StoreError,
    SupersededError,
)
from quiesce.model.debts import Owed
from quiesce.model.history import History
from quiesce.model.ids import StepId
from quiesce.model.operation import INDEBTING, Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import (
    Aborted,
    Begun,
    Done,
    Ended,
    Ending,
    Failed,
    Level,
    Logged,
    Progressed,
    Record,
    Started,
)
from quiesce.ports import Clock, Completion, Guard, Journal, Workers

#: time between two looks for a cancel request of another process, in seconds
CANCEL_LOOK_S = 0.5
#: for how long, in seconds, thaws that have begun or are done are written down together
THAWS_TOGETHER_S: Final = 0.05
#: of so many steps that have failed, the last message says why
_TOLD_FAILURES = 3
#: thaws have at least so many places, whatever ``parallel`` says
LEAST_THAW_PLACES = 64


class Purpose(enum.Enum):
    """What a run is for."""

    #: do what the plan says; after a crash, continue or roll back
    FORWARD = enum.auto()
    #: only settle what is owed, and leave the rest to whoever resumes the execution
    SETTLE = enum.auto()
    #: pay what is owed, remove incomplete cuts, and end
    ROLL_BACK = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnvironment:
    """What a run needs from outside."""

    journal: Journal
    perform: Perform
    workers: Workers
    clock: Clock
    guard: Guard
    #: told every record once it is durable (or, when the disk fails, once it has happened)
    listener: Callable[[Sequence[Record]], None] = lambda _: None
    #: why the execution is to be cancelled; None: it is not
    cancel_asked: Callable[[], str | None] = lambda: None
    #: in what the results fall short of what was asked for; empty: in nothing
    shortfall: Callable[[History], str] = lambda _: ""
    #: lets what has come of a completed execution be kept; tells what could not be. None: nothing is to be
    keep: Callable[[History], str] | None = None
    by: str = "engine"
    #: how long this process retries a failing thaw, in seconds, before it leaves that to the guard alone
    settle_patience_s: float = 60.0


class Runner:
    """One run of one plan. Use it once."""

    def __init__(self, plan: Plan, environment: RunEnvironment, purpose: Purpose = Purpose.FORWARD) -> None:
        self._plan = plan
        self._env = environment
        self._purpose = purpose
        self._history = History.of(environment.journal.read())
        self._scheduler = Scheduler(plan, self._history, only_settle=purpose is Purpose.SETTLE)
        self._attempts: dict[int, Attempt] = {}
        self._tickets = 0
        self._thawing = 0
        self._unsaved: list[Record] = []
        #: the tick at which those are to be saved that may wait; None: something may not
        self._save_by: float | None = None
        self._logged: deque[Logged] = deque()
        self._journal_error: QuiesceError | None = None
        self._window_ends: float | None = None
        self._settling_ends: float | None = None
        self._progress_due = 0.0
        self._watched = False
        largest = max(Counter(step.group for step in plan.steps).values(), default=0)
        self._most_places = min(plan.parameters.parallel, largest)
        self._indebting = {step.id for step in plan.steps if step.operation in INDEBTING}
        self._watched_over = plan.indebting
        self._stopped = {step.instance for step in plan.steps if step.operation is Operation.STOP}

    def run(self) -> History:
        """Run until nothing is left to do, and return its history.

        Safe to call again with the same journal after a crash; a finished execution is left alone.

        Raises:
            PlanChangedError: when the journal was written for another plan.
            StoreError: when the journal could not be written; everything that was frozen is thawed.
            SupersededError: when another process took over; what this one froze is thawed.
        """
        if self._nothing_left():
            return self._history
        self._begin_turn()
        while not self._scheduler.is_over():
            self._check_limits()
            self._begin(self._scheduler.take(self._now(), self._free(), self._free_for_thaws()))
            if self._scheduler.is_over():
                break
            completions = self._env.workers.wait(self._wake_up_at())
            times = self._times()
            for completion in completions:
                self._account(completion, times)
        self._finish()
        return self._history

    def log(self, line: Logged) -> None:
        """Put a line into the journal, from any thread; it is durable with the next commit."""
        self._logged.append(line)
        self._env.workers.wake()

    # -- resuming and ending -----------------------------------------------------------------------------

    def _nothing_left(self) -> bool:
        if self._purpose is Purpose.SETTLE:
            return not self._history.debts(self._plan)
        return self._history.ended is not None and not self._history.debts(self._plan)

    def _begin_turn(self) -> None:
        started = self._history.started
        digest = self._plan.digest
        if started is not None and self._purpose is Purpose.FORWARD and started.plan_digest != digest:
            raise PlanChangedError("the stored plan is not the one that this execution was begun with")
        decision = CONTINUE
        if started is not None and self._purpose is Purpose.FORWARD and self._history.aborted is None:
            decision = decide(self._plan, self._history)
        for operation in decision.again:
            self._scheduler.reopen(operation)
        turn = started.turn + 1 if started is not None else 1
        self._note(Started(**self._times(), plan_digest=digest, turn=turn, by=self._env.by))
        for warning in self._plan.warnings if turn == 1 else ():
            self._note(Logged(**self._times(), step=None, level=Level.WARNING, message=warning))
        for name in self._history.unanswered():
            self._scheduler.debts.answered_late(self._scheduler.steps[name])
        if decision.roll_back is not None:
            self._abort("interrupted", decision.roll_back)
        elif self._purpose is Purpose.ROLL_BACK:
            self._abort("rolled-back", "it was rolled back on request", cancelled=True)

    def _finish(self) -> None:
        debts = self._history.debts(self._plan)
        if self._purpose is not Purpose.SETTLE:
            unkept = self._keep(debts)
            ending = Ending.FAILED if unkept else self._ending(debts)
            message = unkept or self._ending_message(debts)
            self._note(Ended(**self._times(), ending=ending, message=message))
        self._save()
        if self._watched:
            self._env.guard.release(settled=not debts)
        if self._journal_error is not None:
            raise self._journal_error

    def _keep(self, debts: Sequence[Step]) -> str:
        """Let be kept what the journal says already; return what could not be: then it has failed."""
        if self._env.keep is None or self._ending(debts) is not Ending.COMPLETED or not self._save():
            return ""
        return self._env.keep(self._history)

    def _ending(self, debts: Sequence[Step]) -> Ending:
        aborted = self._history.aborted
        if aborted is None:
            if debts or self._failures():
                return Ending.FAILED
            return Ending.NOT_CONSISTENT if self._env.shortfall(self._history) else Ending.COMPLETED
        return Ending.CANCELLED if aborted.cancelled and not debts else Ending.FAILED

    def _failures(self) -> list[StepId]:
        return sorted(step for step, failed in self._history.failed.items() if not failed.passed_over)

    def _ending_message(self, debts: Sequence[Step]) -> str:
        parts = []
        if self._history.aborted is not None:
            parts.append(self._history.aborted.message)
        elif failed := self._failures():
            told = [f"{step}: {self._history.failed[step].message}" for step in failed[:_TOLD_FAILURES]]
            more = len(failed) - len(told)
            parts.append(f"failed: {'; '.join(told)}{f' and {more} more' if more else ''}")
        elif shortfall := self._env.shortfall(self._history):
            parts.append(shortfall)
        return "; ".join(filter(None, (*parts, str(Owed.of(debts)))))

    # -- parts of the loop ------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        now = self._now()
        if self._purpose is Purpose.FORWARD and self._history.aborted is None:
            reason = self._env.cancel_asked()
            if reason is not None:
                self._abort("cancelled", reason, cancelled=True)
            elif self._window_ends is not None and now >= self._window_ends:
                bound = self._plan.parameters.max_freeze_s
                self._abort("max-freeze", f"the frozen window reached its limit of {bound:g} s")
        for attempt in [a for a in self._attempts.values() if self._is_overdue(a, now)]:
            self._abandon(attempt)
        self._limit_settling(now)
        if now >= self._progress_due:
            self._progress_due = now + PROGRESS_S
            self._note_progress()

    def _note_progress(self) -> None:
        for attempt in [a for a in self._attempts.values() if a.has_progressed]:
            attempt.recorded_bytes = attempt.done_bytes
            self._note(
                Progressed(
                    **self._times(),
                    step=attempt.step.id,
                    done_bytes=attempt.recorded_bytes,
                    total_bytes=attempt.total_bytes,
                    attempt=attempt.number,
                )
            )

    def _begin(self, steps: Sequence[Step]) -> None:
        try:
            self._watch_before(steps)
        except GuardError as error:  # nothing is frozen without it: nothing of this begins
            self._abort(error.code, str(error), hint=error.hint)
            steps = [step for step in steps if step.role is Role.SETTLE]
        thaws = [step for step in steps if step.role is Role.SETTLE]
        others = [step for step in steps if step.role is not Role.SETTLE]
        times = self._times()  # what begins together begins at one moment
        for step in thaws:  # the debt is on disk since the freeze began: a thaw waits for nothing
            begun = self._begun(step, times)
            self._note(begun)
            self._start(step, begun)
        if not others and self._may_save_later():
            return
        records = [self._begun(step, times) for step in others]
        durable = self._save(records)
        for step, record in zip(others, records, strict=True):
            if durable:
                self._history.add(record)
            elif step.role is Role.UNDO:  # what it removes is in the journal: it need not wait for the disk
                self._note(record)
            else:
                continue
            self._start(step, record)

    def _begun(self, step: Step, times: Mapping[str, float]) -> Begun:
        return Begun(**times, step=step.id, attempt=self._history.attempts.get(step.id, 0) + 1)

    def _start(self, step: Step, record: Begun) -> None:
        self._scheduler.began(step)
        self._tickets += 1
        now = self._now()
        deadline = now + timeout_s(step, self._plan.parameters)
        attempt = Attempt(
            ticket=self._tickets, step=step, number=record.attempt, began=now, deadline=deadline
        )
        self._attempts[attempt.ticket] = attempt
        self._thawing += step.role is Role.SETTLE
        perform = self._env.perform
        self._env.workers.start(attempt.ticket, lambda: perform(attempt))

    def _watch_before(self, steps: Sequence[Step]) -> None:
        if self._purpose is not Purpose.FORWARD:
            return
        if not self._watched and any(step.id in self._watched_over for step in steps):
            self._env.guard.watch(self._plan.parameters.max_freeze_s)
            self._watched = True
        if self._window_ends is None and any(step.id in self._indebting for step in steps):
            self._env.workers.make_ready(self._most_places)
            self._env.guard.window_opened()
            self._window_ends = self._now() + self._plan.parameters.max_freeze_s

    def _account(self, completion: Completion, times: Mapping[str, float]) -> None:
        attempt = self._attempts.pop(completion.ticket, None)
        if attempt is None:
            return
        if attempt.abandoned:
            self._account_late(attempt, completion, times)
            return
        step = attempt.step
        self._thawing -= step.role is Role.SETTLE
        outcome, error = completion.outcome, completion.error
        if isinstance(error, CannotFreezeError) and step.role is Role.SETTLE and not step.declared:
            outcome = Outcome(note=f"nothing to thaw: {error}")  # the platform has no freeze at all
        if outcome is not None:
            self._note(_done(attempt, completion, outcome, times))
            self._scheduler.over(step)
            self._close_window()
        elif isinstance(error, QuiesceError):
            self._fail(attempt, error)
        else:
            self._fail(attempt, _unexpected(error))

    def _account_late(self, attempt: Attempt, completion: Completion, times: Mapping[str, float]) -> None:
        if completion.error is not None:
            return
        self._note(_done(attempt, completion, completion.outcome or NOTHING, times))
        self._scheduler.debts.answered_late(attempt.step)

    def _fail(self, attempt: Attempt, error: QuiesceError) -> None:
        step = attempt.step
        tries = max(1, self._history.tries(step.id))
        pause = retry_pause_s(step, tries, error, self._plan.parameters)
        wanted = not (attempt.given_up or (pause is not None and self._too_late(self._now() + pause)))
        if step.role is Role.MAIN and not wanted:
            pause = None
        passed_over = pause is None and step.role is Role.MAIN and self._may_pass_over(step, error)
        self._note(
            Failed(
                **self._times(),
                step=step.id,
                code=_recorded_code(error),
                message=str(error),
                hint=error.hint,
                retry_in_s=pause,
                attempt=attempt.number,
                abandoned=attempt.abandoned,
                passed_over=passed_over,
            )
        )
        self._scheduler.over(step, again_at=None if pause is None else self._now() + pause)
        self._close_window()
        if pause is None and step.role is Role.UNDO:
            self._scheduler.give_up_undo(step)
        elif pause is None and step.role is Role.MAIN and not passed_over and not self._plan.carry_on:
            self._abort(error.code, f"{step.id} failed: {error}", hint=error.hint)

    def _may_pass_over(self, step: Step, error: QuiesceError) -> bool:
        if step.operation is Operation.PREPARE:
            return not self._plan.parameters.abort_on_prepare_error
        if step.operation is not Operation.FREEZE:
            return False
        return (
            not self._plan.parameters.abort_on_prepare_error
            or step.instance in self._stopped  # what is stopped needs no freeze
            or (isinstance(error, CannotFreezeError) and not step.declared)
        )

    def _abandon(self, attempt: Attempt) -> None:
        step = attempt.step
        attempt.given_up = attempt.abandoned = True
        self._env.workers.abandon(attempt.ticket)
        self._thawing -= step.role is Role.SETTLE
        waited = self._now() - attempt.began
        self._fail(attempt, OperationTimeoutError(f"{step.instance} did not answer within {waited:.1f} s"))

    # -- bounds -----------------------------------------------------------------------------------------

    def _abort(self, code: str, message: str, *, hint: str = "", cancelled: bool = False) -> None:
        if self._history.aborted is not None or self._purpose is Purpose.SETTLE:
            return
        self._note(Aborted(**self._times(), code=code, message=message, hint=hint, cancelled=cancelled))
        patience_ends = self._now() + GIVEN_UP_PATIENCE_S
        if self._window_ends is not None:  # thaws wait for what is still on its way
            patience_ends = min(patience_ends, self._window_ends)
        for attempt in self._attempts.values():
            if attempt.step.role is Role.MAIN and not attempt.abandoned:
                attempt.given_up = True
                attempt.deadline = min(attempt.deadline, patience_ends)

    def _is_overdue(self, attempt: Attempt, now: float) -> bool:
        if attempt.abandoned:
            return False
        grace = 0.0 if attempt.given_up else GRACE_S
        return now >= attempt.deadline + grace

    def _too_late(self, tick: float) -> bool:
        return self._window_ends is not None and tick >= self._window_ends

    def _close_window(self) -> None:
        if self._window_ends is not None and not any(self._scheduler.debts.owed):
            self._window_ends = None

    def _limit_settling(self, now: float) -> None:
        failed = [self._scheduler.steps[name] for name in self._history.failed]
        owed = [step for step in failed if self._scheduler.debts.owes(step)]
        if not owed:
            self._settling_ends = None
            return
        if self._settling_ends is None:
            self._settling_ends = now + self._env.settle_patience_s
        if now >= self._settling_ends:
            done = "started" if owed[0].operation is Operation.START else "thawed"
            self._abort("not-thawed", f"{owed[0].instance} could not be {done}")
            for step in owed:
                if step.id not in self._scheduler.running:
                    self._scheduler.debts.give_up(step)

    def _wake_up_at(self) -> float | None:
        now = self._now()
        times = [now + CANCEL_LOOK_S] if self._purpose is Purpose.FORWARD else []
        times += [
            a.deadline + (0.0 if a.given_up else GRACE_S) for a in self._attempts.values() if not a.abandoned
        ]
        bound = self._window_ends if self._history.aborted is None else None
        ends = self._settling_ends
        patience = ends if ends is not None and ends > now else None
        saving = self._save_by if self._unsaved else None
        for tick in (bound, patience, saving, self._scheduler.next_time(now)):
            if tick is not None:
                times.append(tick)
        return min(times, default=None)

    def _free(self) -> int:
        running = sum(1 for a in self._attempts.values() if not a.abandoned) - self._thawing
        return self._plan.parameters.parallel - running

    def _free_for_thaws(self) -> int:
        return max(self._plan.parameters.parallel, LEAST_THAW_PLACES) - self._thawing

    # -- the journal ------------------------------------------------------------------------------------

    def _note(self, record: Record) -> None:
        while self._logged:
            self._note_one(self._logged.popleft())
        self._note_one(record)

    def _note_one(self, record: Record) -> None:
        self._history.add(record)
        if not self._is_of_thaw(record):
            self._save_by = None
        elif not self._unsaved:
            self._save_by = self._now() + THAWS_TOGETHER_S
        self._unsaved.append(record)

    def _is_of_thaw(self, record: Record) -> bool:
        """Tell whether *record* is of a thaw that went well: when it is lost, that is done once more."""
        return isinstance(record, Begun | Done) and self._scheduler.steps[record.step].role is Role.SETTLE

    def _may_save_later(self) -> bool:
        """Tell whether other thaws, which a commit would keep waiting, come first."""
        return self._thawing > 0 and self._save_by is not None and self._now() < self._save_by

    def _save(self, begun: Sequence[Begun] = ()) -> bool:
        while self._logged:
            self._note_one(self._logged.popleft())
        records = [*self._unsaved, *begun]
        if not records:
            return True
        try:
            self._env.journal.append(records)
        except (StoreError, SupersededError) as error:
            self._lose_journal(error)
            return False
        self._journal_error = None
        self._unsaved.clear()
        self._env.listener(records)
        return True

    def _lose_journal(self, error: StoreError | SupersededError) -> None:
        self._journal_error = error
        self._save_by = None
        if isinstance(error, SupersededError):
            self._scheduler.only_settle = True
        self._abort(error.code, str(error), hint=error.hint)

    def _times(self) -> dict[str, float]:
        return {"at": self._env.clock.now(), "tick": self._env.clock.tick()}

    def _now(self) -> float:
        return self._env.clock.tick()


def _done(attempt: Attempt, completion: Completion, outcome: Outcome, times: Mapping[str, float]) -> Done:
    return Done(
        **times,
        step=attempt.step.id,
        outcome=outcome,
        began=completion.began,
        ended=completion.ended,
        attempt=attempt.number,
    )


def _recorded_code(error: QuiesceError) -> str:
    """Return the code by which `History` knows that nothing was frozen, whatever a platform calls it."""
    return CannotFreezeError.code if isinstance(error, CannotFreezeError) else error.code


def _unexpected(error: BaseException | None) -> QuiesceError:
    return QuiesceError(
        f"{type(error).__name__}: {error}", hint="This is a bug in a provider: please report it."
    )
