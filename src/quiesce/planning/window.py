"""The frozen window: its steps in backup and restore, and how long it will be."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from quiesce.model.capabilities import Capabilities
from quiesce.model.cut_size import Lasted
from quiesce.model.ids import InstanceId, StepId
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, REPLACING, Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.topology import Node
from quiesce.planning.drafting import Edges, PlanDraft


def add_freezes(draft: PlanDraft, *, for_apply: bool = False, stopped: Collection[InstanceId] = ()) -> None:
    """Append the groups that freeze: services, then computes.

    Those in *stopped* are frozen only where the blueprint brings the freeze: ours would find nothing.
    """
    wanted = [
        instance
        for instance in draft.having(FS_PREPARE)
        if not for_apply
        or (_freezes_for_apply(draft, instance) and not _needs_no_freeze(draft, instance, stopped))
    ]
    for title, is_wanted in (("freeze services", _is_service), ("freeze computes", _is_compute)):
        instances = [i for i in wanted if is_wanted(draft.request.topology.node_of(i))]
        draft.add_group(title, FS_PREPARE, instances, order=_freeze_order(draft, instances))
    for instance, paused in vain_waits(draft, wanted).items():
        draft.warnings.append(vain_wait_text(instance, paused))
    for instance in draft.having(FS_PREPARE):
        if draft.binding(instance, FS_FINALIZE) is None:
            node = draft.request.topology.instances[instance].node
            draft.warnings.append(f"{node} has fs_prepare but no fs_finalize: no thaw is planned for it")


def _freeze_order(draft: PlanDraft, instances: Sequence[InstanceId]) -> Edges:
    """Freeze dependents first, but pause nobody before a freeze that waits for what others have begun.

    A program that is paused in the middle of a transaction would never end it, nor would that freeze.
    """
    order = draft.dependents_first(instances)
    pausing = frozenset(i for i in instances if _offers(draft, i).pauses)
    waiting = {i for i in instances if _offers(draft, i).waits_for_others}
    if not pausing:
        return order
    depending = _with_dependents(waiting, order)
    first = tuple(i for i in instances if i in depending and i not in pausing)
    before = {i: others | set(first) if i in pausing else others for i, others in order.items()}
    return {**before, **draft.dependents_first(first)}


def _with_dependents(instances: Iterable[InstanceId], order: Edges) -> frozenset[InstanceId]:
    """Return *instances* and all that depend on them, at any distance."""
    found: set[InstanceId] = set()
    pending = list(instances)
    while pending:
        instance = pending.pop()
        if instance not in found:
            found.add(instance)
            pending.extend(order[instance])
    return frozenset(found)


def vain_waits(
    draft: PlanDraft, instances: Sequence[InstanceId]
) -> Mapping[InstanceId, Sequence[InstanceId]]:
    """Return the freezes of the blueprint's own making that may wait for those who are paused before them.

    What a script waits for is not known. It may well be what those have begun who depend on its node.
    """
    pausing = frozenset(i for i in instances if _offers(draft, i).pauses)
    if not pausing:
        return {}
    order, topology = draft.dependents_first(instances), draft.request.topology
    services = [i for i in instances if _is_service(topology.node_of(i))]
    waiting = [i for i in services if _offers(draft, i).waits_for_others]
    before_pauses = _with_dependents(waiting, order).intersection(services)
    found: dict[InstanceId, Sequence[InstanceId]] = {}
    for instance in sorted(set(instances) - pausing - before_pauses):
        binding = draft.binding(instance, FS_PREPARE)
        if binding is None or binding.by_provider:
            continue
        paused = [
            other
            for other in sorted(_with_dependents([instance], order) & pausing)
            if topology.node_of(instance).is_compute or not topology.node_of(other).is_compute
        ]
        if paused:
            found[instance] = paused
    return found


def vain_wait_text(instance: InstanceId, paused: Sequence[InstanceId]) -> str:
    """Return what can go wrong when *paused* are paused before *instance* is frozen."""
    return (
        f"{', '.join(paused)} is paused before fs_prepare of {instance} runs: if that waits for "
        "what is in the middle of a transaction, it waits in vain"
    )


def _offers(draft: PlanDraft, instance: InstanceId) -> Capabilities:
    binding = draft.binding(instance, FS_PREPARE)
    return binding.capabilities if binding is not None else Capabilities()


def add_thaws(
    draft: PlanDraft,
    owed_since: Callable[[InstanceId], StepId | None] | None = None,
    *,
    stopped: Collection[InstanceId] = (),
) -> None:
    """Append the groups that thaw: computes, then services.

    Each settles its instance's freeze; where there is none, what *owed_since* names.
    """
    frozen = {step.instance: step.id for step in draft.steps if step.operation is Operation.FREEZE}

    def of(instance: InstanceId) -> StepId | None:
        return frozen.get(instance) or (owed_since(instance) if owed_since else None)

    for title, is_wanted in (("thaw computes", _is_compute), ("thaw services", _is_service)):
        instances = [
            instance
            for instance in draft.having(FS_FINALIZE, is_wanted)
            if not _needs_no_freeze(draft, instance, stopped)
        ]
        draft.add_group(
            title,
            FS_FINALIZE,
            instances,
            order=draft.dependents_last(instances),
            role=Role.SETTLE,
            of=of,
        )


def predict_window_s(plan: Plan, duration_s: Callable[[Step], float]) -> float:
    """Return how long *plan* will keep things frozen, in seconds, if steps last what *duration_s* says.

    Simulates the engine: groups one after the other, at most ``parallel`` steps side by side.
    """
    freezes = [step.group for step in plan.steps if step.operation is Operation.FREEZE]
    if not freezes:
        return 0.0
    thaws = [step.group for step in plan.steps if step.operation is Operation.THAW]
    inside = range(min(freezes), max(thaws, default=max(freezes)) + 1)
    groups: dict[int, list[Step]] = {group: [] for group in inside}
    for step in plan.steps:
        if step.group in groups:
            groups[step.group].append(step)
    return sum(_makespan_s(steps, plan.parameters.parallel, duration_s) for steps in groups.values())


def predict_total_s(plan: Plan, measured: Mapping[tuple[InstanceId, Operation], Lasted]) -> float | None:
    """Return how long *plan* lasts, in seconds, if it is as the last time; None when that is not known.

    Of what replaces an instance it has to be known; what else was never measured counts as nothing.
    """
    known_s = {key: last.seconds for key, last in measured.items() if last.finished}
    if any((s.instance, s.operation) not in known_s for s in plan.steps if s.operation in REPLACING):
        return None
    groups: dict[int, list[Step]] = {}
    for step in plan.steps:
        if step.role is not Role.UNDO:
            groups.setdefault(step.group, []).append(step)
    return sum(
        _makespan_s(steps, plan.parameters.parallel, lambda s: known_s.get((s.instance, s.operation), 0.0))
        for steps in groups.values()
    )


def _makespan_s(steps: Iterable[Step], parallel: int, duration_s: Callable[[Step], float]) -> float:
    by_id = {step.id: step for step in steps}
    waiting = {step.id: len(step.after) for step in by_id.values()}
    followers: dict[StepId, list[StepId]] = {name: [] for name in by_id}
    for step in by_id.values():
        for name in step.after:
            followers[name].append(step.id)
    ready = [name for name, count in waiting.items() if count == 0]
    ready.reverse()
    running: list[tuple[float, StepId]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < parallel:
            name = ready.pop()
            heapq.heappush(running, (now + duration_s(by_id[name]), name))
        now, over = heapq.heappop(running)
        for name in followers[over]:
            waiting[name] -= 1
            if waiting[name] == 0:
                ready.append(name)
    return now


def _needs_no_freeze(draft: PlanDraft, instance: InstanceId, stopped: Collection[InstanceId]) -> bool:
    binding = draft.binding(instance, FS_FINALIZE) or draft.binding(instance, FS_PREPARE)
    return instance in stopped and binding is not None and binding.by_provider


def _freezes_for_apply(draft: PlanDraft, instance: InstanceId) -> bool:
    binding = draft.binding(instance, FS_PREPARE)
    return binding is not None and (binding.declared or binding.capabilities.freeze_for_apply)


def _is_compute(node: Node) -> bool:
    return node.is_compute


def _is_service(node: Node) -> bool:
    return not node.is_compute
