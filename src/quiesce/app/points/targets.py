"""Look at everything that a restore would replace, before anything is touched; tell all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quiesce.app.inquiry import Inquiry
from quiesce.app.masking import Masking
from quiesce.app.points.in_use import users_that_stay
from quiesce.app.points.manifests import repositories
from quiesce.app.services import Services
from quiesce.errors import InUseError, NoRoomError, PlanError, ProviderError, TargetError
from quiesce.files.identities import identities_above, identity_of
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import RestorePoint
from quiesce.model.target import NO_OBJECTION, RestoreTarget, TargetProblem
from quiesce.ports import TargetInspector


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What was found, instance by instance."""

    found: Mapping[InstanceId, RestoreTarget]
    #: the programs that use what is to be replaced, and that nothing in the plan stops
    users: Mapping[InstanceId, Sequence[str]]

    @property
    def problems(self) -> Sequence[tuple[str, TargetProblem]]:
        """Everything that is wrong, with the instance, or instances, that it concerns."""
        wrong = [(instance, each) for instance, target in self.found.items() for each in target.problems]
        used = [(instance, _in_use(users)) for instance, users in self.users.items()]
        return [*wrong, *used, *_too_little_room(self.found)]

    def error(self) -> TargetError | None:
        """Return everything that is wrong as one error; None: nothing is."""
        if not self.problems:
            return None
        codes = {problem.code for _, problem in self.problems}
        told = "; ".join(f"{instance}: {problem.detail}" for instance, problem in self.problems)
        hints = dict.fromkeys(problem.remedy for _, problem in self.problems if problem.remedy)
        code = codes.pop() if len(codes) == 1 else TargetError.code
        return TargetError(f"{told}; nothing was touched", code=code, hint=" ".join(hints))


def inspect_targets(
    services: Services, deployment: Deployment, plan: Plan, points: Sequence[RestorePoint]
) -> Targets:
    """Ask the providers of everything that *plan* replaces or writes to."""
    inquiry = Inquiry(services, deployment, plan.workflow, plan=plan, points=points)
    steps = [step for step in plan.steps if step.operation in REPLACING | {Operation.EXTRACT}]
    reason = _why_ours(services, deployment, plan)
    return Targets(
        found={step.instance: _refused(_inspected(services, inquiry, step), reason) for step in steps},
        users={
            instance: tuple(map(services.masking.text, users))
            for instance, users in users_that_stay(services, deployment, plan, points).items()
        },
    )


def _why_ours(services: Services, deployment: Deployment, plan: Plan) -> str:
    """Return what of quiesce's own the directory is that is written below, or lies in or around.

    Empty: nothing. What is restored on trial lies in the home, in a place for that.
    """
    target, trials = Path(plan.parameters.target), Path(services.proofs_dir)
    if not plan.parameters.target or identity_of(trials) in identities_above(target):
        return ""
    kept = repositories(services, deployment, deployment.topology.instances.keys())
    places = [("QUIESCE_HOME", trials.parent), *(("a repository", Path(each)) for each in set(kept.values()))]
    return next((why for place in places if (why := _why_near(target, *place))), "")


def _why_near(target: Path, what: str, place: Path) -> str:
    if identity_of(place) in identities_above(target):
        return f"{target} is {what} ({place}), or lies in it"
    if identity_of(target) in identities_above(place):
        return f"{target} is above {what} ({place})"
    return ""


def _refused(target: RestoreTarget, reason: str) -> RestoreTarget:
    if not reason:
        return target
    problem = TargetProblem(code=TargetError.code, detail=reason, remedy="Choose another target.")
    return replace(target, problems=(problem, *target.problems))


def _inspected(services: Services, inquiry: Inquiry, step: Step) -> RestoreTarget:
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, TargetInspector):
            return NO_OBJECTION
        target = provider.inspect_target(inquiry.call_of(step), inquiry.context_of(step))
    except (ProviderError, PlanError) as error:
        problem = TargetProblem(code=error.code, detail=str(error), remedy=error.hint)
        target = RestoreTarget(problems=(problem,))
    return _masked(services.masking, target)


def _masked(masking: Masking, target: RestoreTarget) -> RestoreTarget:
    problems = tuple(
        replace(each, detail=masking.text(each.detail), remedy=masking.text(each.remedy))
        for each in target.problems
    )
    return replace(
        target,
        problems=problems,
        differences=tuple(map(masking.text, target.differences)),
        lost=tuple(map(masking.text, target.lost)),
    )


def _in_use(users: Sequence[str]) -> TargetProblem:
    return TargetProblem(
        code=InUseError.code, detail=f"it is in use by {', '.join(users)}", remedy=InUseError.hint
    )


def _too_little_room(found: Mapping[InstanceId, RestoreTarget]) -> Sequence[tuple[str, TargetProblem]]:
    """Return what does not fit: all that is written to one file system is there at the same time."""
    problems = []
    for room in sorted({target.room for target in found.values() if target.room}):
        within = {i: t for i, t in found.items() if t.room == room and t.needed_bytes is not None}
        needed = sum(target.needed_bytes or 0 for target in within.values())
        free = min((target.free_bytes or 0 for target in within.values()), default=needed)
        if needed > free:
            detail = f"{needed} bytes are needed beside what is there, and {free} are free"
            problem = TargetProblem(code=NoRoomError.code, detail=detail, remedy=NoRoomError.hint)
            problems.append((", ".join(within), problem))
    return problems
