"""How long an execution will keep things frozen, and whether that is too long: before anything is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quiesce.app.inquiry import Inquiry
from quiesce.app.services import Services
from quiesce.engine import timeout_s
from quiesce.errors import PlanError, ProviderError, WindowTooLongError
from quiesce.model.cut_size import Basis, CutEstimate, CutSize
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.planning import estimate_cut, predict_window_s, predictor, unmeasured
from quiesce.ports import CutMeasurer

#: what is asked for beside an estimate when a larger bound is advised
_MARGIN = 1.25
_BASIS = {
    Basis.MEASURED: "as the last time",
    Basis.TRIED: "the last try was broken off",
    Basis.GUESSED: "a careful guess, never measured here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is known of a frozen window beforehand."""

    window_s: float = 0.0
    #: who takes part in it and was never measured
    unmeasured: tuple[InstanceId, ...] = ()
    #: the cuts that grow with what there is
    cuts: Mapping[InstanceId, CutEstimate] = field(default_factory=dict)
    #: how long those cuts alone keep things frozen
    cuts_s: float = 0.0

    @property
    def sizes(self) -> Mapping[InstanceId, CutSize]:
        """How much each of those cuts has to take."""
        return {instance: cut.size for instance, cut in self.cuts.items()}


def forecast_of(services: Services, deployment: Deployment, plan: Plan) -> Forecast:
    """Ask how much is to be cut while things are frozen, and say how long that will last."""
    if not any(step.operation is Operation.FREEZE for step in plan.steps):
        return Forecast()
    lasted = services.executions.durations(deployment.name)
    sizes = _cut_sizes(services, deployment, plan)
    cuts = {
        instance: estimate_cut(size, lasted.get((instance, Operation.SNAPSHOT)))
        for instance, size in sizes.items()
    }
    duration_s = predictor(lasted, services.descriptions, cuts)
    return Forecast(
        window_s=predict_window_s(plan, duration_s),
        unmeasured=unmeasured(plan, lasted, cuts),
        cuts=cuts,
        cuts_s=predict_window_s(plan, lambda step: duration_s(step) if _is_cut(step, cuts) else 0.0),
    )


def too_long(plan: Plan, forecast: Forecast) -> WindowTooLongError | None:
    """Return why *plan* would keep things frozen for longer than is allowed; None: as far as is known, not.

    Only what was counted speaks against it: what an operation without a size took once may have been bad
    luck, and would forbid every later one.
    """
    bound, timeouts = plan.parameters.max_freeze_s, _timeouts(plan, forecast.cuts)
    late = [i for i, cut in forecast.cuts.items() if cut.seconds > timeouts[i]]
    if forecast.cuts_s <= bound and not late:
        return None
    named = late if forecast.cuts_s <= bound else _longest(forecast.cuts)
    limit = f"max_freeze allows {bound:g} s" if forecast.cuts_s > bound else "operation_timeout allows less"
    told = "; ".join(_told(instance, forecast.cuts[instance]) for instance in named)
    return WindowTooLongError(f"{told}; {limit}, so nothing was frozen", hint=_advice(plan, forecast, named))


def _cut_sizes(services: Services, deployment: Deployment, plan: Plan) -> Mapping[InstanceId, CutSize]:
    inquiry = Inquiry(services, deployment, plan.workflow, plan=plan)
    found = {}
    for step in plan.steps:
        if step.operation is Operation.SNAPSHOT and step.role is Role.MAIN:
            size = _asked(services, inquiry, step)
            if size is not None:
                found[step.instance] = size
    return found


def _asked(services: Services, inquiry: Inquiry, step: Step) -> CutSize | None:
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, CutMeasurer):
            return None
        return provider.cut_size(inquiry.call_of(step), inquiry.context_of(step))
    except (ProviderError, PlanError):
        return None  # the cut itself will say what is wrong


def _is_cut(step: Step, cuts: Mapping[InstanceId, CutEstimate]) -> bool:
    return step.operation is Operation.SNAPSHOT and step.instance in cuts


def _timeouts(plan: Plan, cuts: Mapping[InstanceId, CutEstimate]) -> Mapping[InstanceId, float]:
    return {step.instance: timeout_s(step, plan.parameters) for step in plan.steps if _is_cut(step, cuts)}


def _longest(cuts: Mapping[InstanceId, CutEstimate]) -> Sequence[InstanceId]:
    """Return those that make the most of it, the longest first."""
    most = max(cut.seconds for cut in cuts.values())
    found = [instance for instance, cut in cuts.items() if cut.seconds >= most / 10]
    return sorted(found, key=lambda instance: -cuts[instance].seconds)[:8]


def _told(instance: InstanceId, cut: CutEstimate) -> str:
    size, mebibytes = cut.size, cut.size.copied_bytes / (1 << 20)
    work = f"{size.entries} entries and {mebibytes:.1f} MiB are copied"
    if size.compared:
        work = f"{size.compared} entries, copied beforehand, are compared"
    return f"{instance}: {work} while things are frozen, about {cut.seconds:.1f} s ({_BASIS[cut.basis]})"


def _advice(plan: Plan, forecast: Forecast, named: Sequence[InstanceId]) -> str:
    nodes = {step.instance: step.node for step in plan.steps}
    needed = math.ceil(max(forecast.window_s, forecast.cuts_s) * _MARGIN)
    shared = "Keep it on a file system that shares data (btrfs, xfs with reflink), "
    copies = any(forecast.cuts[instance].size.copied_bytes for instance in named)
    return (
        f"{shared if copies else ''}{'leave' if copies else 'Leave'} it out "
        f"(exclude_nodes={','.join(sorted({nodes[i] for i in named}))}), or allow more: max_freeze={needed}s."
    )
