"""The workflows: one row each. Nothing outside `quiesce.planning` knows a workflow by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import UnknownNameError
from quiesce.model.capabilities import Description
from quiesce.model.former_state import FormerState
from quiesce.model.ids import BackupName, InstanceId, Json
from quiesce.model.operation import (
    BACKUP_PREPARE,
    FREEZE_RESUME,
    FREEZE_SUSPEND,
    FS_FINALIZE,
    FS_PREPARE,
    INTERFACES,
    LIFECYCLE_RESUME,
    LIFECYCLE_SUSPEND,
    REPLACING,
    RESTORE_CONFIRM,
    RESTORE_EXTRACT,
    RESTORE_POWER_ON,
    RESTORE_PROBE,
    RESTORE_REVERT,
    RESTORE_START,
    RESTORE_STOP,
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
from quiesce.planning.drafting import PlanDraft, PlanRequest
from quiesce.planning.extract import plan_extract
from quiesce.planning.options import check_node_options
from quiesce.planning.remove_backup import plan_remove_backup
from quiesce.planning.restore import plan_restore
from quiesce.planning.resume import plan_resume
from quiesce.planning.selection import select
from quiesce.planning.statistics import plan_statistics
from quiesce.planning.suspend import plan_suspend
from quiesce.planning.undo import plan_forget_undo, plan_undo_restore
from quiesce.planning.window import vain_waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One thing that a user asks for by name, and every fact that others need to know of it."""

    name: str
    planner: Callable[[PlanRequest], Plan]
    #: every operation that it may run
    interfaces: tuple[str, ...]
    #: one sentence for help
    help: str
    #: parameters in the example of its help
    example: str = ""
    #: whether only one such execution may run on a deployment at a time
    mutating: bool = True
    #: whether the restore point that it makes is what was asked for, not one for safety
    makes_point: bool = False
    #: whether it works on restore points that are there already
    takes_points: bool = False
    #: whether those are gone when it has completed
    removes_points: bool = False
    #: whether an interrupted one is ended (or rolled back) without asking: it changes nothing that runs
    safe_to_end: bool = False
    #: whether it is refused while the deployment may be half restored
    needs_whole_state: bool = False
    #: what part of the node instances may be active for Cloudify to start it: ``all``, ``partial``, ``none``
    availability: tuple[str, ...] = ("all",)
    #: how its last log line begins when it has completed; the restore point's name follows
    closing: str = ""
    #: what to do when it has failed, for the deployment ``{deployment}``
    advice: str = ""
    #: the workflow's command that it is an option of, by the option's name, instead of one of its own
    option_of: tuple[str, str] | None = None
    #: whether it works on what restores have replaced
    takes_former: bool = False
    #: defaults that are not the parameters' own
    defaults: Mapping[str, Json] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """How it is called on the command line."""
        if self.option_of is not None:
            return " --".join(self.option_of)
        return self.name.replace("_", "-")

    @property
    def freezes(self) -> bool:
        """Whether it may freeze something."""
        return FS_PREPARE in self.interfaces

    @property
    def applies_points(self) -> bool:
        """Whether it puts instances back to a restore point."""
        return SNAPSHOT_APPLY in self.interfaces

    @property
    def reads_points(self) -> bool:
        """Whether it needs what a restore point holds."""
        return self.applies_points or RESTORE_EXTRACT in self.interfaces

    @property
    def measures(self) -> bool:
        """Whether it measures instances, so that running it again and again makes a series."""
        return STATISTICS in self.interfaces

    @property
    def replaces(self) -> bool:
        """Whether it puts another state in the place of what runs."""
        return any(INTERFACES[interface] in REPLACING for interface in self.interfaces)


