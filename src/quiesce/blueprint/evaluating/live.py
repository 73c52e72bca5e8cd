"""Evaluates what only a live deployment can answer: attributes, secrets, capabilities.

`evaluate` is called when an operation runs, so that secrets are never stored. `DeploymentView` is the
usual `Live`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from quiesce.blueprint.evaluating.evaluator import UNKNOWN, Answer, Evaluator, Scope, ScopedValue
from quiesce.blueprint.evaluating.pure_functions import walk
from quiesce.blueprint.reading.functions import ROLES, function_of, holds_function
from quiesce.blueprint.reading.problems import FunctionError
from quiesce.blueprint.reading.source_map import Value, plain
from quiesce.model.ids import InstanceId, Json, NodeId
from quiesce.model.topology import Instance, Topology

_REMEMBERED_AT_MOST: Final = 8
_REMEMBERED: Final[dict[int, tuple[Topology, Mapping[str, Sequence[Instance]]]]] = {}


class Live(Protocol):
    """What a live deployment answers, for one instance or relationship that an operation runs on."""

    @property
    def topology(self) -> Topology:
        """Nodes, instances and inputs."""
        ...

    @property
    def scope(self) -> Scope:
        """The instances that SELF, SOURCE and TARGET mean."""
        ...

    def runtime_properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return what operations have stored for *instance*."""
        ...

    def secret(self, name: str) -> str:
        """Return a secret's value, or raise."""
        ...

    def capability(self, deployment: str, name: str) -> Json:
        """Return the evaluated capability *name* of any deployment, this one included, or raise."""
        ...

    def environment_capability(self, name: str) -> Json:
        """Return the evaluated capability *name* of the deployment that this one lives in, or raise."""
        ...

    def group_capability(self, path: Sequence[Json]) -> Json:
        """Return a capability of each deployment of a group, or raise; *path* is as written."""
        ...

    def labels(self, key: str) -> Sequence[str]:
        """Return the values of this deployment's label *key*, or raise."""
        ...

    def system(self, entity: str, name: str) -> Json:
        """Return what ``get_sys`` asks for (``deployment``, ``id``), or raise."""
        ...

    def consumers(self, what: str) -> Json:
        """Return ids, names or count of the deployments that use this one, or raise."""
        ...


def evaluate(value: Json, live: Live) -> Json:
    """Return *value* with every intrinsic function evaluated.

    Raises:
        FunctionError: when one cannot be. Whatever *live* raises passes through.
    """
    if not holds_function(value):
        return plain(value)
    try:
        return plain(Evaluator(_LiveAnswers(live)).value(value, live.scope))
    except RecursionError:
        raise FunctionError("the values that the functions give are nested too deep") from None


def _ask_manager(what: str) -> FunctionError:
    return FunctionError(f"{what} can only be answered by a Cloudify Manager")


def _no_secret(name: str) -> str:
    raise FunctionError(f"there is no secret {name!r}")


def _no_capability(deployment: str, name: str) -> Json:
    raise FunctionError(f"there is no deployment {deployment!r} with a capability {name!r}")


