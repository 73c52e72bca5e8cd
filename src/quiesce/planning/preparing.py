"""What is done before the window so that it is short, and what removes that when no cut came of it."""

from __future__ import annotations

from quiesce.model.ids import BackupName, InstanceId
from quiesce.model.operation import BACKUP_PREPARE, SNAPSHOT_DELETE
from quiesce.model.plan import Role
from quiesce.planning.drafting import PlanDraft, step_id


def add_preparations(draft: PlanDraft, point: BackupName | None) -> None:
    """Append the group that prepares; everything runs on, so it has no order."""
    draft.add_group("prepare", BACKUP_PREPARE, draft.having(BACKUP_PREPARE), point=point)


def add_removal_of_preparations(draft: PlanDraft, point: BackupName | None) -> None:
    """Append the group that removes what was prepared, if the execution does not complete.

    Only where a provider did it: what a blueprint's own operations leave is not known.
    """
    draft.add_group(
        "remove what was prepared",
        SNAPSHOT_DELETE,
        [i for i in draft.having(BACKUP_PREPARE) if _is_by_provider(draft, i)],
        suffix=".prepare.undo",
        role=Role.UNDO,
        of=lambda instance: step_id(instance, BACKUP_PREPARE),
        point=point,
    )


def _is_by_provider(draft: PlanDraft, instance: InstanceId) -> bool:
    bindings = [draft.binding(instance, name) for name in (BACKUP_PREPARE, SNAPSHOT_DELETE)]
    return all(binding is not None and binding.by_provider for binding in bindings)
