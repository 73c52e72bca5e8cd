"""Copies of a policy's backups in a second repository, anywhere: they share what is equal there, too.

A copied point is the very point that the catalog knows: what opens the second repository restores from it,
and ``quiesce backups rebuild`` reads the catalog from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from quiesce.app.points.manifests import repositories
from quiesce.app.points.prune import local_day
from quiesce.app.repository_access import GivenCredentials, RepositoryAccess
from quiesce.app.services import Services
from quiesce.errors import DamagedError, PlanError, UnreachableError
from quiesce.model.ids import BackupName, InstanceId, backup_name, deployment_name
from quiesce.model.policy import Policy
from quiesce.model.restore_point import RestorePoint, Trust
from quiesce.planning.retention import plan_retention
from quiesce.repository import PointKey, PointsCopied, Repository, StoredPoints


def copy_points(
    services: Services, policy: Policy, points: Sequence[RestorePoint], url: str
) -> Sequence[BackupName]:
    """Copy those of *points* that are not at *url* and are worth keeping there; return what was copied.

    What the policy's rules do not keep is removed there; it can be brought back until the grace is over.
    Interrupted, it goes on where it was. What a check has found damaged here is not copied; its copy stays.

    Raises:
        UnreachableError: when the repository or the backups cannot be reached.
        PlanError: when a part of a restore point is kept by its platform, not in a repository.
        UsageError: when the repositories address their content differently.
        DamagedError: when a backup could not be read as it was written.
    """
    access = services.repositories()
    whole = [point for point in points if point.trust is not Trust.DAMAGED]
    there = _copied(services, policy, url)
    kept = _kept(services, policy, there, whole)
    names = {point.name for point in there}
    new = [point for point in whole if point.name in kept and point.name not in names]
    with access.opened(url, GivenCredentials()) as repository:
        for point in new:
            _copy(services, access, repository, point)
        stored = repository.stored_points()
        for point in there:
            if point.name not in kept:
                access.seen.forget_points(repository, _remove(repository, stored, point))
    return [point.name for point in new]


def _copied(services: Services, policy: Policy, url: str) -> Sequence[RestorePoint]:
    """Return what *policy* has at *url*, as far as retention has to know it."""
    survey = services.manifests.survey(url, policy.deployment)
    return [each.point for each in survey.manifests if each.point.type == policy.name]


def _kept(
    services: Services, policy: Policy, there: Sequence[RestorePoint], here: Sequence[RestorePoint]
) -> frozenset[BackupName]:
    """Return what is to be at the second place afterwards: of what is there and here, what the rules keep."""
    alike = {p.name: replace(p, artifacts=(), sequence=0) for p in (*there, *here)}
    if replace(policy.retention, type=None).keeps_nothing:
        return frozenset(alike)
    plan = plan_retention(
        policy.deployment,
        list(alike.values()),
        policy.retention,
        day_of=local_day,
        now=services.clock.now(),
    )
    return frozenset(alike) - {point.name for point in plan.to_remove}


def _copy(services: Services, access: RepositoryAccess, repository: Repository, point: RestorePoint) -> None:
    """Copy the points of the instances, and then that of the deployment, which makes them whole."""
    kept = _places(services, point)
    for url in sorted(set(kept.values())):
        keys = [_key(point, instance) for instance, place in kept.items() if place == url]
        with access.opened(url, GivenCredentials()) as source:
            _require_whole(source.copy_to(repository, keys))
    with access.opened(min(kept.values()), GivenCredentials()) as source:
        _require_whole(source.copy_to(repository, [_key(point)]))


def _places(services: Services, point: RestorePoint) -> Mapping[InstanceId, str]:
    """Return the repository of each instance's part of *point*."""
    deployment = services.deployments.get(point.deployment)
    instances = [artifact.instance for artifact in point.artifacts]
    kept = repositories(services, deployment, instances)
    in_none = [each.instance for each in point.artifacts if not each.repository]
    if missing := sorted({*in_none, *(instance for instance in instances if instance not in kept)}):
        raise PlanError(
            f"{', '.join(missing)} of {point.name} is kept by its platform, so it cannot be copied",
            hint="Leave copy_to out of this policy, or exclude those instances (parameters: exclude_nodes).",
        )
    for url in sorted(set(kept.values())):
        if why := services.manifests.why_away(url):
            raise UnreachableError(why)
    return kept


def _require_whole(copied: PointsCopied) -> None:
    if copied.damages:
        told = "; ".join(f"{key}: {damage}" for key, damage in copied.damages.items())
        raise DamagedError(f"not all of a backup could be read: {told}")


def _key(point: RestorePoint, instance: str = "") -> PointKey:
    return PointKey(
        deployment=deployment_name(point.deployment), point=backup_name(point.name), instance=instance
    )


def _remove(repository: Repository, stored: StoredPoints, point: RestorePoint) -> Sequence[PointKey]:
    """Remove a copy and return its points: the deployment's first, so that none looks whole that is not."""
    whose = (point.deployment, point.name)
    keys = sorted(key for key in stored.keys if (key.deployment, key.point) == whose)
    for key in keys:
        repository.remove(key)
    return keys


def fetch_points(source: Repository, to: Repository, keys: Iterable[PointKey]) -> Mapping[PointKey, bool]:
    """Copy whole restore points back; tell of each whether it was new.

    Raises:
        DamagedError: when one is not what was written.
    """
    wanted = list(keys)
    copied = source.copy_to(to, _with_instances(source, wanted))
    _require_whole(copied)
    return {key: key in copied.points for key in wanted}


def _with_instances(source: Repository, wanted: Collection[PointKey]) -> list[PointKey]:
    whose = {(key.deployment, key.point) for key in wanted}
    return [key for key in source.stored_points().keys if (key.deployment, key.point) in whose]
