"""Steps as tasks of Cloudify's engine."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cloudify.exceptions import NonRecoverableError as CloudifyNonRecoverableError
from cloudify.exceptions import RecoverableError as CloudifyRecoverableError
from cloudify.state import current_workflow_ctx
from cloudify.workflows import workflow_api

from quiesce.app.masking import masked_error
from quiesce.app.services import Services
from quiesce.cloudify.live import stored_instance
from quiesce.cloudify.names import POINTS
from quiesce.cloudify.orphans import mark_children
from quiesce.engine import Attempt, ThreadWorkers
from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import BackupName, InstanceId, Json, StepId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Logged
from quiesce.model.restore_point import RestorePoint
from quiesce.ports import Clock

_applying = threading.Lock()


class CloudifyTasks:
    """Performs attempts as operations of Cloudify's engine, with the events that its users know."""

    def __init__(
        self,
        context: Any,
        services: Services,
        deployment: Deployment,
        execution: Execution,
        plan: Plan,
        *,
        points: Sequence[RestorePoint] = (),
        history: History | None = None,
    ) -> None:
        """*context* is a workflow's ``ctx``; for the rest see `quiesce.app.calls.Performer`."""
        del deployment
        self._execution = execution.id
        self._context = context
        self._parameters = plan.parameters.raw
        self._longest_pause_s = plan.parameters.task_retry_interval_s if plan.indebting else None
        self._masking = services.masking
        self._done: set[StepId] = set(history.done) if history is not None else set()
        self._artifacts: dict[tuple[BackupName | None, InstanceId], Mapping[str, Json]] = {
            (p.name, a.instance): a.content for p in points for a in p.artifacts
        }
        self.log: Callable[[Logged], None] = lambda _: None

    def __call__(self, attempt: Attempt) -> Outcome:
        """Run *attempt*'s operation and wait for its end.

        Raises:
            ProviderError: as the operation's own error was recoverable or not.
        """
        # what a thaw or a start has started is to outlive the engine
        mark_children(self._execution if attempt.step.role is Role.MAIN else "")
        try:
            with current_workflow_ctx.push(self._context):  # a manager is asked only within
                return self._perform(attempt)
        except ProviderError as error:
            if error.retry_after_s is not None and self._longest_pause_s is not None:
                # a plugin that polls does not know how short a frozen window is
                error.retry_after_s = min(error.retry_after_s, self._longest_pause_s)
            raise masked_error(self._masking, error) from None

    def _perform(self, attempt: Attempt) -> Outcome:
        step = attempt.step
        if step.role is Role.UNDO and step.of not in self._done and not _is_ours(step):
            return self._leave_alone(step)
        instance = self._context.get_node_instance(step.instance)
        if instance is None:
            return Outcome(note=f"{step.instance} is no more")
        if attempt.number == 1:
            self._tell(instance, f"Starting to {step.interface}")
        self._await(self._task(instance, attempt))
        self._tell(instance, f"Done {step.interface}")
        self._done.add(step.id)
        return Outcome(artifact=self._kept(step))

    def _task(self, instance: Any, attempt: Attempt) -> Any:
        step = attempt.step
        kwargs = {name: value for name, value in self._parameters.items() if name != "all"}
        if step.point is not None:
            kwargs["snapshot_name"] = step.point
        if _is_ours(step):
            kwargs["quiesce_step"] = step.operation.value
            kwargs["quiesce_undo"] = step.role is Role.UNDO
            if artifact := self._artifacts.get((step.point, step.instance)):
                kwargs["quiesce_artifact"] = dict(artifact)
        task = instance.execute_operation(step.interface, kwargs=kwargs, allow_kwargs_override=True)
        task.current_retries = attempt.number - 1
        told = task.kwargs["__cloudify_context"]
        told["operation"]["retry_number"] = attempt.number - 1
        if self._context.local:
            task.local_task = _unless_given_up(task.local_task, attempt)
        elif told.get("timeout") is None:
            told["timeout"] = math.ceil(
                attempt.deadline - attempt.began
            )  # an agent kills operations that hang
        return task

    def _kept(self, step: Step) -> Mapping[str, Json] | None:
        """Return what a snapshot or a copy of ours has left, which it keeps at its instance."""
        if step.operation not in (Operation.SNAPSHOT, Operation.COPY) or not _is_ours(step):
            return None
        instance = stored_instance(self._context, step.instance)
        artifact: Mapping[str, Json] | None = (instance.runtime_properties.get(POINTS) or {}).get(step.point)
        return artifact

    def _await(self, task: Any) -> None:
        over = threading.Event()
        task.async_result.on_result(lambda _: over.set())
        with despite_cancel():
            task.apply_async()
        over.wait()
        result = task.async_result.result
        if task.get_state() != "succeeded" or isinstance(result, BaseException):
            raise translated(result)

    def _tell(self, instance: Any, event: str) -> None:
        """Send the event now, not when the pool of workers reaches it."""
        task = instance.send_event(event)
        (task.local if self._context.local else task.remote)()

    def _leave_alone(self, step: Step) -> Outcome:
        self._context.logger.warning(
            "%s may have left something incomplete of %s. It was not removed, because it cannot be told "
            "from an older one of that name; see to it, or run remove_backup.",
            step.instance,
            step.point,
        )
        return Outcome()


class CloudifyWorkers(ThreadWorkers):
    """Waits for Cloudify's workers; in the local engine, one that hangs is replaced by another."""

    def __init__(self, clock: Clock, context: Any) -> None:
        super().__init__(clock)
        self._context = context

    def abandon(self, ticket: int) -> None:
        """Give the local engine another worker: the one that hangs would keep the thaw waiting."""
        if self._context.local:
            processor = self._context.internal.local_tasks_processor
            threading.Thread(
                target=processor._process_local_task,  # noqa: SLF001  there is no other way
                name=f"Task-Processor-instead-of-{ticket}",
                args=(self._context,),
                daemon=True,
            ).start()


@contextlib.contextmanager
def despite_cancel() -> Iterator[None]:
    """Hide a cancel request, because Cloudify starts no task under one, not even a thaw."""
    with _applying:
        cancel, kill = workflow_api.cancel_request, workflow_api.kill_request
        workflow_api.cancel_request = workflow_api.kill_request = False
        try:
            yield
        finally:
            workflow_api.cancel_request = cancel or workflow_api.cancel_request
            workflow_api.kill_request = kill or workflow_api.kill_request


def translated(error: object) -> ProviderError:
    """Return Cloudify's error in our words."""
    message = str(error) or type(error).__name__
    if isinstance(error, CloudifyNonRecoverableError):
        return NonRecoverableError(message)
    if isinstance(error, CloudifyRecoverableError):
        return RecoverableError(message, retry_after_s=error.retry_after)
    return RecoverableError(f"{type(error).__name__}: {message}")


def _is_ours(step: Step) -> bool:
    return step.function.startswith("quiesce.")


def _unless_given_up(action: Callable[..., Any], attempt: Attempt) -> Callable[..., Any]:
    def act(**kwargs: Any) -> Any:
        if attempt.given_up and attempt.step.role is not Role.SETTLE:
            raise CloudifyNonRecoverableError("its result is no longer needed")
        return action(**kwargs)

    return act
