"""APPLY: in place by swapping disks, beside the original, or anew when the original is gone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.outcome import Outcome
from quiesce.providers.gcp import power
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.names import MADE_BY, unique_name
from quiesce.providers.gcp.parts import IMAGE, SNAPSHOT, Part, Piece, Set, set_of
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.removal import remove_all
from quiesce.providers.gcp.replaced import forget, needed_by_instants, remember
from quiesce.providers.gcp.resources import READY, RUNNING, Disk, Machine
from quiesce.providers.gcp.swap import UNDER_WAY, Exchange, Swap, swap_of
from quiesce.providers.gcp.target import CURRENT_DISK, Noun
from quiesce.providers.gcp.task import Task, places_of

_RESTORED = "restored"


def apply(task: Task) -> Outcome:
    """Put the target back to the call's restore point.

    Raises:
        ResourceNotFoundError: when a copy is gone or another object has its name; nothing was touched.
    """
    made = set_of(task.call.artifact or {})
    _prove(task, made)
    under_way = swap_of(task.notes.read(UNDER_WAY))
    if under_way is not None and under_way.execution == task.mark.execution:
        return _carry_out(task, made, under_way)
    if task.options.beside and made.pieces:
        return _beside(task, made)
    return _restore_disk(task, made) if task.target.noun is Noun.DISK else _restore_machine(task, made)


def _restore_disk(task: Task, made: Set) -> Outcome:
    return _carry_out(task, made, _plan_disk(task, made))


def _restore_machine(task: Task, made: Set) -> Outcome:
    machine = _machine(task, task.target.reference)
    if machine is None or task.mark.made(machine.labels):
        return _anew(task, made, task.target.reference)
    return _carry_out(task, made, _plan_machine(task, made, machine))


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
        candidate = part.disk.sibling("disks", _name(task, part.device or "disk", str(turn)))
        try:
            task.compute.disk(candidate)
        except ResourceNotFoundError:
            return candidate
    raise AssertionError("unreachable")


def _name(task: Task, *what: str) -> str:
    return unique_name(
        task.call.instance, str(task.call.point), *what, task.call.deployment, task.call.execution
    )


def _written(task: Task, exchanges: Sequence[Exchange], machines: Sequence[Machine]) -> Swap:
    given_up = swap_of(task.notes.read(UNDER_WAY))
    stopped_by_us = given_up.restart if given_up else ()
    swap = Swap(
        execution=task.mark.execution,
        exchanges=tuple(exchanges),
        restart=tuple(m.reference for m in machines if m.status == RUNNING or m.reference in stopped_by_us),
        leftovers=_given_up(task),
    )
    task.notes.write(**{UNDER_WAY: swap.as_json()})
    return swap


def _given_up(task: Task) -> tuple[Reference, ...]:
    """Return the disks that earlier restores made, or were about to make, and did not bring to an end."""
    swap = swap_of(task.notes.read(UNDER_WAY))
    return (*(exchange.new for exchange in swap.exchanges), *swap.leftovers) if swap else ()


# -- carrying out: every step brings about a state, so it may be done again ------------------------------


def _carry_out(task: Task, made: Set, swap: Swap) -> Outcome:
    new = list(dict.fromkeys(exchange.new for exchange in swap.exchanges))
    sources = {exchange.new: exchange.source for exchange in swap.exchanges}
    _make_disks(task, made, {reference: sources[reference] for reference in new})
    old = _existing(task, (exchange.old for exchange in swap.exchanges))
    remember(task, [disk for disk in old if not _is_ours(task, swap, disk)])
    for machine in swap.machines:
        power.stop(task.compute, machine, discard_local_ssd=task.options.discard_local_ssd)
        _exchange(task, machine, [exchange for exchange in swap.exchanges if exchange.machine == machine])
    if task.target.noun is Noun.DISK:
        task.notes.write(**{CURRENT_DISK: new[0].path})
    for machine in swap.restart:
        power.start(task.compute, machine)
    kept = _tidy(task, swap, old)
    task.notes.write(**{UNDER_WAY: None})
    return Outcome(note=f"the replaced disks are kept: {', '.join(kept)}" if kept else "")


def _make_disks(task: Task, made: Set, sources: Mapping[Reference, Reference]) -> None:
    by_disk = {part.disk: (piece, part) for piece, part in made.parts}
    wanted = [(new, *by_disk[source]) for new, source in sources.items()]
    begun = task.compute.side_by_side(lambda one: _begin_disk(task, *one), wanted)
    for operation in begun:
        if operation is not None:
            task.compute.wait(operation)
    for new in sources:
        _until_ready(task, new)


def _begin_disk(task: Task, new: Reference, piece: Piece, part: Part) -> Reference | None:
    try:
        if piece.copy.collection == IMAGE:
            return task.compute.insert_from_machine_image(new, _body_from_image(task, piece, part))
        return task.compute.insert(new, _body_from_snapshot(task, piece, part))
    except AlreadyThereError:
        found = task.compute.disk(new)
    if not task.mark.made(found.labels):
        raise ForeignObjectError(f"{new.path} exists and was not made by this execution")
    return None


def _body_from_snapshot(task: Task, piece: Piece, part: Part) -> dict[str, object]:
    source = "source_snapshot" if piece.copy.collection == SNAPSHOT else "source_instant_snapshot"
    body: dict[str, object] = {
        source: piece.copy.path,
        "labels": task.mark.labels(_RESTORED, part.device),
        "size_gb": part.size_gb,
        "type_": part.type,
        "replica_zones": list(part.replica_zones),
        "provisioned_iops": part.iops,
        "provisioned_throughput": part.throughput,
    }
    return {key: value for key, value in body.items() if value}


def _body_from_image(task: Task, piece: Piece, part: Part) -> dict[str, object]:
    body: dict[str, object] = {
        "sourceMachineImage": piece.copy.path,
        "sourceMachineImageDiskDeviceName": part.device,
        "labels": task.mark.labels(_RESTORED, part.device),
        "sizeGb": str(part.size_gb),
        "type": part.type,
        "replicaZones": list(part.replica_zones),
    }
    return {key: value for key, value in body.items() if value}


def _until_ready(task: Task, new: Reference) -> None:
    for turn in itertools.count(1):
        disk = task.compute.disk(new)
        if disk.status == READY:
            return
        if disk.status == "FAILED":
            raise NonRecoverableError(f"{new.path} could not be made: it is FAILED")
        task.compute.patience.back_off(min(turn, 5))


def _existing(task: Task, references: Iterable[Reference | None]) -> list[Disk]:
    """Return the disks among *references* that exist."""
    found = []
    for reference in dict.fromkeys(references):
        if reference is not None:
            with suppress(ResourceNotFoundError):
                found.append(task.compute.disk(reference))
    return found


def _exchange(task: Task, machine: Reference, exchanges: Sequence[Exchange]) -> None:
    """Put each new disk where the old one was, under the same device name."""
    attached = {a.device: a.disk for a in task.compute.machine(machine).attachments}
    for exchange in exchanges:
        if exchange.device in attached and attached[exchange.device] != exchange.new:
            task.compute.wait(task.compute.act(machine, "detach_disk", device_name=exchange.device))
    for exchange in sorted(exchanges, key=lambda exchange: not exchange.boot):
        if attached.get(exchange.device) != exchange.new:
            body = {
                "source": exchange.new.path,
                "device_name": exchange.device,
                "boot": exchange.boot,
                "auto_delete": exchange.auto_delete,
                "mode": exchange.mode,
            }
            task.compute.wait(task.compute.act(machine, "attach_disk", attached_disk_resource=body))


def _tidy(task: Task, swap: Swap, old: Sequence[Disk]) -> list[str]:
    """Remove what restores made and nobody needs, and the replaced disks when none is to be kept."""
    theirs = [disk for disk in old if not _is_ours(task, swap, disk)]
    needed = () if task.options.keep_replaced else needed_by_instants(task, (d.reference for d in theirs))
    kept = [disk for disk in theirs if task.options.keep_replaced or disk.reference in needed]
    gone = {disk.reference for disk in old if disk not in kept}
    unused = [disk for disk in _existing(task, swap.leftovers) if not disk.users]
    gone |= {disk.reference for disk in unused if _is_ours(task, swap, disk)}
    remove_all(task, sorted(gone, key=lambda reference: reference.path))
    forget(task, list(gone))
    return [disk.reference.name for disk in kept]


def _is_ours(task: Task, swap: Swap, disk: Disk) -> bool:
    """Tell whether a replaced disk is nobody's data: a try of this restore, or of one that was given up."""
    left_over = disk.reference in swap.leftovers and disk.labels.get(MADE_BY) == _RESTORED
    return left_over or task.mark.made(disk.labels)


