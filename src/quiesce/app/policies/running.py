"""Run what is due: the backup, then retention, then the check; and tell of trouble, once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from quiesce.app.masking import masked_error
from quiesce.app.points.prune import plan_pruning, remove_unkept
from quiesce.app.points.room import make_room
from quiesce.app.points.verify import unreachable_error, verify
from quiesce.app.policies.chores import Runner, run_chores
from quiesce.app.policies.due import Due, find_due, state_of, to_verify
from quiesce.app.policies.policies import parameters_for
from quiesce.app.run.recover import find_unfinished
from quiesce.app.services import Services
from quiesce.errors import BusyError, CancelledError, DamagedError, ProviderError, QuiesceError
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.model.policy import ChoreState, DueReport, DueRun, Policy, PolicyRun, RunState
from quiesce.model.request import WorkflowRequest
from quiesce.model.restore_point import PointState
from quiesce.planning import BACKUP

#: trouble that lasts is told again after so long, in seconds
REMIND_S: Final = 86_400.0


def run_due(services: Services, run: Runner) -> DueReport:
    """Run everything that is due now, one deployment after the other, each run at most once.

    A run that fails leaves the others to be run. Any number of processes may do this at the same time.

    Raises:
        StoreError: when the database cannot be used.
        CancelledError: when it was asked to end; what is left is due the next time.
    """
    names = sorted({policy.deployment for policy in services.policies.list()})
    runs: list[DueRun] = []
    busy: dict[DeploymentName, None] = {}
    # what takes long and can wait comes after everybody's backups
    for work in (_run_policy, run_chores):
        for name in names:
            try:
                lease = services.schedulers.acquire(name, ExecutionId(f"run-due-{services.random_text(10)}"))
            except BusyError:
                busy[name] = None
                continue
            try:
                for policy in services.policies.list(name):
                    runs.extend(work(services, policy, run))
            finally:
                lease.release()
    untold = [why for policy in services.policies.list() for why in _tell(services, policy)]
    return DueReport(runs=tuple(runs), busy=tuple(busy), untold=tuple(untold))


def _run_policy(services: Services, policy: Policy, run: Runner) -> Iterable[DueRun]:
    due = find_due(services, policy)
    if due is None:
        return
    begun = PolicyRun(
        deployment=policy.deployment,
        policy=policy.name,
        due_at=due.due_at,
        state=RunState.MISSED if due.too_late else RunState.RUNNING,
        started_at=services.clock.now(),
        missed_before=due.missed,
    )
    if due.interrupted is None and not services.policies.claim(begun):
        return
    if due.too_late:
        yield DueRun(run=begun)
        return
    done = _back_up(services, due, begun, run)
    services.policies.update(done.run)
    yield _tidied(services, policy, done, run)


def _back_up(services: Services, due: Due, begun: PolicyRun, run: Runner) -> DueRun:
    name = point_name(due.policy, due.due_at)
    known = {str(each.name): each for each in services.catalog.list(due.policy.deployment)}
    if due.interrupted is not None and name in known and known[name].state is PointState.COMPLETE:
        return DueRun(run=_ended(services, begun, execution=known[name].execution))
    request = WorkflowRequest(
        deployment=due.policy.deployment,
        workflow=BACKUP.name,
        parameters=parameters_for(due.policy, name),
    )
    try:
        result = run(request)
    except (CancelledError, KeyboardInterrupt):
        raise
    except QuiesceError as error:
        masked_error(services.masking, error)
        return DueRun(run=_ended(services, begun, error=error), errors=(error,))
    execution = result.report.execution.id
    errors = () if result.error is None else (result.error,)
    if isinstance(result.error, CancelledError):
        raise result.error
    return DueRun(run=_ended(services, begun, error=result.error, execution=execution), errors=errors)


def _tidied(services: Services, policy: Policy, done: DueRun, run: Runner) -> DueRun:
    """Apply retention, and check what is due to be checked. After a failed run old points may be needed."""
    if done.run.state is not RunState.COMPLETED:
        return done
    errors = list(done.errors)
    removed: Sequence[str] = ()
    verified = None
    try:
        removed = _prune(services, policy, run)
        make_room(services, services.deployments.get(policy.deployment))
    except QuiesceError as error:
        errors.append(error)
    try:
        verified = _verify(services, policy)
    except QuiesceError as error:
        errors.append(error)
    if errors:
        failed = replace(done.run, state=RunState.FAILED, message=str(errors[-1]))
        services.policies.update(failed)
        done = replace(done, run=failed)
    return replace(done, errors=tuple(errors), removed=tuple(removed), verified=verified)


def _prune(services: Services, policy: Policy, run: Runner) -> Sequence[str]:
    if replace(policy.retention, type=None).keeps_nothing:
        return ()
    plan = plan_pruning(services, policy.deployment, policy.retention)

    def remove(request: WorkflowRequest) -> None:
        result = run(request)
        if result.error is not None:
            raise result.error

    remove_unkept(services, plan, remove)
    left = {each.name for each in services.catalog.list(policy.deployment)}
    return [each.name for each in plan.to_remove if each.name not in left]


def _verify(services: Services, policy: Policy) -> str | None:
    point = to_verify(services, policy)
    if point is None:
        return None
    checked, found = verify(services, policy.deployment, point.name)
    if found.damages:
        raise DamagedError(f"{point.name} is damaged: {', '.join(found.damages)}")
    if found.unreachable:
        raise unreachable_error(checked, found)
    return point.name


def _ended(
    services: Services,
    run: PolicyRun,
    *,
    error: QuiesceError | None = None,
    execution: ExecutionId | None = None,
) -> PolicyRun:
    return replace(
        run,
        state=RunState.COMPLETED if error is None else RunState.FAILED,
        ended_at=services.clock.now(),
        execution=execution,
        message="" if error is None else str(error),
    )


def point_name(policy: Policy, due_at: float) -> str:
    """Return the name of the restore point of one run: the time that it was due, in UTC."""
    return f"{policy.name}-{dt.datetime.fromtimestamp(due_at, dt.UTC):%Y%m%dT%H%M%SZ}"


# -- telling ------------------------------------------------------------------------------------------------


def _tell(services: Services, policy: Policy) -> Iterable[str]:
    """Tell of trouble when it is new, or a day old; call the dead man's URL when there is none."""
    state = state_of(services, policy)
    owed = [each for each in find_unfinished(services, policy.deployment) if each.owed]
    now = services.clock.now()
    if not state.in_trouble and not owed:
        if policy.told_at is not None:
            services.policies.save([replace(policy, told_at=None)])
        yield from _ping(services, policy, state.last)
        return
    told_at = policy.told_at
    if told_at is not None and 0 <= now - told_at < REMIND_S:
        return
    lines = []
    if state.last is not None and state.last.state is RunState.FAILED:
        lines.append(f"the run of {_when(state.last.due_at)} failed: {state.last.message}")
    if state.overdue_since is not None:
        good = state.last_good
        lines.append(f"no good restore point since {_when(None if good is None else good.due_at)}")
    lines += [line for each in state.chores for line in _of_chore(each)]
    lines += [f"{each.owed} (by {each.execution.id})" for each in owed]
    title = f"quiesce: {policy.name} of {policy.deployment} needs you"
    lines.append(f"what there is: quiesce policy show {policy.deployment}")
    failures = _tell_all(services, policy, title, lines)
    yield from failures
    if len(failures) < len(policy.rules.notify) or not policy.rules.notify:
        services.policies.save([replace(policy, told_at=now)])


