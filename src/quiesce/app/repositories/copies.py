"""Copies of a policy's backups in a second repository, anywhere: each as a point that needs no other.

Backups lie in directories (`quiesce.archives`). Of each restore point a copy has one tree for each instance,
and, written last, one with the manifest. Brought back, they make a directory repository again, from which
``quiesce backups rebuild`` reads the catalog.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.app.points.manifests import repositories
from quiesce.app.points.prune import local_day
from quiesce.app.repository_access import GivenCredentials
from quiesce.app.services import Services
from quiesce.archives import Archives, BackupKey, Keyring
from quiesce.errors import DamagedError, PlanError, TreeChangedError, UnreachableError
from quiesce.files.descriptors import Identity
from quiesce.files.durable import storage_errors
from quiesce.files.held import enter_held, held
from quiesce.files.problems import TreeProblems
from quiesce.files.removal import remove_tree
from quiesce.files.trust import open_declared
from quiesce.files.walking import Entry, everything
from quiesce.model.consistency import Consistency
from quiesce.model.ids import (
    BackupName,
    DeploymentName,
    ExecutionId,
    InstanceId,
    backup_name,
    deployment_name,
)
from quiesce.model.policy import Policy
from quiesce.model.restore_point import PointState, RestorePoint, Trust
from quiesce.planning.retention import plan_retention
from quiesce.repository import Point, PointKey, Repository, StoredPoints, WriterSession

#: what each point of a copy holds
_ITEM: Final = "archive"
_MANIFEST: Final = b"manifest.json"
#: of a deployment's point: by which policy it was made
_POLICY: Final = "policy"


def copy_points(
    services: Services, policy: Policy, points: Sequence[RestorePoint], url: str
) -> Sequence[BackupName]:
    """Copy those of *points* that are not at *url* and are worth keeping there; return what was copied.

    What the policy's rules do not keep is removed there; it can be brought back until the grace is over.
    Interrupted, it goes on where it was. What a check has found damaged here is not copied; its copy stays.

    Raises:
        UnreachableError: when the repository or the backups cannot be reached.
        PlanError: when a part of a restore point is kept by its platform, not in a directory.
        DamagedError: when a backup could not be read as it was written.
    """
    access = services.repositories()
    whole = [point for point in points if point.trust is not Trust.DAMAGED]
    with access.opened(url, GivenCredentials()) as repository:
        stored = repository.stored_points()
        there = list(_copied(stored, policy))
        kept = _kept(services, policy, there, whole)
        names = {point.name for point in there}
        new = [point for point in whole if point.name in kept and point.name not in names]
        for point in new:
            _copy(services, repository, point, policy)
        for point in there:
            if point.name not in kept:
                access.seen.forget_points(repository, _remove(repository, stored, point))
    return [point.name for point in new]


def _copied(stored: StoredPoints, policy: Policy) -> Iterator[RestorePoint]:
    """Yield what *policy* has of what is *stored*, as far as retention has to know it."""
    for point in stored.points:
        key = point.key
        if (
            key.deployment == policy.deployment
            and not key.instance
            and point.content.get(_POLICY) == policy.name
        ):
            yield RestorePoint(
                deployment=policy.deployment,
                name=BackupName(key.point),
                full=True,
                type=policy.name,
                rotation=0,
                execution=ExecutionId(""),
                state=PointState.COMPLETE,
                consistency=Consistency.NONE,
                made_at=point.made_at,
            )


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


def _copy(services: Services, repository: Repository, point: RestorePoint, policy: Policy) -> None:
    deployment = services.deployments.get(point.deployment)
    instances = [artifact.instance for artifact in point.artifacts]
    kept = repositories(services, deployment, instances)
    if missing := [instance for instance in instances if instance not in kept]:
        raise PlanError(
            f"{', '.join(missing)} of {point.name} is kept by its platform, so it cannot be copied",
            hint="Leave copy_to out of this policy, or exclude those instances (parameters: exclude_nodes).",
        )
    for directory in set(kept.values()):
        if why := services.manifests.why_away(directory):
            raise UnreachableError(why)
    with repository.write() as session:
        for instance, directory in kept.items():
            _commit(session, point, Path(directory), instance)
        _commit(session, point, Path(kept[instances[0]]), None, instances=instances, policy=policy.name)


def _commit(
    session: WriterSession,
    point: RestorePoint,
    root: Path,
    instance: InstanceId | None,
    *,
    instances: Iterable[InstanceId] = (),
    policy: str = "",
) -> None:
    place = root / deployment_name(point.deployment) / backup_name(point.name) / (instance or "")
    with _opened(place) as directory:
        item, saved = session.add_tree(directory, wanted=_is_manifest if instance is None else everything)
    if saved.problems or saved.mounts:
        raise DamagedError(f"the backup in {place} could not be read: {saved.problems or 'mounts are in it'}")
    session.commit(
        Point(
            key=PointKey(deployment=point.deployment, point=point.name, instance=instance or ""),
            made_at=point.made_at,
            items={_ITEM: item},
            instances=tuple(instances),
            content={_POLICY: policy} if policy else {},
        )
    )


@contextmanager
def _opened(place: Path) -> Iterator[int]:
    with storage_errors(f"read {place}"), open_declared(place) as declared:
        descriptor = declared.open()
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _is_manifest(entry: Entry) -> bool:
    return not entry.path or entry.path == _MANIFEST


def _remove(repository: Repository, stored: StoredPoints, point: RestorePoint) -> Sequence[PointKey]:
    """Remove a copy and return its points: the deployment's first, so that none looks whole that is not."""
    whose = (point.deployment, point.name)
    keys = sorted(key for key in stored.keys if (key.deployment, key.point) == whose)
    for key in keys:
        repository.remove(key)
    return keys


