"""Keep a manifest of each restore point next to its data: what the catalog knows of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.services import Services
from quiesce.errors import DamagedError, PlanError, ProviderError, UnknownNameError, UnreachableError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import BackupName, InstanceId, deployment_name
from quiesce.model.manifest import PointManifest
from quiesce.model.operation import SNAPSHOT_CREATE
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.planning.binding import bind
from quiesce.planning.retention import is_from_future
from quiesce.ports import RepositoryUser

_WRITTEN = (PointState.COMPLETE, PointState.PARTIAL)


def keep_manifests(services: Services, deployment: Deployment, points: Iterable[RestorePoint]) -> str:
    """Make the manifests of full copies say what *points* say now; return what went wrong, or nothing.

    A restore point that is not whole, or is being removed, has none. The digests of what was written are put
    into the catalog, for `quiesce.app.points.verify` to compare.
    """
    problems = []
    for point in (point for point in points if point.full):
        try:
            _keep_manifest(services, deployment, point)
        except (ProviderError, PlanError) as error:
            problems.append(f"the manifest of {point.name} could not be brought up to date: {error}")
    return "; ".join(problems)


def forget_manifests(services: Services, deployment: Deployment, points: Iterable[RestorePoint]) -> None:
    """Remove the manifests of *points* where they can be reached: what they say will soon be untrue."""
    for point in points:
        if point.full:
            with suppress(ProviderError, PlanError):
                _keep_manifest(services, deployment, replace(point, state=PointState.REMOVING))


def _keep_manifest(services: Services, deployment: Deployment, point: RestorePoint) -> None:
    whole = tuple(artifact for artifact in point.artifacts if artifact.state is PointState.COMPLETE)
    held = {artifact.instance for artifact in point.artifacts} or deployment.topology.instances.keys()
    kept = repositories(services, deployment, held)
    if point.manifest_sha256:  # where it was written once, a repository is, or something else for the moment
        away = away_repositories(services, point, kept)
        kept = {instance: directory for instance, directory in kept.items() if directory not in away}
    if point.state not in _WRITTEN or not whole:
        for directory in sorted(set(kept.values())):
            services.manifests.remove(directory, point)
        return
    _write(services, deployment, replace(point, artifacts=whole), kept)


def _write(
    services: Services, deployment: Deployment, point: RestorePoint, kept: Mapping[InstanceId, str]
) -> None:
    """Write *point*'s manifest into every repository that holds a part of it, and remember its digest."""
    artifacts = tuple(_with_digest(services, point, each, kept) for each in point.artifacts)
    manifest = PointManifest(
        point=replace(point, artifacts=artifacts, proofs=(), manifest_sha256=""),
        instances=deployment.topology.instances,
        runtime_properties=services.deployments.runtime_properties(deployment.name),
    )
    digests = [
        services.manifests.write(directory, manifest, known=bool(point.manifest_sha256))
        for directory in sorted(set(kept.values()))
    ]
    if digests:
        by_instance = {artifact.instance: artifact for artifact in artifacts}
        saved = services.catalog.get(point.deployment, point.name)
        every = tuple(by_instance.get(artifact.instance, artifact) for artifact in saved.artifacts)
        services.catalog.save(replace(saved, artifacts=every, manifest_sha256=digests[0]))


def _with_digest(
    services: Services, point: RestorePoint, artifact: Artifact, kept: Mapping[InstanceId, str]
) -> Artifact:
    """Return *artifact* with the digest of its copy's manifest; one that is known already is not replaced."""
    if artifact.manifest_sha256 or artifact.instance not in kept:
        return artifact
    digest = services.manifests.digest(kept[artifact.instance], point, artifact.instance)
    return replace(artifact, manifest_sha256=digest or "")


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
    inquiry = Inquiry(services, deployment, "repositories")
    found: dict[InstanceId, str] = {}
    for instance in topology.instances.values():
        binding = bindings[instance.node].get(SNAPSHOT_CREATE)
        if binding is None or instance.id not in instances:
            continue
        provider = services.provider(binding.provider)
        if isinstance(provider, RepositoryUser):
            step = replace(question(instance, binding), interface=SNAPSHOT_CREATE, declared=binding.declared)
            found[instance.id] = provider.repository(inquiry.call_of(step))
    return found


