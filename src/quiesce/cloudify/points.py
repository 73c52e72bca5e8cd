"""Which restore points a workflow inside Cloudify works on: those of the catalog, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quiesce.app.points.naming import point_named
from quiesce.app.points.verify import refuse_damaged, refuse_damaged_entry
from quiesce.app.run.execution import Watching
from quiesce.app.run.run import fill_in_kind
from quiesce.app.services import Services
from quiesce.cloudify.names import CLOUDIFYS, MADE_ELSEWHERE
from quiesce.errors import PlanError, UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, Json
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import Topology
from quiesce.planning import Workflow


def wanted_points(
    services: Services,
    deployment: DeploymentName,
    workflow: Workflow,
    wanted: dict[str, Json],
    topology: Topology,
) -> tuple[RestorePoint, ...]:
    """Return the restore points that *workflow* is to work on; *wanted* are its parameters as given.

    What the catalog says of the one that was found is added to *wanted*.

    Raises:
        UsageError, UnknownNameError, PlanError, DamagedError: when there is none such, or it is of no use.
    """
    elsewhere = str(wanted.pop(MADE_ELSEWHERE, "")).lower() == "true"
    if not workflow.takes_points:
        return ()
    known = services.catalog.list(deployment)
    if workflow.removes_points and str(wanted.get("all", "")).lower() == "true":
        return tuple(known)
    name = str(wanted.get("snapshot_name") or "")
    if not name:
        there = ", ".join(point.name for point in known) or "none"
        raise UsageError(f"Backup name must be provided: snapshot_name; there is: {there}")
    if elsewhere and name not in {point.name for point in known}:
        return (_assumed(BackupName(name), topology, wanted, deployment),)
    return (_found(services, deployment, workflow, name, wanted),)


def check_first(
    services: Services, deployment: Deployment, plan: Plan, points: Sequence[RestorePoint], watching: Watching
) -> None:
    """Read what *plan* will read of *points*, before anything is touched.

    Raises:
        DamagedError, UnreachableError, CancelledError: see `refuse_damaged`.
    """
    read = {step.instance for step in plan.steps if step.operation in (Operation.APPLY, Operation.EXTRACT)}
    for point in points if read else ():
        if point.execution:
            refuse_damaged(
                services,
                deployment,
                point,
                read.intersection(artifact.instance for artifact in point.artifacts),
                mode=plan.parameters.verify_first,
                cancelled=watching.cancel_asked,
            )


def _found(
    services: Services, deployment: DeploymentName, workflow: Workflow, name: str, wanted: dict[str, Json]
) -> RestorePoint:
    find = point_named if workflow.reads_points else _named_exactly
    try:
        point = find(services, deployment, name)
    except UnknownNameError as error:
        hint = f"If the old plugin made it, or another QUIESCE_HOME knows it: -p {MADE_ELSEWHERE}=true"
        raise UnknownNameError(f"restore point of {deployment}", name, error.known, hint=hint) from None
    wanted["snapshot_name"] = point.name
    fill_in_kind(point, wanted)
    if workflow.reads_points:
        refuse_damaged_entry(point)
        if point.state not in (PointState.COMPLETE, PointState.PARTIAL):
            raise PlanError(
                f"{point.name} is {point.state}, so it cannot be restored",
                hint="Remove what is left of it with remove_backup.",
            )
    return point


def _named_exactly(services: Services, deployment: DeploymentName, name: str) -> RestorePoint:
    return services.catalog.get(deployment, name)


def _assumed(
    name: BackupName, topology: Topology, wanted: Mapping[str, Json], deployment: DeploymentName
) -> RestorePoint:
    """Return a restore point that holds something of every instance."""
    artifacts = tuple(
        Artifact(
            instance=instance,
            provider=CLOUDIFYS,
            function="",
            state=PointState.COMPLETE,
            consistency=Consistency.NONE,
        )
        for instance in topology.instances
    )
    return RestorePoint(
        deployment=deployment,
        name=name,
        full=str(wanted.get("snapshot_incremental", True)).lower() == "false",
        type="",
        rotation=1,
        execution=ExecutionId(""),
        state=PointState.COMPLETE,
        consistency=Consistency.NONE,
        made_at=0.0,
        artifacts=artifacts,
    )