def _nothing(instance: InstanceId) -> Mapping[str, Json]:  # noqa: ARG001  the same for every instance
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment of ours, as `evaluate` asks about it."""

    name: str
    topology: Topology
    scope: Scope = field(default_factory=Scope)
    blueprint: str = ""
    stored: Callable[[InstanceId], Mapping[str, Json]] = _nothing
    secrets: Callable[[str], str] = _no_secret
    #: capabilities of other deployments, by deployment and name
    others: Callable[[str, str], Json] = _no_capability
    label_values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def runtime_properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return what operations have stored for *instance*."""
        return self.stored(instance)

    def secret(self, name: str) -> str:
        """Return a secret's value."""
        return self.secrets(name)

    def capability(self, deployment: str, name: str) -> Json:
        """Return a capability of this deployment or another."""
        if deployment != self.name:
            return self.others(deployment, name)
        if name not in self.topology.capabilities:
            raise FunctionError(f"deployment {deployment!r} has no capability {name!r}")
        return evaluate(self.topology.capabilities[name], self)

    def environment_capability(self, name: str) -> Json:
        """Refuse: deployments of ours do not live in one another."""
        raise _ask_manager(f"get_environment_capability {name!r}")

    def group_capability(self, path: Sequence[Json]) -> Json:
        """Refuse: there are no groups of deployments here."""
        raise _ask_manager(f"get_group_capability {list(path)!r}")

    def labels(self, key: str) -> Sequence[str]:
        """Return the values of a label."""
        if key not in self.label_values:
            raise FunctionError(f"the deployment has no label {key!r}")
        return self.label_values[key]

    def system(self, entity: str, name: str) -> Json:
        """Return name and blueprint of the deployment."""
        known = {"id": self.name, "name": self.name, "blueprint": self.blueprint}
        if entity != "deployment" or name not in known:
            raise _ask_manager(f"get_sys [{entity}, {name}]")
        return known[name]

    def consumers(self, what: str) -> Json:
        """Refuse: nobody knows here who uses this deployment."""
        raise _ask_manager(f"get_consumers {what!r}")


