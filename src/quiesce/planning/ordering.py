"""Which instances must come before which, as relationships tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from quiesce.model.ids import InstanceId
from quiesce.model.topology import Topology


def depends_on(
    topology: Topology, taking_part: Collection[InstanceId]
) -> Mapping[InstanceId, frozenset[InstanceId]]:
    """Return, for each of *taking_part*, the nearest others of them that it depends on.

    Instances that do not take part are looked through. Where relationships form a circle, its last edge
    (in the topology's order) is left out, so that the answer never has one. Linear in instances and links.
    """
    members = frozenset(taking_part)
    finished: dict[InstanceId, int] = {}
    nearest: dict[InstanceId, frozenset[InstanceId]] = {}
    for position, instance in enumerate(_targets_first(topology)):
        finished[instance] = position
        targets = (link.target for link in topology.instances[instance].links)
        nearest[instance] = _nearest((t for t in targets if t in finished), members, nearest)
    return {instance: nearest[instance] for instance in taking_part}


def turned(edges: Mapping[InstanceId, frozenset[InstanceId]]) -> Mapping[InstanceId, frozenset[InstanceId]]:
    """Return the same edges the other way round: for each instance, those that depend on it."""
    dependents: dict[InstanceId, set[InstanceId]] = {instance: set() for instance in edges}
    for instance, targets in edges.items():
        for target in targets:
            dependents[target].add(instance)
    return {instance: frozenset(others) for instance, others in dependents.items()}


def _nearest(
    targets: Iterable[InstanceId],
    members: frozenset[InstanceId],
    nearest: Mapping[InstanceId, frozenset[InstanceId]],
) -> frozenset[InstanceId]:
    found: set[InstanceId] = set()
    for target in targets:
        if target in members:
            found.add(target)
        else:
            found |= nearest[target]
    return frozenset(found)


def _targets_first(topology: Topology) -> Iterable[InstanceId]:
    seen: set[InstanceId] = set()
    for root in topology.instances:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(topology.instances[root].links))]
        while stack:
            instance, links = stack[-1]
            link = next(links, None)
            if link is None:
                stack.pop()
                yield instance
            elif link.target not in seen:
                seen.add(link.target)
                stack.append((link.target, iter(topology.instances[link.target].links)))
