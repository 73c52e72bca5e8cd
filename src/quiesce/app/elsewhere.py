"""A restore into another deployment: which instance is put into which, and what the other one holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quiesce.app.services import Services
from quiesce.errors import PlanError, UnknownNameError, UsageError
from quiesce.model.capabilities import Description
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import SNAPSHOT_APPLY
from quiesce.model.parameters import Parameters
from quiesce.model.restore_point import Artifact, RestorePoint
from quiesce.model.topology import Topology

#: what a provider of blueprints' own implementations runs
_A_KIND: Final = {"script": "a script", "function": "a function", "terminal": "commands over SSH"}
_NOT_TOLD: Final = "which is not told whose restore point it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where a restore takes its restore point from."""

    source: Deployment
    point: RestorePoint
    #: by instance of the deployment that is restored
    origins: Mapping[InstanceId, InstanceId]

    @property
    def mapped_point(self) -> RestorePoint:
        """The restore point as if it held the instances that it is restored to."""
        held = {artifact.instance: artifact for artifact in self.point.artifacts}
        artifacts = tuple(replace(held[source], instance=target) for target, source in self.origins.items())
        return replace(self.point, artifacts=artifacts)

    def origins_of(self, instances: Iterable[InstanceId]) -> set[InstanceId]:
        """Return the instances whose parts are put into *instances*."""
        return {self.origins[instance] for instance in instances if instance in self.origins}


def elsewhere_of(services: Services, deployment: Deployment, parameters: Parameters) -> Elsewhere | None:
    """Return where a restore of *deployment* takes its restore point from; None: from itself.

    Raises:
        UnknownNameError: when that deployment, that restore point or a named instance is not there.
        PlanError: naming everything of the restore point that has no instance to go to.
    """
    if not parameters.source:
        return None
    source = services.deployments.get(parameters.source)
    point = services.catalog.get(source.name, str(parameters.snapshot_name))
    given = read_pairs(parameters.map, source.topology, deployment.topology)
    targets = _matched(point, source.topology, deployment.topology, given)
    wrong = [
        *_without_target(point, targets, deployment),
        *_taken_twice(targets),
        *_of_another_kind(point, targets, source.topology, deployment.topology, services.descriptions),
    ]
    if wrong:
        raise PlanError(
            f"{point.name} of {source.name} does not fit into {deployment.name}: {'; '.join(wrong)}; "
            "nothing was touched",
            hint="Say which instance goes where, --map SOURCE=TARGET, or --map SOURCE= to leave one out.",
        )
    return Elsewhere(
        source=source, point=point, origins={target: source for source, target in targets.items() if target}
    )


def read_pairs(texts: Sequence[str], source: Topology, target: Topology) -> Mapping[InstanceId, str]:
    """Return what ``SOURCE=TARGET`` says; an empty target leaves the source out.

    Raises:
        UsageError: when it is not of that form.
        UnknownNameError: when there is no such instance.
    """
    pairs: dict[InstanceId, str] = {}
    for text in texts:
        left, equals, right = text.partition("=")
        if not equals:
            raise UsageError(f"parameter map: {text!r} is not of the form SOURCE=TARGET")
        for name, where in ((left, source), (right, target)):
            if name not in where.instances and (name or where is source):
                raise UnknownNameError("node instance", name, where.instances)
        pairs[InstanceId(left)] = right
    return pairs


def _matched(
    point: RestorePoint, source: Topology, target: Topology, given: Mapping[InstanceId, str]
) -> Mapping[InstanceId, InstanceId | None]:
    """Return where each part goes: as said, else to the same node's instance of the same index."""
    places = {place: instance for instance, place in _places(target).items()}
    here = _places(source)
    found: dict[InstanceId, InstanceId | None] = {}
    for artifact in point.artifacts:
        if artifact.instance in given:
            if chosen := given[artifact.instance]:
                found[artifact.instance] = InstanceId(chosen)
        else:
            place = here.get(artifact.instance)
            found[artifact.instance] = None if place is None else places.get(place)
    return found


def _places(topology: Topology) -> Mapping[InstanceId, tuple[str, int]]:
    """Return of each instance its node, and which one of it it is."""
    counts: dict[str, int] = {}
    places = {}
    for instance in topology.instances.values():
        places[instance.id] = (instance.node, counts.get(instance.node, 0))
        counts[instance.node] = counts.get(instance.node, 0) + 1
    return places


def _without_target(
    point: RestorePoint, targets: Mapping[InstanceId, InstanceId | None], deployment: Deployment
) -> list[str]:
    return [
        f"nothing of {deployment.name} is like {artifact.instance}"
        for artifact in point.artifacts
        if artifact.instance in targets and targets[artifact.instance] is None
    ]


def _taken_twice(targets: Mapping[InstanceId, InstanceId | None]) -> list[str]:
    by_target: dict[InstanceId, list[InstanceId]] = {}
    for source, target in targets.items():
        if target is not None:
            by_target.setdefault(target, []).append(source)
    return [
        f"{', '.join(sources)} would all go to {target}"
        for target, sources in by_target.items()
        if len(sources) > 1
    ]


def _of_another_kind(
    point: RestorePoint,
    targets: Mapping[InstanceId, InstanceId | None],
    source: Topology,
    target: Topology,
    descriptions: Sequence[Description],
) -> list[str]:
    by_name = {description.name: description for description in descriptions}
    wrong = []
    for artifact in point.artifacts:
        goal = targets.get(artifact.instance)
        if goal is None:
            continue
        description = by_name.get(artifact.provider)
        reason = _own_means(artifact, target, goal, description) or _why_not(
            point, artifact, source, target, goal, description
        )
        if reason:
            wrong.append(f"{artifact.instance} cannot go to {goal}: {reason}")
    return wrong


def _why_not(  # noqa: PLR0917  everything that is compared
    point: RestorePoint,
    artifact: Artifact,
    source: Topology,
    target: Topology,
    goal: InstanceId,
    description: Description | None,
) -> str:
    if description is None or artifact.instance not in source.instances:
        return f"the provider {artifact.provider} is not known here"
    mine = description.kind_of(artifact.function, source.node_of(artifact.instance))
    its = description.kind_of(artifact.function, target.node_of(goal))
    if mine is None or not mine.capabilities.restores_elsewhere:
        what = mine.name if mine is not None else target.node_of(goal).type
        beside = mine.capabilities.beside if mine is not None else ""
        other = f", or as another one with {artifact.provider}_{beside} and without --to" if beside else ""
        return f"a {what} of {artifact.provider} can be restored to itself only{other}"
    if its is None or its.name != mine.name:
        return f"one is a {mine.name}, the other is a {target.node_of(goal).type}"
    made_anew = mine.capabilities.elsewhere_anew and not point.full
    return f"{point.name} is a snapshot, which lies in its own disks; a backup can" if made_anew else ""


def _own_means(
    artifact: Artifact, target: Topology, goal: InstanceId, description: Description | None
) -> str:
    """Return why a blueprint's own implementation cannot put it there; empty: a provider's does."""
    if description is not None and not description.kinds:
        return f"it was saved by {_A_KIND.get(description.name, description.name)}, {_NOT_TOLD}"
    own = target.node_of(goal).operations.get(SNAPSHOT_APPLY)
    if own is None or own.function.startswith(f"quiesce.{artifact.provider}."):
        return ""
    return f"{target.node_of(goal).id} is restored by {own.function} of the blueprint, {_NOT_TOLD}"
