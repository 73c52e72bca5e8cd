"""undo_restore: put back what the last restore replaced, or forth again what it had restored."""

from __future__ import annotations

from collections.abc import Collection

from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId, StepId
from quiesce.model.operation import RESTORE_CONFIRM, RESTORE_REVERT, SNAPSHOT_CREATE
from quiesce.model.plan import Plan
from quiesce.planning.drafting import PlanDraft, PlanRequest, step_id
from quiesce.planning.stopping import add_starts_and_probes, add_stops
from quiesce.planning.window import add_freezes, add_thaws


def plan_undo_restore(request: PlanRequest) -> Plan:
    """Stop, freeze, exchange what is there with what is kept, thaw, start, probe; in the order of a restore.

    Raises:
        PlanError: when nothing is kept of what a restore replaced, or what would be stopped could not be
            started.
    """
    draft = PlanDraft(request)
    instances = draft.having(RESTORE_REVERT)
    if request.former is not None:
        instances = tuple(instance for instance in instances if instance in request.former)
    if not instances:
        raise PlanError(
            "no restore of the chosen instances has left anything that it could be undone with",
            hint="Restore a restore point of the state that you want; 'quiesce backups list' shows them.",
        )
    stopped = add_stops(draft)
    add_freezes(draft, for_apply=True, stopped=stopped)
    order = draft.dependents_last(instances)
    draft.add_group("exchange with what is kept", RESTORE_REVERT, instances, order=order)
    reverted = frozenset(instances)

    def owed_since(instance: InstanceId) -> StepId | None:
        return step_id(instance, RESTORE_REVERT) if instance in reverted else None

    add_thaws(draft, owed_since, stopped=stopped)
    add_starts_and_probes(draft, stopped, reverted)
    return draft.finish()


def plan_forget_undo(request: PlanRequest) -> Plan:
    """Let go of everything that restores have replaced, on every instance that can keep such a thing.

    Also where there is nothing to go back to any more: an earlier one may have left some of it behind.
    """
    draft = PlanDraft(request)
    draft.add_group("let go of what is kept", RESTORE_CONFIRM, draft.having(RESTORE_CONFIRM))
    draft.warn_if_idle("let go of", RESTORE_CONFIRM)
    return draft.finish(carry_on=True)


def add_confirmation(draft: PlanDraft, instances: tuple[InstanceId, ...]) -> None:
    """Append the group that makes what *instances* have replaced their undo, once all has gone well."""
    able = frozenset(draft.having(RESTORE_CONFIRM))
    draft.add_group("keep the undo", RESTORE_CONFIRM, [each for each in instances if each in able])


def warn_of_no_way_back(
    draft: PlanDraft, instances: tuple[InstanceId, ...], safe: Collection[InstanceId]
) -> None:
    """Name those of *instances* that are replaced for good; of *safe* ones a restore point is taken."""
    undoable = draft.having(RESTORE_CONFIRM) if draft.request.parameters.keep_undo_s != 0 else ()
    beside = (step.instance for step in draft.steps if step.beside)
    not_lost = {*undoable, *safe, *beside}
    lost = [each for each in instances if each not in not_lost]
    able = {each for each in lost if draft.binding(each, SNAPSHOT_CREATE) is not None}
    for names, remedy in (
        ([each for each in lost if each in able], "safety_snapshot=true takes one"),
        ([each for each in lost if each not in able], "none can be taken"),
    ):
        if names:
            draft.warnings.append(
                f"{', '.join(names)}: there is no way back from this restore: what is there now is not kept "
                f"for an undo, and no restore point of it is taken first ({remedy})"
            )
