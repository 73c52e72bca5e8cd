"""Which points of a repository a retention policy keeps; the others are removed, all at once or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from quiesce.app.points.prune import local_day
from quiesce.errors import DamagedError, MassRemovalError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.retention import RetentionPlan, RetentionPolicy
from quiesce.planning.retention import plan_retention
from quiesce.repository import Point, PointKey, Repository

#: so few may always go: half of a handful is no mass
_FEW: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPruning:
    """What a policy means for a repository, of each deployment in it."""

    plans: tuple[RetentionPlan, ...]
    #: the points to be removed: a deployment's own first, so that none looks whole that is not
    doomed: tuple[PointKey, ...]
    #: stored bytes that nobody needs when they are gone
    freed_bytes: int

    @property
    def count(self) -> int:
        """How many restore points there are."""
        return sum(len(plan.verdicts) for plan in self.plans)

    @property
    def removed(self) -> int:
        """How many restore points are to be removed."""
        return sum(len(plan.to_remove) for plan in self.plans)


def plan_repository_pruning(
    repository: Repository, policy: RetentionPolicy, *, deployment: str | None = None, now: float
) -> RepositoryPruning:
    """Return what *policy* means for the points that there are now; touches nothing.

    What may still be on its way, because the deployment's own point is missing and the grace is not over,
    stays.

    Raises:
        UsageError: when the policy has no rule.
        DamagedError: when a point is damaged: what belongs to it might look unfinished, and go.
    """
    plans, doomed, stored = [], [], repository.stored_points()
    if stored.damaged:
        raise DamagedError(
            f"nothing is pruned while points are damaged: {', '.join(stored.damaged_names)}",
            hint=f"Remove what cannot be restored any more: quiesce repository remove {repository.location}",
        )
    for name, points in sorted(_by_deployment(stored.points).items()):
        if deployment in (None, name):
            restore_points = list(_restore_points(name, points))
            busy = [
                p.name
                for p in restore_points
                if p.state is PointState.INCOMPLETE and p.made_at > now - repository.grace_s
            ]
            plan = plan_retention(
                DeploymentName(name), restore_points, policy, day_of=local_day, now=now, busy=busy
            )
            plans.append(plan)
            gone = {point.name for point in plan.to_remove}
            doomed += sorted(point.key for point in points if point.key.point in gone)
    return RepositoryPruning(
        plans=tuple(plans), doomed=tuple(doomed), freed_bytes=repository.only_needed_by(doomed)
    )


def remove_doomed(repository: Repository, pruning: RepositoryPruning, *, most_percent: int) -> None:
    """Remove what *pruning* does not keep; until the grace is over, it can be brought back.

    Raises:
        MassRemovalError: when that is more than *most_percent* of a deployment's restore points; nothing was
            removed then.
    """
    for plan in pruning.plans:
        going, count = len(plan.to_remove), len(plan.verdicts)
        if going > _FEW and going * 100 > most_percent * count:
            raise MassRemovalError(
                f"{going} of the {count} restore points of {plan.deployment} would be removed, "
                f"which is more than {most_percent} %"
            )
    for key in pruning.doomed:
        repository.remove(key)


def _by_deployment(points: Iterable[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.key.deployment, []).append(point)
    return found


def _restore_points(deployment: str, points: Iterable[Point]) -> Iterator[RestorePoint]:
    by_name: dict[str, list[Point]] = {}
    for point in points:
        by_name.setdefault(point.key.point, []).append(point)
    for name, parts in by_name.items():
        complete = any(not part.key.instance for part in parts)
        instances = sorted(part.key.instance for part in parts if part.key.instance)
        yield RestorePoint(
            deployment=DeploymentName(deployment),
            name=BackupName(name),
            full=True,
            type="",
            rotation=0,
            execution=ExecutionId(""),
            state=PointState.COMPLETE if complete else PointState.INCOMPLETE,
            consistency=Consistency.NONE,
            made_at=max(part.made_at for part in parts),
            artifacts=tuple(map(_artifact, instances)),
        )


def _artifact(instance: str) -> Artifact:
    return Artifact(
        instance=InstanceId(instance),
        provider="",
        function="",
        state=PointState.COMPLETE,
        consistency=Consistency.NONE,
    )
