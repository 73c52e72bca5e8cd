"""backup: one consistent cut, and the copies after the thaw."""

from __future__ import annotations

from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest
from quiesce.planning.preparing import add_preparations, add_removal_of_preparations
from quiesce.planning.window import add_freezes, add_thaws


def plan_backup(request: PlanRequest) -> Plan:
    """Prepare, freeze services then computes, cut all, thaw in reverse, copy; undo it all if it fails.

    Raises:
        PlanError: when no instance can be cut.
    """
    draft = PlanDraft(request)
    name = request.parameters.snapshot_name
    instances = draft.having(SNAPSHOT_CREATE)
    if not instances:
        raise PlanError(
            "nothing can be backed up: no chosen node has cloudify.interfaces.snapshot.create",
            hint="Use node types that quiesce knows, or give the nodes that operation in the blueprint.",
        )
    add_preparations(draft, name)
    add_freezes(draft)
    draft.add_group("cut", SNAPSHOT_CREATE, instances, point=name)
    cuts = [step for step in draft.steps if step.operation is Operation.SNAPSHOT]
    add_thaws(draft)
    copying = [instance for instance in instances if _copies(draft, instance)]
    draft.add_group("copy", SNAPSHOT_CREATE, copying, suffix=".copy", operation=Operation.COPY, point=name)
    if not request.parameters.keep_partial:
        draft.add_undo("remove incomplete cuts", cuts)
        add_removal_of_preparations(draft, name)
    return draft.finish()


def _copies(draft: PlanDraft, instance: InstanceId) -> bool:
    binding = draft.binding(instance, SNAPSHOT_CREATE)
    if binding is None:
        return False
    if draft.request.parameters.snapshot_incremental:
        return binding.capabilities.copies_snapshots
    return binding.capabilities.copies_backups
