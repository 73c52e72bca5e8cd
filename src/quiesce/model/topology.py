"""What a deployment consists of: nodes, instances and relationships, as values.

This is all that planning sees. The mappings are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.model.ids import InstanceId, Json, NodeId

COMPUTE: Final = "cloudify.nodes.Compute"
CONTAINED_IN: Final = "cloudify.relationships.contained_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """What a blueprint names to implement one operation of a node."""

    #: the plugin's name in the blueprint; empty for none
    plugin: str
    #: the dotted function, such as ``script_runner.tasks.run``; never empty (an empty one is left out)
    function: str
    #: as written, intrinsic functions that need a live deployment included
    inputs: Mapping[str, Json] = field(default_factory=dict)
    executor: str | None = None
    max_retries: int | None = None
    retry_interval_s: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """A directed dependency of a node on *target*."""

    target: NodeId
    type: str
    #: from the root type to *type*
    type_hierarchy: tuple[str, ...]
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A declared component."""

    id: NodeId
    type: str
    #: from the root type to *type*
    type_hierarchy: tuple[str, ...]
    #: evaluated as far as that is possible without a live deployment
    properties: Mapping[str, Json] = field(default_factory=dict)
    relationships: tuple[Relationship, ...] = ()
    #: by full operation name
    operations: Mapping[str, Implementation] = field(default_factory=dict)
    #: how many instances a new deployment gets (its groups not counted in)
    instances: int = 1

    @property
    def is_compute(self) -> bool:
        """Tell whether this node is a host (else it is a service)."""
        return COMPUTE in self.type_hierarchy

    @property
    def skip_actions(self) -> frozenset[str]:
        """The full operation names that are not to be run on this node."""
        actions = self.properties.get("skip_actions") or ()
        return frozenset(str(action) for action in actions) if isinstance(actions, list) else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One instance's dependency on another instance."""

    target: InstanceId
    type: str
    #: whether `CONTAINED_IN` is in the relationship's hierarchy
    contained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a node."""

    id: InstanceId
    node: NodeId
    links: tuple[Link, ...] = ()
    #: ids of the scaling group copies it belongs to, ``<group>_<suffix>``, innermost first
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One deployment's nodes and instances."""

    nodes: Mapping[NodeId, Node]
    instances: Mapping[InstanceId, Instance]
    inputs: Mapping[str, Json] = field(default_factory=dict)
    #: values as written, for ``get_capability`` and for showing
    capabilities: Mapping[str, Json] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)

    def node_of(self, instance: InstanceId) -> Node:
        """Return the node that *instance* is a copy of."""
        return self.nodes[self.instances[instance].node]
