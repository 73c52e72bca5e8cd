"""One operation of a provider of ours, called by Cloudify's engine with Cloudify's ``ctx``."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudify import ctx as current_context
from cloudify.decorators import operation as resumable_operation

from quiesce.app.masking import Masking, masked_outcome
from quiesce.bootstrap import Settings, providers_of
from quiesce.cloudify.calls import as_written, call_of, capabilities_of
from quiesce.cloudify.errors import in_cloudifys_words
from quiesce.cloudify.live import managers_secret
from quiesce.cloudify.names import POINTS
from quiesce.cloudify.secrets import know_secrets
from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.capabilities import Description
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.records import Level
from quiesce.ports import Provider
from quiesce.providers.registry import Providers, describe_providers

#: what blueprints can name; a copy follows its cut by itself
_OFFERED = tuple(operation for operation in Operation if operation is not Operation.COPY)

Function = Callable[..., Json]


def operations_of(provider: str) -> dict[str, Function]:
    """Return the functions of *provider*: freeze, thaw, suspend, resume, snapshot, apply, delete, measure."""
    return {operation.value: _function(provider, operation) for operation in _OFFERED}


def _function(provider: str, operation: Operation) -> Function:
    def perform(**kwargs: Any) -> Json:
        context = kwargs.pop("ctx", None) or current_context
        step, undo = kwargs.pop("quiesce_step", None), bool(kwargs.pop("quiesce_undo", False))
        artifact = kwargs.pop("quiesce_artifact", None)
        masking = Masking()
        try:
            description, written = _described(provider), as_written(context)
            know_secrets(masking, written.properties, context.node.properties, kwargs)
            call = call_of(provider, operation, context, kwargs, description, written=written)
            call = replace(call, undo=undo, artifact=artifact or call.artifact)
            return _perform(description, call, step, CloudifyContext(call, context, masking))
        except Exception as error:  # noqa: BLE001  whatever it is, Cloudify keeps and shows it
            failure = in_cloudifys_words(masking, error)
        # not within the block above, so that it does not lead to what it was made of
        raise failure

    perform.__name__ = operation.value
    perform.__doc__ = (
        f"Perform with the provider {provider}: {operation.value} on the node instance of ``ctx``."
    )
    marked: Function = resumable_operation(perform, resumable=True)
    return marked


def _perform(description: Description, call: Call, step: str | None, context: CloudifyContext) -> Json:
    provider = _providers().get(description.name)
    if step == Operation.COPY:
        return _copy(provider, call, context)
    outcome = provider.perform(call, context)
    _remember(call, outcome, context.told)
    if call.operation is Operation.SNAPSHOT and step is None and _copies(description, call):
        return _copy(provider, replace(call, artifact=outcome.artifact), context)
    return context.answer(outcome)


def _copy(provider: Provider, call: Call, context: CloudifyContext) -> Json:
    """Move the data of a finished cut: after the thaw, when the workflow is ours; else at once."""
    artifact = call.artifact if call.artifact is not None else _kept(call, context.told)
    copying = replace(call, operation=Operation.COPY, artifact=artifact)
    context = context.of(copying)
    outcome = provider.perform(copying, context)
    _remember(copying, outcome, context.told)
    return context.answer(outcome)


def _kept(call: Call, context: Any) -> Mapping[str, Json]:
    points = context.instance.runtime_properties.get(POINTS) or {}
    if call.point not in points:
        raise NonRecoverableError(f"{call.instance} has no cut {call.point} that could be copied")
    artifact: Mapping[str, Json] = points[call.point]
    return artifact


def _remember(call: Call, outcome: Outcome, context: Any) -> None:
    points = dict(context.instance.runtime_properties.get(POINTS) or {})
    if call.operation is Operation.DELETE:
        points.pop(call.point, None)
    elif outcome.artifact is not None and call.point is not None:
        points[call.point] = dict(outcome.artifact)
    else:
        return
    context.instance.runtime_properties[POINTS] = points
    context.instance.update()


def _copies(description: Description, call: Call) -> bool:
    capabilities = capabilities_of(description, call.node, call.function)
    return capabilities.copies_backups if call.full else capabilities.copies_snapshots


class CloudifyContext:
    """Answers what a provider asks while it performs, out of Cloudify's ``ctx``; no secret gets through."""

    def __init__(self, call: Call, context: Any, masking: Masking) -> None:
        #: Cloudify's
        self.told = context
        self._masking = masking
        asked = call.parameters.operation_timeout_s
        self._ends = time.monotonic() + (call.operation.timeout_s if asked is None else asked)

    def log(self, level: Level, message: str) -> None:
        """Put a line into the execution's events."""
        getattr(self.told.logger, level.value)("%s", self._masking.text(message))

    def remaining_s(self) -> float:
        """Return what is left of the operation's time: its usual one, or ``operation_timeout``."""
        return max(0.0, self._ends - time.monotonic())

    def given_up(self) -> bool:
        """Tell that Cloudify waits for every answer."""
        return False

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Show nothing: Cloudify has no place for it."""

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """Replace the instance's runtime properties; what others have put there stays as it is."""
        before = dict(self.told.instance.runtime_properties)
        self.told.instance.runtime_properties = {
            name: value if name in before and before[name] == value else self._masking.value(value)
            for name, value in properties.items()
        }
        self.told.instance.update()

    def answer(self, outcome: Outcome) -> Json:
        """Tell what was found out, and return what Cloudify keeps as the operation's result."""
        outcome = masked_outcome(self._masking, outcome)
        if outcome.note:
            self.told.logger.info("%s", outcome.note)
        for name, value in (outcome.measurements or {}).items():
            self.told.logger.info("%s: %s", name, value)
        return dict(outcome.measurements) if outcome.measurements is not None else outcome.result

    def of(self, call: Call) -> CloudifyContext:
        """Return the context of another call of the same operation."""
        return CloudifyContext(call, self.told, self._masking)

    def secret(self, name: str) -> str:
        """Return a secret of the manager.

        Raises:
            NonRecoverableError: when there is none, or no manager.
        """
        return managers_secret(name, self._masking)

    def cut_together(self) -> Sequence[Related]:
        """Tell of nobody: an operation of Cloudify's does not know what else its workflow runs."""
        return ()


@functools.cache
def _described(name: str) -> Description:
    found = [description for description in describe_providers() if description.name == name]
    if not found:
        raise NonRecoverableError(f"the provider {name} is not installed here")
    return found[0]


@functools.cache
def _providers() -> Providers:
    """Return the providers of this process, which share connections."""
    return providers_of(
        Settings.of(os.environ), describe_providers(), lambda name: managers_secret(name, Masking())
    )
