"""suspend: a dependent before what it depends on."""

from __future__ import annotations

from quiesce.model.operation import FREEZE_SUSPEND, LIFECYCLE_SUSPEND
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest


def plan_suspend(request: PlanRequest) -> Plan:
    """Plan the deprecated suspends of all, then the suspends of all."""
    draft = PlanDraft(request)
    for title, interface in (("suspend (deprecated)", LIFECYCLE_SUSPEND), ("suspend", FREEZE_SUSPEND)):
        instances = draft.having(interface)
        draft.add_group(title, interface, instances, order=draft.dependents_first(instances))
    draft.warn_if_idle("suspended", FREEZE_SUSPEND, LIFECYCLE_SUSPEND)
    return draft.finish()
