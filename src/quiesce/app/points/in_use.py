"""Who uses what a restore would replace, and is not going to be stopped by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from quiesce.app.inquiry import Inquiry
from quiesce.app.services import Services
from quiesce.errors import ProviderError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Topology
from quiesce.ports import UsageTeller


def users_that_stay(
    services: Services, deployment: Deployment, plan: Plan, points: Sequence[RestorePoint]
) -> Mapping[InstanceId, Sequence[str]]:
    """Return, by instance that *plan* replaces, the programs that use it and that no stop of *plan* ends.

    What a blueprint's own stop ends is not known before: where one concerns the instance nobody is named,
    and APPLY looks again.
    """
    inquiry = Inquiry(services, deployment, "in-use", plan=plan, points=points)
    ended, unknown = _ended(services, inquiry, plan)
    found = {}
    for step in plan.steps:
        if step.operation not in REPLACING or _concerned(deployment.topology, step, unknown):
            continue
        users = _used_by(services, inquiry, step)
        if staying := [shown for pid, shown in users.items() if pid not in ended]:
            found[step.instance] = staying
    return found


def _ended(services: Services, inquiry: Inquiry, plan: Plan) -> tuple[frozenset[int], list[InstanceId]]:
    """Return the processes that stops end, and the instances of which that is not known."""
    ended: set[int] = set()
    unknown = []
    for step in (step for step in plan.steps if step.operation is Operation.STOP):
        provider = services.provider(step.provider)
        if not isinstance(provider, UsageTeller):
            unknown.append(step.instance)
            continue
        with suppress(ProviderError):  # the stop meets the same error, and says so
            ended.update(provider.ended_by_stop(inquiry.call_of(step), inquiry.context_of(step)))
    return frozenset(ended), unknown


def _used_by(services: Services, inquiry: Inquiry, step: Step) -> Mapping[int, str]:
    provider = services.provider(step.provider)
    if not isinstance(provider, UsageTeller):
        return {}
    with suppress(ProviderError):  # APPLY meets the same error, before it touches anything
        return provider.used_by(inquiry.call_of(step), inquiry.context_of(step))
    return {}


def _concerned(topology: Topology, step: Step, stopped: Sequence[InstanceId]) -> bool:
    return any(_reaches(topology, i, step.instance) or _reaches(topology, step.instance, i) for i in stopped)


def _reaches(topology: Topology, start: InstanceId, goal: InstanceId) -> bool:
    seen, stack = {start}, [start]
    while stack:
        instance = stack.pop()
        if instance == goal:
            return True
        targets = {link.target for link in topology.instances[instance].links} - seen
        seen |= targets
        stack.extend(targets)
    return False
