"""Who answers for which operation of which node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from quiesce.errors import PlanError
from quiesce.model.capabilities import THE_REST, Capabilities, Description, Kind, claims
from quiesce.model.ids import NodeId
from quiesce.model.operation import (
    FREEZE_RESUME,
    FREEZE_SUSPEND,
    FS_FINALIZE,
    FS_PREPARE,
    INTERFACES,
    LIFECYCLE_RESUME,
    LIFECYCLE_SUSPEND,
    RESTORE_CONFIRM,
    RESTORE_EXTRACT,
    RESTORE_POWER_ON,
    RESTORE_PROBE,
    RESTORE_REVERT,
    RESTORE_START,
    RESTORE_STOP,
    SNAPSHOT_APPLY,
    SNAPSHOT_CREATE,
    SNAPSHOT_DELETE,
    STATISTICS,
    STATISTICS_ALIAS,
    Operation,
)
from quiesce.model.topology import Implementation, Node

#: what a blueprint's own implementation of one name replaces, so that the provider's is not offered too
_TOGETHER = (
    frozenset({FS_PREPARE, FS_FINALIZE}),
    frozenset({FREEZE_SUSPEND, LIFECYCLE_SUSPEND}),
    frozenset({FREEZE_RESUME, LIFECYCLE_RESUME}),
    frozenset({SNAPSHOT_CREATE, SNAPSHOT_APPLY, SNAPSHOT_DELETE}),
    frozenset({RESTORE_STOP, RESTORE_START}),
    frozenset({STATISTICS, STATISTICS_ALIAS}),
)
#: what is offered only where the provider also applies restore points
_WITH_APPLY = frozenset({RESTORE_REVERT, RESTORE_CONFIRM, RESTORE_EXTRACT})
#: who puts a machine back switches it on again, and asks it, too
_OF_WHO_APPLIES = frozenset({RESTORE_POWER_ON, RESTORE_PROBE})
_OFFERED = frozenset(INTERFACES) - {LIFECYCLE_SUSPEND, LIFECYCLE_RESUME, STATISTICS_ALIAS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One operation of one node, and who performs it."""

    provider: str
    function: str
    #: whether the blueprint brings it (else the provider offers it by itself)
    declared: bool
    capabilities: Capabilities

    @property
    def by_provider(self) -> bool:
        """Whether a provider's own code does it: what it needs and tolerates is known."""
        return self.function.startswith(f"quiesce.{self.provider}.")


Bindings = Mapping[NodeId, Mapping[str, Binding]]


def bind(nodes: Iterable[Node], descriptions: Sequence[Description], interfaces: Iterable[str]) -> Bindings:
    """Return who performs each of *interfaces* on each node; nodes without an operation lack the entry.

    What the blueprint brings wins over what a provider offers; ``skip_actions`` are left out.

    Raises:
        PlanError: naming every implementation that no provider answers for.
    """
    bindings: dict[NodeId, dict[str, Binding]] = {}
    unanswered: list[str] = []
    interfaces = tuple(interfaces)
    for node in nodes:
        found = bindings[node.id] = {}
        for interface in interfaces:
            if interface in node.skip_actions:
                continue
            implementation = node.operations.get(interface)
            binding = _declared(node, implementation, descriptions) or _offered(node, interface, descriptions)
            if binding is not None and _lacks_properties(binding, interface, node):
                continue
            if binding is not None:
                found[interface] = binding
            elif implementation is not None:
                unanswered.append(f"{node.id}: {interface} is {implementation.function!r}")
    if unanswered:
        raise PlanError(
            "no provider answers for " + "; ".join(unanswered),
            hint="Install the extra that does (see 'quiesce providers'), or put the operation's name into "
            "the node's skip_actions.",
        )
    return bindings


def _declared(
    node: Node, implementation: Implementation | None, descriptions: Sequence[Description]
) -> Binding | None:
    if implementation is None:
        return None
    for description in sorted(descriptions, key=_takes_the_rest):
        if not _answers_for(description, implementation.function):
            continue
        capabilities = (description.kind_of(implementation.function, node) or description).capabilities
        return Binding(
            provider=description.name,
            function=implementation.function,
            declared=True,
            capabilities=capabilities,
        )
    return None


def _offered(node: Node, interface: str, descriptions: Sequence[Description]) -> Binding | None:
    if interface not in _OFFERED:
        return None
    operation = INTERFACES[interface]
    for description in descriptions:
        kind = description.kind_of("", node)
        if kind is None or not kind.capabilities.offered or _is_brought(node, interface, description, kind):
            continue
        if interface == RESTORE_POWER_ON and not kind.capabilities.switches_off:
            continue
        if operation in kind.capabilities.operations:
            return Binding(
                provider=description.name,
                function=f"quiesce.{description.name}.{operation}",
                declared=False,
                capabilities=kind.capabilities,
            )
    return None


def _is_brought(node: Node, interface: str, description: Description, kind: Kind) -> bool:
    """Tell whether the blueprint brings the operation, or what goes together with it."""
    asked = {interface, SNAPSHOT_APPLY} if interface in _WITH_APPLY else {interface}
    if interface in _OF_WHO_APPLIES and Operation.APPLY in kind.capabilities.operations:
        applies = node.operations.get(SNAPSHOT_APPLY)
        if applies is None or not _answers_for(description, applies.function):
            asked = {interface, SNAPSHOT_APPLY}
    brought = {name for together in _TOGETHER if asked & together for name in together} | asked
    return bool(brought & node.operations.keys())


def _lacks_properties(binding: Binding, interface: str, node: Node) -> bool:
    needed = binding.capabilities.needs.get(INTERFACES[interface], frozenset())
    return binding.by_provider and bool(needed) and not any(node.properties.get(name) for name in needed)


def _takes_the_rest(description: Description) -> bool:
    return THE_REST in description.functions


def _answers_for(description: Description, function: str) -> bool:
    return claims(description.functions, function) or any(
        claims(kind.functions, function) for kind in description.kinds
    )
