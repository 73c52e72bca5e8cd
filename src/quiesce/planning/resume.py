"""resume: what others depend on comes first."""

from __future__ import annotations

from quiesce.model.operation import FREEZE_RESUME, LIFECYCLE_RESUME
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest


def plan_resume(request: PlanRequest) -> Plan:
    """Plan the resumes of all, then the deprecated resumes of all."""
    draft = PlanDraft(request)
    for title, interface in (("resume", FREEZE_RESUME), ("resume (deprecated)", LIFECYCLE_RESUME)):
        instances = draft.having(interface)
        draft.add_group(title, interface, instances, order=draft.dependents_last(instances))
    draft.warn_if_idle("resumed", FREEZE_RESUME, LIFECYCLE_RESUME)
    return draft.finish(carry_on=True)