def away_repositories(
    services: Services, point: RestorePoint, kept: Mapping[InstanceId, str]
) -> Mapping[str, str]:
    """Return why repositories are not there: not mounted, or another one in the place."""
    found = {}
    for directory in sorted(set(kept.values())):
        held = [each for each in point.artifacts if kept.get(each.instance) == directory]
        why = services.manifests.why_away(directory)
        for artifact in held:
            if not why and manifest_damage(services, point, artifact, directory):
                why = services.manifests.why_away(directory, artifact.repository)
        if why:
            found[directory] = why
    return found


def manifest_damage(
    services: Services, point: RestorePoint, artifact: Artifact, directory: str | None
) -> str:
    """Return why *artifact*'s manifest is not the one that the catalog knows; empty when it is."""
    if not artifact.manifest_sha256 or directory is None:
        return ""
    digest = services.manifests.digest(directory, point, artifact.instance)
    return (
        ""
        if digest == artifact.manifest_sha256
        else f"its manifest in {directory} {manifest_difference(digest)}"
    )


def manifest_difference(digest: str | None) -> str:
    """Say what is wrong with a manifest whose digest is *digest* now."""
    return "is gone" if digest is None else "is not the one that the catalog knows"


def refuse_missing_repositories(
    services: Services, deployment: Deployment, instances: Collection[InstanceId]
) -> None:
    """Refuse to begin a new repository where the catalog knows full copies of *instances* to be.

    Raises:
        UnreachableError: when one is not there: it may not be mounted.
    """
    held = {
        artifact.instance
        for point in services.catalog.list(deployment.name)
        if point.manifest_sha256
        for artifact in point.artifacts
    }
    kept = repositories(services, deployment, held.intersection(instances))
    for directory in sorted(set(kept.values())):
        if why := services.manifests.why_away(directory):
            raise UnreachableError(
                f"{why}; the catalog knows backups of {deployment.name} there",
                hint="Mount it. If backups are to begin anew there, make that file first, empty.",
            )


def refuse_taken_name(
    services: Services, deployment: Deployment, name: BackupName, instances: Collection[InstanceId]
) -> None:
    """Refuse a restore point's name under which a repository holds one that the catalog does not know.

    Raises:
        PlanError: when that is so.
    """
    for directory in sorted(set(repositories(services, deployment, instances).values())):
        if services.manifests.has_manifest(directory, deployment.name, name):
            raise PlanError(
                f"{directory} holds a restore point {name!r} of {deployment.name}, "
                "which the catalog does not know",
                hint="Choose another snapshot_name, or bring that one back: "
                f"quiesce backups rebuild {deployment.name}",
            )


def newest_manifest(services: Services, directory: str, deployment: str) -> PointManifest:
    """Return the newest manifest of *deployment* in a repository; the data is named after its instances.

    Raises:
        UnknownNameError: when there is none; the message lists the deployments of which there is one.
        DamagedError: when there are only such that cannot be trusted.
    """
    survey = services.manifests.survey(directory, deployment_name(deployment))
    refused = [left for left in survey.left_out if left.damaged]
    if refused and not survey.manifests:
        raise DamagedError(
            f"no manifest in {directory} can be trusted; the first of {len(refused)}: {refused[0].reason}",
            hint="Were they written by another machine, or with a QUIESCE_HOME that is lost? Then bring its "
            "keys: quiesce keys import. If not, they are forged or damaged.",
        )
    if not survey.manifests:
        raise UnknownNameError(f"backup in {directory} of deployment", deployment, survey.deployments)
    now = services.clock.now()

    def age(manifest: PointManifest) -> tuple[bool, int, float]:
        point = manifest.point
        return not is_from_future(point, now), point.sequence, point.made_at

    return max(survey.manifests, key=age)
