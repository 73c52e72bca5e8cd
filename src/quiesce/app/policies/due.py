"""Which runs of policies are due, and which were missed or are overdue. Reads; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from quiesce.app.policies.schedule import due_times, last_due, next_due
from quiesce.app.services import Services
from quiesce.model.ids import DeploymentName
from quiesce.model.policy import (
    ChoreKind,
    ChoreState,
    Policy,
    PolicyRun,
    PolicyState,
    RunState,
    chore_name,
)
from quiesce.model.restore_point import RESTORED, PointState, Proof, RestorePoint, Trust

#: of so many runs it is known what became of them, when a policy is looked at
_RUNS_LOOKED_AT: Final = 100
#: counting missed runs ends here: a machine may have been off for years
_MISSED_COUNTED: Final = 1000
#: without `catch_up`, what is late by more than this was missed, in seconds
LATE_S: Final = 900.0
#: a chore that failed is tried again after so long, in seconds
RETRY_S: Final = {ChoreKind.PROOF: 6 * 3600.0, ChoreKind.COPY: 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A run that is due now."""

    policy: Policy
    due_at: float
    #: how many runs before it were missed
    missed: int
    #: whether it is too late for it, and the policy does not make up for what was missed
    too_late: bool
    #: a run of that time that nobody has ended
    interrupted: PolicyRun | None = None


def find_due(services: Services, policy: Policy) -> Due | None:
    """Return the run of *policy* that is due now; None: there is none.

    Several that are due at once are one run: the last. What was kept while the clock was ahead counts for
    nothing: else a clock that was wrong once would stop a policy for good.
    """
    now = services.clock.now()
    runs = _real_runs(services, policy, now)
    if runs and runs[0].state is RunState.RUNNING:
        return Due(policy=policy, due_at=runs[0].due_at, missed=0, too_late=False, interrupted=runs[0])
    latest = last_due(policy, now)
    since = runs[0].due_at if runs else policy.since
    if not runs and policy.since > now:
        since = latest - 1
    if latest <= since:
        return None
    missed = sum(1 for _ in islice(due_times(policy, since, latest), _MISSED_COUNTED)) - 1
    too_late = not policy.rules.catch_up and now - latest > LATE_S
    return Due(policy=policy, due_at=latest, missed=missed, too_late=too_late)


def state_of(services: Services, policy: Policy) -> PolicyState:
    """Return how *policy* stands now."""
    now = services.clock.now()
    runs = _real_runs(services, policy, now)
    good = next((run for run in runs if run.state is RunState.COMPLETED), None)
    return PolicyState(
        policy=policy,
        last=runs[0] if runs else None,
        last_good=good,
        next_due_at=next_due(policy, now),
        overdue_since=_overdue_since(policy, good, now),
        chores=tuple(chores(services, policy)),
    )


def chores(services: Services, policy: Policy) -> Iterator[ChoreState]:
    """Yield how what *policy* does beside its backups stands; each is done with what it has made."""
    rules, now = policy.rules, services.clock.now()
    if rules.prove_every is None and not rules.copy_to:
        return
    made = [each for each in complete_points(services, policy) if each.made_at <= now]
    if rules.prove_every is not None:
        yield _proof_state(services, policy, made, rules.prove_every)
    if rules.copy_to:
        yield _copy_state(services, policy, made)


def _proof_state(
    services: Services, policy: Policy, made: Sequence[RestorePoint], every_s: float
) -> ChoreState:
    now = services.clock.now()
    runs = _chore_runs(services, policy, ChoreKind.PROOF)
    good = [run.started_at for run in runs if run.state is RunState.COMPLETED]
    # by hand, too
    good += [p.at for each in made for p in each.proofs if p.kind == RESTORED and p.passed and p.at <= now]
    due_at = max(good) + every_s if good else made[0].made_at if made else None
    return _chore(services, policy, ChoreKind.PROOF, runs, due_at if made else None, max(good, default=None))


