"""Calls that belong to no execution: questions to providers, which change nothing."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.app.calls import AttemptContext, Performer
from quiesce.app.services import Services
from quiesce.engine import Attempt, timeout_s
from quiesce.model.call import Call
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import ExecutionId, StepId
from quiesce.model.operation import STATISTICS, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Instance
from quiesce.planning.binding import Binding


class Inquiry:
    """Makes the calls and contexts for asking the providers of one deployment."""

    def __init__(
        self,
        services: Services,
        deployment: Deployment,
        reason: str,
        *,
        plan: Plan | None = None,
        points: Sequence[RestorePoint] = (),
    ) -> None:
        """Ask about *deployment*; steps of *plan* may concern *points*. *reason* is shown in the calls."""
        self._services = services
        self._plan = plan or Plan(workflow=reason, parameters=Parameters(), groups=(), steps=())
        execution = Execution(
            id=ExecutionId(f"no-execution-{reason}"),
            deployment=deployment.name,
            workflow=reason,
            created_at=0.0,
        )
        self._performer = Performer(services, deployment, execution, self._plan, points=points)

    def call_of(self, step: Step) -> Call:
        """Return what the provider is told about *step*."""
        return self._performer.call_of(step)

    def attempt_of(self, step: Step) -> Attempt:
        """Return the attempt to answer *step*; who waits no longer sets its ``given_up``."""
        now = self._services.clock.tick()
        deadline = now + timeout_s(step, self._plan.parameters)
        return Attempt(ticket=0, step=step, number=1, began=now, deadline=deadline)

    def context_of(self, step: Step, attempt: Attempt | None = None) -> AttemptContext:
        """Return what the provider may use while it answers."""
        return self._performer.context_of(attempt or self.attempt_of(step))


def question(instance: Instance, binding: Binding) -> Step:
    """Return a step that asks about *instance*; its operation is one that changes nothing."""
    return Step(
        id=StepId(f"{instance.id}.question"),
        instance=instance.id,
        node=instance.node,
        operation=Operation.MEASURE,
        interface=STATISTICS,
        provider=binding.provider,
        function=binding.function,
        group=0,
        declared=False,
    )