class _LiveAnswers:
    """Answers every function that asks, with the help of a `Live`."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def answer(self, function: str, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        """Return what *function* gives."""
        unresolved = function_of(arguments) is not None or (
            isinstance(arguments, list) and any(function_of(each) is not None for each in arguments)
        )
        if unresolved:
            return UNKNOWN
        handler: Callable[[Value, Scope, Evaluator], Answer] = getattr(self, f"_{function}")
        return handler(arguments, scope, evaluator)

    def _get_input(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *path = _path(arguments)
        inputs = self._live.topology.inputs
        if name not in inputs:
            raise FunctionError(f"there is no input {name!r}")
        return walk(evaluator.value(inputs[name], scope), path, f"the input {name!r}")

    def _get_property(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *path = _path(arguments)
        node, instance = self._node(name, scope)
        properties = self._live.topology.nodes[node].properties
        return ScopedValue(_reach(properties, path, f"node {node!r}", instance, evaluator), instance)

    def _get_attribute(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *path = _path(arguments)
        instance = self._instance(name, scope)
        return ScopedValue(self._attribute(instance, path, evaluator), instance.id)

    def _get_attributes_list(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *path = _path(arguments)
        return [self._settled(each, path, evaluator) for each in self._instances(self._node(name, scope)[0])]

    def _get_attributes_dict(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:
        name, *paths = arguments
        instances = self._instances(self._node(name, scope)[0])
        return {
            each.id: {_joined(path): self._settled(each, _path(path), evaluator) for path in paths}
            for each in instances
        }

    def _get_secret(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        if not isinstance(arguments, list):
            return self._live.secret(arguments)
        name, *path = arguments
        try:
            content = json.loads(self._live.secret(name))
        except ValueError:
            content = None
        if content is None:
            raise FunctionError(f"the secret {name!r} is not JSON, so nothing within it can be read")
        return walk(content, path, f"the secret {name!r}")

    def _get_capability(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        deployment, name, *path = arguments
        return walk(
            self._live.capability(deployment, name), path, f"the capability {name!r} of {deployment!r}"
        )

    def _get_environment_capability(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        name, *path = _path(arguments)
        return walk(self._live.environment_capability(name), path, f"the environment's capability {name!r}")

    def _get_group_capability(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        return self._live.group_capability(arguments)

    def _get_label(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        if not isinstance(arguments, list):
            return list(self._live.labels(arguments))
        key, index = arguments
        return walk(list(self._live.labels(key)), [int(index)], f"the label {key!r}")

    def _get_sys(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        return self._live.system(arguments[0], arguments[1])

    def _get_consumers(self, arguments: Value, scope: Scope, evaluator: Evaluator) -> Answer:  # noqa: ARG002
        return self._live.consumers(arguments)

    def _node(self, name: str, scope: Scope) -> tuple[NodeId, str | None]:
        """Return the node that *name* means, and which of its instances, if that is certain."""
        if name in ROLES:
            instance = self._instance(name, scope)
            return instance.node, instance.id
        if name not in self._live.topology.nodes:
            raise FunctionError(f"there is no node {name!r}")
        found = self._one_of(self._instances(name), scope)
        return NodeId(name), found.id if found else None

    def _instances(self, node: str) -> Sequence[Instance]:
        return _by_node(self._live.topology).get(node, ())

    def _instance(self, name: str, scope: Scope) -> Instance:
        if name in ROLES:
            role = scope.who(name)
            if role is None:
                raise FunctionError(f"{name} means nothing here")
            return self._live.topology.instances[InstanceId(role)]
        candidates = self._instances(name)
        if not candidates:
            raise FunctionError(f"node {name!r} has no instances")
        found = self._one_of(candidates, scope)
        if found is None:
            raise FunctionError(
                f"node {name!r} has {len(candidates)} instances, and it is ambiguous which one is meant"
            )
        return found

    def _one_of(self, candidates: Sequence[Instance], scope: Scope) -> Instance | None:
        """Return the only one, or the one linked to the instance that asks, or the one in its group."""
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        askers = [each for each in (scope.itself, scope.source, scope.target) if each is not None]
        for asker in askers:
            instance = self._live.topology.instances[InstanceId(asker)]
            found = _linked(instance, candidates) or _grouped(instance, candidates)
            if found is not None:
                return found
        return None

    def _attribute(self, instance: Instance, path: Sequence[Value], evaluator: Evaluator) -> Value:
        stored = self._live.runtime_properties(instance.id)
        value = _reach(stored, path, "", instance.id, evaluator, missing_is_null=True)
        if value is None and len(path) == 1:
            value = self._known(instance, path[0])
        if value is None:
            properties = self._live.topology.nodes[instance.node].properties
            value = _reach(properties, path, "", instance.id, evaluator, missing_is_null=True)
        return value

    def _settled(self, instance: Instance, path: Sequence[Value], evaluator: Evaluator) -> Value:
        return evaluator.value(self._attribute(instance, path, evaluator), Scope(itself=instance.id))

    def _known(self, instance: Instance, name: Value) -> Value:
        if name == "node_instance_id":
            return instance.id
        if name == "node_instance_index":
            return self._instances(instance.node).index(instance) + 1
        return None


def _by_node(topology: Topology) -> Mapping[str, Sequence[Instance]]:
    """Return the instances of each node; remembered for the topologies that were asked about last."""
    known = _REMEMBERED.get(id(topology))
    if known is not None and known[0] is topology:
        return known[1]
    found: dict[str, list[Instance]] = {}
    for instance in topology.instances.values():
        found.setdefault(instance.node, []).append(instance)
    if len(_REMEMBERED) >= _REMEMBERED_AT_MOST:
        _REMEMBERED.clear()
    _REMEMBERED[id(topology)] = (topology, found)
    return found


def _path(arguments: Value) -> list[Value]:
    return list(arguments) if isinstance(arguments, list) else [arguments]


def _joined(path: Value) -> str:
    return ".".join(map(str, _path(path)))


def _reach(
    root: Mapping[str, Value],
    path: Sequence[Value],
    described: str,
    instance: str | None,
    evaluator: Evaluator,
    *,
    missing_is_null: bool = False,
) -> Value:
    """Return what lies at *path* within *root*, evaluating the functions on the way."""
    value: Value = root
    for step in path:
        try:
            value = walk(value, [step], described)
        except FunctionError:
            if missing_is_null:
                return None
            raise
        value = evaluator.value(value, Scope(itself=instance))
    return value


def _linked(instance: Instance, candidates: Sequence[Instance]) -> Instance | None:
    targets = {link.target for link in instance.links}
    found = [each for each in candidates if each.id in targets]
    return found[0] if len(found) == 1 else None


def _grouped(instance: Instance, candidates: Sequence[Instance]) -> Instance | None:
    for group in instance.groups:
        name = group.rpartition("_")[0]
        if any(each.rpartition("_")[0] == name for candidate in candidates for each in candidate.groups):
            found = [candidate for candidate in candidates if group in candidate.groups]
            return found[0] if len(found) == 1 else None
    return None
