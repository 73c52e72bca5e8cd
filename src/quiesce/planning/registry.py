"""The workflows by name. The command line, help, documentation tests and crash tests follow from this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.errors import UnknownNameError
from quiesce.model.capabilities import Description
from quiesce.model.ids import BackupName
from quiesce.model.operation import (
    FREEZE_RESUME,
    FREEZE_SUSPEND,
    FS_FINALIZE,
    FS_PREPARE,
    LIFECYCLE_RESUME,
    LIFECYCLE_SUSPEND,
    SNAPSHOT_APPLY,
    SNAPSHOT_CREATE,
    SNAPSHOT_DELETE,
    STATISTICS,
    STATISTICS_ALIAS,
)
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Topology
from quiesce.planning.backup import plan_backup
from quiesce.planning.binding import bind
from quiesce.planning.drafting import PlanRequest
from quiesce.planning.options import check_node_options
from quiesce.planning.remove_backup import plan_remove_backup
from quiesce.planning.restore import plan_restore
from quiesce.planning.resume import plan_resume
from quiesce.planning.selection import select
from quiesce.planning.statistics import plan_statistics
from quiesce.planning.suspend import plan_suspend


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One thing that a user asks for by name."""

    name: str
    planner: Callable[[PlanRequest], Plan]
    #: every operation that it may run
    interfaces: tuple[str, ...]
    #: one sentence for help
    help: str
    #: whether only one such execution may run on a deployment at a time
    mutating: bool = True
    #: whether it works on restore points that are there already
    needs_point: bool = False


WORKFLOWS: Final = {
    workflow.name: workflow
    for workflow in (
        Workflow(
            name="suspend",
            planner=plan_suspend,
            interfaces=(LIFECYCLE_SUSPEND, FREEZE_SUSPEND),
            help="Stop the processors of the whole deployment, memory kept.",
        ),
        Workflow(
            name="resume",
            planner=plan_resume,
            interfaces=(FREEZE_RESUME, LIFECYCLE_RESUME),
            help="Let a suspended deployment go on.",
        ),
        Workflow(
            name="backup",
            planner=plan_backup,
            interfaces=(FS_PREPARE, SNAPSHOT_CREATE, FS_FINALIZE, SNAPSHOT_DELETE),
            help="Make a restore point: one consistent cut through the whole deployment.",
        ),
        Workflow(
            name="restore",
            planner=plan_restore,
            interfaces=(FS_PREPARE, SNAPSHOT_CREATE, SNAPSHOT_APPLY, FS_FINALIZE, SNAPSHOT_DELETE),
            help="Put the deployment back to a restore point.",
            needs_point=True,
        ),
        Workflow(
            name="remove_backup",
            planner=plan_remove_backup,
            interfaces=(SNAPSHOT_DELETE,),
            help="Remove a restore point; the running deployment is not disturbed.",
            needs_point=True,
        ),
        Workflow(
            name="statistics",
            planner=plan_statistics,
            interfaces=(STATISTICS, STATISTICS_ALIAS),
            help="Measure every instance.",
            mutating=False,
        ),
    )
}


def workflow_named(name: str) -> Workflow:
    """Return the workflow called *name* (``remove-backup`` means ``remove_backup``).

    Raises:
        UnknownNameError: listing the workflows there are.
    """
    workflow = WORKFLOWS.get(name.replace("-", "_"))
    if workflow is None:
        raise UnknownNameError("workflow", name, WORKFLOWS)
    return workflow


def plan_workflow(
    workflow: str,
    topology: Topology,
    descriptions: Sequence[Description],
    parameters: Parameters,
    *,
    points: Sequence[RestorePoint] = (),
    safety_name: BackupName | None = None,
) -> Plan:
    """Return what *workflow* would do; the same arguments give the same plan.

    Raises:
        PlanError: when it cannot be done; nothing was touched.
        UnknownNameError: when *parameters* name something that is not there.
    """
    found = workflow_named(workflow)
    instances = select(topology, parameters)
    taking_part = {topology.instances[instance].node for instance in instances}
    nodes = [topology.nodes[node] for node in topology.nodes if node in taking_part]
    bindings = bind(nodes, descriptions, found.interfaces)
    check_node_options(nodes, bindings, descriptions)
    request = PlanRequest(
        topology=topology,
        bindings=bindings,
        parameters=parameters,
        instances=instances,
        points=tuple(points),
        safety_name=safety_name,
    )
    return found.planner(request)
