"""APPLY: in place by swapping disks, beside the original, or anew when the original is gone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from quiesce.errors import NonRecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.providers.gcp import power
from quiesce.providers.gcp.anew import restore_anew, restore_beside
from quiesce.providers.gcp.exchanging import carry_out, given_up
from quiesce.providers.gcp.new_disks import restored_name
from quiesce.providers.gcp.parts import Part, Set, set_of
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import READY, RUNNING, Machine
from quiesce.providers.gcp.swap import UNDER_WAY, Exchange, Swap, swap_of
from quiesce.providers.gcp.target import Noun
from quiesce.providers.gcp.task import Task, places_of


def apply(task: Task) -> Outcome:
    """Put the target back to the call's restore point.

    Raises:
        ResourceNotFoundError: when a copy is gone or another object has its name; nothing was touched.
    """
    made = set_of(task.call.artifact or {})
    _prove(task, made)
    under_way = swap_of(task.notes.read(UNDER_WAY))
    if under_way is not None and under_way.execution == task.mark.execution:
        return carry_out(task, made, under_way)
    if task.options.beside and made.pieces:
        return restore_beside(task, made)
    return _restore_disk(task, made) if task.target.noun is Noun.DISK else _restore_machine(task, made)


def _restore_disk(task: Task, made: Set) -> Outcome:
    return carry_out(task, made, _plan_disk(task, made))


def _restore_machine(task: Task, made: Set) -> Outcome:
    machine = _machine(task, task.target.reference)
    if machine is None or task.mark.made(machine.labels):
        return restore_anew(task, made, task.target.reference)
    return carry_out(task, made, _plan_machine(task, made, machine))


def _prove(task: Task, made: Set) -> None:
    """Make sure that every copy is there, complete and the one that was made."""
    seen = {copy: found for place in places_of(made.pieces) for copy, found in task.look(place).items()}
    for piece in made.pieces:
        found = seen.get(piece.copy) or task.compute.copy(piece.copy)
        if piece.id and found.id != piece.id:
            raise ResourceNotFoundError(
                f"{piece.copy.path} is not the one that was made for {task.call.point}"
            )
        if found.status != READY:
            raise NonRecoverableError(
                f"{piece.copy.path} is {found.status}, not {READY}; nothing was restored"
            )


def _machine(task: Task, reference: Reference) -> Machine | None:
    try:
        return power.settled(task.compute, reference)
    except ResourceNotFoundError:
        return None


# -- planning: read, decide, write down ------------------------------------------------------------------


def _plan_machine(task: Task, made: Set, machine: Machine) -> Swap:
    _refuse_unfit(task, machine)
    attached = {attachment.device: attachment for attachment in machine.attachments}
    exchanges = [
        Exchange(
            source=part.disk,
            new=_free_name(task, part),
            old=attached[part.device].disk if part.device in attached else None,
            machine=machine.reference,
            device=part.device,
            boot=part.boot,
            auto_delete=attached[part.device].auto_delete if part.device in attached else part.auto_delete,
            mode=part.mode,
        )
        for _, part in made.parts
    ]
    return _written(task, exchanges, [machine])


def _plan_disk(task: Task, made: Set) -> Swap:
    _, part = made.parts[0]
    new = _free_name(task, part)
    try:
        old = task.compute.disk(task.target.reference)
    except ResourceNotFoundError:
        return _written(task, [_unattached(part, new, None)], [])
    machines = [power.settled(task.compute, user) for user in old.users if user.collection == "instances"]
    exchanges = [
        Exchange(
            source=part.disk,
            new=new,
            old=old.reference,
            machine=machine.reference,
            device=attachment.device,
            boot=attachment.boot,
            auto_delete=attachment.auto_delete,
            mode=attachment.mode,
        )
        for machine in machines
        for attachment in machine.attachments
        if attachment.disk == old.reference
    ]
    for machine in machines:
        _refuse_unfit(task, machine)
    return _written(task, exchanges or [_unattached(part, new, old.reference)], machines)


def _unattached(part: Part, new: Reference, old: Reference | None) -> Exchange:
    return Exchange(
        source=part.disk,
        new=new,
        old=old,
        machine=None,
        device=part.device,
        boot=False,
        auto_delete=False,
        mode=part.mode,
    )


def _refuse_unfit(task: Task, machine: Machine) -> None:
    if machine.status != RUNNING and not power.is_stopped(machine):
        raise UnsupportedError(
            f"{machine.reference.name} is {machine.status}, and its memory would not fit restored disks",
            hint="Resume it, or stop it, and restore again.",
        )
    if machine.status == RUNNING and machine.local_ssds and task.options.discard_local_ssd is None:
        raise UnsupportedError(
            f"{machine.reference.name} has Local SSD, and a restore must stop it",
            hint="Say with discard_local_ssd what becomes of the Local SSD's data.",
        )


def _free_name(task: Task, part: Part) -> Reference:
    """Return the first name that no earlier restore of this execution has used."""
    for turn in itertools.count(1):
        candidate = part.disk.sibling("disks", restored_name(task, part.device or "disk", str(turn)))
        try:
            task.compute.disk(candidate)
        except ResourceNotFoundError:
            return candidate
    raise AssertionError("unreachable")


def _written(task: Task, exchanges: Sequence[Exchange], machines: Sequence[Machine]) -> Swap:
    unfinished = swap_of(task.notes.read(UNDER_WAY))
    stopped_by_us = unfinished.restart if unfinished else ()
    swap = Swap(
        execution=task.mark.execution,
        exchanges=tuple(exchanges),
        restart=tuple(m.reference for m in machines if m.status == RUNNING or m.reference in stopped_by_us),
        leftovers=given_up(task),
    )
    task.notes.write(**{UNDER_WAY: swap.as_json()})
    return swap
