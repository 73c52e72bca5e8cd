"""A stored deployment as its operations see it: functions evaluated when they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from quiesce.blueprint.evaluating.evaluator import Scope
from quiesce.blueprint.evaluating.live import DeploymentView, evaluate
from quiesce.blueprint.reading.functions import holds_function
from quiesce.blueprint.reading.problems import FunctionError
from quiesce.errors import NonRecoverableError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId, Json
from quiesce.ports import Deployments


class EvaluatedDeployment:
    """Answers the port `LiveDeployment`; runtime properties are read once and kept in step."""

    def __init__(
        self, deployment: Deployment, deployments: Deployments, secrets: Callable[[str], str]
    ) -> None:
        self._deployment = deployment
        self._deployments = deployments
        self._secrets = secrets
        self._lock = threading.Lock()
        self._stored = dict(deployments.runtime_properties(deployment.name))
        self._fixed = {
            node.id
            for node in deployment.topology.nodes.values()
            if not holds_function(dict(node.properties))
        }

    def properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the node properties of *instance*, evaluated."""
        node = self._deployment.topology.node_of(instance)
        return node.properties if node.id in self._fixed else self._evaluated(node.properties, instance)

    def inputs(self, instance: InstanceId, interface: str) -> Mapping[str, Json]:
        """Return the inputs that the blueprint gives an operation, evaluated."""
        implementation = self._deployment.topology.node_of(instance).operations.get(interface)
        return {} if implementation is None else self._evaluated(implementation.inputs, instance)

    def runtime_properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the runtime properties of *instance*."""
        return self._stored.get(instance, {})

    def set_runtime_properties(self, instance: InstanceId, properties: Mapping[str, Json]) -> None:
        """Replace the runtime properties of *instance*, durably."""
        with self._lock:
            self._deployments.set_runtime_properties(self._deployment.name, instance, properties)
            self._stored[instance] = dict(properties)

    def secret(self, name: str) -> str:
        """Return a secret's value."""
        return self._secrets(name)

    def _evaluated(self, values: Mapping[str, Json], instance: InstanceId) -> Mapping[str, Json]:
        live = DeploymentView(
            name=self._deployment.name,
            topology=self._deployment.topology,
            scope=Scope(itself=instance),
            blueprint=self._deployment.blueprint,
            stored=self.runtime_properties,
            secrets=self._secrets,
        )
        try:
            return {name: evaluate(value, live) for name, value in values.items()}
        except FunctionError as error:
            raise NonRecoverableError(f"{instance}: {error}", hint=error.hint) from error
