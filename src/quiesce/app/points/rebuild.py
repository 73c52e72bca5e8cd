"""Rebuild the catalog from the manifests that lie next to the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from quiesce.app.points.manifests import repositories
from quiesce.app.services import Services
from quiesce.errors import PlanError
from quiesce.model.consistency import weakest
from quiesce.model.ids import BackupName, ExecutionId, InstanceId
from quiesce.model.manifest import Copy, LeftOut, Rebuilt, Survey
from quiesce.model.restore_point import Artifact, PointState, RestorePoint

_NO_MANIFEST: Final = "it is incomplete: its restore point has no manifest"


def rebuild(services: Services, deployment: str) -> Rebuilt:
    """Put into the catalog what the repositories of *deployment* hold and the catalog does not know.

    Only manifests are read, and files only looked at: `quiesce.app.points.verify` reads the data.

    Raises:
        UnknownNameError: when there is no such deployment.
        BusyError: when an execution runs on it.
        PlanError: when none of its nodes keeps backups in a repository.
    """
    found = services.deployments.get(deployment)
    lease = services.leases.acquire(found.name, ExecutionId("backups-rebuild"))
    try:
        instances = found.topology.instances.keys()
        kept = repositories(services, found, instances)
        if not kept:
            raise PlanError(
                f"no node of {deployment} keeps backups in a repository, so there is nothing to rebuild from"
            )
        surveys = [services.manifests.survey(each, found.name) for each in sorted(set(kept.values()))]
        known = [point.name for point in services.catalog.list(found.name) if not point.damage]
        rebuilt = judge_surveys(surveys, known, instances=instances, keeping=kept.keys())
        for point in rebuilt.added:
            services.catalog.save(point)
        return rebuilt
    finally:
        lease.release()


def judge_surveys(
    surveys: Sequence[Survey],
    known: Collection[BackupName],
    *,
    instances: Collection[InstanceId],
    keeping: Collection[InstanceId],
) -> Rebuilt:
    """Tell what belongs into the catalog and what is left out, and why.

    Of *instances*, those *keeping* their backups in repositories must have a copy there.
    """
    copies = frozenset(copy for survey in surveys for copy in survey.copies)
    left_out = [each for survey in surveys for each in survey.left_out]
    added = []
    told = _by_name(surveys)
    for name, point in told.items():
        if name in known:
            continue
        sound, problems = _sound(point, copies, instances, keeping)
        left_out += problems
        if sound is not None:
            added.append(sound)
    left_out += [
        LeftOut(path=f"{copy.instance} of {copy.point}", reason=_NO_MANIFEST)
        for copy in sorted(copies, key=lambda copy: (copy.point, copy.instance))
        if copy.point not in told and copy.point not in known
    ]
    return Rebuilt(
        added=tuple(sorted(added, key=lambda point: (point.sequence, point.made_at))),
        known=tuple(name for name in told if name in known),
        left_out=tuple(left_out),
        directories=tuple(survey.directory for survey in surveys),
    )


def _by_name(surveys: Iterable[Survey]) -> Mapping[BackupName, RestorePoint]:
    """Where repositories disagree, the one with the lower promise counts."""
    found: dict[BackupName, RestorePoint] = {}
    for survey in surveys:
        for manifest in survey.manifests:
            point = manifest.point
            other = found.get(point.name)
            if other is None or _promise(point) < _promise(other):
                found[point.name] = point
    return found


def _promise(point: RestorePoint) -> tuple[int, int]:
    return len(point.artifacts), point.consistency


def _sound(
    point: RestorePoint,
    copies: Collection[Copy],
    instances: Collection[InstanceId],
    keeping: Collection[InstanceId],
) -> tuple[RestorePoint | None, list[LeftOut]]:
    unknown = sorted(a.instance for a in point.artifacts if a.instance not in instances)
    if unknown:
        reason = (
            f"it holds {', '.join(unknown)}, which this deployment does not have: forget the deployment "
            "(quiesce deployments remove), and init it with --from-repository"
        )
        return None, [LeftOut(path=point.name, reason=reason)]
    missing = {
        artifact.instance
        for artifact in point.artifacts
        if artifact.instance in keeping and not _is_there(point, artifact, copies)
    }
    problems = [
        LeftOut(path=f"{instance} of {point.name}", reason="no complete copy of it is there", damaged=True)
        for instance in sorted(missing)
    ]
    there = tuple(artifact for artifact in point.artifacts if artifact.instance not in missing)
    if not there:
        return None, problems
    state = PointState.PARTIAL if missing else point.state
    consistency = weakest(artifact.consistency for artifact in there)
    return replace(point, state=state, consistency=consistency, artifacts=there, proofs=()), problems


def _is_there(point: RestorePoint, artifact: Artifact, copies: Collection[Copy]) -> bool:
    """Tell whether the artifact's files are there; what has none (but a clone, say) is taken to be."""
    copy = Copy(point=point.name, instance=artifact.instance, execution=point.execution)
    return "files" not in artifact.content or copy in copies
