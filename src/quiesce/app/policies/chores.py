"""Do what policies ask for beside backups: prove the newest restore point, copy backups to a second place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from quiesce.app.masking import masked_error
from quiesce.app.points.prove import prove
from quiesce.app.policies.due import chores, complete_points, due_chore
from quiesce.app.run.run import Result
from quiesce.app.services import Services
from quiesce.errors import CancelledError, PlanError, QuiesceError
from quiesce.model.policy import ChoreKind, ChoreState, DueRun, Policy, PolicyRun, RunState, chore_name
from quiesce.model.request import WorkflowRequest
from quiesce.model.restore_point import Trust

#: runs a workflow to its end
Runner = Callable[[WorkflowRequest], Result]


def run_chores(services: Services, policy: Policy, run: Runner) -> Iterator[DueRun]:
    """Do what is due of *policy* beside its backups; each at most once, and again when it had failed."""
    for state in list(chores(services, policy)):
        due = due_chore(services, state)
        if due is None:
            continue
        begun = due if isinstance(due, PolicyRun) else _begun(services, policy, state, due)
        if isinstance(due, PolicyRun) or services.policies.claim(begun):
            yield _done(services, policy, state.kind, begun, run)


def _begun(services: Services, policy: Policy, state: ChoreState, due_at: float) -> PolicyRun:
    return PolicyRun(
        deployment=policy.deployment,
        policy=chore_name(policy.name, state.kind),
        due_at=due_at,
        state=RunState.RUNNING,
        started_at=services.clock.now(),
    )


def _done(services: Services, policy: Policy, kind: ChoreKind, begun: PolicyRun, run: Runner) -> DueRun:
    errors: tuple[QuiesceError, ...] = ()
    told = ""
    try:
        told = _prove(services, policy, run) if kind is ChoreKind.PROOF else _copy(services, policy)
    except CancelledError:
        raise
    except QuiesceError as error:
        masked_error(services.masking, error)
        errors = (error,)
    ended = replace(
        begun,
        state=RunState.FAILED if errors else RunState.COMPLETED,
        ended_at=services.clock.now(),
        message=str(errors[0]) if errors else told,
    )
    services.policies.update(ended)
    return DueRun(run=ended, errors=errors, told=told)


def _prove(services: Services, policy: Policy, run: Runner) -> str:
    points = [each for each in complete_points(services, policy) if each.trust is not Trust.DAMAGED]
    if not points:
        raise PlanError(f"{policy.name} of {policy.deployment} has no restore point that is not damaged")
    proven = prove(
        services,
        policy.deployment,
        points[-1].name,
        lambda request: run(request).error,
        scratch=Path(services.proofs_dir),
        check=policy.rules.prove_check or "",
    )
    return f"{proven.point.name}: {proven.proof.detail}"


def _copy(services: Services, policy: Policy) -> str:
    from quiesce.app.repositories.copies import copy_points  # large, and few policies need it

    points = [each for each in complete_points(services, policy) if each.full]
    copied = [
        f"{len(names)} to {url}"
        for url in policy.rules.copy_to
        for names in [copy_points(services, policy, points, url)]
    ]
    return f"copied: {', '.join(copied)}"
