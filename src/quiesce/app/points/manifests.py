"""Keep a manifest of each restore point next to its data: what the catalog knows of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError, UnknownNameError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId, deployment_name
from quiesce.model.manifest import PointManifest
from quiesce.model.operation import SNAPSHOT_CREATE
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.planning.binding import bind
from quiesce.ports import RepositoryUser

_WRITTEN = (PointState.COMPLETE, PointState.PARTIAL)


def keep_manifests(services: Services, deployment: Deployment, points: Iterable[RestorePoint]) -> str:
    """Make the manifests of full copies say what *points* say now; return what went wrong, or nothing.

    A restore point that is not whole, or is being removed, has none.
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


def newest_manifest(services: Services, directory: str, deployment: str) -> PointManifest:
    """Return the newest manifest of *deployment* in a repository; the data is named after its instances.

    Raises:
        UnknownNameError: when there is none; the message lists the deployments of which there is one.
    """
    survey = services.manifests.survey(directory, deployment_name(deployment))
    if not survey.manifests:
        raise UnknownNameError(f"backup in {directory} of deployment", deployment, survey.deployments)
    return max(survey.manifests, key=lambda manifest: manifest.point.made_at)
