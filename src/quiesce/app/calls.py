"""From a step to a provider's call, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from quiesce.app.elsewhere import elsewhere_of
from quiesce.app.masking import Masking, masked_error, masked_outcome
from quiesce.app.services import Services
from quiesce.engine import Attempt
from quiesce.errors import NotFrozenError, ProviderError
from quiesce.model.call import Call, Origin, Related
from quiesce.model.consistency import Consistency
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import BackupName, InstanceId, Json, StepId
from quiesce.model.operation import FS_FINALIZE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Level, Logged
from quiesce.model.restore_point import RestorePoint
from quiesce.planning import WORKFLOWS, makes_full_point
from quiesce.ports import Clock, LiveDeployment, Provider

#: the node's own timer fires so many seconds after the engine and the guard should have thawed
TIMER_MARGIN_S = 5.0
#: how long a stop that never answered may take to be brought to its end, in seconds
_FINISHING_S = 60.0

Log = Callable[[Logged], None]


class AttemptContext:
    """What a provider may use while it performs one attempt."""

    def __init__(
        self,
        attempt: Attempt,
        live: LiveDeployment,
        clock: Clock,
        log: Log,
        masking: Masking,
        *,
        together: Callable[[], Sequence[Related]],
    ) -> None:
        self._attempt = attempt
        self._live = live
        self._clock = clock
        self._log = log
        self._masking = masking
        self._together = together

    def log(self, level: Level, message: str) -> None:
        """Put a line into the execution's events, without the secrets that it repeats."""
        message = self._masking.text(message)
        at, tick = self._clock.now(), self._clock.tick()
        self._log(Logged(at=at, tick=tick, level=level, message=message, step=self._attempt.step.id))

    def remaining_s(self) -> float:
        """Return how many seconds this attempt still has."""
        return max(0.0, self._attempt.deadline - self._clock.tick())

    def given_up(self) -> bool:
        """Tell whether the caller has stopped waiting."""
        return self._attempt.given_up

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Keep the attempt's progress, for display."""
        self._attempt.done_bytes, self._attempt.total_bytes = done_bytes, total_bytes

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """Replace the instance's runtime properties, durably."""
        self._live.set_runtime_properties(self._attempt.step.instance, properties)

    def secret(self, name: str) -> str:
        """Return a secret's value."""
        return self._live.secret(name)

    def cut_together(self) -> Sequence[Related]:
        """Return the other instances that the same provider cuts in this execution."""
        return self._together()


