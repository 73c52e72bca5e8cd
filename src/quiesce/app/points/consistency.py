"""How far each cut of an execution can be trusted: a pure fold of its plan and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quiesce.app.points.window import frozen_intervals
from quiesce.model.consistency import Consistency, weakest
from quiesce.model.history import History
from quiesce.model.ids import BackupName, InstanceId, StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Done
from quiesce.model.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyAssessment:
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
    def of(cls, plan: Plan, history: History, topology: Topology) -> ConsistencyAssessment:
        """Find the freezes of *plan*, and whose cut each concerns."""
        # what is stopped is at rest more surely than what is frozen
        resting = (Operation.FREEZE, Operation.STOP)
        freezes = {step.instance: step for what in resting for step in plan.steps if step.operation is what}
        thaws = {step.of: step for step in plan.steps if step.role is Role.SETTLE and step.of}
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

    def assess(self, cut: Step) -> tuple[Consistency, str]:
        """Return the consistency of *cut*, and why it is no higher."""
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
        consistency = weakest([reached, *(cap for cap in caps if cap is not None)])
        return consistency, "; ".join(dict.fromkeys(note for note in notes if note))

    def reachable(self, cut: Step) -> Consistency:
        """Return the consistency of *cut* when everything succeeds."""
        concerning = [self.freezes[i] for i in self.related.get(cut.instance, ())]
        reached = max([cut.alone, *(self._promised_by(freeze) for freeze in concerning)])
        return weakest([reached, *(freeze.ceiling for freeze in concerning)])

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
            return Consistency.CRASH, f"the cut was not made within the freeze of {freeze.instance}"
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