# -- the way back -------------------------------------------------------------------------------------------


def fetch_points(
    repository: Repository, keys: Iterable[PointKey], directory: Path, keyring: Keyring
) -> Mapping[PointKey, bool]:
    """Write copied restore points below *directory*, a repository that restores read; tell which were new.

    Raises:
        DamagedError: when one did not come back as it was; nothing of it is there then.
    """
    archives = Archives(directory, keyring)
    archives.mark()
    return {key: _fetch(repository, key, directory) for key in keys}


def _fetch(repository: Repository, key: PointKey, directory: Path) -> bool:
    whole = repository.point(key)
    place = directory / deployment_name(key.deployment) / backup_name(key.point)
    if os.path.lexists(place):
        return False
    unfinished = f".quiesce-fetch-{secrets.token_hex(8)}"
    with (
        storage_errors(f"write {place}"),
        held(directory, ()) as root,
        held(directory, (unfinished,), make=True) as fetched,
    ):
        identity = Identity.of_descriptor(fetched)
        try:
            _restore_whole(repository, key, whole.instances, fetched, directory / unfinished)
            with held(directory, (deployment_name(key.deployment),), make=True) as above:
                os.rename(unfinished, place.name, src_dir_fd=root, dst_dir_fd=above)
                os.fsync(above)
        finally:
            with suppress(TreeChangedError):  # in its place, or taken away by somebody
                remove_tree(root, os.fsencode(unfinished), identity)
    return True


def _restore_whole(
    repository: Repository, key: PointKey, instances: Iterable[str], fetched: int, shown: Path
) -> None:
    _restore(repository, key, fetched)
    for instance in instances:
        given = BackupKey(
            deployment=DeploymentName(key.deployment),
            point=BackupName(key.point),
            instance=InstanceId(instance),
        )
        name = given.components()[-1]
        inner = enter_held(fetched, name, shown / name, make=True)
        try:
            _restore(repository, replace(key, instance=instance), inner)
        finally:
            os.close(inner)


def _restore(repository: Repository, key: PointKey, place: int) -> None:
    problems: TreeProblems = repository.reader(key).restore_tree(_ITEM, place)
    if problems:
        raise DamagedError(f"{key} did not come back as it was: {problems}")
