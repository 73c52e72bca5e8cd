"""Which restore points a workflow inside Cloudify works on: those of the catalog, by name."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.app.run.run import find_point, refuse_unfinished
from quiesce.app.services import Services
from quiesce.cloudify.names import CLOUDIFYS, MADE_ELSEWHERE
from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, Json
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


def _found(
    services: Services, deployment: DeploymentName, workflow: Workflow, name: str, wanted: dict[str, Json]
) -> RestorePoint:
    try:
        point = find_point(services, deployment, workflow, name, wanted)
    except UnknownNameError as error:
        hint = f"If the old plugin made it, or another QUIESCE_HOME knows it: -p {MADE_ELSEWHERE}=true"
        raise UnknownNameError(f"restore point of {deployment}", name, error.known, hint=hint) from None
    if workflow.reads_points:
        refuse_unfinished(point, hint="Remove what is left of it with remove_backup.")
    return point


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