class Performer:
    """Performs the attempts of one execution. Safe from many threads."""

    def __init__(
        self,
        services: Services,
        deployment: Deployment,
        execution: Execution,
        plan: Plan,
        *,
        points: Sequence[RestorePoint] = (),
        history: History | None = None,
    ) -> None:
        self._services = services
        self._deployment = deployment
        self._execution = execution
        self._plan = plan
        self._live = services.live(deployment)
        self._artifacts: dict[tuple[BackupName, InstanceId], Mapping[str, Json]] = {
            (point.name, artifact.instance): artifact.content
            for point in points
            for artifact in point.artifacts
        }
        workflow = WORKFLOWS.get(plan.workflow)
        self._restoring = workflow is not None and workflow.replaces
        self._full: dict[BackupName | None, bool] = {point.name: point.full for point in points}
        self._makes_full = makes_full_point(plan)
        self._frozen: set[StepId] = set()
        #: the stops that this process has begun, those that an earlier one did not see end, and those of
        #: either that were brought to their end
        self._stops: dict[StepId, Attempt] = {}
        self._unanswered = _unanswered_stops(plan, history or History())
        self._finished: set[StepId] = set()
        self._stopping = {step.id: step for step in plan.steps if step.operation is Operation.STOP}
        self._dependents = _dependents(deployment)
        self.log: Log = lambda _: None
        known = history.done if history else {}
        for step in plan.steps if known else ():
            if (done := known.get(step.id)) is not None:
                self._remember(step, done.outcome)

    def __call__(self, attempt: Attempt) -> Outcome:
        """Perform *attempt*; called by a worker. No secret is in what it returns or raises."""
        try:
            outcome = self._perform(attempt)
        except Exception as error:
            masked = masked_error(self._services.masking, error)
            if masked is error:
                raise
            raise masked from None
        return masked_outcome(self._services.masking, outcome)

    def _perform(self, attempt: Attempt) -> Outcome:
        step = attempt.step
        context = self.context_of(attempt)
        provider = self._services.provider(step.provider)
        call = self.call_of(step, attempt.number)
        if step.operation is Operation.THAW and step.of in self._frozen:
            doubt = self._doubt(provider, call, context)
            outcome = provider.perform(call, context)
            return outcome if doubt is None else _demoted(outcome, doubt)
        if step.operation is Operation.START and step.of is not None:
            self._finish_stop(step.of)
        if step.operation is Operation.STOP:
            self._stops[step.id] = attempt
        outcome = provider.perform(call, context)
        self._remember(step, outcome)
        return outcome

    def _finish_stop(self, name: StepId) -> None:
        """Bring a stop to its end that never answered: else what is started now could still be going down."""
        tried = self._stops.get(name)
        unanswered = tried.abandoned if tried is not None else name in self._unanswered
        if not unanswered or name in self._finished:
            return
        self._finished.add(name)
        step, now = self._stopping[name], self._services.clock.tick()
        attempt = Attempt(ticket=0, step=step, number=1, began=now, deadline=now + _FINISHING_S)
        with suppress(ProviderError):  # what will not stop runs
            self._services.provider(step.provider).perform(self.call_of(step), self.context_of(attempt))

    def context_of(self, attempt: Attempt) -> AttemptContext:
        """Return what the provider may use while it performs *attempt*."""
        services = self._services
        together = partial(self._cut_together, attempt.step)
        return AttemptContext(
            attempt, self._live, services.clock, self.log, services.masking, together=together
        )

    def call_of(self, step: Step, attempt: int = 1) -> Call:
        """Return what the provider is told about *step*."""
        topology = self._deployment.topology
        parameters = self._plan.parameters
        inputs = self._live.inputs(step.instance, step.interface) if step.declared else {}
        origin = self._origin(step) if step.operation is Operation.APPLY else None
        own = None if step.point is None else self._artifacts.get((step.point, step.instance))
        return Call(
            operation=step.operation,
            interface=step.interface,
            function=step.function,
            workflow=self._plan.workflow,
            restoring=self._restoring,
            deployment=self._deployment.name,
            execution=self._execution.id,
            step=step.id,
            attempt=attempt,
            instance=step.instance,
            node=topology.node_of(step.instance),
            properties=self._live.properties(step.instance),
            runtime_properties=self._live.runtime_properties(step.instance),
            inputs={**inputs, **parameters.raw},
            parameters=parameters,
            point=step.point,
            full=self._is_full(step),
            undo=step.role is Role.UNDO,
            artifact=own if step.operation is not Operation.SNAPSHOT else None,
            thaw_after_s=parameters.max_freeze_s + TIMER_MARGIN_S if step.self_thaw else None,
            thaw_inputs=self._live.inputs(step.instance, FS_FINALIZE) if step.self_thaw else {},
            blueprint_dir=self._deployment.blueprint_dir,
            related=self._related(step.instance),
            origin=origin,
        )

    def _origin(self, step: Step) -> Origin | None:
        """Return whose restore point is applied; looked up only then: nothing keeps a thaw waiting."""
        elsewhere = elsewhere_of(self._services, self._deployment, self._plan.parameters)
        if elsewhere is None or step.instance not in elsewhere.origins:
            return None
        source, instance = elsewhere.source, elsewhere.origins[step.instance]
        point = elsewhere.mapped_point
        self._full[point.name] = point.full
        for artifact in point.artifacts:
            self._artifacts.setdefault((point.name, artifact.instance), artifact.content)
        live = self._services.live(source)
        return Origin(
            deployment=source.name,
            instance=instance,
            node=source.topology.node_of(instance),
            properties=live.properties(instance),
            runtime_properties=live.runtime_properties(instance),
        )

    def _is_full(self, step: Step) -> bool:
        return self._full.get(step.point, self._makes_full)

    def _remember(self, step: Step, outcome: Outcome) -> None:
        if step.operation is Operation.FREEZE:
            self._frozen.add(step.id)
        made = step.operation in (Operation.SNAPSHOT, Operation.COPY)
        if made and step.point is not None and outcome.artifact is not None:
            self._artifacts[step.point, step.instance] = outcome.artifact

    def _doubt(self, provider: Provider, call: Call, context: AttemptContext) -> str | None:
        """Return why the freeze cannot be trusted to have lasted until now; None: it can."""
        try:
            frozen = provider.is_frozen(call, context)
        except ProviderError:
            return None  # it cannot be asked; the thaw that follows says what is wrong
        if frozen is False:
            return str(NotFrozenError(f"{call.instance} was found thawed before its own thaw"))
        return None

    def _related(self, instance: InstanceId) -> tuple[Related, ...]:
        links = self._deployment.topology.instances[instance].links
        if not links and instance not in self._dependents:
            return ()
        below = [
            (link.target, link.type, False) for link in sorted(links, key=lambda link: not link.contained)
        ]
        above = [(other, kind, True) for other, kind in self._dependents.get(instance, ())]
        return tuple(
            self._as_related(other, kind, dependent=dependent) for other, kind, dependent in below + above
        )

    def _cut_together(self, cut: Step) -> tuple[Related, ...]:
        found = []
        for step in self._plan.steps if cut.operation is Operation.SNAPSHOT else ():
            if (step.operation, step.provider) == (cut.operation, cut.provider) and step.id != cut.id:
                with suppress(ProviderError):  # what cannot be evaluated fails by itself
                    found.append(self._as_related(step.instance))
        return tuple(found)

    def _as_related(self, instance: InstanceId, kind: str = "", *, dependent: bool = False) -> Related:
        return Related(
            instance=instance,
            node=self._deployment.topology.node_of(instance),
            relationship=kind,
            properties=self._live.properties(instance),
            runtime_properties=self._live.runtime_properties(instance),
            dependent=dependent,
        )


def _unanswered_stops(plan: Plan, history: History) -> frozenset[StepId]:
    given_up = history.unanswered()
    return frozenset(
        step.id
        for step in plan.steps
        if step.operation is Operation.STOP
        and history.begun_at.get(step.id, -1) > history.done_at.get(step.id, -1)
        and (step.id not in history.failed or step.id in given_up)
    )


def _dependents(deployment: Deployment) -> Mapping[InstanceId, Sequence[tuple[InstanceId, str]]]:
    found: dict[InstanceId, list[tuple[InstanceId, str]]] = {}
    for instance in deployment.topology.instances.values():
        for link in instance.links:
            found.setdefault(link.target, []).append((instance.id, link.type))
    return found


def _demoted(outcome: Outcome, why: str) -> Outcome:
    return replace(outcome, consistency=Consistency.CRASH, note=why)
