"""Whether the repositories of a deployment can take its next full backup; nothing is written to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from quiesce.app.points.manifests import repositories
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.manifest import RepositoryCondition
from quiesce.model.restore_point import STORED_BYTES, PointState, RestorePoint
from quiesce.model.sizes import size_text
from quiesce.ports import Finding

#: so much more than the last backup took should be free: data grow
_GROWTH: Final = 1.1


def examine_repositories(services: Services, deployment: Deployment) -> Mapping[str, Sequence[Finding]]:
    """Return what is found of every repository that full backups of *deployment* go to."""
    try:
        kept = repositories(services, deployment, deployment.topology.instances.keys())
    except (ProviderError, PlanError):
        return {}  # the nodes' own findings say it
    users: dict[str, set[InstanceId]] = {}
    for instance, directory in kept.items():
        users.setdefault(directory, set()).add(instance)
    points = services.catalog.list(deployment.name)
    return {
        f"repository {directory}": _examined(services, directory, instances, points)
        for directory, instances in sorted(users.items())
    }


def _examined(
    services: Services, directory: str, instances: Collection[InstanceId], points: Sequence[RestorePoint]
) -> Sequence[Finding]:
    there = [point for point in points if _lies_there(point, instances)]
    newest = there[-1] if there else None
    try:
        condition = services.manifests.condition(directory, newest)
    except ProviderError as error:
        return [Finding(check="reachable", passed=False, detail=str(error), remedy=error.hint)]
    return [
        _reachable(services, directory, condition, newest),
        *([_key(condition, newest)] if newest is not None and condition.begun else ()),
        *_of_ground(condition, _last_bytes(there, instances)),
    ]


def _lies_there(point: RestorePoint, instances: Collection[InstanceId]) -> bool:
    whole = point.full and point.state is PointState.COMPLETE and point.manifest_sha256
    return bool(whole) and any(artifact.instance in instances for artifact in point.artifacts)


def _reachable(
    services: Services, directory: str, condition: RepositoryCondition, newest: RestorePoint | None
) -> Finding:
    if condition.begun:
        return Finding(check="reachable", passed=True, detail="it is there")
    if newest is None:
        detail = f"the first full backup will begin it, on {condition.ground}"
        return Finding(check="reachable", passed=True, detail=detail)
    return Finding(
        check="reachable",
        passed=False,
        detail=f"{services.manifests.why_away(directory)}; the catalog knows {newest.name} there",
        remedy="Mount it, or correct the node's repository.",
    )


def _key(condition: RepositoryCondition, newest: RestorePoint | None) -> Finding:
    name = "" if newest is None else newest.name
    return Finding(
        check="key",
        passed=not condition.distrust,
        detail=condition.distrust or f"a key of this QUIESCE_HOME opens {name}",
        remedy=condition.remedy,
    )


def _of_ground(condition: RepositoryCondition, last_bytes: int | None) -> Iterator[Finding]:
    """Tell what can be seen of a directory without writing to it; of other storages nothing can."""
    if condition.free_bytes is not None:
        yield _writable(condition)
        yield _room(condition.free_bytes, last_bytes)


def _writable(condition: RepositoryCondition) -> Finding:
    return Finding(
        check="writable",
        passed=not condition.why_read_only,
        detail=condition.why_read_only or f"{condition.ground} can be written to",
        remedy="Correct its owner and mode, or mount it for writing.",
    )


def _room(free_bytes: int, last_bytes: int | None) -> Finding:
    free = f"{size_text(free_bytes)} are free"
    if last_bytes is None:
        detail = f"{free}; there is no full backup yet that tells how much one needs"
        return Finding(check="room", passed=free_bytes > 0, detail=detail, remedy="Make room.")
    return Finding(
        check="room",
        passed=free_bytes >= last_bytes * _GROWTH,
        detail=f"{free}; the last full backup took {size_text(last_bytes)}",
        remedy="Make room: 'quiesce backups prune' removes what no rule keeps.",
    )


def _last_bytes(points: Sequence[RestorePoint], instances: Collection[InstanceId]) -> int | None:
    """Return how much the newest of *points* stored of *instances*; None: nothing says so."""
    return next((size for point in reversed(points) if (size := sum(_sizes(point, instances)))), None)


def _sizes(point: RestorePoint, instances: Collection[InstanceId]) -> Iterator[int]:
    for artifact in point.artifacts:
        size = artifact.content.get(STORED_BYTES, artifact.content.get("size_bytes"))
        if artifact.instance in instances and isinstance(size, int):
            yield size
