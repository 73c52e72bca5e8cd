"""What an execution has made of restore points: a pure fold of its plan and history.

Saving the answer again after a crash changes nothing, so the catalog can always be put right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from quiesce.model.consistency import Consistency, weakest
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import BackupName, InstanceId, StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Done
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.model.topology import Topology


def points_made(plan: Plan, history: History, execution: Execution, topology: Topology) -> list[RestorePoint]:
    """Return the restore points that *execution* makes (a backup's, or a restore's safety one)."""
    names = {step.point for step in plan.steps if step.operation is Operation.SNAPSHOT and step.point}
    return [_made(name, plan, history, execution, topology) for name in sorted(names)]


def points_removed(plan: Plan, history: History, points: Iterable[RestorePoint]) -> list[RestorePoint]:
    """Return *points* without what *plan*'s finished deletions have removed."""
    deleting = {
        (step.point, step.instance): step
        for step in plan.steps
        if step.operation is Operation.DELETE and step.role is Role.MAIN
    }
    return [_without(point, deleting, history) for point in points]


def window_s(plan: Plan, history: History) -> float:
    """Return the time from the first freeze's begin to the last thaw's end, in seconds; 0 without any."""
    intervals = frozen_intervals(plan, history).values()
    if not intervals:
        return 0.0
    return max(end for _, end in intervals) - min(begin for begin, _ in intervals)


def frozen_intervals(plan: Plan, history: History) -> Mapping[InstanceId, tuple[float, float]]:
    """Return, for each instance that was frozen and thawed, the ticks between which it may have been."""
    freezes = {step.id for step in plan.steps if step.operation is Operation.FREEZE}
    intervals = {}
    for step in plan.steps:
        if step.operation is not Operation.THAW or step.of not in freezes or step.of is None:
            continue
        begun, thawed = history.first_begun.get(step.of), history.done.get(step.id)
        if begun is not None and thawed is not None:
            frozen = history.done.get(step.of)
            intervals[step.instance] = (frozen.began if frozen else begun.tick, thawed.ended)
    return intervals


def _made(
    name: BackupName, plan: Plan, history: History, execution: Execution, topology: Topology
) -> RestorePoint:
    cuts = [step for step in plan.steps if step.operation is Operation.SNAPSHOT and step.point == name]
    around = Surroundings.of(plan, history, topology)
    artifacts = tuple(artifact for step in cuts if (artifact := _artifact(step, history, around)) is not None)
    done = [history.done[step.id] for step in cuts if step.id in history.done]
    complete = [a for a in artifacts if a.state is PointState.COMPLETE]
    return RestorePoint(
        deployment=execution.deployment,
        name=name,
        full=plan.workflow == "backup" and not plan.parameters.snapshot_incremental,
        type=plan.parameters.snapshot_type,
        rotation=plan.parameters.snapshot_rotation,
        execution=execution.id,
        state=_state(plan, history, cuts, artifacts),
        consistency=weakest(a.consistency for a in complete),
        made_at=execution.created_at,
        window_s=window_s(plan, history),
        skew_s=max((d.ended for d in done), default=0.0) - min((d.ended for d in done), default=0.0),
        safety=plan.workflow == "restore",
        artifacts=artifacts,
    )


def _state(plan: Plan, history: History, cuts: Sequence[Step], artifacts: Sequence[Artifact]) -> PointState:
    complete = sum(artifact.state is PointState.COMPLETE for artifact in artifacts)
    if complete == len(cuts):
        return PointState.COMPLETE
    if history.faltered is None:
        return PointState.INCOMPLETE
    if not artifacts:
        return PointState.REMOVED
    return PointState.PARTIAL if plan.parameters.keep_partial and complete else PointState.INCOMPLETE


