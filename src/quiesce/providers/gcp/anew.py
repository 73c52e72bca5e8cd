"""Restoring beside the original, and anew when the original is gone."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.errors import ForeignObjectError
from quiesce.model.outcome import Outcome
from quiesce.providers.gcp import power
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.exchanging import given_up, tidy
from quiesce.providers.gcp.new_disks import RESTORED, make_disks, restored_name
from quiesce.providers.gcp.parts import IMAGE, Part, Set
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.swap import UNDER_WAY, Swap
from quiesce.providers.gcp.target import Noun
from quiesce.providers.gcp.task import Task


def restore_beside(task: Task, made: Set) -> Outcome:
    if task.target.noun is Noun.MACHINE:
        place = task.target.reference.sibling("instances", restored_name(task, "beside"))
        return restore_anew(task, made, place)
    _, part = made.parts[0]
    new = part.disk.sibling("disks", restored_name(task, "beside"))
    make_disks(task, made, {new: part.disk})
    return Outcome(note=f"restored beside the original, as the disk {new.name}")


def restore_anew(task: Task, made: Set, machine: Reference) -> Outcome:
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
    disks = {
        machine.sibling("disks", restored_name(task, machine.name, part.device)): part
        for _, part in made.parts
    }
    unfinished = Swap(execution="", exchanges=(), restart=(), leftovers=(*given_up(task), *disks))
    task.notes.write(**{UNDER_WAY: unfinished.as_json()})
    make_disks(task, made, {new: part.disk for new, part in disks.items()})
    _insert(task, machine, {**body, "disks": [_attached(new, part) for new, part in disks.items()]})
    tidy(task, unfinished, [])
    task.notes.write(**{UNDER_WAY: None})


def _likeness(made: Set) -> dict[str, object]:
    machine_type = f"zones/{made.machine.place}/machineTypes/{made.machine_type}" if made.machine else ""
    return {**(made.likeness or {}), "machine_type": machine_type}


def _labels(task: Task, made: Set) -> dict[str, str]:
    theirs = (made.likeness or {}).get("labels")
    labels = {key: str(value) for key, value in theirs.items()} if isinstance(theirs, dict) else {}
    return labels | task.mark.labels(RESTORED)


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