BACKUP: Final = Workflow(
    name="backup",
    planner=plan_backup,
    interfaces=(BACKUP_PREPARE, FS_PREPARE, SNAPSHOT_CREATE, FS_FINALIZE, SNAPSHOT_DELETE),
    help="Make a restore point: one consistent cut through the whole deployment.",
    example="-p snapshot_name=nightly",
    makes_point=True,
    safe_to_end=True,
    needs_whole_state=True,
    availability=("all", "partial"),
    closing="Backuped to",
)
EXTRACT: Final = Workflow(
    name="extract",
    planner=plan_extract,
    interfaces=(RESTORE_EXTRACT,),
    help="Write what a restore point holds below a directory; the deployment is not touched.",
    option_of=("restore", "target"),
    mutating=False,
    takes_points=True,
    availability=("all", "partial", "none"),
    closing="Extracted",
)
REMOVE_BACKUP: Final = Workflow(
    name="remove_backup",
    planner=plan_remove_backup,
    interfaces=(SNAPSHOT_DELETE,),
    help="Remove a restore point; the running deployment is not disturbed.",
    example="-p snapshot_name=nightly",
    takes_points=True,
    removes_points=True,
    safe_to_end=True,
    availability=("all", "partial", "none"),
    closing="Removed",
)
UNDO_RESTORE: Final = Workflow(
    name="undo_restore",
    planner=plan_undo_restore,
    interfaces=(RESTORE_STOP, FS_PREPARE, RESTORE_REVERT, FS_FINALIZE, RESTORE_START, RESTORE_PROBE),
    help="Put back what the last restore replaced; once more, and the restored state is there again.",
    option_of=("restore", "undo"),
    takes_former=True,
    availability=("all", "partial", "none"),
    defaults={"max_freeze": 3600},
)
#: by name. The command line, Cloudify's ``plugin.yaml`` and the tests of documentation follow from this
WORKFLOWS: Final = {
    workflow.name: workflow
    for workflow in (
        Workflow(
            name="suspend",
            planner=plan_suspend,
            interfaces=(LIFECYCLE_SUSPEND, FREEZE_SUSPEND),
            help="Pause the processors of the whole deployment; memory is kept.",
            needs_whole_state=True,
            advice="Part of it is suspended: quiesce resume {deployment}, or suspend it again",
        ),
        Workflow(
            name="resume",
            planner=plan_resume,
            interfaces=(FREEZE_RESUME, LIFECYCLE_RESUME),
            help="Resume a suspended deployment.",
            availability=("all", "partial"),
        ),
        BACKUP,
        Workflow(
            name="restore",
            planner=plan_restore,
            interfaces=(
                RESTORE_STOP,
                FS_PREPARE,
                SNAPSHOT_CREATE,
                SNAPSHOT_APPLY,
                RESTORE_POWER_ON,
                FS_FINALIZE,
                RESTORE_CONFIRM,
                RESTORE_START,
                RESTORE_PROBE,
                SNAPSHOT_DELETE,
            ),
            help="Put the deployment back to a restore point.",
            example="-p snapshot_name=nightly",
            takes_points=True,
            availability=("all", "partial", "none"),
            closing="Restored from",
            defaults={"max_freeze": 3600},
        ),
        UNDO_RESTORE,
        EXTRACT,
        Workflow(
            name="forget_undo",
            planner=plan_forget_undo,
            interfaces=(RESTORE_CONFIRM,),
            help="Remove what the last restore replaced, so that it cannot be undone any more.",
            option_of=("restore", "forget-undo"),
            takes_former=True,
            safe_to_end=True,
            availability=("all", "partial", "none"),
            defaults={"keep_undo": 0},
        ),
        REMOVE_BACKUP,
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


def makes_full_point(plan: Plan) -> bool:
    """Tell whether the restore point that *plan* makes is a full copy; one for safety never is."""
    workflow = WORKFLOWS.get(plan.workflow)
    return workflow is not None and workflow.makes_point and not plan.parameters.snapshot_incremental


def plan_workflow(
    workflow: str,
    topology: Topology,
    descriptions: Sequence[Description],
    parameters: Parameters,
    *,
    points: Sequence[RestorePoint] = (),
    safety_name: BackupName | None = None,
    former: Mapping[InstanceId, FormerState] | None = None,
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
        workflow=found.name,
        topology=topology,
        bindings=bindings,
        parameters=parameters,
        instances=instances,
        points=tuple(points),
        safety_name=safety_name,
        former=former,
    )
    return found.planner(request)


def freezes_in_vain(
    topology: Topology, descriptions: Sequence[Description]
) -> Mapping[InstanceId, Sequence[InstanceId]]:
    """Return whose freeze may wait for ever in a backup of the whole deployment, and for whom.

    Raises:
        PlanError: when no provider answers for a freeze.
    """
    instances = tuple(topology.instances)
    request = PlanRequest(
        workflow=BACKUP.name,
        topology=topology,
        bindings=bind(topology.nodes.values(), descriptions, (FS_PREPARE,)),
        parameters=Parameters(),
        instances=instances,
    )
    draft = PlanDraft(request)
    return vain_waits(draft, draft.having(FS_PREPARE))
