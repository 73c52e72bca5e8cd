"""What a monitoring system asks of quiesce: figures of every deployment, read from what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quiesce.app.policies.due import state_of
from quiesce.app.run.recover import find_unfinished
from quiesce.app.services import Services
from quiesce.model.execution import ExecutionState
from quiesce.model.ids import DeploymentName
from quiesce.model.policy import ChoreKind
from quiesce.model.restore_point import PointState, RestorePoint, Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    value: float


def samples(services: Services) -> Iterator[Sample]:
    """Yield every figure, of deployments without restore points too: a metric is never absent."""
    unfinished = [each for each in find_unfinished(services) if each.owed]
    owed = {each.execution.deployment: len(each.owed.instances) for each in unfinished}
    by_deployment: dict[DeploymentName, list[RestorePoint]] = {}
    for point in services.catalog.list():
        by_deployment.setdefault(point.deployment, []).append(point)
    for deployment in services.deployments.list():
        name = deployment.name
        whose = (("deployment", str(name)),)
        yield Sample(metric="thaw_debts", labels=whose, value=owed.get(name, 0))
        yield from _of_points(by_deployment.get(name, []), whose, services.clock.now())
        states = [each.state for each in services.executions.list(name)]
        for state in ExecutionState:
            yield Sample(
                metric="executions",
                labels=(*whose, ("state", state.value)),
                value=sum(1 for each in states if each is state),
            )
    for policy in services.policies.list():
        state_now = state_of(services, policy)
        labels = (("deployment", str(policy.deployment)), ("policy", str(policy.name)))
        last = state_now.last_good.due_at if state_now.last_good is not None else 0.0
        yield Sample(metric="policy_last_success_timestamp_seconds", labels=labels, value=last)
        yield Sample(metric="policy_next_run_timestamp_seconds", labels=labels, value=state_now.next_due_at)
        good = {each.kind: each.last_good_at or 0.0 for each in state_now.chores}
        for kind in ChoreKind:
            at = good.get(kind, 0.0)
            yield Sample(metric=f"policy_{kind}_timestamp_seconds", labels=labels, value=at)
        late = any(each.overdue_since is not None for each in state_now.chores)
        yield Sample(metric="policy_chore_overdue", labels=labels, value=float(late))
        yield Sample(metric="policy_overdue", labels=labels, value=float(state_now.overdue_since is not None))


def _of_points(
    points: Iterable[RestorePoint], whose: tuple[tuple[str, str], ...], now: float
) -> Iterator[Sample]:
    good = [each for each in points if each.state is PointState.COMPLETE and not each.safety]
    for kind, full in (("snapshot", False), ("backup", True)):
        of_kind = [each for each in good if each.full is full]
        labels = (*whose, ("kind", kind))
        newest = of_kind[-1] if of_kind else None
        proven = [p.at for each in of_kind for p in each.proofs if p.passed and p.read and p.at <= now]
        values = {
            "last_success_timestamp_seconds": newest.made_at if newest else 0.0,
            "points": float(len(of_kind)),
            "damaged_points": float(sum(1 for each in of_kind if each.trust is Trust.DAMAGED)),
            "frozen_seconds": newest.window_s if newest else 0.0,
            "cut_skew_seconds": newest.skew_s if newest else 0.0,
            "stored_bytes": float(newest.stored_bytes or 0) if newest else 0.0,
            "consistency": float(newest.consistency) if newest else 0.0,
            "proof_timestamp_seconds": max(proven, default=0.0),
        }
        for metric, value in values.items():
            yield Sample(metric=f"backup_{metric}", labels=labels, value=value)