def tell_on_trial(services: Services, policy: Policy) -> Sequence[str]:
    """Send a message to everybody whom *policy* tells of trouble; return why it did not get there."""
    title = f"quiesce: {policy.name} of {policy.deployment}, on trial"
    return _tell_all(services, policy, title, ["Nothing is wrong: somebody tries whether you are told."])


def _tell_all(services: Services, policy: Policy, title: str, lines: Sequence[str]) -> Sequence[str]:
    return [
        why
        for secret in policy.rules.notify
        for why in _attempt(services, policy, lambda url: services.messenger.tell(url, title, lines), secret)
    ]


def _of_chore(state: ChoreState) -> Iterable[str]:
    if state.failed and state.last is not None:
        yield f"the {state.kind} of {_when(state.last.started_at)} failed: {state.last.message}"
    if state.overdue_since is not None:
        yield f"no good {state.kind} since {_when(state.last_good_at)}"


def _ping(services: Services, policy: Policy, last: PolicyRun | None) -> Iterable[str]:
    if policy.rules.dead_man is None or last is None or last.state is not RunState.COMPLETED:
        return
    yield from _attempt(services, policy, services.messenger.ping, policy.rules.dead_man)


def _attempt(services: Services, policy: Policy, send: Callable[[str], None], secret: str) -> Iterable[str]:
    live = services.live(services.deployments.get(policy.deployment))
    try:
        send(live.secret(secret))
    except ProviderError as error:
        masked_error(services.masking, error)
        yield f"{policy.name} of {policy.deployment}: nobody was told by {secret}: {error}"


def _when(at: float | None) -> str:
    if at is None:
        return "the beginning"
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
