"""A deployment's properties as Cloudify evaluates them, for what quiesce asks its providers by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudify.manager import get_rest_client
from cloudify.state import current_workflow_ctx

from quiesce.app.masking import Masking
from quiesce.cloudify.secrets import know_secrets
from quiesce.errors import NonRecoverableError
from quiesce.model.ids import InstanceId, Json


class CloudifyLive:
    """Answers the port `LiveDeployment` from a workflow's ``ctx``."""

    def __init__(self, context: Any, masking: Masking) -> None:
        self._context = context
        self._masking = masking

    def properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the node properties of *instance*, evaluated."""
        return self._evaluated(instance, self._context.get_node_instance(instance).node.properties)

    def inputs(self, instance: InstanceId, interface: str) -> Mapping[str, Json]:
        """Return the inputs that the blueprint gives an operation, evaluated."""
        operation = self._context.get_node_instance(instance).node.operations.get(interface) or {}
        return self._evaluated(instance, operation.get("inputs") or {})

    def runtime_properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the runtime properties of *instance*."""
        return dict(stored_instance(self._context, instance).runtime_properties or {})

    def set_runtime_properties(self, instance: InstanceId, properties: Mapping[str, Json]) -> None:
        """Refuse: what is asked here changes nothing."""
        del properties
        raise NonRecoverableError(f"{instance}: runtime properties are kept by Cloudify's operations")

    def secret(self, name: str) -> str:
        """Return a secret of the manager.

        Raises:
            NonRecoverableError: when there is none, or no manager.
        """
        with current_workflow_ctx.push(self._context):
            return managers_secret(name, self._masking)

    def _evaluated(self, instance: InstanceId, written: Mapping[str, Json]) -> Mapping[str, Json]:
        context = self._context
        try:
            with current_workflow_ctx.push(context):
                evaluated: Mapping[str, Json] = context.internal.handler.evaluate_functions(
                    context.deployment.id, {"self": instance}, dict(written)
                )
        except Exception as error:
            raise NonRecoverableError(f"{instance}: {error}") from error
        know_secrets(self._masking, written, evaluated, {})
        return evaluated


def stored_instance(context: Any, instance: InstanceId) -> Any:
    """Return what Cloudify keeps of *instance* now."""
    handler = context.internal.handler
    with current_workflow_ctx.push(context):
        if context.local:
            return handler.storage.get_node_instance(instance)
        return handler.rest_client.node_instances.get(instance)


def managers_secret(name: str, masking: Masking) -> str:
    """Return a secret of the manager; from now on it is masked.

    Raises:
        NonRecoverableError: when there is none, or no manager.
    """
    try:
        secret = str(get_rest_client().secrets.get(name).value)
    except Exception as error:
        raise NonRecoverableError(f"there is no secret {name!r}: {error}") from error
    masking.add(secret)
    return secret
