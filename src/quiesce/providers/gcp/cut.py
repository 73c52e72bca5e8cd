"""SNAPSHOT fixes the point in time; COPY waits for the data, after the thaw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from quiesce.errors import ForeignObjectError, NonRecoverableError, RecoverableError, UnsupportedError
from quiesce.model.consistency import Consistency
from quiesce.model.outcome import Outcome
from quiesce.model.records import Level
from quiesce.providers.gcp import power
from quiesce.providers.gcp.errors import AlreadyThereError, RefusedError
from quiesce.providers.gcp.names import unique_name
from quiesce.providers.gcp.options import CopyAs
from quiesce.providers.gcp.parts import IMAGE, INSTANT, SNAPSHOT, Part, Piece, Set, set_of
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import BROKEN, RUNNING, Copy, Disk, Machine
from quiesce.providers.gcp.target import Noun
from quiesce.providers.gcp.task import Task
from quiesce.providers.gcp.waiting import await_complete, await_cut

_DIFFERENT_MOMENTS = (
    "its disks were snapshotted one by one and nothing of the blueprint freezes this node, so they may "
    "contradict each other; bind a freeze hook, or use copy_as: machine_image"
)


def cut(task: Task) -> Outcome:
    """Fix the point in time of everything that the target consists of."""
    return _cut_machine(task) if task.target.noun is Noun.MACHINE else _cut_disk(task)


def finish_copy(task: Task) -> Outcome:
    """Wait until the data of a cut is stored, and note what a restore needs to know."""
    made = set_of(task.call.artifact or {})
    sizes = sum(part.size_gb for _, part in made.parts) << 30
    described = _described(task, made)
    try:
        stored = _stored(task, described.pieces)
    except RecoverableError:
        _refuse_failed(task, described.pieces)
        raise
    task.context.progress(sizes, sizes)
    pieces = tuple(
        replace(piece, id=stored[piece.copy].id, stored_bytes=stored[piece.copy].stored_bytes)
        for piece in described.pieces
    )
    return Outcome(artifact=replace(described, pieces=pieces).as_artifact())


def _stored(task: Task, pieces: Sequence[Piece]) -> Mapping[Reference, Copy]:
    last = next((piece.operation for piece in reversed(pieces) if piece.operation), None)
    if last is not None:
        task.compute.wait(last)
    return await_complete(task, pieces)


def _refuse_failed(task: Task, pieces: Sequence[Piece]) -> None:
    """Raise when the service gave up a copy: its moment is over, so asking again is of no use."""
    for piece in pieces:
        error = task.compute.failure(piece.operation) if piece.operation else None
        if error is not None:
            raise NonRecoverableError(
                f"{piece.copy.path} failed after the thaw, and the moment of the cut is gone: {error}",
                hint="Run the backup again.",
            )


# -- what a cut consists of -----------------------------------------------------------------------------


def _cut_machine(task: Task) -> Outcome:
    machine = task.compute.machine(task.target.reference)
    covered = task.covered()
    parts = [part for part in _parts_of(machine) if part.disk not in covered]
    notes = [f"{len(covered)} of its disks have nodes of their own"] if covered else []
    if machine.local_ssds:
        notes.append(f"{machine.local_ssds} Local SSD cannot be snapshotted and is left out")
    if task.options.guest_flush and machine.status != RUNNING:
        notes.append(f"no guest flush: the machine is {machine.status}")
        task = replace(task, options=replace(task.options, guest_flush=False))
    still = task.options.frozen_by_hook or power.is_at_rest(machine)
    made, more = _begin_all(task, parts, as_image=_wants_image(task, parts, still=still))
    alone = len(made) > 1 and not still
    return _outcome(
        task,
        Set(
            pieces=made,
            machine=machine.reference,
            machine_type=machine.machine_type,
            likeness=machine.likeness,
        ),
        notes=[*notes, *more, *([_DIFFERENT_MOMENTS] if alone else [])],
        consistency=Consistency.NONE if alone else None,
    )


def _cut_disk(task: Task) -> Outcome:
    disk = task.compute.disk(task.target.reference)
    if task.options.guest_flush and not _can_flush(task, disk):
        task = replace(task, options=replace(task.options, guest_flush=False))
    part = Part(
        disk=disk.reference,
        disk_id=disk.id,
        size_gb=disk.size_gb,
        type=disk.type,
        replica_zones=disk.replica_zones,
        iops=disk.iops,
        throughput=disk.throughput,
    )
    made, notes = _begin_all(task, [part], as_image=False)
    return _outcome(task, Set(pieces=made), notes=notes, consistency=None)


def _can_flush(task: Task, disk: Disk) -> bool:
    return any(task.compute.machine(user).status == RUNNING for user in disk.users)


def _parts_of(machine: Machine) -> list[Part]:
    return [
        Part(
            disk=attachment.disk,
            disk_id="",
            size_gb=attachment.size_gb,
            type="",
            device=attachment.device,
            boot=attachment.boot,
            auto_delete=attachment.auto_delete,
            mode=attachment.mode,
        )
        for attachment in machine.persistent
        if attachment.disk is not None
    ]


def _wants_image(task: Task, parts: Sequence[Part], *, still: bool) -> bool:
    """Tell whether only a machine image makes one cut of several disks, which *still* ones do not need."""
    if task.options.copy_as is CopyAs.AUTO:
        return len(parts) > 1 and not still
    return task.options.copy_as is CopyAs.MACHINE_IMAGE


def _outcome(task: Task, made: Set, *, notes: Sequence[str], consistency: Consistency | None) -> Outcome:
    seen = await_cut(task, made.pieces)
    pieces = tuple(replace(piece, id=seen[piece.copy].id) for piece in made.pieces)
    if task.options.guest_flush:
        notes = [*notes, "a guest flush was asked for; Compute Engine does not tell whether the guest did it"]
    return Outcome(
        artifact=replace(made, pieces=pieces).as_artifact(), consistency=consistency, note="; ".join(notes)
    )


# -- beginning ------------------------------------------------------------------------------------------


def _begin_all(task: Task, parts: Sequence[Part], *, as_image: bool) -> tuple[tuple[Piece, ...], list[str]]:
    if not parts:
        return (), ["nothing of its own to copy"]
    if as_image:
        return (_begin_image(task, tuple(parts)),), []
    if task.call.full or task.options.guest_flush:
        return tuple(task.compute.side_by_side(lambda part: _begin_snapshot(task, part), parts)), []
    pieces = tuple(task.compute.side_by_side(lambda part: _begin_instant(task, part), parts))
    stored = sum(piece.copy.collection == SNAPSHOT for piece in pieces)
    return pieces, [f"{stored} of its disks offer no instant snapshot"] if stored else []


def _begin_instant(task: Task, part: Part) -> Piece:
    copy = part.disk.sibling(INSTANT, _name(task, part))
    body = _body(task, part) | {"source_disk": part.disk.path}
    try:
        return _begun(task, copy, (part,), lambda: task.compute.insert(copy, body))
    except (UnsupportedError, RefusedError) as error:
        task.context.log(
            Level.INFO, f"{part.disk.name}: a standard snapshot instead of an instant one: {error}"
        )
        return _begin_snapshot(task, part)


def _begin_snapshot(task: Task, part: Part) -> Piece:
    copy = part.disk.sibling(SNAPSHOT, _name(task, part), scope="global")
    body: dict[str, object] = {"name": copy.name} | _body(task, part) | _places(task)
    if task.options.guest_flush:
        body["guest_flush"] = True
    return _begun(
        task, copy, (part,), lambda: task.compute.act(part.disk, "create_snapshot", snapshot_resource=body)
    )


def _begin_image(task: Task, parts: tuple[Part, ...]) -> Piece:
    machine = task.target.reference
    copy = machine.sibling(IMAGE, _name(task, None), scope="global")
    body = _body(task, None) | _places(task) | {"source_instance": machine.path}
    if task.options.guest_flush:
        body["guest_flush"] = True
    return _begun(task, copy, parts, lambda: task.compute.insert(copy, body))


def _begun(task: Task, copy: Reference, parts: tuple[Part, ...], insert: Callable[[], Reference]) -> Piece:
    try:
        return Piece(copy=copy, id="", parts=parts, operation=insert())
    except AlreadyThereError:
        found = task.compute.copy(copy)
    if not task.mark.made(found.labels):
        raise ForeignObjectError(f"{copy.path} exists and was not made by this execution")
    if found.status in BROKEN:
        task.compute.wait(task.compute.delete(copy))
        return Piece(copy=copy, id="", parts=parts, operation=insert())
    return Piece(copy=copy, id=found.id, parts=parts)


def _name(task: Task, part: Part | None) -> str:
    device = (part.device or part.disk.name) if part else "machine"
    return unique_name(task.call.instance, str(task.call.point), device, task.call.deployment)


def _body(task: Task, part: Part | None) -> dict[str, object]:
    call = task.call
    return {
        "labels": task.mark.labels("backup" if call.full else "snapshot", part.device if part else ""),
        "description": (
            f"quiesce: {call.point} of {call.instance} in {call.deployment}, "
            f"type {call.parameters.snapshot_type}, rotation {call.parameters.snapshot_rotation}"
        ),
    }


def _places(task: Task) -> dict[str, object]:
    return (
        {"storage_locations": list(task.options.storage_locations)} if task.options.storage_locations else {}
    )


# -- after the thaw ------------------------------------------------------------------------------------


def _described(task: Task, made: Set) -> Set:
    """Fill in what is known of the disks themselves: type, size and replicas."""
    return replace(
        made,
        pieces=tuple(
            replace(piece, parts=tuple(_described_part(task, part) for part in piece.parts))
            for piece in made.pieces
        ),
    )


def _described_part(task: Task, part: Part) -> Part:
    if part.type:
        return part
    disk = task.disks_around(part.disk).get(part.disk)
    if disk is None:
        return part
    return replace(
        part,
        disk_id=disk.id,
        size_gb=disk.size_gb,
        type=disk.type,
        replica_zones=disk.replica_zones,
        iops=disk.iops,
        throughput=disk.throughput,
    )
