"""remove_backup: delete, without disturbing what runs."""

from __future__ import annotations

from quiesce.model.operation import SNAPSHOT_DELETE
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest


def plan_remove_backup(request: PlanRequest) -> Plan:
    """Delete each chosen restore point, one after the other; newest first, because older may be its base."""
    draft = PlanDraft(request)
    able = frozenset(draft.having(SNAPSHOT_DELETE))
    for point in sorted(request.points, key=lambda point: (point.sequence, point.made_at), reverse=True):
        held = [artifact.instance for artifact in point.artifacts if artifact.instance in able]
        if not point.artifacts:
            # nothing can be read of it any more: everybody looks for what bears its name
            held = sorted(able)
        draft.add_group(
            f"delete {point.name}", SNAPSHOT_DELETE, held, suffix=f".{point.name}", point=point.name
        )
        for artifact in point.artifacts:
            if artifact.instance in request.instances and artifact.instance not in able:
                draft.warnings.append(f"{artifact.instance} has no operation to delete {point.name}")
    if not request.points:
        draft.warnings.append("there is no restore point to be removed")
    return draft.finish(carry_on=True)