# -- beside the original, and anew ----------------------------------------------------------------------


def _beside(task: Task, made: Set) -> Outcome:
    if task.target.noun is Noun.MACHINE:
        place = task.target.reference.sibling("instances", _name(task, "beside"))
        return _anew(task, made, place)
    _, part = made.parts[0]
    new = part.disk.sibling("disks", _name(task, "beside"))
    _make_disks(task, made, {new: part.disk})
    return Outcome(note=f"restored beside the original, as the disk {new.name}")


def _anew(task: Task, made: Set, machine: Reference) -> Outcome:
    """Make a machine of the copies; one that an earlier try began is finished."""
    images = [piece for piece in made.pieces if piece.copy.collection == IMAGE]
    body = _likeness(made) | {"labels": _labels(task, made)}
    if images:
        _insert(task, machine, body, source_machine_image=images[0].copy.path)
    else:
        _insert_of_disks(task, made, machine, body)
    power.start(task.compute, machine)
    return Outcome(note=f"restored as the machine {machine.name}")


def _insert_of_disks(task: Task, made: Set, machine: Reference, body: Mapping[str, object]) -> None:
    disks = {machine.sibling("disks", _name(task, machine.name, part.device)): part for _, part in made.parts}
    given_up = _given_up(task)
    unfinished = Swap(execution="", exchanges=(), restart=(), leftovers=(*given_up, *disks))
    task.notes.write(**{UNDER_WAY: unfinished.as_json()})
    _make_disks(task, made, {new: part.disk for new, part in disks.items()})
    _insert(task, machine, {**body, "disks": [_attached(new, part) for new, part in disks.items()]})
    _tidy(task, unfinished, [])
    task.notes.write(**{UNDER_WAY: None})


def _likeness(made: Set) -> dict[str, object]:
    machine_type = f"zones/{made.machine.place}/machineTypes/{made.machine_type}" if made.machine else ""
    return {**(made.likeness or {}), "machine_type": machine_type}


def _labels(task: Task, made: Set) -> dict[str, str]:
    theirs = (made.likeness or {}).get("labels")
    labels = {key: str(value) for key, value in theirs.items()} if isinstance(theirs, dict) else {}
    return labels | task.mark.labels(_RESTORED)


def _attached(new: Reference, part: Part) -> dict[str, object]:
    return {
        "source": new.path,
        "device_name": part.device,
        "boot": part.boot,
        "auto_delete": part.auto_delete,
        "mode": part.mode,
    }


def _insert(task: Task, machine: Reference, body: Mapping[str, object], **extra: object) -> None:
    try:
        task.compute.wait(task.compute.insert(machine, body, **extra))
    except AlreadyThereError:
        if not task.mark.made(task.compute.machine(machine).labels):
            raise ForeignObjectError(f"{machine.path} exists and was not made by this execution") from None
