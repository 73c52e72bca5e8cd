"""Write down next to the data what the catalog knows of it, and rebuild the catalog from that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from quiesce.app.proving import asker, question
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError, UnknownNameError
from quiesce.model.consistency import weakest
from quiesce.model.deployment import Deployment
from quiesce.model.ids import BackupName, ExecutionId, InstanceId, deployment_name
from quiesce.model.manifest import Copy, LeftOut, PointManifest, Rebuilt, Survey
from quiesce.model.operation import SNAPSHOT_CREATE
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.planning.binding import bind
from quiesce.ports import Keeper

_WRITTEN = (PointState.COMPLETE, PointState.PARTIAL)
_NO_MANIFEST = "it is incomplete: its restore point has no manifest"


def keep_manifests(services: Services, deployment: Deployment, points: Iterable[RestorePoint]) -> str:
    """Make the manifests of full copies say what *points* say now; return what went wrong, or nothing.

    A restore point that is not whole, or is being removed, has none.
    """
    troubles = []
    for point in (point for point in points if point.full):
        try:
            _keep_manifest(services, deployment, point)
        except (ProviderError, PlanError) as error:
            troubles.append(f"the manifest of {point.name} could not be brought up to date: {error}")
    return "; ".join(troubles)


def forget_manifests(services: Services, deployment: Deployment, points: Iterable[RestorePoint]) -> None:
    """Remove the manifests of *points* where they can be reached: what they say will soon be untrue."""
    for point in points:
        if point.full:
            with suppress(ProviderError, PlanError):
                _keep_manifest(services, deployment, replace(point, state=PointState.REMOVING))


def _keep_manifest(services: Services, deployment: Deployment, point: RestorePoint) -> None:
    whole = tuple(artifact for artifact in point.artifacts if artifact.state is PointState.COMPLETE)
    held = {artifact.instance for artifact in point.artifacts} or deployment.topology.instances.keys()
    for directory in sorted(set(repositories(services, deployment, held).values())):
        if point.state in _WRITTEN and whole:
            manifest = PointManifest(
                point=replace(point, artifacts=whole, proofs=()),
                instances=deployment.topology.instances,
                runtime_properties=services.deployments.runtime_properties(deployment.name),
            )
            services.manifests.write(directory, manifest)
        else:
            services.manifests.remove(directory, deployment.name, point.name)


def repositories(
    services: Services, deployment: Deployment, instances: Collection[InstanceId]
) -> Mapping[InstanceId, str]:
    """Return the repository of each of *instances* whose full backups are kept in one.

    Raises:
        ProviderError: when a node's properties cannot be evaluated.
        PlanError: when a provider's SDK is missing.
    """
    topology = deployment.topology
    bindings = bind(topology.nodes.values(), services.descriptions, (SNAPSHOT_CREATE,))
    performer = asker(services, deployment, "repositories")
    found: dict[InstanceId, str] = {}
    for instance in topology.instances.values():
        binding = bindings[instance.node].get(SNAPSHOT_CREATE)
        if binding is None or instance.id not in instances:
            continue
        provider = services.provider(binding.provider)
        if isinstance(provider, Keeper):
            step = replace(question(instance, binding), interface=SNAPSHOT_CREATE, declared=binding.declared)
            found[instance.id] = provider.repository(performer.call_of(step))
    return found


def rebuild(services: Services, deployment: str) -> Rebuilt:
    """Put into the catalog what the repositories of *deployment* hold and the catalog does not know.

    Only manifests are read, and files only looked at: `proving.verify` reads the data.

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
        known = [point.name for point in services.catalog.list(found.name)]
        rebuilt = judge_surveys(surveys, known, instances=instances, keeping=kept.keys())
        for point in rebuilt.added:
            services.catalog.save(point)
        return rebuilt
    finally:
        lease.release()


def newest_manifest(services: Services, directory: str, deployment: str) -> PointManifest:
    """Return the newest manifest of *deployment* in a repository; the data is named after its instances.

    Raises:
        UnknownNameError: when there is none; the message lists the deployments of which there is one.
    """
    survey = services.manifests.survey(directory, deployment_name(deployment))
    if not survey.manifests:
        raise UnknownNameError(f"backup in {directory} of deployment", deployment, survey.deployments)
    return max(survey.manifests, key=lambda manifest: manifest.point.made_at)


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
        sound, troubles = _sound(point, copies, instances, keeping)
        left_out += troubles
        if sound is not None:
            added.append(sound)
    left_out += [
        LeftOut(path=f"{copy.instance} of {copy.point}", reason=_NO_MANIFEST)
        for copy in sorted(copies, key=lambda copy: (copy.point, copy.instance))
        if copy.point not in told and copy.point not in known
    ]
    return Rebuilt(
        added=tuple(sorted(added, key=lambda point: point.made_at)),
        known=tuple(name for name in told if name in known),
        left_out=tuple(left_out),
        directories=tuple(survey.directory for survey in surveys),
    )


def _by_name(surveys: Iterable[Survey]) -> Mapping[BackupName, RestorePoint]:
    """Where repositories disagree, the one that promises less counts."""
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
    troubles = [
        LeftOut(path=f"{instance} of {point.name}", reason="no complete copy of it is there", damaged=True)
        for instance in sorted(missing)
    ]
    there = tuple(artifact for artifact in point.artifacts if artifact.instance not in missing)
    if not there:
        return None, troubles
    state = PointState.PARTIAL if missing else point.state
    consistency = weakest(artifact.consistency for artifact in there)
    return replace(point, state=state, consistency=consistency, artifacts=there, proofs=()), troubles


def _is_there(point: RestorePoint, artifact: Artifact, copies: Collection[Copy]) -> bool:
    """Tell whether the artifact's files are there; what has none (but a clone, say) is taken to be."""
    copy = Copy(point=point.name, instance=artifact.instance, execution=point.execution)
    return "files" not in artifact.content or copy in copies
