"""statistics: every instance that can be measured, in no order."""

from __future__ import annotations

from quiesce.model.operation import STATISTICS, STATISTICS_ALIAS
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest


def plan_statistics(request: PlanRequest) -> Plan:
    """Plan one measuring for each instance, whichever way its blueprint spells the operation."""
    draft = PlanDraft(request)
    usual = draft.having(STATISTICS)
    draft.add_group("measure", STATISTICS, usual)
    measured = frozenset(usual)
    alias = [instance for instance in draft.having(STATISTICS_ALIAS) if instance not in measured]
    draft.add_group("measure (other spelling)", STATISTICS_ALIAS, alias)
    draft.warn_if_idle("measured", STATISTICS)
    return draft.finish(carry_on=True)
