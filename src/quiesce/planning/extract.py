"""extract: write what a restore point holds below a directory; the deployment is not touched."""

from __future__ import annotations

from quiesce.errors import PlanError, UsageError
from quiesce.model.operation import RESTORE_EXTRACT
from quiesce.model.plan import Plan
from quiesce.model.restore_point import PointState
from quiesce.planning.drafting import PlanDraft, PlanRequest


def plan_extract(request: PlanRequest) -> Plan:
    """Plan one extraction for each instance, in no order: nothing is frozen.

    Raises:
        PlanError: naming every chosen instance whose part cannot be extracted.
        UsageError: when no target is given.
    """
    if not request.parameters.target:
        raise UsageError("extract needs a target: the directory below which it writes")
    draft = PlanDraft(request)
    (point,) = request.points
    whole = {a.instance for a in point.artifacts if a.state is PointState.COMPLETE}
    held = [instance for instance in request.instances if instance in whole]
    able = frozenset(draft.having(RESTORE_EXTRACT))
    if unable := [instance for instance in held if instance not in able]:
        raise PlanError(
            f"{', '.join(unable)}: what {point.name} has of them can be held by their platform only",
            hint="Leave them out (--exclude-nodes), or restore them to another deployment (--to).",
        )
    if not held:
        raise PlanError(f"{point.name} holds nothing of the chosen instances")
    draft.add_group("extract", RESTORE_EXTRACT, held, point=point.name)
    return draft.finish(carry_on=True)