def _artifact(step: Step, history: History, around: Surroundings) -> Artifact | None:
    undo = around.undos.get(step.id)
    if step.id not in history.begun_at or (undo is not None and not history.is_owed(undo)):
        return None
    cut = history.done.get(step.id)
    copy = around.copies.get((step.instance, step.point))
    copied = history.done.get(copy.id) if copy is not None else None
    finished = cut is not None and (copy is None or copied is not None)
    last = copied if copied is not None and copied.outcome.artifact is not None else cut
    consistency, note = around.worth(step) if cut is not None else (Consistency.NONE, "the cut is not done")
    return Artifact(
        instance=step.instance,
        provider=step.provider,
        function=step.function,
        state=PointState.COMPLETE if finished else PointState.INCOMPLETE,
        consistency=consistency,
        content=(last.outcome.artifact or {}) if last is not None else {},
        note=note,
        cut_at=cut.at if cut is not None else None,
        cut_s=cut.ended - cut.began if cut is not None else None,
        frozen_s=around.frozen_s(step.instance),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was frozen around each cut."""

    plan: Plan
    history: History
    topology: Topology
    freezes: Mapping[InstanceId, Step]
    thaws: Mapping[StepId, Step]
    related: Mapping[InstanceId, frozenset[InstanceId]]
    intervals: Mapping[InstanceId, tuple[float, float]]
    undos: Mapping[StepId | None, Step]
    copies: Mapping[tuple[InstanceId, BackupName | None], Step]

    @classmethod
    def of(cls, plan: Plan, history: History, topology: Topology) -> Surroundings:
        """Find the freezes of *plan*, and whose cut each concerns."""
        freezes = {step.instance: step for step in plan.steps if step.operation is Operation.FREEZE}
        thaws = {step.of: step for step in plan.steps if step.operation is Operation.THAW and step.of}
        return cls(
            plan=plan,
            history=history,
            topology=topology,
            freezes=freezes,
            thaws=thaws,
            related=_related(topology, freezes) if freezes else {},
            intervals=frozen_intervals(plan, history),
            undos={step.of: step for step in plan.steps if step.role is Role.UNDO},
            copies={(s.instance, s.point): s for s in plan.steps if s.operation is Operation.COPY},
        )

    def frozen_s(self, instance: InstanceId) -> float | None:
        """Return how long *instance* itself was frozen."""
        interval = self.intervals.get(instance)
        return None if interval is None else interval[1] - interval[0]

    def worth(self, cut: Step) -> tuple[Consistency, str]:
        """Return what *cut* is worth, and why it is no more."""
        done = self.history.done[cut.id]
        concerning = [self.freezes[i] for i in sorted(self.related.get(cut.instance, ()))]
        reached, notes = cut.alone, [done.outcome.note]
        for freeze in concerning:
            reached = max(reached, self._reached_by(freeze, done))
        caps = [done.outcome.consistency]
        for freeze in concerning:
            cap, note = self._cap_of(freeze, done)
            caps.append(cap)
            notes.append(note)
        worth = weakest([reached, *(cap for cap in caps if cap is not None)])
        return worth, "; ".join(dict.fromkeys(note for note in notes if note))

    def reachable(self, cut: Step) -> Consistency:
        """Return what *cut* is worth when everything goes well."""
        concerning = [self.freezes[i] for i in self.related.get(cut.instance, ())]
        return max([cut.alone, *(self._promised_by(freeze) for freeze in concerning)])

    def _promised_by(self, freeze: Step) -> Consistency:
        compute = self.topology.node_of(freeze.instance).is_compute
        return Consistency.FILESYSTEM if compute else Consistency.APPLICATION

    def _reached_by(self, freeze: Step, cut: Done) -> Consistency:
        if freeze.id not in self.history.done or not self._holds_around(freeze, cut):
            return Consistency.CRASH
        return self._promised_by(freeze)

    def _cap_of(self, freeze: Step, cut: Done) -> tuple[Consistency | None, str]:
        frozen = self.history.done.get(freeze.id)
        if frozen is None:
            failed = self.history.failed.get(freeze.id)
            why = failed.message if failed is not None else "it was never frozen"
            return Consistency.CRASH, f"{freeze.instance} was not frozen: {why}"
        if not self._holds_around(freeze, cut):
            return Consistency.CRASH, f"the cut does not lie within the freeze of {freeze.instance}"
        thaw = self.thaws.get(freeze.id)
        thawed = self.history.done.get(thaw.id) if thaw is not None else None
        for done in (frozen, thawed):
            if done is not None and done.outcome.consistency is not None:
                return done.outcome.consistency, done.outcome.note
        return None, ""

    def _holds_around(self, freeze: Step, cut: Done) -> bool:
        frozen = self.history.done[freeze.id]
        thaw = self.thaws.get(freeze.id)
        thawed = self.history.done.get(thaw.id) if thaw is not None else None
        return frozen.ended <= cut.began and (thawed is None or cut.ended <= thawed.began)


def _related(
    topology: Topology, freezes: Mapping[InstanceId, Step]
) -> Mapping[InstanceId, frozenset[InstanceId]]:
    """For each instance: which frozen ones concern its data.

    Itself, what it is contained in or uses, and what is contained in it or uses it, at any distance.
    """
    below = _reach({i.id: [link.target for link in i.links] for i in topology.instances.values()}, freezes)
    above_links: dict[InstanceId, list[InstanceId]] = {i: [] for i in topology.instances}
    for instance in topology.instances.values():
        for link in instance.links:
            above_links[link.target].append(instance.id)
    above = _reach(above_links, freezes)
    return {i: below[i] | above[i] | (freezes.keys() & {i}) for i in topology.instances}


def _reach(
    links: Mapping[InstanceId, Sequence[InstanceId]], freezes: Mapping[InstanceId, Step]
) -> dict[InstanceId, frozenset[InstanceId]]:
    found: dict[InstanceId, frozenset[InstanceId]] = {}
    for start in links:
        seen, stack = {start}, list(links[start])
        while stack:
            instance = stack.pop()
            if instance not in seen:
                seen.add(instance)
                stack.extend(links[instance])
        found[start] = frozenset(i for i in seen if i in freezes and i != start)
    return found


def _without(
    point: RestorePoint, deleting: Mapping[tuple[BackupName | None, InstanceId], Step], history: History
) -> RestorePoint:
    kept: list[Artifact] = []
    for artifact in point.artifacts:
        step = deleting.get((point.name, artifact.instance))
        if step is None or step.id not in history.begun_at:
            kept.append(artifact)
        elif step.id not in history.done:
            kept.append(replace(artifact, state=PointState.REMOVING))
    return replace(point, artifacts=tuple(kept), state=_state_of(kept, len(point.artifacts)))


def _state_of(kept: Sequence[Artifact], there_were: int) -> PointState:
    states = {artifact.state for artifact in kept}
    if not kept:
        return PointState.REMOVED
    if states == {PointState.COMPLETE} and len(kept) == there_were:
        return PointState.COMPLETE
    if PointState.COMPLETE in states:
        return PointState.PARTIAL
    return PointState.REMOVING if PointState.REMOVING in states else PointState.INCOMPLETE
