"""What runs is stopped before it is replaced, started afterwards whatever happens, and probed."""

from __future__ import annotations

from collections.abc import Collection

from quiesce.errors import PlanError
from quiesce.model.ids import BackupName, InstanceId
from quiesce.model.operation import (
    RESTORE_POWER_ON,
    RESTORE_PROBE,
    RESTORE_START,
    RESTORE_STOP,
    SNAPSHOT_APPLY,
    Operation,
)
from quiesce.model.plan import Role
from quiesce.planning.drafting import PlanDraft, step_id


def add_stops(draft: PlanDraft) -> tuple[InstanceId, ...]:
    """Append the group that stops, dependents first, and return the instances that it stops.

    Raises:
        PlanError: when one of them could not be started again.
    """
    stopped = draft.having(RESTORE_STOP)
    for instance in stopped:
        if draft.binding(instance, RESTORE_START) is None:
            raise PlanError(
                f"{draft.request.topology.instances[instance].node} has {RESTORE_STOP} but no "
                f"{RESTORE_START}: it would be left stopped",
                hint="Bring the operation that starts it; an empty script, where applying does that already.",
            )
    draft.add_group("stop", RESTORE_STOP, stopped, order=draft.dependents_first(stopped))
    return stopped


def add_power_on(draft: PlanDraft, applied: Collection[InstanceId], point: BackupName) -> None:
    """Append the group that switches on what applying has switched off, owed since that began.

    A machine is switched off by its apply, and not in a group of its own: it runs until what takes the place
    of its disks lies ready, and what is saved for safety is saved while it runs.
    """
    beside = {step.instance for step in draft.steps if step.beside}
    instances = [i for i in draft.having(RESTORE_POWER_ON) if i in applied and i not in beside]
    draft.add_group(
        "power on",
        RESTORE_POWER_ON,
        instances,
        order=draft.dependents_last(instances),
        role=Role.SETTLE,
        of=lambda instance: step_id(instance, SNAPSHOT_APPLY),
        point=point,
    )


def add_starts_and_probes(
    draft: PlanDraft,
    stopped: tuple[InstanceId, ...],
    replaced: Collection[InstanceId],
    point: BackupName | None = None,
) -> None:
    """Append the groups that start what was *stopped*, owed since then, and that ask whether all answers.

    A machine that is not among those *replaced*, by *point*, may not even be there: it is not asked.
    """
    draft.add_group(
        "start",
        RESTORE_START,
        stopped,
        order=draft.dependents_last(stopped),
        role=Role.SETTLE,
        of=lambda instance: step_id(instance, RESTORE_STOP),
    )
    probed = tuple(
        instance
        for instance in draft.having(RESTORE_PROBE)
        if instance in replaced or instance in stopped or not _is_replaceable(draft, instance)
    )
    draft.add_group("probe", RESTORE_PROBE, probed, order=draft.dependents_last(probed), point=point)


def _is_replaceable(draft: PlanDraft, instance: InstanceId) -> bool:
    binding = draft.binding(instance, RESTORE_PROBE)
    return binding is not None and binding.by_provider and Operation.APPLY in binding.capabilities.operations