def _copy_state(services: Services, policy: Policy, made: Sequence[RestorePoint]) -> ChoreState:
    """A run that was due when the newest restore point was made has copied it, and all before it."""
    runs = _chore_runs(services, policy, ChoreKind.COPY)
    done = next((run for run in runs if run.state is RunState.COMPLETED), None)
    newest = made[-1].made_at if made else None
    missing = newest is not None and (done is None or done.due_at < newest)
    return _chore(
        services,
        policy,
        ChoreKind.COPY,
        runs,
        newest if missing else None,
        None if done is None else done.started_at,
    )


def _chore(  # noqa: PLR0917  what is known of it
    services: Services,
    policy: Policy,
    kind: ChoreKind,
    runs: Sequence[PolicyRun],
    due_at: float | None,
    last_good_at: float | None,
) -> ChoreState:
    last = runs[0] if runs else None
    deadline = None if due_at is None else due_at + policy.rules.overdue_after
    late = deadline is not None and services.clock.now() > deadline
    at_work = last is not None and last.state is RunState.RUNNING
    return ChoreState(
        kind=kind,
        due_at=due_at,
        last_good_at=last_good_at,
        last=last,
        overdue_since=deadline if late and not at_work else None,
    )


def due_chore(services: Services, state: ChoreState) -> float | PolicyRun | None:
    """Return when the run of a chore that is to begin now was due, or the run that nobody has ended.

    One that failed is tried again after a while: it may read and write a lot. None: nothing is due.
    """
    now, last = services.clock.now(), state.last
    if state.due_at is None or state.due_at > now:
        return None
    if last is not None and last.state is RunState.RUNNING:
        return last
    if last is None or last.state is RunState.COMPLETED:
        return state.due_at
    again_at = last.started_at + RETRY_S[state.kind]
    return max(again_at, state.due_at) if again_at <= now else None


def _chore_runs(services: Services, policy: Policy, kind: ChoreKind) -> list[PolicyRun]:
    kept_as = replace(policy, name=chore_name(policy.name, kind))
    return _real_runs(services, kept_as, services.clock.now())


def to_verify(services: Services, policy: Policy) -> RestorePoint | None:
    """Return the newest restore point of *policy* when its last check is too old; None: nothing is due."""
    every = policy.rules.verify_every
    points = _points(services, policy)
    if every is None or not points:
        return None
    now = services.clock.now()
    checks = [proof.at for each in points for proof in each.proofs if _is_check(proof) and proof.at <= now]
    checked_lately = bool(checks) and now - max(checks) < every
    return None if checked_lately or points[-1].trust is Trust.DAMAGED else points[-1]


def complete_points(services: Services, policy: Policy) -> list[RestorePoint]:
    """Return the restore points that *policy* has made and that are complete, oldest first."""
    return [each for each in _points(services, policy) if each.state is PointState.COMPLETE]


def _points(services: Services, policy: Policy) -> list[RestorePoint]:
    return [each for each in services.catalog.list(policy.deployment) if each.type == policy.name]


def _is_check(proof: Proof) -> bool:
    """Tell whether all was looked at that can be: a trial leaves out what only its platform can restore."""
    return proof.passed and not (proof.kind == RESTORED and proof.partial)


def unprotected(services: Services) -> Sequence[DeploymentName]:
    """Return the deployments that have no policy."""
    protected = {policy.deployment for policy in services.policies.list()}
    return [each.name for each in services.deployments.list() if each.name not in protected]


def _real_runs(services: Services, policy: Policy, now: float) -> list[PolicyRun]:
    """Return its runs, newest first, without those of a time that has not come."""
    return [run for run in services.policies.runs(policy, _RUNS_LOOKED_AT) if run.due_at <= now]


def _overdue_since(policy: Policy, good: PolicyRun | None, now: float) -> float | None:
    """Return since when a success is missing; what is due is given `overdue_after` to succeed."""
    deadline = last_due(policy, now - policy.rules.overdue_after)
    since = good.due_at if good is not None else policy.since
    if since > now or deadline <= since:
        return None
    first = next(due_times(policy, since, deadline), deadline)
    return first + policy.rules.overdue_after
